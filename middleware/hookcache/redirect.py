"""
The layer's handler: puts the cache in front of an existing function without touching its code.

Set the function's handler to `hookcache.redirect.handler` and `HOOKCACHE_HANDLER` to the old one, `index.lambda_handler`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping

from hookcache.decorator import cached
from hookcache.errors import ConfigurationError
from hookcache.hints import Any


def handler_named(name: str) -> Callable[[Any, Any], Any]:
    """
    The handler called `module.attribute` (or `folder/module.attribute`), as Lambda's own handler setting has it.

    Raises:
        ConfigurationError: there is none, or it is ours again.
    """
    module_name, _, attribute = name.replace("/", ".").rpartition(".")
    if not module_name or module_name.startswith("."):
        raise ConfigurationError(
            "HOOKCACHE_HANDLER must name the function's old handler, for example index.lambda_handler"
        )
    if module_name == __name__:
        raise ConfigurationError("HOOKCACHE_HANDLER names hookcache's own handler; give the function's old one")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(f"HOOKCACHE_HANDLER: there is no module {module_name}") from None
        raise  # the function's own import fails: its own error says more
    if not hasattr(module, attribute):
        raise ConfigurationError(f"HOOKCACHE_HANDLER: module {module_name} has no {attribute}")
    found = getattr(module, attribute)
    if not callable(found):
        raise ConfigurationError(f"HOOKCACHE_HANDLER: {name} cannot be called")
    handler: Callable[[Any, Any], Any] = found
    return handler


def redirected(environ: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """The old handler with the cache in front of it."""
    name = environ.get("HOOKCACHE_HANDLER", "")
    return cached(name=name, environ=environ)(handler_named(name))


def __getattr__(name: str) -> Any:
    """`handler` is made when the runtime asks for it, at cold start; importing this module alone needs no settings."""
    if name != "handler":
        raise AttributeError(name)
    try:
        globals()["handler"] = made = redirected(os.environ)
    except AttributeError as bug:  # the runtime takes one for "there is no handler", and says nothing of the bug
        raise ImportError(f"HOOKCACHE_HANDLER: AttributeError: {bug}").with_traceback(bug.__traceback__) from None
    return made
