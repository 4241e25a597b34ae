"""
An AWS service asked once per invocation, within the invocation's time; its errors become ours and keep the service's own
type name, so that whoever reads `errorType` sees `ThrottlingException` and not a wrapper's word for it.

One SDK attempt: the host asks up to eight times by itself, and every attempt of ours would multiply that.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from backend_errors import (
    BackendError,
    BadAnswerError,
    BadRequestError,
    OutOfTimeError,
    ServiceFailedError,
    ServiceRefusedError,
    ServiceThrottledError,
)
from backend_settings import choice, number
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from deadline import Deadline, within
from idle import Idle
from urllib3.exceptions import HTTPError

CONNECT_SECONDS = 10
IMAGE_SECONDS = 30
PROSE_CHARACTERS = 300
# A member of another kind than the service's model says is met by botocore's parser in many ways.
_ODD_REPLIES = (ResponseParserError, TypeError, AttributeError, LookupError, ValueError, OverflowError)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_FAMILIES: Mapping[str, type[BackendError]] = {
    "ThrottlingException": ServiceThrottledError,
    "TooManyRequestsException": ServiceThrottledError,
    "ServiceQuotaExceededException": ServiceThrottledError,
    "ModelNotReadyException": ServiceThrottledError,
    "ModelTimeoutException": OutOfTimeError,
}
_REMEDIES: Mapping[type[BackendError], str] = {
    ServiceThrottledError: "it is asked too often, or is not ready yet: ask for a higher quota, or send fewer at a time",
    OutOfTimeError: "the model took too long: ask it for less, or choose a faster one",
    ServiceFailedError: "it is failing, try again later",
    ServiceRefusedError: "it does not accept this request",
}


def config(read_seconds: float, attempts: int = 1) -> Config:
    """Of a boto3 client."""
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
    )


class Rested:
    """
    A boto3 client that closes its connections before it is used after a rest. It opens new ones by itself; on one that died
    while the environment was frozen a call that is made once would fail, or wait in vain for all of its time.
    """

    def __init__(self, client: Any, now: Callable[[], float] = time.time) -> None:
        self._client, self._idle = client, Idle(now)

    def __getattr__(self, operation: str) -> Any:
        if self._idle.too_long():
            self._client.close()
        return getattr(self._client, operation)


def s3_client(clients: Callable[..., Any] = boto3.client) -> Any:
    """For page images: reading again costs nothing, so it may be tried twice."""
    return Rested(clients("s3", config=config(IMAGE_SECONDS, attempts=2)))


@dataclass(frozen=True, slots=True)
class AwsService:
    """
    One service.

    Args:
        name: for messages.
        client: a boto3 client with one attempt, see `config`.
        request_seconds: longest wait for one reply, deliberately below the function's own timeout.
        remedies: what to do about an error, by the service's own type name.
        prose: say what the service says about an error. Off, only its type: its words may quote the document.
    """

    name: str
    client: Any
    request_seconds: float
    remedies: Mapping[str, str]
    prose: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        environment: Mapping[str, str],
        clients: Callable[..., Any],
        service: str,
        request_seconds: float,
        remedies: Mapping[str, str],
    ) -> "AwsService":
        """
        `service` by boto3's name, with the settings REQUEST_TIMEOUT (default `request_seconds`) and ERROR_DETAIL.

        Raises:
            SettingsError: one of them is wrong.
        """
        seconds = number(environment, "REQUEST_TIMEOUT", request_seconds, 1, 890)
        prose = choice(environment, "ERROR_DETAIL", ("type", "full")) == "full"
        return cls(name, Rested(clients(service, config=config(seconds))), seconds, remedies, prose)

    def call(self, operation: str, deadline: Deadline, stream: str = "", **parameters: Any) -> dict[str, Any]:
        """
        The reply; `stream` names a member of it that is to be read whole.

        Raises:
            ServiceRefusedError, ServiceThrottledError, ServiceFailedError, OutOfTimeError: as subclasses that bear the
                service's type name where it gave one.
            BadAnswerError: the reply was cut, or cannot be parsed.
            BadRequestError: the SDK does not take the request; its own words, which quote it, are dropped.
        """
        seconds = min(self.request_seconds, deadline.left())
        if seconds <= 0:
            raise OutOfTimeError(f"no time is left to ask {self.name}: raise the function's timeout")

        def ask() -> dict[str, Any]:
            reply: dict[str, Any] = getattr(self.client, operation)(**parameters)
            return reply | {stream: reply[stream].read()} if stream else reply

        try:
            return within(seconds, ask)
        except (TimeoutError, ReadTimeoutError):
            raise OutOfTimeError(
                f"{self.name} did not answer within {seconds:.0f} s: raise REQUEST_TIMEOUT and the function's timeout "
                "above it, or ask it for less"
            ) from None
        except ClientError as error:
            raise self._translated(error) from None
        except ParamValidationError:
            raise BadRequestError(
                f"{self.name} takes no such request: check the numbers in the host's configuration of this step"
            ) from None
        except (BotoCoreError, HTTPError, OSError) as error:
            raise ServiceFailedError(
                f"{self.name} cannot be reached or broke off ({type(error).__name__}): check this function's network, "
                "region and credentials"
            ) from None
        except _ODD_REPLIES:
            raise BadAnswerError(f"{self.name} sent a reply that cannot be parsed: is something between us?") from None

    def _translated(self, error: ClientError) -> BackendError:
        told = error.response.get("Error", {})
        code, status = str(told.get("Code", "")), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # The model's own status, behind an error that is always a 424; SageMaker and Bedrock spell it differently.
        behind = error.response.get("OriginalStatusCode", error.response.get("originalStatusCode"))
        family = _FAMILIES.get(code) or _family_of(behind if isinstance(behind, int) else status)
        if family is ServiceThrottledError and code == "ModelError":
            code = "ThrottlingException"
        own = f"{self.name} answered {code or status}{f' (the model {behind})' if behind else ''}"
        prose = f" ({str(told.get('Message', ''))[:PROSE_CHARACTERS]})" if self.prose else ""
        message = f"{own}{prose}: {self.remedies.get(code) or _REMEDIES[family]}"
        bearing: type[BackendError] = (
            type(code, (family,), {"__doc__": family.__doc__}) if _NAME.fullmatch(code) else family
        )
        return bearing(message)


def _family_of(status: int) -> type[BackendError]:
    if status == 429:
        return ServiceThrottledError
    # 424: the model behind the service failed, and does not say how.
    return ServiceRefusedError if 400 <= status < 500 and status != 424 else ServiceFailedError
