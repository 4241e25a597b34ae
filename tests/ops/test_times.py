"""Times as commands read and spell them: one way for all of them."""

import pytest

from hookcache_ops.times import moment_ms, spelt, told_ms

MOMENT_MS = 1_793_520_000_000


@pytest.mark.parametrize(
    "told",
    [
        *("2026-11-01T08:00", "2026-11-01T08:00Z", "2026-11-01T10:00+02:00", "2026-11-01T08:00:00.000Z"),
        *(1_793_520_000_000, 1_793_520_000, 1_793_520_000.0),
    ],
)
def test_a_time_in_a_file_is_iso_8601_or_an_epoch_in_seconds_or_milliseconds(told):
    assert MOMENT_MS == told_ms(told)


@pytest.mark.parametrize("told", ["soon", "", None, True, [], float("nan"), float("inf")])
def test_what_is_no_time_is_refused(told):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        told_ms(told)


@pytest.mark.parametrize(("text", "expected"), [("90s", MOMENT_MS - 90_000), ("99999w", 0), ("1960-01-01", 0)])
def test_a_time_ago_is_counted_from_now_and_ends_at_the_epoch(text, expected):
    assert expected == moment_ms(text, MOMENT_MS)


def test_a_time_is_spelt_as_it_may_be_typed():
    assert "2026-11-01T08:00:00Z" == spelt(MOMENT_MS)
    assert MOMENT_MS == moment_ms(spelt(MOMENT_MS), 0)
