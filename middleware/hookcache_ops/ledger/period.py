"""Times as a person types them: `2026-11-01`, `2026-11-01T08:00`, `7d` (ago), all UTC unless they carry an offset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_AGO = re.compile(r"(\d{1,5})([mhdw])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class SourceError(Exception):
    """A source of receipts cannot be read; the text names it and the remedy."""


def told_by(error: Exception) -> str:
    """What an error of AWS or its SDK says, as the beginning of one line: bounded, without its own full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")


_CURES = (
    (("AccessDenied", "not authorized"), ""),
    (("SSL validation failed", "SSLError"), "set AWS_CA_BUNDLE to a file with the roots of your network"),
    (
        (
            *(
                "redential",
                "ExpiredToken",
                "UnrecognizedClient",
                "InvalidClientTokenId",
                "security token",
                *("specify a region", "NoRegion"),
            ),
            *("SSO", "from sso", "TokenRetrieval", "config profile", "ProfileNotFound"),
        ),
        "set AWS_PROFILE and AWS_REGION, or log in",
    ),
    (("ResourceNotFound", "NoSuchBucket"), "check the name and AWS_REGION, and whether it is still there"),
    (("Throttl", "TooManyRequests", "LimitExceeded", "Rate exceeded"), "wait a moment and try again"),
    (
        (
            *("Could not connect", "ConnectionError", "ConnectionClosed", "imeout", "timed out", "no reply"),
            *("connect to proxy", "ProxyConnection"),
        ),
        "check the network and AWS_REGION",
    ),
)


def cure(told: str, otherwise: str) -> str:
    """What to do about what AWS or its SDK told; `otherwise` where it is a right that is missing, or nothing common."""
    return next((remedy for words, remedy in _CURES if any(word in told for word in words)), "") or otherwise


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open range of receipt times, epoch milliseconds; None is open."""

    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, time_ms: int) -> bool:
        return (self.since_ms is None or time_ms >= self.since_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )


def parse_period(since: str | None, until: str | None, now_ms: int) -> Period:
    """
    The half-open period [since, until).

    Raises:
        SourceError: a time that cannot be read, or a period that ends before it begins.
    """
    period = Period(
        None if since is None else _time_ms(since, "--since", now_ms),
        None if until is None else _time_ms(until, "--until", now_ms),
    )
    if period.since_ms is not None and period.until_ms is not None and period.until_ms <= period.since_ms:
        raise SourceError(f"--until {until} is not after --since {since}; swap them")
    return period


def _time_ms(text: str, option: str, now_ms: int) -> int:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SourceError(f"{option} {text!r} is no time; write 2026-11-01, 2026-11-01T08:00Z or 7d") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
