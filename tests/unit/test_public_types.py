"""The public types are those that tests/typing/api.py uses."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--config-file",
            "pyproject.toml",
            *map(str, files),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.prove
def test_the_public_types_are_as_pinned():
    """P9: events and answers are whatever JSON holds; a decorated handler keeps its type; backends and clocks are shapes."""
    told = checked(ROOT / "tests" / "typing" / "api.py")

    assert "" == told.stdout
    assert 0 == told.returncode


@pytest.mark.prove
def test_a_wrong_use_is_noticed(tmp_path):
    """P9, control: the checker reads the package's types and not `Any`."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from hookcache.assembly import wrapper\nhook: int = wrapper({})\n")

    assert "Incompatible types" in checked(wrong).stdout
