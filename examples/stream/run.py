"""
The stream function on this machine, without an AWS account: `.venv/bin/python examples/stream/run.py`, after `make setup`.

A model that says a word every fifth of a second stands behind it. The first call hears the words as they are said, the
second hears them from the cache; both are made with client.py, over the function's URL.
"""

import os
import sys
import time
from pathlib import Path

import client

from hookcache_ops.backends.converse_stream_server import ConverseStreamServer
from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.lambda_service import Function

FOLDER = Path(__file__).resolve().parents[2] / "functions" / "stream"
NAME = "GENAIIDP-stream-example"
PROMPT = "The meter on the second floor reads 4711 and will be read again in March"


def main(word_seconds: float = 0.2) -> int:
    with LocalAws() as aws, ConverseStreamServer(word_seconds) as model:
        settings = {
            **aws.settings(),
            "TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
        }
        command = (str(FOLDER / "stream_wrapper"), sys.executable, "/var/runtime/bootstrap.py")
        aws.functions.add(Function(NAME, FOLDER, environment=settings, timeout_seconds=60, command=command))
        os.environ.update(aws.environment())  # what the client signs with
        url = aws.functions.function_url(NAME)
        for title in ("1 first sight", "2 seen before"):
            print(f"{title}: ", end="", flush=True)
            hear(url, model)
    return 0


def hear(url: str, model: ConverseStreamServer) -> None:
    """One call: its words as they come, and when they came."""
    asked, started, first = model.calls, time.monotonic(), 0.0
    for event in client.events(url, PROMPT):
        match event:
            case {"contentBlockDelta": {"delta": {"text": word}}}:
                first = first or time.monotonic() - started
                print(word, end="", flush=True)
            case {"metadata": {"usage": usage}}:
                whole = time.monotonic() - started
                print(
                    f"\n   first word after {first:.2f} s, whole after {whole:.2f} s, tokens charged {usage['totalTokens']}, ",
                    end="",
                )
                print(f"model asked {model.calls - asked} times\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
