"""
The environment of a function, typed and cross-checked once, at cold start (P52, B22).

A setting that is wrong stops the function before its first request, with a message that names the setting and the remedy.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hookcache import cipher
from hookcache.errors import ConfigurationError
from hookcache.policy import DAY_SECONDS, Mode, Rules, default_rules
from hookcache.request import CONTEXTS

PREFIX = "HOOKCACHE_"
ANY_CONTEXT = "*"

_WORD = r"^[A-Za-z0-9._-]{1,64}$"  # Rust's `$`: the very end, a trailing newline does not pass
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):function:"
    r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
_PARTIAL_ARN = re.compile(
    r"(?P<account>\d{12}):function:(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z")
_S3_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f\x7f\\]*)?\Z")

_log = logging.getLogger("hookcache")


def _no_own_member(name: str) -> str:
    if name in {"modelId", "messages", "system", "inferenceConfig", "context"}:
        raise ValueError("is part of every request and no reference")
    return name


_Member = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$"), AfterValidator(_no_own_member)]


class _ContextSettings(BaseModel):
    """One context of `HOOKCACHE_POLICY`; absent members keep the defaults."""

    model_config = ConfigDict(extra="forbid", strict=True)

    mode: Annotated[Mode | None, Field(strict=False)] = None
    fresh_seconds: Annotated[int | None, Field(ge=1, le=30 * DAY_SECONDS)] = None
    hard_seconds: Annotated[int | None, Field(ge=1, le=30 * DAY_SECONDS)] = None
    temperature_ceiling: Annotated[float | None, Field(ge=0, le=10, strict=False)] = None
    require_json: bool | None = None
    refused_texts: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    blank_pages: bool | None = None
    usage_on_hit: Literal["zero", "original"] | None = None
    trace: bool | None = None
    resolve_references: Annotated[tuple[_Member, ...] | None, Field(strict=False)] = None
    output_limit: Annotated[int | None, Field(ge=1)] = None
    negative_errors: Annotated[frozenset[str] | None, Field(strict=False)] = None
    delegate_after_wait: bool | None = None
    stale_if_error: bool | None = None
    error_detail: Literal["full", "type"] | None = None

    def says(self, name: str) -> bool:
        """True if `name` was given; null leaves the default, but for the ceiling, where it means that there is none."""
        return name in self.model_fields_set and (name == "temperature_ceiling" or getattr(self, name) is not None)


class Settings(BaseModel):
    """
    What the environment says. Field `x` is the variable `HOOKCACHE_X`; the README lists them all.

    Raises (from `of`):
        ConfigurationError: a variable is missing, malformed, out of bounds or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = ""
    handler: str = ""
    table: Annotated[str, Field(min_length=3, max_length=1011)]
    overflow_bucket: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")] = ""
    namespace: Annotated[str, Field(pattern=_WORD)] = "default"
    generation: Annotated[str, Field(pattern=_WORD)] = "0"
    mode: Mode = Mode.ON
    secret_arn: str = ""
    secret: Annotated[str, Field(repr=False)] = ""
    image_prefixes: tuple[str, ...] = ()
    fresh_seconds: Annotated[int, Field(ge=1, le=30 * DAY_SECONDS)] = 7 * DAY_SECONDS
    memory_bytes: Annotated[int, Field(ge=1, le=10 * 1024**3)] = 64 * 1024 * 1024
    memory_seconds: Annotated[float, Field(gt=0, le=30 * DAY_SECONDS)] = 300.0
    lease_seconds: Annotated[float, Field(ge=0.3, le=900)] = 30.0
    wait_seconds: Annotated[float, Field(gt=0, le=600)] = 45.0
    policy: Mapping[str, _ContextSettings] = {}
    identity: Literal["auto", "pinned"] = "auto"
    prices: str = ""
    price_as: str = ""
    encrypt: bool = False
    client: Literal["boto3", "slim"] = "boto3"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in an environment; variables that do not start with `HOOKCACHE_` are not ours."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(PREFIX) and value != ""  # CloudFormation spells "not set" as an empty text
        }
        known = {name: value for name, value in given.items() if name in cls.model_fields}
        for unknown in sorted(given.keys() - known.keys()):
            _log.warning("%s%s is no setting of hookcache and is ignored", PREFIX, unknown.upper())
        try:
            settings = cls.model_validate(known)
        except ValidationError as error:
            raise ConfigurationError(_first_problem(error)) from None
        settings._check_backend(environ)
        return settings

    @field_validator("image_prefixes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("image_prefixes")
    @classmethod
    def _are_s3(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in value:
            if not _S3_PREFIX.match(prefix):
                raise ValueError("each prefix must read s3://bucket/folder, separated by commas")
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _read_policy(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            policy = json.loads(value or "{}")
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        if not isinstance(policy, dict) or policy.keys() - CONTEXTS - {ANY_CONTEXT}:
            raise ValueError(f"must be a JSON object whose names are among {', '.join(sorted(CONTEXTS))} and *")
        return policy

    @field_validator("secret")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if value and not value.strip():
            raise ValueError("must not be blank")
        return value

    @field_validator("encrypt")
    @classmethod
    def _can_encrypt(cls, value: bool) -> bool:
        if value and not cipher.is_installed():
            raise ValueError(
                "needs the package cryptography in the artifact; install hookcache[encrypt], or set it to off"
            )
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if "memory_seconds" not in self.model_fields_set:  # a default gives way; what the operator set does not
            shortest = min(self.rules(context).fresh_seconds for context in [*CONTEXTS, ANY_CONTEXT])
            object.__setattr__(self, "memory_seconds", min(self.memory_seconds, float(shortest)))
        if not (self.secret or self.secret_arn):
            raise ValueError("SECRET_ARN: name the Secrets Manager secret that holds the HMAC secret")
        for context in [*CONTEXTS, ANY_CONTEXT]:
            rules = self.rules(context)
            if rules.fresh_seconds > rules.hard_seconds:
                raise ValueError(f"POLICY: {context}: fresh_seconds must not pass hard_seconds ({rules.hard_seconds})")
            if self.memory_seconds > rules.fresh_seconds:
                raise ValueError(
                    f"MEMORY_SECONDS: {self.memory_seconds:g} must not pass the freshness of {context} ({rules.fresh_seconds} s)"
                )
        return self

    @property
    def backend_name(self) -> str:
        """The backend as `name` or `name:qualifier`, however it was spelt: under which its orders lie (P44)."""
        match = _ARN.match(self.backend) or _PARTIAL_ARN.match(self.backend) or _NAME.match(self.backend)
        if match is None:
            return self.backend
        return ":".join(part for part in match.group("name", "qualifier") if part)

    def rules(self, context: str) -> Rules:
        """The rules for one context: its own words, else those for `*`, else the environment's, else the defaults."""
        rules = Rules(mode=self.mode, fresh_seconds=self.fresh_seconds, hard_seconds=self.fresh_seconds)
        rules = replace(rules, **default_rules(context))
        for name in (ANY_CONTEXT, context):
            if name in self.policy:
                said = self.policy[name]
                given = {each.name: getattr(said, each.name) for each in fields(Rules) if said.says(each.name)}
                if "fresh_seconds" in given and "hard_seconds" not in given:
                    given["hard_seconds"] = given["fresh_seconds"]
                rules = replace(rules, **given)
        return rules

    def _check_backend(self, environ: Mapping[str, str]) -> None:
        """
        Judge the backend's name as (partition, region, account, name, qualifier) against our own (B19, F40).

        Our account is not in a function's environment; it is known here if the secret is named by ARN.
        """
        if not self.backend:
            return
        match = _ARN.match(self.backend) or _PARTIAL_ARN.match(self.backend) or _NAME.match(self.backend)
        if match is None:
            raise ConfigurationError(
                "HOOKCACHE_BACKEND is no function name or ARN; give GENAIIDP-name, GENAIIDP-name:alias or the full ARN"
            )
        told = match.groupdict()
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        secret = self.secret_arn.split(":")
        own = {"region": region, "account": secret[4] if len(secret) > 4 else None}
        if region:
            own["partition"] = _partition(region)
        for part, ours in own.items():
            if ours and told.get(part) and told[part] != ours:
                raise ConfigurationError(
                    f"HOOKCACHE_BACKEND lies in another {part}; the host calls hooks of its own only"
                )
        if told["name"] == environ.get("AWS_LAMBDA_FUNCTION_NAME"):
            raise ConfigurationError("HOOKCACHE_BACKEND is this function itself; name the hook to stand in front of")
        if not told["name"].startswith("GENAIIDP-"):
            _log.warning("HOOKCACHE_BACKEND does not start with GENAIIDP-; the host itself could not call it")


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}


def _partition(region: str) -> str:
    return next((partition for start, partition in _PARTITIONS.items() if region.startswith(start)), "aws")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    where = (
        ": ".join([PREFIX + str(problem["loc"][0]).upper(), *map(str, problem["loc"][1:])]) if problem["loc"] else ""
    )
    if problem["type"] == "missing":
        return f"{where} is not set"
    return f"{where}: {message}" if where else PREFIX + message
