"""
The identity of a backend in this very process: its files, its environment and its name (P40).

A function is not told its own code digest by Lambda, so it is taken from what was deployed: every file of the task root
and of the layers, and every variable that is the same in all environments of one deployment. That costs about 0.07 s of CPU
per 100 MB and 0.03 s per 1,000 files; a package over `MAX_BYTES` goes by `HOOKCACHE_IDENTITY=pinned`, which reads nothing
and leaves new code to the operator's generation.

What lies elsewhere is not seen: files on EFS or fetched at run time, packages that a container image has outside of the task
root, a model that moves behind an unchanged name.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MethodType

from hookcache.control import BackendIdentity
from hookcache.errors import ConfigurationError
from hookcache.frames import framed
from hookcache.hints import Any

LAYERS = Path("/opt")
MAX_BYTES = 512 * 1024 * 1024
"""More than any zip function and its layers may hold (250 MB unzipped); only container images come near it."""
CHUNK_BYTES = 1024 * 1024

_OWN = Path(__file__).resolve().parent
# What differs between two environments of one deployment, by whole name or by beginning, and what only concerns us.
# Source: AWS Lambda Developer Guide, "Defined runtime environment variables". The other AWS_ variables are kept, since
# a backend may well choose its region, endpoint or model by one.
_PASSING = frozenset(
    {
        *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
        *("AWS_CREDENTIAL_EXPIRATION", "HOME", "HOSTNAME", "OLDPWD", "PWD", "SHLVL"),
        *(
            "LAMBDA_TASK_ROOT",
            "LAMBDA_RUNTIME_DIR",
            "LAMBDA_RUNTIME_LOAD_TIME",
        ),  # any other LAMBDA_ name is the operator's
    }
)
_PASSING_BEGINNINGS = ("AWS_CONTAINER_", "AWS_LAMBDA_", "AWS_XRAY_", "HOOKCACHE_", "POWERTOOLS_", "_")
_NAMES = ("AWS_LAMBDA_FUNCTION_NAME", "_HANDLER", "HOOKCACHE_HANDLER")
"""Which function this is and which code of it runs: kept, although their like is passing."""

_UNCHECKED_HASH = b"\x01\x00\x00\x00"


def identity_of_package(
    handler: Callable[..., Any], environ: Mapping[str, str], name: str = "", layers: Path = LAYERS
) -> BackendIdentity:
    """
    The digest of everything deployed with `handler` that may change its answers.

    Args:
        name: tells the handlers of one process apart where they have no name of their own.
        layers: where layers are unpacked.

    Raises:
        ConfigurationError: the handler has no name of its own, or the package is too large to be read at each start.
    """
    digest = hashlib.sha256()
    for part in (name or _name_of(handler), *(environ.get(variable, "") for variable in _NAMES)):
        digest.update(framed(part.encode("utf-8", "surrogateescape")))
    if environ.get("HOOKCACHE_IDENTITY") == "pinned":
        return BackendIdentity(b"pinned\0" + digest.digest())
    for variable, value in _lasting(environ):
        digest.update(framed(variable.encode("utf-8", "surrogateescape")))
        digest.update(framed(value.encode("utf-8", "surrogateescape")))
    left_bytes = MAX_BYTES
    for folder in _folders(handler, environ, layers):
        digest.update(framed(b"folder"))
        for file, path in sorted(_files(folder)):
            content, size_bytes = _digest_of(path, left_bytes)
            left_bytes -= size_bytes
            digest.update(framed(os.fsencode(file)))
            digest.update(framed(content))
    return BackendIdentity(digest.digest())


def _lasting(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """
    The variables that are the same in all environments of one deployment, by name.

    A tracer's layer writes the environment's own name into some of them (`faas.instance` in OTEL_RESOURCE_ATTRIBUTES): a zero,
    which no variable can hold, stands for it.
    Source: opentelemetry-lambda, python/src/otel/otel_sdk/otel-instrument.
    """
    instance = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    for variable in sorted(environ):
        if variable not in _PASSING and not variable.startswith(_PASSING_BEGINNINGS):
            value = environ[variable]
            yield variable, value.replace(instance, "\0") if instance else value


def _name_of(handler: Callable[..., Any]) -> str:
    """Where the handler is defined. Two closures or partials of one function, or a method of two objects, would share a name and answers."""
    target = _innermost(handler)
    name = getattr(target, "__qualname__", "")
    if not name or "<" in name or isinstance(target, functools.partial | MethodType):
        raise ConfigurationError(
            "the handler is no function of a module and has no name of its own; "
            'decorate it with @hookcache.cached(name="..."), or use functools.wraps in the decorator below'
        )
    return f"{target.__module__}.{name}"


def _innermost(handler: Any) -> Any:
    """What `functools.wraps` was told of, through all layers: as `inspect.unwrap`, but `inspect` takes 5 ms to load."""
    passed = {id(handler)}
    while hasattr(handler, "__wrapped__") and not isinstance(handler, functools.partial):  # that is more than it wraps
        handler = handler.__wrapped__
        if id(handler) in passed:
            raise ConfigurationError("the handler's decorators wrap one another in a circle; give it without them")
        passed.add(id(handler))
    return handler


def _folders(handler: Callable[..., Any], environ: Mapping[str, str], layers: Path) -> Sequence[Path]:
    """The task root and the layers; the handler's own package or folder where it lies in neither, as in a test."""
    root = environ.get("LAMBDA_TASK_ROOT", "")
    folders = [Path(root).resolve()] if root else []
    # Lambda puts this entry there whether or not there are layers, but where PYTHONPATH is the operator's, who may name one
    # there. A /opt of another kind of machine, where Homebrew or ROS may lie, is not ours to read.
    told = environ.get("PYTHONPATH", "").split(os.pathsep) if root else ()
    if str(layers / "python") in sys.path or any(Path(entry).is_relative_to(layers) for entry in told):
        folders.append(layers.resolve())
    module = _module_of(handler)
    file = Path(getattr(module, "__file__", None) or "").resolve()  # one typed at a prompt has a name there and no file
    if file.is_file() and not any(file.is_relative_to(folder) for folder in folders):
        outer, *inner = module.__name__.split(".")
        up = len(inner) - (file.stem != "__init__")  # a project often bears its package's name, and is more than that
        package = [folder for folder in file.parents[max(up, 0) : up + 1] if folder.name == outer]
        folders.append(package[0] if package else file.parent)
    return folders


def called_in_the_end(handler: Any) -> Any:
    """The function, method or object that a handler is made of, through `functools.wraps` and partials."""
    target = _innermost(handler)
    while isinstance(target, functools.partial):
        target = _innermost(target.func)
    return target


def _module_of(handler: Any) -> Any:
    return sys.modules.get(called_in_the_end(handler).__module__)


def _files(top: Path) -> Iterator[tuple[str, str]]:
    """
    Name and path of every file below `top`, through links to folders too, since Python imports through them.

    A folder under several names is read under one; the others count by where they lead.
    Left out: this package, which changes no answer, and byte code that Python itself checks against the source.
    """
    seen = {os.path.realpath(top)}
    for folder, below, files in os.walk(top, followlinks=True):
        kept = []
        for name in sorted(below):
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if real in seen:  # a link, which may lead back up
                yield f"{path.removeprefix(str(top))}\0{os.path.relpath(real, top)}", os.devnull
            elif real != str(_OWN):
                seen.add(real)
                kept.append(name)
        below[:] = kept
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and (os.path.basename(folder) != "__pycache__" or _runs_unchecked(path)):
                yield path.removeprefix(str(top)), path


def _runs_unchecked(path: str) -> bool:
    """True for byte code that runs in place of its source without a look at it (PEP 552, "unchecked")."""
    try:
        with open(path, "rb") as file:
            return file.read(8)[4:] == _UNCHECKED_HASH
    except OSError:
        return False


def _digest_of(path: str, left_bytes: int) -> tuple[bytes, int]:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                if size_bytes > left_bytes:
                    raise ConfigurationError(
                        f"the package holds more than {MAX_BYTES >> 20} MB, too much to read at each cold start; "
                        "set HOOKCACHE_IDENTITY=pinned, and a new HOOKCACHE_GENERATION with each deployment"
                    )
    except OSError:
        return b"unreadable", size_bytes  # to the backend as well: it runs as the same user
    return digest.digest(), size_bytes
