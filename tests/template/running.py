"""A command that a test needs to succeed."""

from __future__ import annotations

import subprocess
from typing import Any


def output_of(*command: Any, **options: Any) -> str:
    """What it printed; where it failed, the test fails with all that it said. `options` are those of `subprocess.run`."""
    run = subprocess.run(command, **options, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
