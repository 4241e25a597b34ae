"""
Lambda on this machine: functions run in AWS's own runtime client, callers use boto3 as they would in the cloud.

    boto3 ── Lambda API (lambda_api) ── pool of environments ── Runtime API (runtime_api) ── awslambdaric ── handler

No container engine is needed. Everything listens on random ports of 127.0.0.1. What AWS does and this does not:
permissions, freezing between invocations, memory limits, retries of failed events.
"""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from hookcache_ops.local.function import LATEST, Deployment, Function, Revision
from hookcache_ops.local.lambda_api import LambdaApi
from hookcache_ops.local.log import FunctionLog
from hookcache_ops.local.pool import Pool
from hookcache_ops.local.wire import Server

__all__ = ["Function", "LambdaService"]

REGION, ACCOUNT = "us-east-1", "123456789012"
"""Of every function's ARN."""
RUNTIME_SOURCES = Path(__file__).resolve().parents[2]  # the folder that holds `hookcache`
T = TypeVar("T")


class LambdaService:
    """
    A Lambda service for as long as its `with` block; leaves no process behind, also where the owner is killed.

    Args:
        log_folder: one file per function, `<name>.log`, is appended to there; None keeps logs in memory only.
        environment: variables of every function, such as the endpoints of the other local services.
        sources: folders on every function's import path behind its own, as a layer would be.
    """

    def __init__(
        self,
        log_folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        sources: tuple[Path, ...] = (RUNTIME_SOURCES,),
    ) -> None:
        self.log_folder = log_folder
        self._environment = dict(environment or {})
        self._sources = tuple(str(source) for source in sources)
        self._api = LambdaApi(REGION, ACCOUNT)
        self._server = Server(self._api.answer)
        self._loop = asyncio.new_event_loop()
        # The runtimes are tethered to this thread: it lives until the last of them is gone.
        self._thread = threading.Thread(target=self._loop.run_forever, name="lambda-service", daemon=True)
        self._published: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self._published = tempfile.TemporaryDirectory(prefix="hookcache-lambda-")
        self._thread.start()
        self._run(self._server.start())
        self._environment.setdefault("AWS_ENDPOINT_URL_LAMBDA", self.endpoint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            if self._published is not None:
                self._published.cleanup()

    @property
    def endpoint(self) -> str:
        """Base URL of the Lambda API."""
        return f"http://127.0.0.1:{self._server.port}"

    def function_url(self, name: str) -> str:
        """The function as an HTTP endpoint; answers that the runtime streams arrive chunk by chunk."""
        self._pool(name)
        return f"{self.endpoint}/url/{name}/"

    def arn(self, name: str, qualifier: str | None = None) -> str:
        """The function's ARN, qualified or not."""
        return self._api.arn(name, qualifier)

    # -- deployment

    def add(self, function: Function) -> None:
        """
        Deploy a function as `$LATEST`.

        Raises:
            ValueError: the name is taken, or the code folder does not exist.
        """
        if function.name in self._api.pools:
            raise ValueError(f"function {function.name} exists: change it with update_environment or update_code")
        function = replace(function, folder=function.folder.resolve())
        if not function.folder.is_dir():
            raise ValueError(f"no code for function {function.name}: {function.folder} is no folder")
        log = FunctionLog(self.log_folder / f"{function.name}.log" if self.log_folder else None)
        deployment = Deployment(Revision.of(function))
        pool = Pool(deployment, log, REGION, self._environment, self._sources)
        self._run(self._put(function.name, pool))

    def update_environment(self, name: str, environment: Mapping[str, str]) -> None:
        """Replace the function's own variables: new `ConfigSha256` and `RevisionId`, new environments."""
        self._update(name, environment=dict(environment))

    def update_code(self, name: str, folder: Path | None = None) -> None:
        """Deploy another folder, or the same one as it is now: new `CodeSha256` and `RevisionId`, new environments."""
        self._update(name, **({} if folder is None else {"folder": folder.resolve()}))

    def update_limits(
        self,
        name: str,
        *,
        timeout_seconds: float | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Change what is given; new environments."""
        limits = {"timeout_seconds": timeout_seconds, "concurrency": concurrency}
        self._update(name, **{limit: value for limit, value in limits.items() if value is not None})

    def publish_version(self, name: str) -> str:
        """
        Keep `$LATEST` as it is now under the next number, and return the number.

        The code is copied, so that later changes of the folder do not reach the version. As on AWS, nothing is
        published where code and configuration equal the version before.
        """
        pool = self._pool(name)
        latest, published = pool.deployment.latest, pool.deployment.published
        previous = list(published.values())[-1] if published else None
        if previous and (previous.code_sha256, previous.config_sha256) == (latest.code_sha256, latest.config_sha256):
            return previous.version
        version = str(len(published) + 1)
        assert self._published is not None  # noqa: S101 - functions exist only inside the `with` block
        folder = Path(self._published.name, name, version)
        shutil.copytree(latest.function.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._run(self._publish(pool, Revision.of(replace(latest.function, folder=folder), version)))
        return version

    def alias(self, name: str, alias: str, version: str) -> None:
        """
        Point an alias at a version, or move it there.

        Raises:
            ValueError: there is no such version.
        """
        pool = self._pool(name)
        if version != LATEST and version not in pool.deployment.published:
            raise ValueError(f"{name} has no version {version}: publish_version({name!r}) makes one")
        self._run(self._point(pool, alias, version))

    # -- environments

    def kill_environments(self, name: str) -> None:
        """Kill every environment of the function, busy ones too: the next invocation is a cold start."""
        self._run(self._pool(name).kill())

    def environments(self, name: str) -> tuple[int, ...]:
        """Process ids of the function's living environments, for tests that stop or kill one."""
        return self._pool(name).pids()

    def cold_starts(self, name: str) -> int:
        """How many environments the function has had so far."""
        return self._pool(name).cold_starts

    def logs(self, name: str) -> tuple[str, ...]:
        """All lines that the function's environments have written, and Lambda's own START, END and REPORT lines."""
        return self._pool(name).log.lines()

    # -- on the service's own thread

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _pool(self, name: str) -> Pool:
        try:
            return self._api.pools[name]
        except KeyError:
            raise ValueError(f"no function {name}: there are {', '.join(self._api.pools) or 'none'}") from None

    def _update(self, name: str, **changes: Any) -> None:
        pool = self._pool(name)
        self._run(self._deploy(pool, Revision.of(replace(pool.deployment.latest.function, **changes))))

    async def _put(self, name: str, pool: Pool) -> None:
        self._api.pools[name] = pool

    async def _deploy(self, pool: Pool, revision: Revision) -> None:
        pool.deployment.latest = revision
        await pool.recycle()

    async def _publish(self, pool: Pool, revision: Revision) -> None:
        pool.deployment.published[revision.version] = revision

    async def _point(self, pool: Pool, alias: str, version: str) -> None:
        pool.deployment.aliases[alias] = version

    async def _stop(self) -> None:
        await self._server.stop()
        for pool in self._api.pools.values():
            await pool.stop()
