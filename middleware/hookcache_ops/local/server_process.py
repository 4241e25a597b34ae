"""A server in a process of its own, on a random port of 127.0.0.1, for as long as a `with` block."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

TETHER = Path(__file__).with_name("tether.py")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
STARTS = 3


class StartFailedError(RuntimeError):
    """A server ended or stayed silent instead of answering; the message ends with what it printed."""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """
    A server process that answers HTTP.

    Neither a crash nor SIGKILL of the owner leaves it behind (Linux; elsewhere an orderly end is needed).

    Args:
        name: for messages and threads.
        command: from the port to listen on.
        patience_seconds: until the first answer.
    """

    def __init__(self, name: str, command: Callable[[int], Sequence[str]], patience_seconds: float = 30.0) -> None:
        self.name, self.command, self.patience_seconds = name, command, patience_seconds
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._ended = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def __enter__(self) -> Self:
        for attempt in range(1, STARTS + 1):
            try:
                self._start(free_port())
            except StartFailedError:
                # Between the probe and the start somebody else may have taken the port: then it ended by itself.
                if attempt == STARTS or not self._ended:
                    raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, port: int) -> None:
        with tempfile.TemporaryFile() as output:
            started = threading.Event()
            # The tether is bound to the starting thread, so this one stays until the process has ended.
            self._keeper = threading.Thread(
                target=self._keep, args=(port, output, started), name=f"{self.name}-keeper", daemon=True
            )
            self._keeper.start()
            started.wait()
            answers = False
            try:
                answers = self._answers(port)
            finally:
                self._ended = self._process is None or self._process.returncode is not None
                if not answers:
                    self._stop()
            if not answers:
                output.seek(0)
                printed = output.read().decode("utf-8", "replace").strip()[-2000:]
                how = "ended before it answered" if self._ended else f"was silent for {self.patience_seconds:.0f} s"
                raise StartFailedError(f"{self.name} {how}: {printed}")
        self.url = f"http://127.0.0.1:{port}"

    def _keep(self, port: int, output: IO[bytes], started: threading.Event) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.command(port)],
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            started.set()
        self._process.wait()

    def _answers(self, port: int) -> bool:
        end = time.monotonic() + self.patience_seconds
        while time.monotonic() < end and self._process is not None and self._process.returncode is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/")
                connection.getresponse().read()
                return True  # any status: it is up
            connection.close()
            time.sleep(0.02)
        return False

    def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._keeper is not None:
            self._keeper.join()
