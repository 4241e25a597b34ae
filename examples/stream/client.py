"""
A caller of the stream function: prints the model's words as they come.

    python client.py https://….lambda-url.eu-west-1.on.aws/ "Sum up: ..."

Needs boto3 and AWS credentials whose user or role has the stack's CallerPolicy. Exit status: 0 the answer is whole, 1 it
broke off or was refused, 2 nothing could be sent.
"""

import json
import sys
from urllib.parse import urlsplit

import boto3
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError


def request_of(prompt: str) -> dict:
    """What the host sends to a LambdaHook. Without `system`, `inferenceConfig` and temperature 0 nothing is kept."""
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": prompt}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"temperature": 0.0},
        "context": "Summarization",
    }


def signed(url: str, body: bytes) -> dict:
    """The headers of a POST, signed for the function URL."""
    session = boto3.Session()
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(session.get_credentials(), "lambda", session.region_name).add_auth(request)
    return dict(request.headers)


def events(url: str, prompt: str):
    """Each event as soon as it is here."""
    body = json.dumps(request_of(prompt)).encode()
    reply = urllib3.PoolManager(retries=False).request(
        "POST", url, body=body, headers=signed(url, body), preload_content=False
    )
    if reply.status != 200:
        raise SystemExit(f"refused with status {reply.status}: {reply.read().decode()}")
    rest = b""
    for piece in reply.stream():
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)


def missing(url: str) -> str:
    """What is to be set right before anything can be sent; empty where all is there."""
    try:
        parts = urlsplit(url)
        session = boto3.Session()
        signs = session.get_credentials() is not None
    except ValueError:
        parts = urlsplit("")
    except BotoCoreError as error:  # such as a profile that is not there
        return str(error)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        return "the first argument is no URL: give the stack's output FunctionUrl"
    if not signs:
        return "there are no AWS credentials: sign in, or name a profile in AWS_PROFILE"
    return "" if session.region_name else "there is no region: set AWS_DEFAULT_REGION to the function's"


def main(url: str, prompt: str) -> int:
    if trouble := missing(url):
        print(trouble, file=sys.stderr)
        return 2
    try:
        for event in events(url, prompt):
            match event:
                case {"contentBlockDelta": {"delta": {"text": word}}}:
                    print(word, end="", flush=True)
                case {"metadata": {"usage": usage}}:  # the last event, and the only sign that the answer is whole
                    print(f"\nwhole; charged for: {json.dumps(usage)}")
                    return 0
                case {"error": error}:
                    print(f"\nbroke off: {error['errorType']}: {error['errorMessage']}", file=sys.stderr)
                    return 1
    except urllib3.exceptions.HTTPError as trouble:
        print(f"\nbroke off: {type(trouble).__name__}", file=sys.stderr)
        return 1
    print("\nbroke off without a reason", file=sys.stderr)
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
