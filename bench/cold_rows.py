"""Cold starts: fresh processes, each timed to its first answer from the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import Row, row
from bench.ours import SETTINGS
from bench.stage import PROJECT, TABLE, Stage


class ColdStarts:
    """Starts that answer `event` with `expected`, which the table holds for every contender."""

    def __init__(self, stage: Stage, event: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        self._stage, self._told = stage, [event, expected, TABLE]
        self._started_again = 0

    def rows(self, rounds: int) -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "event.json")
            file.write_text(json.dumps(self._told), encoding="utf-8")
            taken: dict[str, dict[str, list[float]]] = {kind: {} for kind in ("wall", "cpu", "rss")}
            for _ in range(rounds + 1):
                for name in ("ours", "plain", "limit"):
                    for kind, value in zip(taken, self._started(name, file), strict=True):
                        taken[kind].setdefault(name, []).append(value)
        for kinds in taken.values():
            for values in kinds.values():
                del values[0]  # the first one read the files from disk
        note = "fresh process to the first answer from the table over HTTPS; limit: python, TLS, one unsigned call"
        if self._started_again:
            note += f"; {self._started_again} starts gave no table hit in time and were made again"
        yield row("cold start to first table hit", taken["wall"], "ms", 1.0, note)
        yield row("cold start to first table hit, CPU", taken["cpu"], "ms CPU", 1.0, note)
        yield row("memory after the first table hit", taken["rss"], "MB RSS", 1.0, note)

    def _started(self, name: str, file: Path) -> tuple[float, float, float]:
        """A start that ended in a table hit. On a very busy machine the table's time limit may pass first, and it is a miss."""
        for _ in range(2):
            try:
                return self._start(name, file)
            except RuntimeError:
                self._started_again += 1
        return self._start(name, file)

    def _start(self, name: str, file: Path) -> tuple[float, float, float]:
        program = ["bench.cold_limit"] if name == "limit" else ["bench.cold_start", name, str(file)]
        environ = {**self._stage.tls_environ, **SETTINGS, "PATH": os.environ["PATH"]}
        if name != "plain":  # boto3 reads every public root, ours those of AWS
            environ["AWS_CA_BUNDLE"] = str(self._stage.few_roots)
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *program],
            env=environ,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline()  # type: ignore[union-attr]
        wall = time.perf_counter() - started
        errors = process.stderr.read()  # type: ignore[union-attr]
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not line:
            raise RuntimeError(f"the {name} program failed: {errors.strip().splitlines()[-1:]}")
        return wall * 1000, (used.ru_utime + used.ru_stime) * 1000, json.loads(line)["rss_mb"]
