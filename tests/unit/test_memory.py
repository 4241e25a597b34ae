"""The memory tier: bounded in real bytes, judged by wall clock."""

import json
import sys
import tracemalloc

import pytest

from fakes import START_MS, FakeClock
from hookcache.entry import UNIT_BYTES, Entry
from hookcache.memory import MemoryTier
from hookcache.value import replace

LIFE_SECONDS = 300


def entry(name: str, body: bytes = b"{}") -> Entry:
    return Entry(name.encode(), 1, START_MS, START_MS + 10**9, START_MS + 10**9, body, {"pages": 1}, "OCR", "1", {})


@pytest.fixture
def tier(clock) -> MemoryTier:
    return MemoryTier(1_000_000, LIFE_SECONDS, clock)


def test_what_was_put_is_found(tier):
    """P11, control: the copy, by its own key only."""
    tier.put(entry("a"))

    assert entry("a") == tier.get(b"a")
    assert tier.get(b"b") is None


@pytest.mark.parametrize(("fence", "left"), [(0, b"{}"), (1, None), (2, None)])
def test_a_copy_goes_when_what_replaced_it_has_no_room_here(clock, fence, left):
    """P51: a refreshed answer may be larger than the tier; the older one would be served in its place."""
    tier = MemoryTier(10_000, LIFE_SECONDS, clock)
    tier.put(entry("a"))
    tier.put(replace(entry("a", b"x" * 10_000), fence=fence))
    known = tier.get(b"a")

    assert left == (known.body if known else None)


@pytest.mark.parametrize(("seconds", "found"), [(LIFE_SECONDS - 0.001, True), (LIFE_SECONDS, False), (10**6, False)])
def test_a_copy_lives_at_most_its_time(tier, clock, seconds, found):
    """P11, S32, S33: at most `MEMORY`, to the millisecond."""
    tier.put(entry("a"))
    clock.advance(seconds)

    assert found == (tier.get(b"a") is not None)


def test_a_copy_is_as_old_as_what_it_was_made_of(tier, clock):
    """P11, P13: its life begins when the table was asked, however late the reply was read."""
    tier.put(entry("a"), clock.now_ms() - LIFE_SECONDS * 1_000 + 1)
    assert tier.get(b"a") is not None
    clock.advance(0.001)

    assert tier.get(b"a") is None


def test_a_copy_does_not_outlive_a_freeze(tier, clock):
    """P11, S31, F32: wall time goes on while elapsed time stands still."""
    tier.put(entry("a"))
    clock.freeze(LIFE_SECONDS)

    assert tier.get(b"a") is None


def test_a_monotonic_clock_near_zero_changes_nothing():
    """P11, S31: as on a cold start; the control is a tier that would add its time to `elapsed`."""
    clock = FakeClock(elapsed=0.0)
    tier = MemoryTier(1_000_000, LIFE_SECONDS, clock)
    tier.put(entry("a"))

    assert tier.get(b"a") is not None


def test_a_wall_clock_set_back_ends_a_copy(tier, clock):
    """P11, F31: a copy that seems to end later than any copy may says nothing about its age."""
    tier.put(entry("a"))
    clock.set_back(3_600)

    assert tier.get(b"a") is None


def test_an_ended_copy_is_dropped(tier, clock):
    """P30: it holds no memory once it was looked for."""
    tier.put(entry("a"))
    clock.advance(LIFE_SECONDS)
    tier.get(b"a")

    assert 0 == tier.held_bytes


def test_bytes_are_bounded(clock):
    """P30, S44: whatever is put, the tier holds no more than it may, and the latest stays."""
    tier = MemoryTier(50_000, LIFE_SECONDS, clock)
    for number in range(100):
        tier.put(entry(str(number), b"x" * 3_000))
        assert tier.held_bytes <= 50_000

    assert tier.get(b"99") is not None
    assert tier.get(b"0") is None


def test_the_least_recently_used_goes_first(clock):
    """P30: what is asked for stays."""
    size = MemoryTier(10**6, 1, clock)
    size.put(entry("a", b"x" * 1000))
    tier = MemoryTier(size.held_bytes * 2 + 10, LIFE_SECONDS, clock)
    for name in "ab":
        tier.put(entry(name, b"x" * 1000))
    tier.get(b"a")
    tier.put(entry("c", b"x" * 1000))

    assert [True, False, True] == [tier.get(name) is not None for name in (b"a", b"b", b"c")]


def test_an_entry_larger_than_the_tier_is_not_kept(clock):
    """P30, S43: no exception either; what was there stays."""
    tier = MemoryTier(5_000, LIFE_SECONDS, clock)
    tier.put(entry("a"))
    tier.put(entry("b", b"x" * 5_000))

    assert (True, False) == (tier.get(b"a") is not None, tier.get(b"b") is not None)


def test_an_entry_that_fills_the_tier_to_its_bound_is_kept(clock):
    """P30: the bound itself may be reached; with a byte less there is no room."""
    size = held_by(entry("a", b"x" * 1000), clock)
    for room, kept in ((size, True), (size - 1, False)):
        tier = MemoryTier(room, LIFE_SECONDS, clock)
        tier.put(entry("a", b"x" * 1000))

        assert kept == (tier.get(b"a") is not None)


def test_an_entry_is_spelt_quickly_once(tier, monkeypatch):
    """P11: from the second time it is asked for on it is given as it lies."""
    spelt = []
    quicken = Entry.quickened
    monkeypatch.setattr(Entry, "quickened", lambda entry: spelt.append(entry.key) or quicken(entry))
    tier.put(entry("a"))
    told = [tier.get(b"a").response() for _ in range(3)]

    assert ([b"a"], [{}] * 3) == (spelt, told)


def test_a_copy_put_again_counts_once(tier):
    """P30: its size is not added up."""
    tier.put(entry("a"))
    once = tier.held_bytes
    tier.put(entry("a"))

    assert once == tier.held_bytes


def test_a_dropped_copy_is_gone(tier):
    """P13: and dropping one that is not there is no error."""
    tier.put(entry("a"))
    tier.drop(b"a")
    tier.drop(b"a")

    assert tier.get(b"a") is None


@pytest.mark.parametrize(
    ("named", "price", "most"),
    [(3, None, 1.5), (3, "0.0041600", 1.5), (0, None, 1.8)],
    ids=["unpriced", "priced", "nothing but the tier's own"],
)
def test_the_size_that_is_counted_is_the_real_one(clock, named, price, most):
    """P30, S44: a guard that measures the wrong thing never fires; tracemalloc is the judge. Never less is counted than is held."""
    tier = MemoryTier(10**9, LIFE_SECONDS, clock)
    usage = {f"unit{number}": 1.5 for number in range(named)}
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2_000):
        body = bytes(bytearray(500 if named else 20))
        units = {str(unit) + str(number): 1.5 * number for unit in usage}
        cost = {unit: price + str(number) for unit in units} if price else {}
        names = ("fence", "created_ms", "fresh_until_ms", "hard_until_ms")
        times = {name: START_MS + 10 * number + at for at, name in enumerate(names)}  # objects of its own, as read back
        tier.put(replace(entry(str(number), body), usage=units, cost=cost, **times))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert 1 <= tier.held_bytes / held <= most


def held_by(kept, clock) -> int:
    tier = MemoryTier(10**9, LIFE_SECONDS, clock)
    tier.put(kept)
    return tier.held_bytes


def test_all_of_an_entry_counts_as_held(clock):
    """P30, S44: body and usage; what they add is at least their content, a unit's price among it."""
    bare = replace(entry("a"), usage={})
    used = replace(bare, usage={"pages": 1, "inputTokens": 1500})

    assert held_by(replace(bare, body=bare.body + b"x" * 1_000), clock) == held_by(bare, clock) + 1_000
    assert held_by(used, clock) - held_by(bare, clock) > 2 * UNIT_BYTES


def test_what_an_entry_holds_is_what_its_receipt_tells(clock):
    """P11, P30: prices, digests of its request, and what a first hit worked out, put no other entry out of memory."""
    bare = replace(entry("a"), usage={"pages": 1}, cost={}, origin=())
    priced = replace(bare, cost={"pages": "0.0041600"}, origin=(bytes(32),))
    priced.saved()

    assert held_by(bare, clock) == held_by(priced, clock)


def test_the_length_of_the_body_alone_would_be_too_little(clock):
    """S44, control: the objects around a small body are larger than the body."""
    small = entry("a")

    assert held_by(small, clock) > sys.getsizeof(small.body) + 200


ANSWER = b'{"usage": {"pages": 1}, "text": "caf\\u00e9 \\ud83d", "n": [1, 1.0, true, null, -0.0, 12345678901234567890]}'


class TestAskedForAgain:
    """What is asked for once is spelt for the next time, and says the same."""

    @pytest.mark.parametrize("body", [ANSWER.replace(b" \\ud83d", b""), ANSWER, b"[1, 2, 3]", b"no JSON", b"{}"])
    def test_every_hit_gives_the_same_answer(self, tier, body):
        """P8, P9: values, types and order; each time anew, of the length that was received."""
        tier.put(entry("a", body))
        found = [tier.get(b"a") for _ in range(3)]

        assert 1 == len({each.as_json() if body == b"no JSON" else repr(json.loads(each.as_json())) for each in found})
        assert [len(body)] * 3 == [each.body_bytes() for each in found]
        if body != b"no JSON":
            assert [repr(json.loads(body))] * 3 == [repr(each.response()) for each in found]
            assert found[2].response() is not found[2].response()

    def test_the_second_is_spelt_for_python(self, tier):
        """G1: control: else nothing would be gained; and it takes no more room."""
        body = ANSWER.replace(b" \\ud83d", b"")
        tier.put(entry("a", body))
        first, second = tier.get(b"a"), tier.get(b"a")

        assert (body, True) == (first.body, second.body != body)
        assert len(second.body) <= len(body)
        assert second is tier.get(b"a")
        assert first.held_bytes() == second.held_bytes()

    def test_its_time_does_not_begin_anew(self, tier, clock):
        """P11: who asks does not lengthen a copy's life."""
        tier.put(entry("a", ANSWER))
        clock.advance(LIFE_SECONDS - 0.001)
        assert tier.get(b"a") is not None
        clock.advance(0.001)

        assert tier.get(b"a") is None

    def test_all_else_of_an_entry_stays(self, tier):
        """P55: its times, units and prices."""
        kept = entry("a", ANSWER.replace(b" \\ud83d", b""))
        tier.put(kept)
        tier.get(b"a")
        again = tier.get(b"a")

        assert kept == replace(again, body=kept.body, received_bytes=None)
        assert kept.saved() == again.saved()

    def test_half_a_character_stays_as_it_was_received(self, tier):
        """B15: what not every runtime can post is judged by its bytes (postable.py)."""
        tier.put(entry("a", ANSWER))

        assert [ANSWER] * 2 == [tier.get(b"a").body for _ in range(2)]
        assert tier.get(b"a").may_be_unpostable()

    def test_an_answer_that_would_grow_stays(self, tier):
        """P30, S44: small numbers take more room in Python's spelling than in JSON."""
        body = b"[" + b",".join([b"1"] * 500) + b"]"
        tier.put(entry("a", body))

        assert [body] * 2 == [tier.get(b"a").body for _ in range(2)]

    def test_bytes_of_a_number_are_no_half_a_character(self, tier):
        """B15: in Python's spelling 41,197 is ED A0 00 00; what is posted is the answer, and that is plain."""
        body = b'{"n": 41197, "text": "caf\\u00e9, caf\\u00e9, caf\\u00e9"}'
        tier.put(entry("a", body))
        tier.get(b"a")
        again = tier.get(b"a")

        assert b"\xed\xa0" in again.body
        assert not again.may_be_unpostable()

    def test_a_copy_that_is_replaced_meanwhile_stays_replaced(self, tier, monkeypatch):
        """P13, P25: a newer answer that comes while the older one is spelt anew is not put back by it."""
        older, newer = entry("a", b'{"text": "the older answer"}'), entry("a", b'{"text": "the newer answer"}')
        spell = Entry.quickened

        def meanwhile(self: Entry) -> Entry:
            tier.put(newer)
            return spell(self)

        tier.put(older)
        with monkeypatch.context() as patched:
            patched.setattr(Entry, "quickened", meanwhile)
            tier.get(b"a")

        assert newer.response() == tier.get(b"a").response()
