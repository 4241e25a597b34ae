"""
`@hookcache.cached`: the cache in front of a handler of the same function; no second Lambda is paid.

    @hookcache.cached
    def lambda_handler(event, context): ...

Settings come from the same environment variables as the wrapper's, without `HOOKCACHE_BACKEND`. Where none of them is
set, as in a unit test of the handler alone, the handler is called as it is and a warning says so; likewise where it is
cached already, by a second decorator or by the layer over a decorated handler.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from weakref import WeakValueDictionary

from hookcache.assembly import in_process
from hookcache.errors import ConfigurationError
from hookcache.hints import Any, TypeVar, overload
from hookcache.hook import CachingHook
from hookcache.log import warn
from hookcache.package import called_in_the_end, identity_of_package
from hookcache.settings import PREFIX, Settings

CACHED = "hookcache_cached"
"""Attribute of a handler that is answered from the cache already; `functools.wraps` hands it on to decorators above."""

_MORE_IS_SAID = (
    "the handler was given more than event and context; such calls go past the cache. If it is a method, cache that of its "
    'object: handler = hookcache.cached(name="reader")(Reader().handle)'
)

_NOT_AT_ONCE = 0x20 | 0x80 | 0x200
"""Of a code's flags: generator, coroutine, asynchronous generator. Source: Python, `inspect`, "Code Objects Bit Flags"."""

Handler = TypeVar("Handler", bound=Callable[[Any, Any], Any])


@overload
def cached(handler: Handler, /) -> Handler: ...
@overload
def cached(*, name: str = "", environ: Mapping[str, str] | None = None) -> Callable[[Handler], Handler]: ...
def cached(handler: Handler | None = None, /, *, name: str = "", environ: Mapping[str, str] | None = None) -> Any:
    """
    Answer repeated requests of a LambdaHook handler from the cache.

    Args:
        handler: `(event, context) -> response`.
        name: tells handlers of one function apart where they have no name of their own: closures, partials, objects and their methods.
        environ: where settings come from; the process's environment if not given. Its other variables hold either way.

    Returns:
        A handler of the same type, or a decorator when called without one.

    Raises:
        ConfigurationError: at decoration, which is at cold start: a setting is missing or wrong (P52), another handler
            has the same name, or this one is an `async def` or a generator, whose call gives no answer.

    Promises: those of the wrapper; the backend identity is the digest of this function's own package (P40).
    """
    if handler is None:
        return functools.partial(_cached, name=name, environ=os.environ if environ is None else environ)
    return _cached(handler, name, os.environ if environ is None else environ)


def _cached(handler: Callable[[Any, Any], Any], name: str, environ: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    if not any(PREFIX + setting.upper() in environ for setting in Settings.names()):
        warn(environ, "no setting of hookcache (%s...) is made: the handler is called without a cache", PREFIX)
        return handler
    if getattr(handler, CACHED, False) is True:
        # Both would have one identity, so one key: the inner would wait for the lease that the outer holds (P28).
        warn(environ, "the handler is answered from the cache already; it is not cached a second time")
        return handler
    if _answers_later(handler):
        raise ConfigurationError(
            "the handler is an async def or a generator, which Lambda's Python runtime does not run; "
            "cache a function that gives the answer, for example by asyncio.run"
        )
    # Settings of one's own are no environment: what chooses the answers is the process's all the same (P40).
    whole = {variable: value for variable, value in os.environ.items() if not variable.startswith(PREFIX)} | {**environ}
    identity, settings = identity_of_package(handler, whole, name), Settings.of(whole)
    shared = (identity.digest, settings.table, settings.namespace)
    _refuse_twin(handler, shared)
    made = {os.getpid(): in_process(handler, identity, settings, whole)}

    def hook_of_this_process() -> CachingHook:
        """A fork has connections and locks of the process before it, and none of its threads: it gets a hook of its own."""
        own = made.get(os.getpid())
        return own or made.setdefault(os.getpid(), in_process(handler, identity, settings, whole))

    warned = False

    @functools.wraps(handler)
    def answered_from_cache(event: Any, context: Any, *more: Any, **named: Any) -> Any:
        if more or named:  # from code of its own, never the host: what is said beside the event is in no key
            nonlocal warned
            if not warned:
                warned = True
                warn(environ, _MORE_IS_SAID)
            return handler(event, context, *more, **named)
        return hook_of_this_process()(event, context)

    setattr(answered_from_cache, CACHED, True)
    _decorated[shared] = answered_from_cache
    return answered_from_cache


def _answers_later(handler: Any) -> bool:
    """True for what must be awaited or iterated. Below a decorator nothing is looked for: it may run what it wraps."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    # An object may show the code of what it stands for, as a proxy does; what its call runs is its type's.
    kind = type(handler)
    code = getattr(handler if kind in (FunctionType, MethodType) else kind.__call__, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _NOT_AT_ONCE)


_decorated: WeakValueDictionary[tuple[bytes, str, str], Callable[[Any, Any], Any]] = WeakValueDictionary()
"""By identity, table and namespace; what nobody can call any more is not in it."""


def _refuse_twin(handler: Callable[[Any, Any], Any], shared: tuple[bytes, str, str]) -> None:
    """
    Two handlers of one identity would share answers (P2): those that decorators made of one function, or that got one name.

    Raises:
        ConfigurationError: another one has all of `shared`, is in use, and is not the same handler from an earlier import.
    """
    if _is_twin(handler, _decorated.get(shared)):
        gc.collect()  # an object that holds its handler, and is held by it, is not gone at once
    if _is_twin(handler, _decorated.get(shared)):
        raise ConfigurationError(
            "another handler is cached under the same name, and both would share answers; "
            'give each a name of its own: @hookcache.cached(name="...")'
        )


def _is_twin(handler: Any, decorated: Any) -> bool:
    if decorated is None or decorated.__wrapped__ is handler:
        return False
    if type(handler) is MethodType and decorated.__wrapped__ == handler:  # of one object; each access makes a new one
        return False
    one, other = called_in_the_end(handler), called_in_the_end(decorated)
    if getattr(one, "__qualname__", None) != getattr(other, "__qualname__", None):
        return True
    return getattr(one, "__code__", type(one)) is getattr(other, "__code__", type(other))  # an import makes it anew
