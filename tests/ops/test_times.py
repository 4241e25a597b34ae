"""Times as commands read and spell them: one way for all of them."""

import time

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


@pytest.mark.parametrize(
    ("text", "ago_ms"),
    [("90s", 90_000), ("5m", 300_000), ("2h", 7_200_000), ("3d", 3 * 86_400_000), ("2w", 14 * 86_400_000)],
)
def test_a_time_ago_is_counted_from_now(text, ago_ms):
    """P44: a week is seven days."""
    assert MOMENT_MS - ago_ms == moment_ms(text, MOMENT_MS)


@pytest.mark.parametrize("text", ["99999w", "1960-01-01"])
def test_what_lies_before_the_epoch_is_the_epoch(text):
    assert 0 == moment_ms(text, MOMENT_MS)


@pytest.fixture
def far_west(monkeypatch):
    """A shell whose clock is ten hours behind UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "HST10")
        time.tzset()
        yield
    time.tzset()


def test_a_time_without_an_offset_is_utc_wherever_it_is_typed(far_west):
    """P44, P31: as receipts, orders and the console have it: an invalidation must not miss ten hours of answers."""
    assert MOMENT_MS == told_ms("2026-11-01T08:00") == moment_ms("2026-11-01T08:00", 0)


def test_a_time_is_spelt_as_it_may_be_typed():
    assert "2026-11-01T08:00:00Z" == spelt(MOMENT_MS)
    assert MOMENT_MS == moment_ms(spelt(MOMENT_MS), 0)
