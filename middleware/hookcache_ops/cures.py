"""What an error of AWS or its SDK says, on one line, and what to do about it: the same cure in every command."""

from __future__ import annotations

LOG_IN = "set AWS_PROFILE and AWS_REGION, or log in"
NETWORK = "check the network and AWS_REGION"
_LOGINS = (
    *("redential", "ExpiredToken", "UnrecognizedClient", "InvalidClientTokenId", "security token"),
    *("specify a region", "NoRegion", "SSO", "from sso", "TokenRetrieval", "config profile", "ProfileNotFound"),
)
_NETWORKS = (
    *("Could not connect", "ConnectionError", "ConnectionClosed", "imeout", "timed out", "no reply"),
    *("connect to proxy", "ProxyConnection"),
)
_CURES = (
    (("AccessDenied", "not authorized"), ""),
    (("SSL validation failed", "SSLError"), "set AWS_CA_BUNDLE to a file with the roots of your network"),
    (_LOGINS, LOG_IN),
    (("ResourceNotFound", "NoSuchBucket"), "check the name and AWS_REGION, and whether it is still there"),
    (("Throttl", "TooManyRequests", "LimitExceeded", "Rate exceeded"), "wait a moment and try again"),
    (_NETWORKS, NETWORK),
)


def told_by(error: Exception) -> str:
    """What an error of AWS or its SDK says, as the beginning of one line: bounded, without its own full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")


def cure(told: str, otherwise: str) -> str:
    """What to do about what AWS or its SDK told; `otherwise` where it is a right that is missing, or nothing common."""
    return next((remedy for words, remedy in _CURES if any(word in told for word in words)), "") or otherwise
