"""
The environment of a function, typed and cross-checked once, at cold start (P52, B22).

A setting that is wrong stops the function before its first request, with a message that names the setting and the remedy.
"""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from hookcache import cipher, readers
from hookcache.errors import NOTED_TYPE, ConfigurationError
from hookcache.hints import Annotated, Any, Literal
from hookcache.log import warn
from hookcache.policy import DAY_SECONDS, Mode, Rules, default_rules
from hookcache.request import CONTEXTS
from hookcache.value import replace, shown, value

PREFIX = "HOOKCACHE_"
ANY_CONTEXT = "*"

_WORD = r"[A-Za-z0-9._-]{1,64}"
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):lambda:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):function:"
    r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
_PARTIAL_ARN = re.compile(
    r"(?P<account>[0-9]{12}):function:(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
# Lambda reads `function:x`, `123456789012:x` and `eu-west-1:x` as the function x, and not as the alias x of another.
# Source: AWS Lambda API Reference, "Invoke", the pattern of `FunctionName`.
_NAME = re.compile(
    r"(?!(?:function|[0-9]{12}|(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-[0-9]):)(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
_S3_PREFIX = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f\x7f\\]*)?\Z")

_LIFETIME = readers.whole(1, 30 * DAY_SECONDS)

_MEMBER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def _references(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = readers.texts(tuple)(value)
    for name in names:
        if not _MEMBER.fullmatch(name):
            raise readers.Wrong("must name members of the event")
        if name in {"modelId", "messages", "system", "inferenceConfig", "context"}:
            raise readers.Wrong("names a part of every request, which is no reference")
    return names


_FLAGS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}

MOST_MEMORY_BYTES = 10 * 1024**3
"""What Lambda gives a function at most."""

MOST_NEGATIVE_ERRORS = 100
"""DynamoDB's `IN` compares with no more (DynamoDB Developer Guide, "Condition and filter expressions, operators, and functions")."""

_RULES: Mapping[str, readers.Reader] = {
    "mode": readers.one_of([mode.value for mode in Mode], Mode),
    "fresh_seconds": _LIFETIME,
    "hard_seconds": _LIFETIME,
    "temperature_ceiling": readers.number(0, 10),
    "require_json": readers.flag,
    "refused_texts": readers.texts(tuple),
    "blank_pages": readers.flag,
    "usage_on_hit": readers.one_of(["zero", "original"]),
    "trace": readers.flag,
    "resolve_references": _references,
    "output_limit": readers.whole(1, 10**9),
    "image_tokens": readers.whole(1, 10**6),
    "negative_errors": readers.texts(frozenset, most=MOST_NEGATIVE_ERRORS, pattern=NOTED_TYPE),
    "delegate_after_wait": readers.flag,
    "stale_if_error": readers.flag,
    "error_detail": readers.one_of(["full", "type"]),
    "check_share": readers.number(0, 1),
    "check_limit": readers.number(0, 0.05, above=True),
    "check_detail": readers.one_of(["paths", "content"]),
}
"""The members of one context in `HOOKCACHE_POLICY`."""


def _prefixes(value: str) -> tuple[str, ...]:
    prefixes = tuple(part.strip() for part in value.split(",") if part.strip())
    if not all(_S3_PREFIX.match(prefix) for prefix in prefixes):
        raise readers.Wrong("each prefix must read s3://bucket/folder, separated by commas")
    return prefixes


def _policy(value: str) -> dict[str, dict[str, Any]]:
    try:
        policy = json.loads(value)
    except RecursionError:
        raise readers.Wrong("is nested too deeply") from None
    except ValueError as error:
        raise readers.Wrong(f"is no JSON: {error}") from None
    if not isinstance(policy, dict) or policy.keys() - CONTEXTS - {ANY_CONTEXT}:
        raise readers.Wrong(f"must be a JSON object whose names are among {', '.join(sorted(CONTEXTS))} and *")
    return {context: _rules_of(context, said) for context, said in policy.items()}


def _rules_of(context: str, said: Any) -> dict[str, Any]:
    """What one context says. Null leaves the default, but for the ceiling, where it means that there is none."""
    if not isinstance(said, dict):
        raise readers.Wrong(f"{context}: must be a JSON object")
    rules: dict[str, Any] = {}
    for name, told in said.items():
        if name not in _RULES:
            raise readers.Wrong(f"{context}: {name}: is no rule")
        if told is None and name != "temperature_ceiling":
            continue
        try:
            rules[name] = None if told is None else _RULES[name](told)
        except readers.Wrong as error:
            raise readers.Wrong(f"{context}: {name}: {error}") from None
    return rules


def _not_blank(value: str) -> str:
    if not value.strip():
        raise readers.Wrong("must not be blank")
    return value


def _encrypt(value: str) -> bool:
    wanted: bool = readers.one_of(_FLAGS, _FLAGS.__getitem__)(value.lower())
    if wanted and not cipher.is_installed():
        raise readers.Wrong(
            "needs the package cryptography in the artifact; install hookcache[encrypt], or set it to off"
        )
    return wanted


@value
class Settings:
    """
    What the environment says. Member `x` is the variable `HOOKCACHE_X`, each beside its reader; the README lists them all.

    Raises (from `of`):
        ConfigurationError: a variable is missing, malformed, out of bounds or contradicts another.
    """

    table: Annotated[str, readers.text(least=3, most=1011)]
    backend: Annotated[str, readers.text()] = ""
    handler: Annotated[str, readers.text()] = ""
    overflow_bucket: Annotated[str, readers.text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")] = ""
    namespace: Annotated[str, readers.text(_WORD)] = "default"
    generation: Annotated[str, readers.text(_WORD)] = "0"
    mode: Annotated[Mode, _RULES["mode"]] = Mode.ON
    secret_arn: Annotated[str, _not_blank] = ""
    secret: Annotated[str, _not_blank] = ""
    image_prefixes: Annotated[tuple[str, ...], _prefixes] = ()
    fresh_seconds: Annotated[int, readers.spelt(_LIFETIME)] = 7 * DAY_SECONDS
    memory_bytes: Annotated[int, readers.spelt(readers.whole(1, MOST_MEMORY_BYTES))] = 64 * 1024 * 1024
    memory_seconds: Annotated[float, readers.spelt(readers.number(0, 30 * DAY_SECONDS, above=True))] = 300.0
    lease_seconds: Annotated[float, readers.spelt(readers.number(0.3, 900))] = 30.0
    wait_seconds: Annotated[float, readers.spelt(readers.number(0, 600, above=True))] = 45.0
    policy: Annotated[Mapping[str, Mapping[str, Any]], _policy] = MappingProxyType({})
    identity: Annotated[Literal["auto", "pinned"], readers.one_of(["auto", "pinned"])] = "auto"
    prices: Annotated[str, readers.text()] = ""
    price_as: Annotated[str, readers.text()] = ""
    encrypt: Annotated[bool, _encrypt] = False
    client: Annotated[Literal["slim", "boto3"], readers.one_of(["slim", "boto3"])] = "slim"

    def __repr__(self) -> str:
        return shown(self, hidden={"secret"})

    @classmethod
    def names(cls) -> frozenset[str]:
        """The settings there are."""
        return frozenset(cls.__annotations__)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings in an environment; variables that do not start with `HOOKCACHE_` are not ours."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(PREFIX) and value != ""  # CloudFormation spells "not set" as an empty text
        }
        for unknown in sorted(given.keys() - cls.names()):
            warn(environ, "%s%s is no setting of hookcache and is ignored", PREFIX, unknown.upper())
        if "table" not in given:
            raise ConfigurationError(f"{PREFIX}TABLE is not set")
        settings = cls(
            **{name: _read(name, each, given[name]) for name, each in cls.__annotations__.items() if name in given}
        )
        if "memory_seconds" not in given:  # a default gives way; what the operator set does not
            settings = replace(settings, memory_seconds=min(settings.memory_seconds, settings._shortest_freshness()))
        settings._agree()
        settings._check_backend(environ)
        return settings

    def _shortest_freshness(self) -> float:
        return float(min(self.rules(context).fresh_seconds for context in [*CONTEXTS, ANY_CONTEXT]))

    def _agree(self) -> None:
        if not (self.secret or self.secret_arn):
            raise ConfigurationError(f"{PREFIX}SECRET_ARN: name the Secrets Manager secret that holds the HMAC secret")
        for context in [*CONTEXTS, ANY_CONTEXT]:
            rules = self.rules(context)
            if rules.fresh_seconds > rules.hard_seconds:
                raise ConfigurationError(
                    f"{PREFIX}POLICY: {context}: fresh_seconds must not pass hard_seconds ({rules.hard_seconds})"
                )
            if self.memory_seconds > rules.fresh_seconds:
                raise ConfigurationError(
                    f"{PREFIX}MEMORY_SECONDS: {self.memory_seconds:.15g} must not pass the freshness of {context} "
                    f"({rules.fresh_seconds} s)"
                )

    @property
    def backend_name(self) -> str:
        """The backend as `name` or `name:qualifier`, however it was spelt: under which its orders lie (P44)."""
        match = _named(self.backend)
        if match is None:
            return self.backend
        return ":".join(part for part in match.group("name", "qualifier") if part)

    def rules(self, context: str) -> Rules:
        """The rules for one context: its own words, else those for `*`, else the environment's, else the defaults."""
        rules = Rules(mode=self.mode, fresh_seconds=self.fresh_seconds, hard_seconds=self.fresh_seconds)
        said = {**default_rules(context), **self.policy.get(ANY_CONTEXT, {}), **self.policy.get(context, {})}
        if "fresh_seconds" in said:
            said.setdefault("hard_seconds", said["fresh_seconds"])
        return replace(rules, **said)

    def _check_backend(self, environ: Mapping[str, str]) -> None:
        """
        Judge the backend's name as (partition, region, account, name, qualifier) against our own (B19, F40).

        Our account is not in a function's environment; it is known here if the secret is named by ARN.
        """
        if not self.backend:
            return
        match = _named(self.backend)
        if match is None:
            raise ConfigurationError(
                "HOOKCACHE_BACKEND is no function name or ARN; give GENAIIDP-name, GENAIIDP-name:alias or the full ARN"
            )
        told = match.groupdict()
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        secret = self.secret_arn.split(":")
        own = {"region": region, "account": secret[4] if len(secret) > 4 else None}
        if region:
            own["partition"] = partition_of(region)
        for part, ours in own.items():
            if ours and told.get(part) and told[part] != ours:
                raise ConfigurationError(
                    f"HOOKCACHE_BACKEND lies in another {part}; the host calls hooks of its own only"
                )
        if told["name"] == environ.get("AWS_LAMBDA_FUNCTION_NAME"):
            raise ConfigurationError("HOOKCACHE_BACKEND is this function itself; name the hook to stand in front of")
        if not told["name"].startswith("GENAIIDP-"):
            warn(environ, "HOOKCACHE_BACKEND does not start with GENAIIDP-; the host itself could not call it")


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}


def _named(backend: str) -> re.Match[str] | None:
    return _ARN.match(backend) or _PARTIAL_ARN.match(backend) or _NAME.match(backend)


def partition_of(region: str) -> str:
    """The partition that a region lies in, as ARNs spell it."""
    return next((partition for start, partition in _PARTITIONS.items() if region.startswith(start)), "aws")


def _read(name: str, setting: Any, value: str) -> Any:
    (reader,) = setting.__metadata__
    try:
        return reader(value)
    except readers.Wrong as error:
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {error}") from None
