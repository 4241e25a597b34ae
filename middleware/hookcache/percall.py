"""
Control of a single call, from the Lambda client context only: never from the event, which reaches the model (P51).

    {"custom": {"hookcache": {"refresh": true, "bypass": true, "max_age_seconds": 3600, "rollout": "blue"}}}

Unknown or out-of-range values are ignored and counted (B21). The same place carries the hop marks that break loops (F40).
What else a caller says beside the event is in no key, and a backend may answer by it: such a request is bypassed.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping

from hookcache.errors import LoopDetected
from hookcache.hints import Any
from hookcache.runtime_json import spelt
from hookcache.value import value

MEMBER = "hookcache"
HOPS = "hookcache_hops"
MAX_AGE_LIMIT_SECONDS = 30 * 86_400
MAX_HOPS = 16
_ROLLOUT = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Ours, and what tracers put there anew with each call: no answer goes by these (W3C Trace Context, Zipkin, Datadog, Sentry).
_SAYS_NOTHING = re.compile(
    r"hookcache(_hops|_stream)?|w3c|traceparent|tracestate|baggage|b3|x-b3-.*|x-amzn-trace-id|sentry-trace|_datadog|x-datadog-.*",
    re.IGNORECASE,
)
_EMPTY: tuple[Any, ...] = (None, "", {}, [])
_CLIENT = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
_MOST_BYTES = 2_685  # whose base64 has 3,580
_MARK = re.compile(r"[A-Za-z0-9_-]{1,64}")  # a function's name: what is none was written by somebody else


@value
class CallControl:
    """What the caller asked for, and how many of its wishes were not understood."""

    refresh: bool = False
    bypass: bool = False
    max_age_seconds: float | None = None
    rollout: str = ""
    ignored: int = 0


_NO_WISHES = CallControl()
_NOTHING: Mapping[str, Any] = {}


def _custom(context: Any) -> Mapping[str, Any]:
    client_context = getattr(context, "client_context", None)
    if client_context is None:
        return _NOTHING
    if isinstance(client_context, Mapping):
        custom = client_context.get("custom")
    else:
        custom = getattr(client_context, "custom", None)
    return custom if isinstance(custom, Mapping) else {}


def call_control(context: Any) -> CallControl:
    """The caller's wishes in a Lambda context; the defaults where it has none. Never raises."""
    custom = _custom(context)
    if MEMBER not in custom:
        return _NO_WISHES
    wishes = custom[MEMBER]
    if isinstance(wishes, str):
        try:
            wishes = json.loads(wishes)
        except (ValueError, RecursionError):
            return CallControl(ignored=1)
    if not isinstance(wishes, Mapping):
        return CallControl(ignored=1)
    age, rollout = wishes.get("max_age_seconds"), wishes.get("rollout", "")
    good_age = isinstance(age, int | float) and not isinstance(age, bool) and 0 <= age <= MAX_AGE_LIMIT_SECONDS
    good_rollout = isinstance(rollout, str) and _ROLLOUT.fullmatch(rollout) is not None
    understood = {
        "refresh": isinstance(wishes.get("refresh"), bool),
        "bypass": isinstance(wishes.get("bypass"), bool),
        "max_age_seconds": good_age,
        "rollout": good_rollout,
    }
    return CallControl(
        refresh=wishes.get("refresh") is True,
        bypass=wishes.get("bypass") is True,
        max_age_seconds=float(age) if good_age and age is not None else None,
        rollout=rollout if good_rollout else "",
        ignored=sum(not understood.get(name, False) for name in wishes),
    )


def says_more(context: Any) -> bool:
    """
    Does the invocation say anything beside its event by which a backend may answer (P2)? The host's says nothing.

    Source: AWS Lambda Developer Guide, "Python context object", and the runtime's `LambdaContext`, which has `tenant_id`.
    """
    if getattr(context, "tenant_id", None):
        return True
    identity = getattr(context, "identity", None)
    if identity is not None and getattr(identity, "cognito_identity_id", None):
        return True
    client_context = getattr(context, "client_context", None)
    if client_context is None:
        return False
    if isinstance(client_context, Mapping):
        told = dict(client_context)
    else:
        told = {name: getattr(client_context, name, None) for name in ("custom", "client", "env")}
    custom = told.pop("custom", None)
    if custom not in _EMPTY and not isinstance(custom, Mapping):
        return True
    # Not as one: a member of `custom` may be called `client`. Nothing is what is empty; 0 and false are a caller's choice.
    members = [*told.items(), *(custom.items() if custom else ())]
    return any(value not in _EMPTY and not _SAYS_NOTHING.fullmatch(str(name)) for name, value in members)


def hops(context: Any) -> tuple[str, ...]:
    """The functions of ours that this call came through, as their marks say. A forged mark can only refuse a call."""
    marks = _custom(context).get(HOPS, ())
    if isinstance(marks, str):
        marks = marks.split(",")
    if not isinstance(marks, list | tuple):
        return ()
    return tuple(mark for mark in marks if isinstance(mark, str) and _MARK.fullmatch(mark))


def refuse_loop(context: Any, mark: str) -> None:
    """
    Nothing, unless this call came through the function whose mark is `mark` before (F40).

    Raises:
        LoopDetected: it did.
    """
    if mark and mark in hops(context):
        raise LoopDetected("the backend of this function leads back to it; set HOOKCACHE_BACKEND to the hook itself")


def onward(context: Any, mark: str) -> str:
    """
    The client context for the backend, as base64 JSON: the caller's own with our mark added.

    A backend may answer by what the caller says there. So where there is no room for all of it, the marks go and not that:
    first those of others, then ours, whose loop then ends by time limits alone.

    Source: AWS Lambda API Reference, "Invoke", `ClientContext`: up to 3,583 bytes of base64; the runtime's `ClientContext` and
    `Client` for the names of members.
    """
    told = _members(getattr(context, "client_context", None), ("client", "env", "custom"))
    if told.get("client"):
        told["client"] = _members(told["client"], _CLIENT)
    custom = {name: value for name, value in _custom(context).items() if name not in {MEMBER, HOPS}}
    whole = told.get("custom")
    other = None if isinstance(whole, Mapping) else whole  # a text or a list has no room for marks at all
    alone = json.dumps({"custom": {HOPS: mark}}).encode()
    for marks in ([*hops(context)[-MAX_HOPS:], mark], [mark], []):
        marked = other if other is not None else custom | ({HOPS: ",".join(marks)} if marks else {})
        try:
            spelling = spelt(told | {"custom": marked})
        except (TypeError, ValueError, RecursionError):  # no JSON, so nobody sent it
            break
        if len(spelling) <= _MOST_BYTES:
            return binascii.b2a_base64(spelling, newline=False).decode()
    return binascii.b2a_base64(alone, newline=False).decode()  # more than can be sent: nobody sent it


def _members(of: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """What a mapping says, or an object under `names`."""
    members = of if isinstance(of, Mapping) else {name: getattr(of, name, None) for name in names}
    return {name: told for name, told in members.items() if told not in _EMPTY}
