"""The public types, checked by mypy and never run: `mypy --strict tests/typing/api.py` (see tests/typing/test_api.py)."""

from collections.abc import Callable, Mapping
from typing import Any, assert_type

import hookcache

Event = dict[str, Any]


@hookcache.cached
def plain(event: Event, context: object) -> dict[str, Any]:
    return {"event": event}


@hookcache.cached()
def called(event: Event, context: object) -> dict[str, Any]:
    return {"event": event}


@hookcache.cached(name="reader", environ={"HOOKCACHE_TABLE": "t"})
def named(event: Event, context: object, more: int = 0) -> str:
    return "x" * more


# The handler's own type survives, in each spelling: its arguments are checked and its answer is known.
assert_type(plain({}, None), dict[str, Any])
assert_type(called({}, None), dict[str, Any])
assert_type(named({}, None, more=2), str)
assert_type(hookcache.__version__, str)

plain("no event", None)  # type: ignore[arg-type]
named({}, None, more="two")  # type: ignore[arg-type]


@hookcache.cached  # type: ignore[type-var]
def no_handler(event: Event) -> None: ...


@hookcache.cached(name=1)  # type: ignore[call-overload, untyped-decorator]
def misnamed(event: Event, context: object) -> None: ...


def chosen(handlers: Mapping[str, Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Any]:
    return hookcache.cached(handlers["ocr"])
