"""The numbers that promises name in capitals. Other tests take them from the product: here they are held to what was promised."""

import inspect

import pytest

from hookcache import (
    breaker,
    canonical,
    clock,
    codec,
    control,
    entry,
    flight,
    images,
    index,
    items,
    lease,
    memo,
    percall,
    request,
    sealer,
    secret,
    truth,
)
from hookcache.settings import Settings

KB, MB, DAY_SECONDS = 1_024, 1_024**2, 86_400
SETTINGS = Settings(table="")


@pytest.mark.parametrize(
    ("promised", "ours"),
    [
        ({"LEASE": 30}, SETTINGS.lease_seconds),
        ({"BEAT": 10}, lease.LeaseBook(None, None, SETTINGS.lease_seconds).beat_seconds),
        ({"POLL": (0.02, 1)}, (flight.POLL_FIRST_SECONDS, flight.POLL_CAP_SECONDS)),
        ({"SKEW": 2_000}, lease.SKEW_MS),
        ({"WAIT": 45}, SETTINGS.wait_seconds),
        ({"MARGIN": 1}, clock.MARGIN_SECONDS),
        ({"BUDGET": (1, 0.5)}, (items.BUDGET_SECONDS, items.ATTEMPT_SECONDS)),
        ({"BUDGET": 1}, inspect.signature(items.Items).parameters["budget_seconds"].default),
        ({"BUDGET, breaker": (3, 1)}, (breaker.OPENS_AFTER, breaker.PROBE_EVERY_SECONDS)),
        ({"MEMORY": (300, 64 * MB)}, (SETTINGS.memory_seconds, SETTINGS.memory_bytes)),
        ({"fresh": 7 * DAY_SECONDS}, SETTINGS.fresh_seconds),
        ({"REPLAY": (900, 1_024)}, (memo.REPLAY_SECONDS, memo.REPLAY_EVENTS)),
        ({"REFUSAL, NEGATIVE": (60, 60)}, (lease.REFUSAL_SECONDS, lease.NEGATIVE_SECONDS)),
        ({"IDENTITY": (60, 3_600)}, (control.IDENTITY_SECONDS, control.LAST_KNOWN_SECONDS)),
        ({"TOMBSTONE": DAY_SECONDS}, lease.TOMBSTONE_SECONDS),
        ({"INLINE": 350 * KB}, sealer.INLINE_BYTES),
        ({"ANSWER_BYTES, IMAGE_BYTES": (int(5.9 * MB), 20 * MB)}, (entry.ANSWER_BYTES, images.IMAGE_BYTES)),
        ({"events": (64, 1_000, 100)}, (canonical.MAX_DEPTH, request.MAX_BLOCKS, request.MAX_IMAGES)),
        ({"P49": (KB, 6)}, (codec.COMPRESS_FROM_BYTES, codec.ZLIB_LEVEL)),
        ({"P46": 31 * DAY_SECONDS}, index.LONGEST_SECONDS),
        ({"P51": 30 * DAY_SECONDS}, percall.MAX_AGE_LIMIT_SECONDS),
        ({"F30": 60}, secret.RETRY_SECONDS),
        ({"P59": 3_600}, truth.DISTRUST_SECONDS),
    ],
    ids=lambda each: "".join(each) if isinstance(each, dict) else "",
)
def test_a_number_is_the_one_that_was_promised(promised, ours):
    """3.8, P11, P19, P21, P26, P27, P30, P40, P46, P48, P49, P51: seconds and bytes, but for SKEW, which is milliseconds."""
    assert [ours] == list(promised.values())


@pytest.mark.parametrize(("days", "starts"), [(30, True), (31, False)])
def test_no_lifetime_is_longer_than_index_items_stay(days, starts):
    """3.8, P46: an entry that outlived its index items could not be erased by its image."""
    environ = {"HOOKCACHE_TABLE": "table", "HOOKCACHE_SECRET": "s", "HOOKCACHE_FRESH_SECONDS": str(days * DAY_SECONDS)}
    if starts:
        assert index.LONGEST_SECONDS > Settings.of(environ).fresh_seconds
    else:
        with pytest.raises(Exception, match="HOOKCACHE_FRESH_SECONDS"):
            Settings.of(environ)
