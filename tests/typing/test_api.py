"""The public types are pinned: `api.py` is checked, each ignore in it must be needed, and it is never run."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_public_types_are_as_promised():
    """A decorated handler keeps its type, in all spellings; what is no handler is refused by the type checker."""
    command = (sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", f"--cache-dir={os.devnull}", "api.py")
    checked = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=100)

    assert (0, "Success: no issues found in 1 source file\n") == (checked.returncode, checked.stdout)
