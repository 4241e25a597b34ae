"""G17: the properties of keys and codec and the state machine of the whole hook, with their full budget of examples."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from figures import record

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1_800)]

TESTS = Path(__file__).resolve().parents[1]
TIMES = int(os.environ.get("HOOKCACHE_BUDGET_TIMES", "1"))
"""Ten of them make the nightly run."""
PASSING = re.compile(r"(\d+) passing, 0 failing")


def examples(file: str, each: int) -> list[int]:
    """Run the property tests of a file with so many examples; how many of each property passed, as Hypothesis counts."""
    run = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-p", "prove.thorough", "-m", "not prove", "--hypothesis-show-statistics"),
            *("-k", "not control and not notices", str(TESTS / "property" / file)),
        ],
        cwd=TESTS.parent,
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "HOOKCACHE_PROFILE": "thorough",
            "HOOKCACHE_EXAMPLES": str(each),
        },
        capture_output=True,
        text=True,
    )
    assert 0 == run.returncode, run.stdout[-4_000:]
    sections = re.split(r"^\S+::\S+:$", run.stdout, flags=re.MULTILINE)[1:]
    return [sum(map(int, PASSING.findall(section))) for section in sections if PASSING.search(section)]


@pytest.mark.parametrize(
    ("what", "file", "budget", "properties"),
    [
        ("keys", "test_identity.py", 10_000, 7),
        ("codec", "test_codec.py", 5_000, 6),
        ("state machine of the hook, 50 steps each", "test_hook_machine.py", 300, 1),
    ],
    ids=["keys", "codec", "machine"],
)
def test_the_budget_of_examples(what, file, budget, properties):
    """G17: all pass, and as many as the budget says were really tried."""
    budget *= TIMES
    tried = examples(file, math.ceil(budget / properties))
    record(
        "G17",
        f"examples of {what}",
        f"{budget} without a failure",
        sum(tried),
        "examples",
        met=sum(tried) >= budget,
        note=f"over {len(tried)} properties, {min(tried, default=0)} or more each",
    )

    assert budget <= sum(tried)
