"""Settings of a backend, read from the environment when the function starts; each error names the variable."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from backend_errors import SettingsError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def text(environment: Mapping[str, str], name: str) -> str:
    """A setting that must be there."""
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def number(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """A number from `least` to `most`; `default` where it is not set."""
    told = environment.get(name, "").strip()
    try:
        value = float(told) if told else default
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SettingsError(f"{name} must be a number from {least:g} to {most:g}")
    return value


def whole(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number from `least` to `most`, `60.0` among them; `default` where it is not set."""
    value = number(environment, name, default, least, most)
    if value != int(value):
        raise SettingsError(f"{name} must be a whole number from {least:g} to {most:g}")
    return int(value)


def choice(environment: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """One of `allowed`; the first of them where it is not set."""
    value = environment.get(name, "").strip() or allowed[0]
    if value not in allowed:
        raise SettingsError(f"{name} must be one of {', '.join(allowed)}")
    return value


def flag(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Whether a setting is `on`, and not `off`."""
    return choice(environment, name, ("on", "off") if default else ("off", "on")) == "on"


def address(environment: Mapping[str, str], name: str, default: str = "", *, with_key: bool) -> str:
    """
    The URL of a service, without a slash at its end.

    HTTPS wherever a key goes along; plain HTTP only without one (a server inside your VPC) or to this machine itself.
    """
    url = (environment.get(name, "").strip() or default).rstrip("/")
    try:
        parts = urlsplit(url)
        plain = parts.scheme in {"https", "http"} and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is none, half of an IPv6 address
        plain = False
    if not plain or parts.query or parts.fragment:
        raise SettingsError(f"{name} must be a URL such as https://host/path, without user, query or fragment")
    if parts.scheme == "http" and with_key and parts.hostname not in LOOPBACK:
        raise SettingsError(f"{name} must begin with https://, for a key goes there")
    return url


def guardrail(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Which guardrail goes along, under Bedrock's names; None where none is set."""
    identifier, version = (environment.get(name, "").strip() for name in ("GUARDRAIL_ID", "GUARDRAIL_VERSION"))
    if bool(identifier) != bool(version):
        raise SettingsError("GUARDRAIL_ID and GUARDRAIL_VERSION go together: set both, or neither")
    return {"guardrailIdentifier": identifier, "guardrailVersion": version} if identifier else None


def json_object(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    """A JSON object; empty where it is not set."""
    told = environment.get(name, "").strip() or "{}"
    try:
        value = json.loads(told)
        json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999; no service takes what it would write of them
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SettingsError(f"{name} must be a JSON object")
    return value
