"""The rig of the operator's commands: it leaves the standard streams to the command line (see `operator_rig.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from operator_rig import OperatedRig


@pytest.fixture
def rig() -> Iterator[OperatedRig]:
    with OperatedRig() as rig:
        yield rig
