"""
A double of the host's client: builds its requests, uploads its images, calls Lambda and retries as the host does.

It stands in for the host in the demo and in tests; what it does, odd parts included, is what a hook meets in the
field. The odd parts are the host's and are kept on purpose: a retry begun for a function error sits inside the error
handling of the attempt before it, so that one failure is counted by every attempt around it, and a time-out behind
such retries starts the ladder again from each of them.
Source: the host's behaviour, "Request", "Invocation, retries, errors", "Response".
"""

from __future__ import annotations

import json
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from botocore.config import Config
from botocore.exceptions import ClientError

from hookcache.clock import Clock, SystemClock
from hookcache_ops.host_metering import HostMetrics, MeteringForm, metering_key, recorded_usage
from hookcache_ops.host_requests import Call, Content, InlineImage, StoredImage

logger = logging.getLogger(__name__)

MODEL_ID = "LambdaHook"
IMAGE_PREFIX = "temp/lambdahook/"
CACHE_POINT = "<<CACHEPOINT>>"
NAME_PREFIX = "GENAIIDP-"

ATTEMPTS = 8
FIRST_SLEEP_SECONDS = 2.0
LONGEST_SLEEP_SECONDS = 300.0
RETRIED_API_ERRORS = frozenset(
    {"TooManyRequestsException", "ServiceException", "EC2ThrottledException", "ResourceConflictException"}
)

Event = dict[str, Any]
Response = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the host's Lambda client waits, and how many attempts the SDK itself makes of each of the host's."""

    connect_seconds: float
    read_seconds: float
    sdk_attempts: int

    def config(self) -> Config:
        """For the Lambda client: up to 20 threads of the host share one."""
        return Config(
            connect_timeout=self.connect_seconds,
            read_timeout=self.read_seconds,
            retries={"mode": "legacy", "total_max_attempts": self.sdk_attempts},
            max_pool_connections=20,
        )


NEW_TIMEOUTS = Timeouts(10, 840, 1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a step gets from one logical call; `latency_ms` is that of the attempt that succeeded."""

    response: Response
    metering: Mapping[str, Mapping[str, Any]]
    latency_ms: float


@dataclass(slots=True)
class HostClient:
    """
    The host's client for hooks.

    Args:
        invoke: `lambda_client.invoke`, its client made with `Timeouts.config()`.
        function: as configured: bare name, `name:alias` or ARN.
        s3: client that images are uploaded with.
        bucket: the working bucket; empty where the host's environment lacks it, images then stay in the event.
        account: the host's AWS_ACCOUNT_ID; the stock steps have none.
        metering, numbers_only: how the host records usage, see `host_metering.py`.
        clock: elapsed time and sleeping; jitter: 0 to 1, seconds added to each sleep.
        name: a new random name of 32 hexadecimal digits for each image of each logical call.
    """

    invoke: Callable[..., Any]
    function: str
    s3: Any = None
    bucket: str = ""
    account: str = ""
    metering: MeteringForm = MeteringForm.BARE
    numbers_only: bool = True
    clock: Clock = field(default_factory=SystemClock)
    jitter: Callable[[], float] = random.random
    name: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
    metrics: HostMetrics = field(default_factory=HostMetrics)

    def call(self, call: Call) -> Reply:
        """
        One logical call: build, upload, invoke, retry.

        Raises:
            ValueError: the call has tools, or the function's name is empty or, in an ARN, without `GENAIIDP-`.
            RuntimeError: the function failed, in the last attempt or in a way that is not retried.
            ClientError, or whatever the last attempt raised.
        """
        check_function_name(self.function)
        return self.send(call.context, self.payload(call))

    def payload(self, call: Call) -> str:
        """The event as the host's text of it, ASCII only; images are uploaded under new names each time."""
        return json.dumps(self.event(call), default=str)

    def event(self, call: Call) -> Event:
        """
        The five top-level members, in the host's order.

        Raises:
            ValueError: the call has tools; a hook cannot take them.
        """
        if call.tools:
            raise ValueError("a hook takes no tools: choose a model that does for this step")
        system = [{"text": call.system}] if isinstance(call.system, str) else call.system
        return {
            "modelId": MODEL_ID,
            "messages": [
                {"role": "user", "content": [self._block(part) for part in call.content if _is_content(part)]}
            ],
            "system": system,
            "inferenceConfig": inference_config(call),
            "context": call.context or "Unspecified",
        }

    def send(self, context: str, payload: str) -> Reply:
        """One logical call with a payload made before: every attempt sends these same bytes."""
        self.metrics.count("LambdaHookRequestsTotal")
        return self._attempt(context, payload.encode(), 1, self.clock.elapsed())

    # -- building

    def _block(self, part: Content) -> dict[str, Any]:
        match part:
            case str():
                return {"text": part.replace(CACHE_POINT, "")}
            case StoredImage():
                return {"image": {"format": part.format, "source": {"s3Location": {"uri": part.uri}}}}
            case InlineImage():
                return {"image": {"format": part.format, "source": self._source(part)}}

    def _source(self, image: InlineImage) -> dict[str, Any]:
        """Where the image is; without a bucket, or after a failed upload, the bytes themselves, which become repr text."""
        if not self.bucket:
            return {"bytes": image.data}
        name = f"{IMAGE_PREFIX}{self.name()}.{image.format}"
        try:
            self.s3.put_object(Bucket=self.bucket, Key=name, Body=image.data)
        except Exception:
            logger.warning("image not uploaded: it stays in the event", exc_info=True)
            return {"bytes": image.data}
        owner = {"bucketOwner": self.account} if len(self.account) == 12 else {}
        return {"s3Location": {"uri": f"s3://{self.bucket}/{name}", **owner}}

    # -- calling

    def _attempt(self, context: str, payload: bytes, attempt: int, began: float) -> Reply:
        """Attempt number `attempt` of 8, and those behind it."""
        try:
            started = self.clock.elapsed()
            answer = self.invoke(FunctionName=self.function, InvocationType="RequestResponse", Payload=payload)
            body = json.loads(answer["Payload"].read())
            if answer.get("FunctionError"):
                if answer["FunctionError"] == "Unhandled" and attempt < ATTEMPTS:
                    self._sleep(attempt)
                    return self._attempt(context, payload, attempt + 1, began)
                self._fail(body)
            return self._succeeded(context, body, started, began)
        except RuntimeError:
            self.metrics.count("LambdaHookRequestsFailed")  # once more for each attempt around the one that failed
            raise
        except ClientError as error:
            if error.response["Error"]["Code"] not in RETRIED_API_ERRORS:
                self.metrics.count("LambdaHookRequestsFailed")
                raise
            self.metrics.count("LambdaHookThrottles")
            return self._again(context, payload, attempt, began, error)
        except Exception as error:
            return self._again(context, payload, attempt, began, error)

    def _fail(self, body: Any) -> NoReturn:
        self.metrics.count("LambdaHookRequestsFailed")
        message = body.get("errorMessage", body) if isinstance(body, dict) else body
        raise RuntimeError(f"LambdaHook function error: {message}")

    def _again(self, context: str, payload: bytes, attempt: int, began: float, error: Exception) -> Reply:
        """The next attempt; the error itself where there is none, counted as failed once by each attempt that gives up."""
        if attempt >= ATTEMPTS:
            self.metrics.count("LambdaHookRequestsFailed")
            raise error
        self._sleep(attempt)
        return self._attempt(context, payload, attempt + 1, began)

    def _sleep(self, attempt: int) -> None:
        self.clock.sleep(min(LONGEST_SLEEP_SECONDS, FIRST_SLEEP_SECONDS * 2 ** (attempt - 1)) + self.jitter())

    def _succeeded(self, context: str, response: Any, started: float, began: float) -> Reply:
        """Any JSON object is a success; what is none, or has a `usage` that is none, raises here and is retried."""
        usage = response.get("usage")
        now = self.clock.elapsed()
        latency_ms = (now - started) * 1000
        self.metrics.count("LambdaHookRequestsSucceeded")
        self.metrics.record_ms("LambdaHookRequestLatency", latency_ms)
        self.metrics.record_ms("LambdaHookTotalLatency", (now - began) * 1000)
        key = metering_key(context, self.function, self.metering)
        return Reply(response, {key: recorded_usage(usage, self.numbers_only)}, latency_ms)


def check_function_name(function: str) -> None:
    """
    What the host checks before it calls; bare names and `name:alias` go to Lambda unchecked.

    Raises:
        ValueError: empty, or an ARN whose name does not start with `GENAIIDP-`.
    """
    if not function:
        raise ValueError("no function is configured for this hook")
    _, is_arn, name = function.partition(":function:")
    if is_arn and not name.startswith(NAME_PREFIX):
        raise ValueError(f"a hook's name must start with {NAME_PREFIX}")


def inference_config(call: Call) -> dict[str, Any]:
    """The numbers that are sent: `temperature` always, `topP` if above 0, `topK` and `maxTokens` if configured."""
    config: dict[str, Any] = {"temperature": _number(call.temperature, float, 0.0)}
    top_p = _number(call.top_p, float, None)
    if top_p is not None and top_p > 0:
        config["topP"] = top_p
    if call.top_k is not None:
        config["topK"] = int(call.top_k)
    max_tokens = _number(call.max_tokens, int, None)
    if max_tokens is not None:
        config["maxTokens"] = max_tokens
    return config


def _number(value: Any, of_text: Callable[[str], float], otherwise: float | None) -> Any:
    """A text converted, `otherwise` where it is no number; other numbers as they are."""
    if not isinstance(value, str):
        return otherwise if value is None else value
    try:
        return of_text(value)
    except ValueError:
        return otherwise


def _is_content(part: Content) -> bool:
    """Blank texts are dropped before the marker is taken out, so that a block of the marker alone stays, empty."""
    return not isinstance(part, str) or bool(part.strip())


# -- what the steps read from an answer


def text_of(response: Response) -> str:
    """
    Every text block joined without separator; blocks of reasoning and tool use are skipped. "" where there is none.

    Raises:
        KeyError: no `output` or no `message`; the step fails although the call was metered as a success.
    """
    content = response["output"]["message"].get("content", [])
    if not content:
        logger.error("the hook's answer has no content")
    return "".join(block["text"] for block in content if isinstance(block.get("text"), str))


def raw_text(response: Response) -> Any:
    """What OCR stores as the page's `rawText.json`: the blocks, or without any the whole answer."""
    blocks = response.get("textractBlocks")
    return blocks if isinstance(blocks, dict) and blocks.get("Blocks") else response
