"""A backend as it is deployed: a Lambda process of its own, behind the wrapper, on a local AWS, its service's server at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookcache_ops.backends import Backend
from hookcache_ops.host_requests import Call, InlineImage
from hookcache_ops.local.aws import WORKING_BUCKET, LocalAws
from hookcache_ops.local.lambda_service import Function
from hookcache_ops.pages import render

PROJECT = Path(__file__).resolve().parents[2]
WRAPPER = "GENAIIDP-cache-backend"


@dataclass
class Chain:
    """The wrapper and what stands behind it; `server` is the service's."""

    aws: LocalAws
    backend: Backend
    server: Any
    uploads: int = 0

    def upload(self, image: InlineImage) -> str:
        """As the host does: a new random name for every logical call."""
        self.uploads += 1
        key = f"temp/lambdahook/{self.uploads:032x}.{image.format}"
        self.aws.client("s3").put_object(Bucket=WORKING_BUCKET, Key=key, Body=image.data)
        return f"s3://{WORKING_BUCKET}/{key}"

    def event(self, call: Call) -> dict[str, Any]:
        """The host's event for one logical call, its images uploaded."""
        content = [
            {"text": part}
            if isinstance(part, str)
            else {"image": {"format": part.format, "source": {"s3Location": {"uri": self.upload(part)}}}}
            for part in call.content
        ]
        numbers = {
            "temperature": call.temperature,
            "topP": call.top_p,
            "topK": call.top_k,
            "maxTokens": call.max_tokens,
        }
        system = [{"text": call.system}] if isinstance(call.system, str) else list(call.system)
        return {
            "modelId": "LambdaHook",
            "messages": [{"role": "user", "content": content}],
            "system": system,
            "inferenceConfig": {name: value for name, value in numbers.items() if value is not None},
            "context": call.context,
        }

    def invoke(self, function: str, event: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """The answer or the error, and whether it is an answer."""
        reply = self.aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        return json.loads(reply["Payload"].read()), "FunctionError" not in reply

    def ask(self, call: Call) -> dict[str, Any]:
        """The wrapper's answer to a logical call."""
        answer, good = self.invoke(WRAPPER, self.event(call))
        assert good, answer
        return answer

    def fail(self, call: Call) -> dict[str, Any]:
        """The error that the wrapper raises for it."""
        error, good = self.invoke(WRAPPER, self.event(call))
        assert not good, error
        return error

    @property
    def receipt(self) -> dict[str, Any]:
        """The wrapper's last one."""
        lines = [line for line in self.aws.functions.logs(WRAPPER) if line.startswith('{"_aws"')]
        receipt: dict[str, Any] = json.loads(lines[-1])
        return receipt

    @property
    def written(self) -> str:
        """All that both functions have written."""
        return "\n".join((*self.aws.functions.logs(WRAPPER), *self.aws.functions.logs(self.backend.function)))


@contextmanager
def chained(backend: Backend, timeout_seconds: float = 60, **environment: str) -> Iterator[Chain]:
    """The chain for as long as the `with` block."""
    assert backend.serve is not None
    with LocalAws() as aws, backend.serve() as server:
        settings = {**backend.environment(server, aws), **environment}
        folder = backend.path(PROJECT)
        aws.functions.add(Function(backend.function, folder, environment=settings, timeout_seconds=timeout_seconds))
        wrapper = {**aws.settings(), "HOOKCACHE_BACKEND": backend.function, "POWERTOOLS_SERVICE_NAME": WRAPPER}
        wrapper["HOOKCACHE_POLICY"] = json.dumps({"*": {"error_detail": "full"}})
        aws.functions.add(
            Function(WRAPPER, PROJECT / "functions/hook", environment=wrapper, timeout_seconds=timeout_seconds + 10)
        )
        yield Chain(aws, backend, server)


def letter() -> InlineImage:
    """The sample letter's first page."""
    return InlineImage(next(render(PROJECT / "documents" / "letter.pdf")).jpeg)
