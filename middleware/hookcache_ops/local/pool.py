"""The environments of one function: warm ones are used again, new ones started up to the function's concurrency."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from hookcache_ops.local.function import Deployment, Revision
from hookcache_ops.local.invocation import Failure, Invocation
from hookcache_ops.local.log import FunctionLog
from hookcache_ops.local.runtime_api import Environment, EnvironmentGone

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "LOCALACCESSKEY", "AWS_SECRET_ACCESS_KEY": "LOCALSECRETKEY"}


def variables(revision: Revision, region: str, shared: Mapping[str, str], sources: tuple[str, ...]) -> dict[str, str]:
    """
    The variables of a runtime process, as AWS sets them; nothing of the owner's own environment but PATH.

    Order: what the service says, then the function's own, then what AWS reserves for itself.
    """
    function = revision.function
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join((str(function.folder), *sources)),
        **CREDENTIALS,
        **shared,
        **function.environment,
        "_HANDLER": function.handler,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": revision.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[{revision.version}]{os.urandom(8).hex()}",
        "LAMBDA_TASK_ROOT": str(function.folder),
    }


@dataclass(slots=True)
class Pool:
    """
    A deployed function with its environments.

    An environment is free again as soon as its runtime has answered: an invocation given to it then is taken up at
    the runtime's next poll, so that a caller who calls again at once finds it warm.
    """

    deployment: Deployment
    log: FunctionLog
    region: str
    shared: Mapping[str, str]
    sources: tuple[str, ...]
    cold_starts: int = 0
    _idle: list[Environment] = field(default_factory=list)
    _all: set[Environment] = field(default_factory=set)
    _running: int = 0
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def concurrency(self) -> int:
        return self.deployment.latest.function.concurrency

    def invoke(self, revision: Revision, invocation: Invocation) -> bool:
        """Begin the invocation; False where the function's concurrency is used up."""
        if self._running >= self.concurrency:
            return False
        self._running += 1
        self._keep(self._run(revision, invocation))
        return True

    async def invoke_later(self, revision: Revision, invocation: Invocation) -> None:
        """Begin the invocation as soon as there is room for it, as Lambda's own queue of events does."""
        while not self.invoke(revision, invocation):
            self._freed.clear()
            await self._freed.wait()

    def queue(self, revision: Revision, invocation: Invocation) -> None:
        """Begin the invocation now or later; nobody waits for its answer."""
        self._keep(self.invoke_later(revision, invocation))

    def pids(self) -> tuple[int, ...]:
        """Processes of the living environments, oldest first."""
        return tuple(sorted(environment.pid for environment in self._all if environment.alive))

    async def kill(self) -> None:
        """Kill every environment; an invocation under way ends as Runtime.ExitError, the next one starts cold."""
        self._idle.clear()
        await asyncio.gather(*(environment.stop() for environment in tuple(self._all)))
        self._all = {environment for environment in self._all if environment.alive}

    async def recycle(self) -> None:
        """Stop idle environments of a revision that is no longer deployed; busy ones follow when they end."""
        outdated = [environment for environment in self._idle if not self._is_current(environment)]
        self._idle = [environment for environment in self._idle if self._is_current(environment)]
        self._all.difference_update(outdated)
        await asyncio.gather(*(environment.stop() for environment in outdated))

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.kill()
        self.log.close()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_current(self, environment: Environment) -> bool:
        deployed = (self.deployment.latest, *self.deployment.published.values())
        return any(environment.revision is revision for revision in deployed)

    async def _run(self, revision: Revision, invocation: Invocation) -> None:
        try:
            while True:
                environment = self._warm(revision) or await self._start(revision)
                try:
                    await environment.run(invocation)
                except EnvironmentGone:
                    self._drop(environment)
                    continue
                self._release(environment)
                return
        except OSError as error:  # the command cannot be started
            message = f"RequestId: {invocation.request_id} Error: {error}"
            invocation.events.put_nowait(Failure.of("Runtime.InvalidEntrypoint", message))
        finally:
            self._running -= 1
            self._freed.set()

    def _warm(self, revision: Revision) -> Environment | None:
        for environment in [one for one in self._idle if not one.alive]:
            self._idle.remove(environment)
            self._drop(environment)
        # The most recently used first: a sequential caller meets one environment, as on AWS.
        for environment in reversed(self._idle):
            if environment.revision is revision:
                self._idle.remove(environment)
                return environment
        return None

    async def _start(self, revision: Revision) -> Environment:
        environment = Environment(revision, variables(revision, self.region, self.shared, self.sources), self.log)
        await environment.start()
        self._all.add(environment)
        self.cold_starts += 1
        return environment

    def _release(self, environment: Environment) -> None:
        if environment.alive and self._is_current(environment):
            self._idle.append(environment)
        else:
            self._drop(environment)

    def _drop(self, environment: Environment) -> None:
        """Forget an environment and free what it still holds, without waiting for that."""
        self._all.discard(environment)
        self._keep(environment.stop())
