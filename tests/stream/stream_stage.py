"""The stream function in a process of its own, between a real caller's socket and a model on a real socket."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hookcache_ops.backends.converse_stream_server import ConverseStreamServer
from hookcache_ops.local.aws import LocalAws
from hookcache_ops.local.lambda_service import Function

FOLDER = Path(__file__).parents[2] / "functions" / "stream"
NAME = "GENAIIDP-stream-nova"
# As Lambda calls a wrapper script: with the interpreter, and the arguments that the managed runtime would have had.
COMMAND = (str(FOLDER / "stream_wrapper"), sys.executable, "/var/runtime/bootstrap.py")
STREAM_WISH = base64.b64encode(json.dumps({"custom": {"hookcache_stream": True}}).encode()).decode()


def event_of(text: str | None = None, **numbers: Any) -> dict[str, Any]:
    """A host's request; without a text one that nobody made before."""
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": text or f"sum up {uuid.uuid4()} for me"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"temperature": 0.0, **numbers},
        "context": "Summarization",
    }


@dataclass
class Told:
    """What a caller got of a stream: its events, and how it ended."""

    events: list[dict[str, Any]] = field(default_factory=list)
    complete: dict[str, Any] = field(default_factory=dict)
    broken: bool = False

    @property
    def text(self) -> str:
        return "".join(
            event["contentBlockDelta"]["delta"]["text"] for event in self.events if "contentBlockDelta" in event
        )

    @property
    def names(self) -> list[str]:
        """The kinds of events in order, repeated ones once."""
        names = [name for event in self.events for name in event]
        return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]

    @property
    def usage(self) -> dict[str, int]:
        usage: dict[str, int] = self.events[-1]["metadata"]["usage"]
        return usage


class BySdk:
    """A caller with boto3: InvokeWithResponseStream."""

    def __init__(self, client: Any, event: Any, name: str = NAME) -> None:
        reply = client.invoke_with_response_stream(
            FunctionName=name, Payload=json.dumps(event), ClientContext=STREAM_WISH
        )
        self._stream = reply["EventStream"]
        self._pieces = iter(self._stream)
        self.told = Told()
        self._rest = b""

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each event as soon as it is here."""
        for piece in self._pieces:
            if "InvokeComplete" in piece:
                self.told.complete = piece["InvokeComplete"]
                continue
            *lines, self._rest = (self._rest + piece["PayloadChunk"]["Payload"]).split(b"\n")
            for line in lines:
                self.told.events.append(json.loads(line))
                yield self.told.events[-1]

    def hang_up(self) -> None:
        self._stream.close()

    def all(self) -> Told:
        list(self.lines())
        return self.told


class ByUrl:
    """A caller with a plain HTTP client: the function URL."""

    def __init__(self, url: str, event: Any, accept: str = "*/*", timeout: float = 60) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        self._connection.request("POST", parts.path, body, {"Accept": accept})
        self._reply: http.client.HTTPResponse | None = None
        self.told = Told()
        self._rest = b""

    @property
    def reply(self) -> http.client.HTTPResponse:
        """Status and headers; waits for them."""
        if self._reply is None:
            self._reply = self._connection.getresponse()
        return self._reply

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each event as soon as it is here."""
        # Not by `readline`: where the last chunk is missing, the standard library's ends as if all were well.
        try:
            while piece := self.reply.read1():
                *lines, self._rest = (self._rest + piece).split(b"\n")
                for line in lines:
                    self.told.events.append(json.loads(line))
                    yield self.told.events[-1]
        except (http.client.IncompleteRead, ConnectionError):
            self.told.broken = True

    def hang_up(self) -> None:
        self.reply.close()
        self._connection.close()

    def all(self) -> Told:
        list(self.lines())
        return self.told


class Stage:
    """The function `NAME` in front of `model`."""

    def __init__(self, aws: LocalAws, model: ConverseStreamServer) -> None:
        self.aws, self.model = aws, model
        self.lambda_client = aws.client("lambda")

    def deploy(self, name: str = NAME, timeout_seconds: float = 60, **settings: str) -> None:
        environment = {
            **self.aws.settings(),
            "TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.model.url,
            **settings,
        }
        self.aws.functions.add(
            Function(name, FOLDER, environment=environment, timeout_seconds=timeout_seconds, command=COMMAND)
        )

    @property
    def url(self) -> str:
        return self.aws.functions.function_url(NAME)

    def by(self, way: str, event: Any) -> BySdk | ByUrl:
        """A caller who wants the stream, on one of the two ways."""
        return BySdk(self.lambda_client, event) if way == "sdk" else ByUrl(self.url, event)

    def whole(self, event: Any, name: str = NAME) -> Any:
        """The answer as the host gets it, by Invoke."""
        return json.loads(self.lambda_client.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"].read())

    def receipts(self, name: str = NAME) -> list[dict[str, Any]]:
        lines = self.aws.functions.logs(name)
        return [json.loads(line) for line in lines if line.startswith('{"_aws"')]
