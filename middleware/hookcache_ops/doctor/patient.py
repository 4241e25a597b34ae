"""
The deployed function under examination: what AWS says of it, asked once and when first needed.

Only configuration is read: no entry, no image, no prompt. The secret's text is measured and dropped at once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.parsers import ResponseParserError

from hookcache.errors import ConfigurationError
from hookcache.log import LEVEL
from hookcache.settings import PREFIX, Settings
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cures import cure
from hookcache_ops.doctor.finding import Unseen

T = TypeVar("T")

REDIRECT = "hookcache.redirect.handler"
WRAPPER_PREFIX = "GENAIIDP-cache-"
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}
_ABSENT = {
    *("ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "NoSuchEntity", "404", "NotFoundException"),
    *("NoSuchLifecycleConfiguration", "NoSuchPublicAccessBlockConfiguration"),
    *("ServerSideEncryptionConfigurationNotFoundError", "ParameterNotFound"),
}
_FUNCTION = re.compile(r"(?:.*:function:)?(?P<name>[A-Za-z0-9_-]+)(?::(?P<qualifier>[^:]+))?\Z")


class NotExamined(BadInput):
    """There is nothing to examine; the text says what to do."""


class Clients:
    """boto3 clients by service; endpoints, region and credentials from the environment, as for every AWS tool."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        if service not in self._made:
            limits = Config(connect_timeout=5, read_timeout=20)  # retries by the SDK's own AWS_MAX_ATTEMPTS
            make: Any = boto3.client  # the service's name is not known before run time
            self._made[service] = make(service, config=limits)
        return self._made[service]


class Asker:
    """
    Questions to AWS whose refusals are told apart: None where the thing is not there, `Unseen` where we may not look.

    Args:
        clients: gives the client of a service.
    """

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self.clients = clients

    def __call__(self, what: str, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        action = f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"
        return self.attempt(what, action, lambda: getattr(self.clients(service), operation)(**parameters))

    def attempt(self, what: str, action: str, work: Callable[[], T]) -> T | None:
        """What `work` gives, which asks AWS for `action`; its other troubles are its own."""
        try:
            return work()
        except ClientError as trouble:
            code = str(trouble.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                return None
            if code in _DENIED:
                raise Unseen(what, f"need {_IAM_NAMES.get(action, action)}") from None
            raise Unseen(what, f"{action} was answered with {code or 'an error'}") from None
        except (NoCredentialsError, NoRegionError) as trouble:
            raise NotExamined(f"{str(trouble).rstrip('.')}; set AWS_PROFILE and AWS_REGION, or log in") from None
        except (BotoCoreError, ResponseParserError) as trouble:
            raise Unseen(what, f"{action} was not answered ({type(trouble).__name__})") from None


_IAM_NAMES = {
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:HeadBucket": "s3:ListBucket",
}


class _Overheard(logging.Handler):
    """What the settings say while they are read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@dataclass(slots=True)
class _Reading:
    """The settings in a function's environment, or why they are refused, and what was said meanwhile."""

    settings: Settings | None
    refusal: str = ""
    said: list[str] = field(default_factory=list)


class Patient:
    """
    One function with the cache in it or in front of another.

    Args:
        function: name or ARN, with a qualifier or without.
        working_bucket: the host's, where known.
        price_rows: the host's price table, where given.
        price_file: the file that it was read from.
        host_seconds: how long the host waits for an answer.
        parameters: those of its stack, where that was named.

    Raises (when first asked for `configuration`):
        NotExamined: there is no such function, or nobody may look at it.
    """

    def __init__(
        self,
        ask: Asker,
        function: str,
        working_bucket: str = "",
        price_rows: Mapping[str, Mapping[str, Any]] | None = None,
        host_seconds: float = 840,
        parameters: Mapping[str, str] = MappingProxyType({}),
        price_file: str = "",
    ) -> None:
        self.ask, self.function, self.working_bucket = ask, function, working_bucket
        self.price_rows, self.host_seconds = price_rows, host_seconds
        self.parameters, self.price_file = parameters, price_file

    @cached_property
    def configuration(self) -> dict[str, Any]:
        try:
            found = self.ask(self.function, "lambda", "get_function_configuration", FunctionName=self.function)
        except Unseen as unseen:
            remedy = cure(unseen.needed, "check the name, AWS_PROFILE, AWS_REGION and the network")
            raise NotExamined(f"{unseen}; {remedy}") from None
        if found is None:
            raise NotExamined(f"there is no function {self.function} in this region; check the name and AWS_REGION")
        if "Error" in (found.get("Environment") or {}):
            raise NotExamined(f"the environment of {self.function} cannot be read; you need kms:Decrypt on its key")
        return found

    @property
    def name(self) -> str:
        return str(self.configuration["FunctionName"])

    @cached_property
    def arn(self) -> str:
        """Without qualifier."""
        return ":".join(str(self.configuration["FunctionArn"]).split(":")[:7])

    @property
    def partition(self) -> str:
        return self.arn.split(":")[1]

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    @property
    def timeout_seconds(self) -> float:
        return float(self.configuration["Timeout"])

    @property
    def environment(self) -> Mapping[str, str]:
        variables: Mapping[str, str] = (self.configuration.get("Environment") or {}).get("Variables") or {}
        return variables

    @property
    def wraps_another(self) -> bool:
        """False for a layer or a decorator, where the backend is in the function itself."""
        return bool(self.environment.get(f"{PREFIX}BACKEND")) or self.name.startswith(WRAPPER_PREFIX)

    @cached_property
    def reading(self) -> _Reading:
        """The environment as the function itself would read it at its cold start (P52)."""
        environ = {**self.environment, "AWS_LAMBDA_FUNCTION_NAME": self.name, "AWS_REGION": self.region}
        environ.pop(LEVEL, None)  # how much its log holds: what is wrong with it is to be heard here all the same
        ear, log = _Overheard(), logging.getLogger("hookcache")
        silenced, log.propagate = log.propagate, False
        log.addHandler(ear)
        try:
            return _Reading(Settings.of(environ), said=ear.said)
        except ConfigurationError as trouble:
            return _Reading(None, str(trouble), ear.said)
        finally:
            log.removeHandler(ear)
            log.propagate = silenced

    @property
    def settings(self) -> Settings | None:
        """None where they are refused: then only that is a finding, and what hangs on them is left alone."""
        return self.reading.settings

    @cached_property
    def backend(self) -> dict[str, Any] | None:
        """The backend's configuration; None where there is no such function."""
        named = self.environment.get(f"{PREFIX}BACKEND", "")
        return self.ask(f"the backend {named}", "lambda", "get_function_configuration", FunctionName=named)

    @property
    def log_group(self) -> str:
        logging_config = self.configuration.get("LoggingConfig") or {}
        return str(logging_config.get("LogGroup") or f"/aws/lambda/{self.name}")

    @cached_property
    def table(self) -> dict[str, Any] | None:
        """The table's description."""
        found = self.ask("the table", "dynamodb", "describe_table", TableName=self._needed.table)
        return None if found is None else found["Table"]

    def bucket_key(self, bucket: str) -> str:
        """ARN of the customer's key that a bucket encrypts with; empty where AWS owns it."""
        found = self.ask(f"the encryption of bucket {bucket}", "s3", "get_bucket_encryption", Bucket=bucket)
        rules = (found or {}).get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        for rule in rules:
            default = rule.get("ApplyServerSideEncryptionByDefault", {})
            if str(default.get("SSEAlgorithm", "")).startswith("aws:kms"):
                return self.key_arn(str(default.get("KMSMasterKeyID", "")))
        return ""

    def key_arn(self, named: str) -> str:
        """The ARN of a customer's key that is named by id, ARN or alias; empty for none and for AWS's own keys."""
        if not named or named.startswith("alias/aws/") or ":alias/aws/" in named:
            return ""
        try:
            found = self.ask(f"the key {named}", "kms", "describe_key", KeyId=named)
        except Unseen:
            found = None
        if found is not None:
            own = found["KeyMetadata"]
            return "" if own.get("KeyManager") == "AWS" else str(own["Arn"])
        if ":key/" in named or "alias/" in named:
            return named
        return f"arn:{self.partition}:kms:{self.region}:{self.account}:key/{named}"

    @property
    def image_buckets(self) -> list[str]:
        return list(dict.fromkeys(prefix.split("/")[2] for prefix in self._needed.image_prefixes))

    @property
    def _needed(self) -> Settings:
        if self.settings is None:
            raise Unseen("what the settings name", "they are refused")
        return self.settings


def bare_name(reference: str) -> str:
    """The function's name in a name, a qualified name or an ARN."""
    match = _FUNCTION.match(reference)
    return match["name"] if match else reference
