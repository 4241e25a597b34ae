"""Random numbers of the system's own."""

import os
import random

import pytest

from hookcache.chance import between, drawn


@pytest.mark.parametrize(
    ("given", "expected"),
    [(bytes(7), 0.0), (b"\xff" * 7, 1 - 2**-53), (b"\x80" + bytes(6), 0.5)],
    ids=["least", "most", "half"],
)
def test_what_is_drawn_is_below_one(given, expected, monkeypatch):
    """P59: a share of 1 checks every hit, one of 0 none."""
    asked = []
    monkeypatch.setattr(os, "urandom", lambda count: asked.append(count) or given)

    assert (expected, [7]) == (drawn(), asked)


def test_two_draws_differ():
    """P59: each hit has its own chance, in environments of one snapshot as well."""
    state = random.getstate()
    drawn_first = {drawn() for _ in range(100)}
    random.setstate(state)

    assert 200 == len(drawn_first | {drawn() for _ in range(100)})


def test_a_seed_repeats_the_pauses():
    """P11: as the schedules of the simulation want it."""
    random.seed(7)
    first = [between(2.0, 5.0) for _ in range(20)]
    random.seed(7)

    assert first == [between(2.0, 5.0) for _ in range(20)]
    assert all(2.0 <= pause <= 5.0 for pause in first)
