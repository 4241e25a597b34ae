"""What the tests of the AWS backends share: a bucket, clients that reach a server of this machine, the host's events."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

CREDENTIALS = {"aws_access_key_id": "LOCALACCESSKEY", "aws_secret_access_key": "LOCALSECRETKEY"}
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "LOCALACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": "LOCALSECRETKEY",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CANARY = "canary-4711"
"""In every text and image name of `event`; never to be seen in an error."""


class Bucket:
    """S3 with some objects; errors among them are raised."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects

    def get_object(self, **given: Any) -> dict[str, Any]:
        found = self.objects[given["Key"].split("/")[-1]]
        if isinstance(found, Exception):
            raise found
        return {"Body": io.BytesIO(found)}


def denied() -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": CANARY}}, "GetObject")


class Clients:
    """`boto3.client` of a world with one bucket and one service at `url`; `configs` keeps what was asked for."""

    def __init__(self, url: str, bucket: Bucket | None = None) -> None:
        self.url, self.bucket = url, bucket or Bucket()
        self.configs: dict[str, Any] = {}

    def __call__(self, name: str, config: Any) -> Any:
        self.configs[name] = config
        if name == "s3":
            return self.bucket
        make: Callable[..., Any] = boto3.client
        return make(name, region_name="us-east-1", endpoint_url=self.url, config=config, **CREDENTIALS)


class Recorder:
    """A client whose every operation notes its parameters and gives the prepared reply, or raises it."""

    def __init__(self, reply: Any) -> None:
        self.reply, self.asked = reply, []

    def __call__(self, name: str, config: Any) -> Any:
        return self if name != "s3" else Bucket(page=b"JPEG")

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.asked.append((operation, parameters))
            if isinstance(self.reply, Exception):
                raise self.reply
            return self.reply

        return call


class Left:
    """A Lambda context with time left."""

    def __init__(self, seconds: float = 300) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


def image(name: str = "page", form: str = "jpeg") -> dict[str, Any]:
    location = {"uri": f"s3://working/temp/lambdahook/{CANARY}/{name}"}
    return {"image": {"format": form, "source": {"s3Location": location}}}


def event(*content: Any, system: Any = None, context: str = "OCR", **numbers: Any) -> dict[str, Any]:
    """A host's event; texts and image blocks in their order."""
    blocks = [{"text": part} if isinstance(part, str) else part for part in content or (f"Read. {CANARY}",)]
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": blocks}],
        "system": [{"text": text} for text in system or ()],
        "inferenceConfig": numbers or {"temperature": 0.0},
        "context": context,
    }


class StuckBucket(Bucket):
    """S3 that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def get_object(self, **given: Any) -> dict[str, Any]:
        self.let_go.wait(30)
        return {"Body": io.BytesIO(b"late")}
