"""The process of one execution environment: how it starts, what it prints, how it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from hookcache_ops.local.log import LineBuffer

TETHER = Path(__file__).with_name("tether.py")


@dataclass(slots=True, eq=False)
class RuntimeProcess:
    """
    A process whose output goes line by line to `write`, on the event loop's own thread.

    `gone` is set when it has ended and all its output has been written.
    """

    write: Callable[[str], None]
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None
    _pipes: dict[int, LineBuffer] = field(default_factory=dict)
    _watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        """Start the command in `folder` with nothing but `variables`, tethered to this thread."""
        # Two pipes, so that a warning on one stream cannot land in the middle of a receipt on the other.
        out, err = self._open_pipe(), self._open_pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command),
                cwd=folder,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # a Ctrl-C in the owner's terminal is the owner's to handle
            )
        except OSError:
            self._close_pipes()
            raise
        finally:
            os.close(out)
            os.close(err)
        self._watch = asyncio.create_task(self._until_exit(self._process))

    async def stop(self) -> None:
        """Kill the process with all its children, and return when it is gone."""
        if self._process is not None:
            # The group may be gone already, or consist of processes that changed their owner.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._watch is not None:
            await asyncio.shield(self._watch)

    def collect(self) -> None:
        """Write out all that the process has printed so far."""
        for pipe in tuple(self._pipes):
            self._read(pipe)
        for buffer in self._pipes.values():
            buffer.flush()

    def peak_mb(self) -> int:
        """Largest resident size so far, in MB; 0 where the system does not tell."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return ceil(int(line.split()[1]) / 1024)
        return 0

    def how_it_ended(self) -> str:
        """Exit status or signal, in Lambda's words."""
        code = self._process.returncode if self._process else None
        killed_by = signal.strsignal(-code) if code is not None and code < 0 else None
        return f"signal: {killed_by.lower()}" if killed_by else f"exit status {code}"

    def _open_pipe(self) -> int:
        """A pipe whose lines are written out; the end to print on."""
        # Not asyncio's own pipes: what was printed before an answer must be readable once the answer is here.
        read, write = os.pipe()
        os.set_blocking(read, False)
        self._pipes[read] = LineBuffer(self.write)
        asyncio.get_running_loop().add_reader(read, self._read, read)
        return write

    def _read(self, pipe: int) -> None:
        with suppress(BlockingIOError):
            while data := os.read(pipe, 1 << 16):
                self._pipes[pipe].feed(data)
            self._close_pipe(pipe)

    def _close_pipe(self, pipe: int) -> None:
        self._pipes.pop(pipe).flush()
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    def _close_pipes(self) -> None:
        for pipe in tuple(self._pipes):
            self._close_pipe(pipe)

    async def _until_exit(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.collect()
        self._close_pipes()  # still open where the runtime's own children hold the other end
        self.gone.set()
