"""
Doubles of the world around hookcache: time, the Lambda context, S3, Lambda, Secrets Manager, and events and answers in
the host's and the backend's shape. `rig.py` builds the real hook on them.

Every text that a builder makes holds `CANARY`, which no receipt, log line or error of ours may ever show (P36).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody

from fake_dynamodb import FakeDynamoDB as FakeDynamoDB
from fake_dynamodb import Fault as Fault
from fake_dynamodb import refusal as refusal

CANARY = "Kanarienvogel"
ACCOUNT = "123456789012"
REGION = "us-east-1"
BACKEND = "GENAIIDP-backend"
WRAPPER = "GENAIIDP-cache-backend"
BUCKET = "idp-working-bucket"
OVERFLOW_BUCKET = "hookcache-overflow"
TABLE = "hookcache-table"
SECRET_ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:hookcache-abc123"
START_MS = 1_790_000_000_000


# -------------------------------------------------------------------- time and context


class FakeClock:
    """
    Wall and elapsed time, moved by hand; `sleep` moves both at once and returns immediately.

    Attributes:
        slept: the seconds of every sleep, in order.
        on_sleep: called before time moves: a seam for letting others run while somebody waits.
    """

    def __init__(self, now_ms: int = START_MS, elapsed: float = 100.0) -> None:
        self.wall_ms = float(now_ms)
        self.elapsed_seconds = elapsed
        self.slept: list[float] = []
        self.on_sleep: Callable[[float], None] = lambda seconds: None
        self._lock = threading.Lock()

    def now_ms(self) -> Any:
        return int(self.wall_ms)

    def elapsed(self) -> float:
        return self.elapsed_seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Both clocks move on, as they do while an environment runs."""
        with self._lock:
            self.wall_ms += seconds * 1000
            self.elapsed_seconds += seconds

    def freeze(self, seconds: float) -> None:
        """The environment is frozen: wall time goes by, elapsed time stands still."""
        with self._lock:
            self.wall_ms += seconds * 1000

    def set_back(self, seconds: float) -> None:
        """The wall clock is corrected backwards."""
        self.freeze(-seconds)


@dataclass(slots=True)
class FakeContext:
    """The Lambda context of one invocation with `seconds` left, by `clock`'s elapsed time."""

    clock: FakeClock
    seconds: float = 300.0
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_name: str = WRAPPER
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{WRAPPER}"
    memory_limit_in_mb: str = "512"
    client_context: Any = None
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.clock.elapsed() + self.seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.ends - self.clock.elapsed()) * 1000))


def client_context(**wishes: Any) -> Any:
    """The client context of a caller who asks hookcache for something (P51)."""
    return SimpleNamespace(custom={"hookcache": wishes}, env={}, client=None)


# -------------------------------------------------------------------- events, as the host sends them


def image_block(uri: str, kind: str = "jpeg", owner: str | None = None) -> dict[str, Any]:
    location = {"uri": uri} | ({"bucketOwner": owner} if owner else {})
    return {"image": {"format": kind, "source": {"s3Location": location}}}


def event_of(context: str, content: Sequence[Any], system: Any = None, **numbers: Any) -> dict[str, Any]:
    """An event: texts of `content` become text blocks, everything else stands as it is."""
    blocks = [{"text": part} if isinstance(part, str) else part for part in content]
    return {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": blocks}],
        "system": [{"text": f"You work on {CANARY}'s papers."}] if system is None else system,
        "inferenceConfig": {"temperature": 0.0, **numbers},
        "context": context,
    }


def ocr_event(*uris: str, text: str = "Write down what is printed on this page.", **members: Any) -> dict[str, Any]:
    return event_of("OCR", [f"{text} {CANARY}", *map(image_block, uris)], topP=0.1, topK=5) | members


def classification_event(page: str = "Invoice 4711", *uris: str) -> dict[str, Any]:
    prompt = f"Which kind of document is this?\n<page>{page} {CANARY}</page>"
    return event_of("Classification", [prompt, *map(image_block, uris)], maxTokens=4096)


def extraction_event(page: str = "Invoice 4711, total 17.20", *uris: str) -> dict[str, Any]:
    blocks = [f"Find the total.\n<page>{page} {CANARY}</page>", *map(image_block, uris), "Reply in JSON."]
    return event_of("Extraction", blocks, [{"text": f"Be exact. {CANARY} <<CACHEPOINT>>"}], topK=5, maxTokens=10_000)


def assessment_event(found: Any = None, *uris: str) -> dict[str, Any]:
    told = json.dumps(found or {"total": "17.20"}, indent=2)
    return event_of(
        "Assessment", [f"How sure is each value? {CANARY}\n{told}", *map(image_block, uris)], maxTokens=10_000
    )


def summarization_event(text: str = "A letter about a meter reading.") -> dict[str, Any]:
    return event_of("Summarization", [f"Sum this up: {text} {CANARY}"], maxTokens=4096)


STEPS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "OCR": ocr_event,
    "Classification": classification_event,
    "Extraction": extraction_event,
    "Assessment": assessment_event,
    "Summarization": summarization_event,
}


# -------------------------------------------------------------------- answers, as a backend gives them


def answer(text: str, /, stop: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    """A reply in the Converse shape; no `usage` member where none is given."""
    reply: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
    if stop is not None:
        reply["stopReason"] = stop
    return reply | ({"usage": usage} if usage else {})


def token_answer(text: str = "", input_tokens: int = 1500, output_tokens: int = 200) -> dict[str, Any]:
    return answer(
        text or f"Meter readings of {CANARY}",
        inputTokens=input_tokens,
        outputTokens=output_tokens,
        totalTokens=input_tokens + output_tokens,
    )


def json_answer(value: Any) -> dict[str, Any]:
    return token_answer(json.dumps(value))


def page_answer(text: str = "", pages: int = 1) -> dict[str, Any]:
    """A reply of an OCR service that charges by the page and gives the words of the page as well."""
    text = text or f"# Meter\n\nReading of {CANARY}"
    blocks = [
        {"BlockType": "PAGE", "Id": "page-0"},
        {"BlockType": "LINE", "Id": "line-1", "Text": text, "Confidence": 97.5},
    ]
    reply = answer(text, None, pages=pages, inputTokens=0, outputTokens=0, totalTokens=0)
    return reply | {"textractBlocks": {"DocumentMetadata": {"Pages": pages}, "Blocks": blocks}}


def fitting_answer(event: Any) -> dict[str, Any]:
    """What a well-behaved backend answers: JSON where the step reads JSON, and different for different requests."""
    spelt = json.dumps(event, sort_keys=True)
    mark = hashlib.sha256(spelt.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    context = event.get("context") if isinstance(event, Mapping) else None
    if context in ("Classification", "Extraction", "Assessment"):  # of any type: an event may hold anything
        return json_answer({"class": "invoice", "mark": mark, "of": CANARY})
    return token_answer(f"Reading {mark} of {CANARY}")


# -------------------------------------------------------------------- S3


@dataclass(frozen=True, slots=True)
class StoredObject:
    body: bytes
    etag: str
    version: str


class FakeS3:
    """
    Buckets in memory. ETags say nothing about content, as under KMS; every put makes a new one.

    Attributes:
        calls: (operation, arguments) of every call. `owner`: the account that owns every bucket.
        versioned: buckets whose replies carry a `VersionId`.
        before: called with (operation, arguments) ahead of each call.
    """

    def __init__(self, clock: FakeClock | None = None, versioned: Iterable[str] = (BUCKET,)) -> None:
        self.objects: dict[tuple[str, str], StoredObject] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.owner = ACCOUNT
        self.versioned = set(versioned)
        self.before: Callable[[str, dict[str, Any]], None] = lambda operation, arguments: None
        self._clock = clock
        self._ways: dict[str, str] = {}
        self._error: BaseException | None = None
        self._lock = threading.RLock()

    def misbehave(self, way: str, key: str = "", error: BaseException | None = None) -> None:
        """
        Every read of `key` (of any key if empty) goes wrong: `forbidden`, `missing`, `cut`, `ended` (cut, and no client
        notices), `slow` (each chunk takes 6 s), `empty`, `oversized` (says 50 MB), `endless` (sends more than it says).
        `no_put` refuses puts, `error` raises `error` whatever is asked.
        """
        self._ways[key], self._error = way, error

    def behave(self) -> None:
        self._ways.clear()

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)

    def names(self, bucket: str) -> list[str]:
        with self._lock:
            return sorted(key for has, key in self.objects if has == bucket)

    # ---------------------------------------------------------------- the client

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        self._enter("put_object", arguments)
        body = arguments["Body"]
        stored = StoredObject(
            bytes(body if isinstance(body, bytes | bytearray) else body.read()),
            f'"{uuid.uuid4().hex}"',
            uuid.uuid4().hex,
        )
        with self._lock:
            self.objects[arguments["Bucket"], arguments["Key"]] = stored
        return self._told(arguments["Bucket"], stored)

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        way = self._enter("get_object", arguments)
        stored = self._find(arguments, "GetObject")
        body, told = stored.body, len(stored.body)
        match way:
            case "cut" | "ended":
                body = body[: len(body) // 2]
            case "empty":
                body, told = b"", 0
            case "oversized":
                told = 50 * 1024 * 1024
            case "endless":
                body += b"more"
        stream = io.BytesIO(body)
        raw: Any = _Slow(stream, self._clock) if way == "slow" else stream
        return self._told(arguments["Bucket"], stored) | {
            "Body": stream if way == "ended" else StreamingBody(raw, told),
            "ContentLength": told,
            "ContentType": "binary/octet-stream",
        }

    def head_object(self, **arguments: Any) -> dict[str, Any]:
        self._enter("head_object", arguments)
        stored = self._find(arguments, "HeadObject")
        return self._told(arguments["Bucket"], stored) | {"ContentLength": len(stored.body)}

    def delete_object(self, **arguments: Any) -> dict[str, Any]:
        self._enter("delete_object", arguments)
        with self._lock:
            self.objects.pop((arguments["Bucket"], arguments["Key"]), None)
        return {"ResponseMetadata": {"HTTPStatusCode": 204}}

    # ---------------------------------------------------------------- how it is done

    def _enter(self, operation: str, arguments: dict[str, Any]) -> str:
        self.before(operation, arguments)
        with self._lock:
            self.calls.append((operation, {name: value for name, value in arguments.items() if name != "Body"}))
            way = self._ways.get(arguments["Key"], self._ways.get("", ""))
        reads = operation in {"get_object", "head_object"}
        if way == "no_put" and operation == "put_object":
            raise refusal("AccessDenied", "Access Denied", operation)
        if way == "error" and self._error is not None:
            raise self._error
        owner = arguments.get("ExpectedBucketOwner")
        if (way == "forbidden" and reads) or (owner is not None and owner != self.owner):
            raise refusal("AccessDenied", "Access Denied", operation)
        if way == "missing" and reads:
            raise refusal("NoSuchKey" if operation == "get_object" else "404", "not found", operation)
        return way

    def _find(self, arguments: Mapping[str, Any], operation: str) -> StoredObject:
        with self._lock:
            stored = self.objects.get((arguments["Bucket"], arguments["Key"]))
        if stored is None:
            code = "NoSuchKey" if operation == "GetObject" else "404"
            raise refusal(code, f"The specified key does not exist: {arguments['Key']}", operation)
        return stored

    def _told(self, bucket: str, stored: StoredObject) -> dict[str, Any]:
        told = {"ETag": stored.etag, "ResponseMetadata": {"HTTPStatusCode": 200}}
        return told | ({"VersionId": stored.version} if bucket in self.versioned else {})


class _Slow:
    """A body of which every read takes 6 seconds of the fake clock."""

    def __init__(self, stream: io.BytesIO, clock: FakeClock | None) -> None:
        self._stream, self._clock = stream, clock

    def readinto(self, space: memoryview) -> int:
        if self._clock is not None:
            self._clock.advance(6)
        return self._stream.readinto(space)

    def close(self) -> None:
        self._stream.close()


# -------------------------------------------------------------------- Lambda


class BackendRaised(Exception):
    """A handler of a fake function raises this to fail as a function does: `error_type`, message."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class FakeLambda:
    """
    One function behind the Lambda API.

    Attributes:
        handler: event -> reply; raises `BackendRaised` (FunctionError), a `ClientError` (API error) or `ReadTimeoutError`.
        replies: prepared replies that go first, in order: values, exceptions, or bytes for a raw payload.
        version, code, config: what `deploy` changes and `GetFunctionConfiguration` tells.
        seconds: how long each call takes, by the fake clock.
        gate: closed (cleared), it holds every call until it is opened; `waiting` counts the calls held.
        calls: events of every call that reached the function, parsed; `arguments` their Invoke arguments.
        units: the numbers in the `usage` of every reply that went out as an answer, summed by name (P32).
    """

    def __init__(self, clock: FakeClock | None = None, name: str = BACKEND) -> None:
        self.name = name
        self.handler: Callable[[Any], Any] = fitting_answer
        self.replies: list[Any] = []
        self.version, self.code, self.config = "$LATEST", "code-1", "config-1"
        self.executed_version: str | None = None
        self.timeout = 120
        self.seconds = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        self.calls: list[Any] = []
        self.arguments: list[dict[str, Any]] = []
        self.described = 0
        self.describe_error: BaseException | None = None
        self.units: dict[str, float] = {}
        self.read_seconds: list[float] = []
        self._clock = clock
        self._lock = threading.Lock()

    def deploy(self, code: str | None = None, config: str | None = None, version: str | None = None) -> None:
        """New code, configuration or version."""
        self.code, self.config, self.version = code or self.code, config or self.config, version or self.version

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            event = json.loads(arguments["Payload"])
            self.calls.append(event)
            self.arguments.append(arguments)
            scripted = self.replies.pop(0) if self.replies else None
        self.waiting.release()
        if not self.gate.wait(100):
            raise AssertionError("the backend's gate was never opened")
        if self._clock is not None and self.seconds:
            self._clock.advance(self.seconds)
        try:
            reply = self._reply(scripted, event)
        except BackendRaised as error:
            payload = {"errorMessage": str(error), "errorType": error.error_type, "stackTrace": []}
            return self._sent(json.dumps(payload).encode(), FunctionError="Unhandled")
        if isinstance(reply, bytes):
            return self._sent(reply)
        self._note(reply)
        return self._sent(json.dumps(reply).encode())

    def get_function_configuration(self, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            self.described += 1
        if self.describe_error is not None:
            raise self.describe_error
        return {
            "FunctionName": self.name,
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}",
            "Version": self.version,
            "CodeSha256": self.code,
            "ConfigSha256": self.config,
            "RevisionId": uuid.uuid4().hex,
            "Timeout": self.timeout,
            "Environment": {"Variables": {"API_KEY": CANARY}},
        }

    def _reply(self, scripted: Any, event: Any) -> Any:
        if isinstance(scripted, BaseException):
            raise scripted
        reply = scripted if scripted is not None else self.handler(event)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _note(self, reply: Any) -> None:
        usage = reply.get("usage") if isinstance(reply, Mapping) else None
        if not isinstance(usage, Mapping):
            return
        with self._lock:
            for unit, count in usage.items():
                if isinstance(count, int | float) and not isinstance(count, bool) and 0 <= count < float("inf"):
                    self.units[unit] = self.units.get(unit, 0) + count

    def _sent(self, payload: bytes, **more: Any) -> dict[str, Any]:
        version = self.executed_version or self.version
        return {"StatusCode": 200, "ExecutedVersion": version, "Payload": io.BytesIO(payload), **more}


def read_timeout() -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url="https://lambda")


def client_context_of(arguments: Mapping[str, Any]) -> Any:
    """The client context that an Invoke call carried, decoded."""
    return json.loads(base64.b64decode(arguments["ClientContext"]))


# -------------------------------------------------------------------- the rest


class FakeSecrets:
    """Secrets Manager and the parameter store, with one text each."""

    def __init__(self, text: str = "a secret that is long enough") -> None:
        self.text = text
        self.error: BaseException | None = None
        self.reads = 0
        self.parameters: dict[str, str] = {}

    def get_secret_value(self, **arguments: Any) -> dict[str, Any]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return {"ARN": arguments["SecretId"], "SecretString": self.text}

    def get_parameter(self, **arguments: Any) -> dict[str, Any]:
        if arguments["Name"] not in self.parameters:
            raise refusal("ParameterNotFound", operation="GetParameter")
        return {"Parameter": {"Value": self.parameters[arguments["Name"]]}}


@dataclass(slots=True)
class FakeClients:
    """The interface of `hookcache.clients.Clients` over doubles: `wrapper(environ, FakeClients(...), FakeClock())`."""

    clock: FakeClock = field(default_factory=FakeClock)
    table: FakeDynamoDB = field(default_factory=lambda: FakeDynamoDB(TABLE))
    objects: FakeS3 | None = None
    backend: FakeLambda | None = None
    secrets: FakeSecrets = field(default_factory=FakeSecrets)

    def __post_init__(self) -> None:
        self.objects = self.objects or FakeS3(self.clock)
        self.backend = self.backend or FakeLambda(self.clock)

    def dynamodb(self) -> FakeDynamoDB:
        return self.table

    def s3(self) -> Any:
        return self.objects

    def secrets_manager(self) -> FakeSecrets:
        return self.secrets

    def ssm(self) -> FakeSecrets:
        return self.secrets

    def lambda_control(self) -> Any:
        return self.backend

    def lambda_by_timeout(self, read_seconds: float) -> Any:
        assert self.backend is not None
        self.backend.read_seconds.append(read_seconds)
        return self.backend
