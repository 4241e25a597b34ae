"""What a test needs and this machine has not: a skip that says so, and a failure where nothing may be missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """
    The end of a test that cannot run here; HOOKCACHE_REQUIRE_ENGINES=1, as in `make prove`, makes it a failure.

    For what somebody can install. Where there is no release for this system or Python, `pytest.skip` says that.
    """
    if os.environ.get("HOOKCACHE_REQUIRE_ENGINES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def required(path: Path, reason: str) -> Path:
    """`path`, which is there."""
    if not path.exists():
        missing(reason)
    return path
