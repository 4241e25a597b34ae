"""G14 for the table of `make prove`; the quick suite plays the same story (`tests/simulation/test_forty_four.py`)."""

from __future__ import annotations

import pytest

from figures import record
from simulation.test_forty_four import PAGES, Story

pytestmark = pytest.mark.prove


def test_the_story_of_the_44_invocations():
    """G14, S38: 5 pages, a backend slower than the host's patience; with the wrapper, and without it as the control."""
    with_us, without = Story(wrapped=True).play(), Story(wrapped=False).play()
    calls, pages = with_us.calls.total(), len(with_us.finished)
    record(
        "G14",
        "5 pages, 75 s backend, host with 60 s timeout",
        "5 backend calls, 5 finished pages",
        f"{calls} calls, {pages} pages",
        met=calls == PAGES == pages,
        note=f"{with_us.invocations} invocations, done after {with_us.done_after:.0f} s of virtual time; without the wrapper {without.calls.total()} calls and {len(without.finished)} pages",
    )

    assert (PAGES, PAGES) == (calls, pages)
    assert 0 == len(without.finished)
    assert without.calls.total() >= 44
