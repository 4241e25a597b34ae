"""
The identity of a backend in this very process: its files and its environment (P40).

A function is not told its own code digest by Lambda, so it is taken from what was deployed: every file of the task root
and of the layers on the module path, and every variable that is not the runtime's or ours.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hookcache.control import BackendIdentity

LAYERS = Path("/opt")
_RUNTIME_VARIABLES = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "OLDPWD", "PATH", "PWD", "SHLVL", "TZ", "_", "_HANDLER"}
)
_RUNTIME_PREFIXES = ("AWS_", "HOOKCACHE_", "LAMBDA_", "POWERTOOLS_", "PYTHON", "_AWS_", "_X_AMZN_", "LC_")
"""
What the platform sets (AWS Lambda Developer Guide, "Defined runtime environment variables") and what only concerns us.

A backend that reads an `AWS_` variable to choose its model is not seen here: the operator's generation is the remedy.
"""


def identity_of_package(handler: Callable[..., Any], environ: Mapping[str, str]) -> BackendIdentity:
    """The digest of everything deployed with `handler` that may change its answers."""
    digest = hashlib.sha256()
    target = inspect.unwrap(handler)
    for part in (f"{target.__module__}.{target.__qualname__}", environ.get("AWS_LAMBDA_FUNCTION_NAME", "")):
        _frame(digest, part.encode())
    for folder in _folders(target, environ):
        for name, path in _files(folder):
            _frame(digest, name.encode("utf-8", "surrogateescape"))
            _frame(digest, hashlib.sha256(path.read_bytes()).digest())
    for name in sorted(environ):
        if name not in _RUNTIME_VARIABLES and not name.startswith(_RUNTIME_PREFIXES):
            _frame(digest, name.encode())
            _frame(digest, environ[name].encode("utf-8", "surrogateescape"))
    return BackendIdentity(digest.digest())


def _folders(handler: Callable[..., Any], environ: Mapping[str, str]) -> list[Path]:
    root = environ.get("LAMBDA_TASK_ROOT")
    source = Path(inspect.getsourcefile(handler) or ".").resolve()
    first = Path(root).resolve() if root and source.is_relative_to(Path(root).resolve()) else source.parent
    layers = [Path(entry) for entry in sys.path if Path(entry).is_relative_to(LAYERS) and Path(entry).is_dir()]
    return [first, *sorted(layers)]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    yield from sorted((path.relative_to(folder).as_posix(), path) for path in found)


def _frame(digest: Any, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big") + part)
