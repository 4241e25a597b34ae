"""The replay memo: what came of an event is good for that event alone, for a while, and names nothing twice."""

import contextlib
import json
import os
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, lists, sampled_from, tuples

import hookcache.cache
import hookcache.memo
from fakes import BUCKET, FakeClock, answer, extraction_event, ocr_event
from hookcache.control import IDENTITY_SECONDS
from hookcache.errors import Unkeyable
from hookcache.images import ImageDigest
from hookcache.memo import (
    LONGEST_BYTES,
    REPLAY_BYTES,
    REPLAY_EVENTS,
    REPLAY_SECONDS,
    ReplayMemo,
    Spelling,
    event_of,
    spelling,
)
from hookcache.policy import Rules
from hookcache.receipt import Receipt
from hookcache.request import HookRequest, ImageRef
from property.requests import events, values

ONCE = ImageRef(f"s3://{BUCKET}/temp/lambdahook/{'0' * 32}.jpeg", None)
DIGEST = ImageDigest(b"\x01" * 32, 7, "etag", "version")
ORIGIN = (b"form" * 8,)

SPELT = Spelling(b"spelt")
LONG = bytes(range(200)) * 20
ALIKE = [
    Spelling(word)
    for word in (LONG, LONG[:1] + b"?" + LONG[2:], b"?" + LONG[1:], LONG[:-1], hookcache.memo._marks(LONG), b"")
]
EVENT = extraction_event()


def text_of(event: dict) -> str:
    return event["messages"][0]["content"][0]["text"]


def asking(text: str) -> dict:
    return {**EVENT, "messages": [{"role": "user", "content": [{"text": text}]}]}


def spelt(value: object) -> bytes:
    return spelling({**EVENT, "value": value})


def request(*images: ImageRef) -> HookRequest:
    return HookRequest({}, "OCR", 0.0, None, images)


@pytest.fixture
def memo(clock) -> ReplayMemo:
    return ReplayMemo(clock)


class TestSpelling:
    """Two events are spelt alike exactly if they are the same, to the type of a number and the order of members."""

    @given(values, values)
    def test_different_values_are_spelt_differently(self, one, other):
        """P2, P5: `1`, `1.0`, `-0.0` and `true` are one to Python and four here; what `repr` tells apart is apart."""
        assert (repr(one) == repr(other)) == (spelt(one) == spelt(other))

    @given(events())
    def test_an_event_that_is_received_again_is_spelt_as_before(self, event):
        """P53: whoever else holds parts of it; the host's retry is parsed from the same bytes."""
        received = json.dumps(event)
        first, again = json.loads(received), json.loads(received)
        held = [first["messages"], first["system"], first["context"]]

        assert spelling(first) == spelling(again)
        assert held

    def test_control_pythons_own_equality_takes_two_requests_for_one(self):
        """P2, control: so a dictionary of events would."""
        assert {"topK": 1} == {"topK": True} == {"topK": 1.0}

    @pytest.mark.parametrize(
        "event",
        [
            object(),
            {**EVENT, "a": {1}.__iter__()},
            {**EVENT, "a": "x" * LONGEST_BYTES},
            asking("x" * (LONGEST_BYTES + 1)),
            {**EVENT, "messages": [{"content": [{"text": 1}]}]},
            {**EVENT, "messages": []},
            {},
            None,
        ],
        ids=[
            "no JSON",
            "an iterator",
            "a long member",
            "a long text",
            "a number as text",
            "no message",
            "empty",
            "null",
        ],
    )
    def test_what_is_not_remembered_has_none(self, event):
        """P30, B7: it is worked out each time."""
        assert spelling(event) is None

    def test_a_hundred_thousand_levels_are_no_crash(self):
        """B6: nor the end of the process."""
        deep: list = []
        for _ in range(100_000):
            deep = [deep]

        assert spelling({**EVENT, "deep": deep}) is None

    def test_half_a_character_is_spelt(self):
        """B15: and in a way of its own."""
        assert len({spelt("\ud83d"), spelt("?")}) == 2

    def test_a_long_text_is_not_even_spelt(self, monkeypatch):
        """B7, G11: a copy of megabytes that nobody needs."""
        monkeypatch.setattr(hookcache.memo, "marshal", None)

        assert spelling(asking("x" * (LONGEST_BYTES + 1))) is None

    def test_what_was_spelt_stays_as_it_was(self):
        """P5: whatever its owner does to the event."""
        event = asking("one")
        then = spelling(event)
        event["messages"][0]["content"][0]["text"] = "two"

        assert asking("one") == event_of(then)


class TestRemembering:
    """What is recalled is what was remembered, and no longer than it may be."""

    def test_what_was_remembered_is_recalled(self, memo):
        """P5: with the event that came now, not the one that was remembered."""
        memo.remember(SPELT, request(ONCE), (DIGEST,), ORIGIN)
        known = memo.recall(SPELT)

        assert ((DIGEST,), ORIGIN) == (known.digests, known.origin)
        assert ("OCR", 0.0, None) == (known.context, known.temperature, known.max_tokens)
        assert memo.recall(Spelling(b"other")) is None

    @pytest.mark.parametrize(
        ("seconds", "found"), [(REPLAY_SECONDS - 0.001, True), (REPLAY_SECONDS, False), (-0.001, False)]
    )
    def test_it_is_forgotten_by_wall_clock(self, memo, clock, seconds, found):
        """P11, F31: to the millisecond; and a clock that was set back says nothing."""
        memo.remember(SPELT, request(), (), ORIGIN)
        clock.advance(seconds) if seconds > 0 else clock.set_back(-seconds)

        assert found == (memo.recall(SPELT) is not None)

    @pytest.mark.parametrize(
        "uri",
        [
            f"s3://{BUCKET}/temp/lambdahook/page-1.jpeg",
            f"s3://{BUCKET}/temp/other/{'0' * 32}.jpeg",
            f"s3://{BUCKET}/temp/lambdahook/{'0' * 32}.jpeg/more",
            f"s3://{BUCKET}/temp/lambdahook/{'0' * 31}.jpeg",
        ],
    )
    def test_an_image_that_may_be_written_again_is_not_remembered(self, memo, uri):
        """P4, S7: the host writes its own names once; any other object may change between two equal events."""
        memo.remember(SPELT, request(ONCE, ImageRef(uri, None)), (DIGEST, DIGEST), ORIGIN)

        assert memo.recall(SPELT) is None

    @pytest.mark.parametrize("marks", [hookcache.memo._marks, lambda _: b"all alike"])
    @given(steps=lists(tuples(booleans(), sampled_from(ALIKE))))
    def test_events_that_look_alike_are_told_apart(self, marks, steps):
        """P1: that differ in one byte, where they are marked or not, in their length, or by being another's marks."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hookcache.memo, "_marks", marks)
            memo, oracle = ReplayMemo(FakeClock()), {}
            for number, (remembers, event) in enumerate(steps):
                if remembers:
                    oracle[event] = (b"%d" % number,)
                    memo.remember(event, request(), (), oracle[event])
                known = memo.recall(event)
                assert oracle.get(event) == (known and known.origin)

    def test_a_long_event_is_found_without_hashing_all_of_it(self, memo):
        """P5: that took longer than all else that finds it."""

        class Unhashed(bytes):
            __hash__ = None

        memo.remember(Unhashed(LONG), request(), (), ORIGIN)

        assert memo.recall(Unhashed(LONG)) is not None

    def test_it_is_bounded(self, memo):
        """P30: the least recently used goes first."""
        for number in range(REPLAY_EVENTS + 1):
            memo.remember(Spelling(b"%d" % number), request(), (), ORIGIN)
            memo.recall(Spelling(b"0"))

        assert (True, False) == tuple(memo.recall(Spelling(name)) is not None for name in (b"0", b"1"))

    @pytest.mark.parametrize(("images", "name_bytes"), [(0, 0), (1, 16), (100, 16), (100, 512)])
    @pytest.mark.parametrize("length", [10, 8_000, 20_000, LONGEST_BYTES])
    def test_it_is_bounded_in_real_bytes(self, memo, length, images, name_bytes):
        """P30: what it counts is what it takes, of short events and long ones, without images and with many; S3's own names
        of a version may have a thousand bytes."""
        taken_bytes = length + images * (64 + 2 * name_bytes)  # by one event, at the least
        full_twice = 2 * REPLAY_BYTES // taken_bytes
        tracemalloc.start()
        try:
            for _ in range(min(REPLAY_EVENTS + 1, full_twice)):
                digests = tuple(
                    ImageDigest(os.urandom(32), 10**6, f'"{os.urandom(16).hex()}"', os.urandom(name_bytes).hex())
                    for _ in range(images)
                )
                origin = (os.urandom(32), *[digest.sha256 for digest in digests])
                memo.remember(Spelling(os.urandom(length)), request(*[ONCE] * images), digests, origin)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert 0 < held <= REPLAY_BYTES

    def test_what_is_over_is_gone(self, memo, clock):
        """P30: it holds no memory once it was looked for."""
        memo.remember(SPELT, request(), (), ORIGIN)
        clock.advance(REPLAY_SECONDS)
        memo.recall(SPELT)

        assert 0 == len(memo._known)

    def test_no_text_of_a_request_is_held(self, memo):
        """P30, P36: beside the spelling, which counts. An owner may be a megabyte of anything."""
        memo.remember(SPELT, request(ImageRef(ONCE.uri, "owner" * 10_000)), (DIGEST,), ORIGIN)

        assert "owner" not in repr(memo.recall(SPELT))


class TestOnThePath:
    """The memo spares work and changes no answer."""

    def test_a_text_that_is_sent_again_is_not_worked_out_again(self, rig, monkeypatch):
        """P5: the same key, made of the same digests; control: another text is."""
        worked_out = []
        spell = hookcache.cache.canonical_pieces
        monkeypatch.setattr(hookcache.cache, "canonical_pieces", lambda *given: worked_out.append(1) or spell(*given))
        asked = [extraction_event(), extraction_event(), extraction_event()]
        asked[2]["messages"][0]["content"][0]["text"] += "."
        for event in asked:
            rig.call(event)

        assert ["miss", "hit_memory", "miss"] == rig.outcomes
        assert [1, 1] == worked_out

    def test_members_in_another_order_share_the_answer_all_the_same(self, rig):
        """E1: spelt otherwise, and the same key."""
        event = extraction_event()
        rig.call(event)
        rig.call(dict(reversed(event.items())))

        assert ["miss", "hit_memory"] == rig.outcomes

    def test_true_is_not_one(self, rig):
        """P2: a control for a memo that follows Python's equality, on the whole path."""
        for number in (1, True, 1.0):
            event = extraction_event()
            event["inferenceConfig"]["topK"] = number
            rig.call(event)

        assert ["miss", "miss", "hit_memory"] == rig.outcomes

    def test_an_order_is_obeyed_for_a_remembered_event(self, rig):
        """P44: what is remembered says nothing of generation, identity or modes."""
        rig.call(extraction_event())
        rig.first.cache.control.amend(lambda orders: orders.with_generation("other"))
        rig.clock.advance(IDENTITY_SECONDS)
        rig.call(extraction_event())

        assert ["miss", "miss"] == rig.outcomes

    @pytest.mark.parametrize("seen", [False, True], ids=["first sight", "its image was written again"])
    def test_an_event_that_is_changed_meanwhile_is_asked_and_kept_as_it_was(self, rig, seen):
        """P1, P5: a caller that gave up may use its event again, while an image is still read."""
        uri = rig.image(b"page", name=f"temp/lambdahook/{'a' * 32}.jpeg")
        event = ocr_event(uri, text="Question A")
        honest = json.loads(json.dumps(event))
        if seen:
            rig.call(honest)
            rig.image(b"another page", name=f"temp/lambdahook/{'a' * 32}.jpeg")

        def change(operation: str, _: object) -> None:
            if operation == "get_object":
                event["messages"][0]["content"][0]["text"] = "Question B"

        rig.s3.before = change
        rig.call(event)
        rig.s3.before = lambda *_: None
        rig.call(honest)

        assert ({text_of(honest)}, "hit_memory") == (set(map(text_of, rig.backend.calls)), rig.last["outcome"])

        rig.call(json.loads(json.dumps(event)))
        assert ("Question B", "miss") == (text_of(rig.backend.calls[-1]), rig.last["outcome"])

    def test_a_remembered_event_that_is_changed_meanwhile_is_asked_as_it_was(self, rig):
        """P1, P5: the same while the table is asked, where nothing had to be worked out."""
        event = extraction_event()
        honest = json.loads(json.dumps(event))
        rig.backend.replies = [answer("{}", "max_tokens")]
        rig.call(honest)  # remembered, and its answer not kept
        rig.clock.advance(61)  # past the refusal

        def change(*_: object) -> None:
            event["messages"][0]["content"][0]["text"] = "Question B"

        rig.dynamodb.before = change
        rig.call(event)
        rig.dynamodb.before = lambda *_: None
        rig.call(honest)

        assert ({text_of(honest)}, "hit_memory") == (set(map(text_of, rig.backend.calls)), rig.last["outcome"])

    def test_a_remembered_event_that_is_changed_meanwhile_is_traced_as_it_was(self, make_rig):
        """P58, P5: requests of one key have one trace, also where nothing had to be worked out."""
        rig = make_rig(HOOKCACHE_POLICY='{"*": {"trace": true}}')
        event = extraction_event()
        rig.call(json.loads(json.dumps(event)))
        first = rig.last
        rig.clock.advance(IDENTITY_SECONDS)

        def change(*_: object) -> None:
            event["messages"][0]["content"][0]["text"] = "Question B"

        rig.dynamodb.before = change  # the orders are read again, once the event is spelt
        rig.call(event)

        assert "Question B" == text_of(event)
        assert (first["key_id"], "hit_memory") == (rig.last["key_id"], rig.last["outcome"])
        assert first["components"] == rig.last["components"]

    def test_bytes_that_look_like_a_number_are_no_number(self, rig):
        """P2, P16: what has a buffer is spelt as bytes; it gets no key, whoever was there first."""

        class Float(float):
            """From Python 3.12 on such a class may say how its bytes look; NumPy's numbers do so anywhere."""

            def __buffer__(self, _: int) -> memoryview:
                return memoryview(bytes(8))

        keys = []
        for number in (Float(0.5), Float(0.25), bytes(8), bytearray(8)):
            event = extraction_event()
            event["inferenceConfig"]["topK"] = number
            with contextlib.suppress(Unkeyable):
                keys.append(rig.first.cache.prepare(event, None, Rules(), Receipt("Extraction", "f", "1")).key)

        assert len(keys) == len(set(keys))
        assert len(keys) == (2 if sys.version_info < (3, 12) else 0)

    def test_a_retry_reads_no_image_and_says_so(self, rig):
        """3.6: the host's retry is the same event; S3 is asked for the version only."""
        event = ocr_event(rig.image(b"page"))
        rig.call(event)
        reads = rig.s3.count("get_object")
        rig.call(json.loads(json.dumps(event)))

        assert ["miss", "hit_memory"] == rig.outcomes
        assert rig.last["replay"] is True
        assert reads == rig.s3.count("get_object")

    def test_an_image_that_was_written_again_is_read_again(self, rig):
        """P4, P15, docs/adr/0009: by whomever; and the answer to the old picture is not served."""
        uri = rig.image(b"page", name=f"temp/lambdahook/{'a' * 32}.jpeg")
        event = ocr_event(uri)
        rig.call(event)
        rig.image(b"another", name=f"temp/lambdahook/{'a' * 32}.jpeg")
        rig.call(json.loads(json.dumps(event)))

        assert ["miss", "miss"] == rig.outcomes
        assert "replay" not in rig.last
