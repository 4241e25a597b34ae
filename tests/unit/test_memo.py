"""The replay memo: what came of an event is good for that event alone, for a while, and names nothing twice."""

import json

import pytest
from hypothesis import given

import hookcache.cache
from fakes import BUCKET, extraction_event, ocr_event
from hookcache.control import IDENTITY_SECONDS
from hookcache.images import ImageDigest
from hookcache.memo import LONGEST_BYTES, REPLAY_EVENTS, REPLAY_SECONDS, ReplayMemo
from hookcache.request import HookRequest, ImageRef
from property.requests import events, values

ONCE = ImageRef(f"s3://{BUCKET}/temp/lambdahook/{'0' * 32}.jpeg", None)
DIGEST = ImageDigest(b"\x01" * 32, 7, "etag", "version")
ORIGIN = (b"form" * 8,)


def request(*images: ImageRef) -> HookRequest:
    return HookRequest({}, "OCR", 0.0, None, images)


@pytest.fixture
def memo(clock) -> ReplayMemo:
    return ReplayMemo(clock)


class TestNames:
    """Two events have one name exactly if they are the same, to the type of a number and the order of members."""

    @given(values, values)
    def test_different_values_have_different_names(self, one, other):
        """P2, P5: `1`, `1.0`, `-0.0` and `true` are one to Python and four here; what `repr` tells apart is apart."""
        name = ReplayMemo(None).name_of

        assert (repr(one) == repr(other)) == (name(one) == name(other))

    @given(events())
    def test_an_event_that_is_received_again_has_its_name(self, event):
        """P53: whoever else holds parts of it; the host's retry is parsed from the same bytes."""
        received = json.dumps(event)
        first, again = json.loads(received), json.loads(received)
        held = [first["messages"], first["system"], first["context"]]

        assert ReplayMemo(None).name_of(first) == ReplayMemo(None).name_of(again)
        assert held

    def test_control_a_name_by_pythons_own_equality_takes_two_requests_for_one(self):
        """P2, control: so a dictionary of events would."""
        assert {"topK": 1} == {"topK": True} == {"topK": 1.0}

    @pytest.mark.parametrize(
        "event",
        [object(), {"a": {1}.__iter__()}, {"a": "x" * (LONGEST_BYTES + 1)}],
        ids=["no JSON", "an iterator within", "too long"],
    )
    def test_what_is_not_remembered_has_none(self, memo, event):
        """P30, B7: it is worked out each time."""
        assert memo.name_of(event) is None

    def test_a_hundred_thousand_levels_are_no_crash(self, memo):
        """B6: nor the end of the process."""
        event: list = []
        for _ in range(100_000):
            event = [event]

        assert memo.name_of(event) is None

    def test_half_a_character_has_a_name(self, memo):
        """B15: and one of its own."""
        assert len({memo.name_of({"a": "\ud83d"}), memo.name_of({"a": "?"}), None}) == 3


class TestRemembering:
    """What is recalled is what was remembered, and no longer than it may be."""

    def test_what_was_remembered_is_recalled(self, memo):
        """P5: with the event that came now, not the one that was remembered."""
        memo.remember(b"name", request(ONCE), (DIGEST,), ORIGIN)
        known = memo.recall(b"name")

        assert ((DIGEST,), ORIGIN) == (known.digests, known.origin)
        assert HookRequest({"now": 1}, "OCR", 0.0, None, (ONCE,)) == known.request({"now": 1})
        assert (None, None) == (memo.recall(b"other"), memo.recall(None))

    @pytest.mark.parametrize(
        ("seconds", "found"), [(REPLAY_SECONDS - 0.001, True), (REPLAY_SECONDS, False), (-0.001, False)]
    )
    def test_it_is_forgotten_by_wall_clock(self, memo, clock, seconds, found):
        """P11, F31: to the millisecond; and a clock that was set back says nothing."""
        memo.remember(b"name", request(), (), ORIGIN)
        clock.advance(seconds) if seconds > 0 else clock.set_back(-seconds)

        assert found == (memo.recall(b"name") is not None)

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
        memo.remember(b"name", request(ONCE, ImageRef(uri, None)), (DIGEST, DIGEST), ORIGIN)

        assert memo.recall(b"name") is None

    def test_it_is_bounded(self, memo):
        """P30: the least recently used goes first."""
        for number in range(REPLAY_EVENTS + 1):
            memo.remember(b"%d" % number, request(), (), ORIGIN)
            memo.recall(b"0")

        assert (True, False) == (memo.recall(b"0") is not None, memo.recall(b"1") is not None)


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
        """E1: another name, and the same key."""
        event = extraction_event()
        rig.call(event)
        rig.call(dict(reversed(event.items())))

        assert ["miss", "hit_memory"] == rig.outcomes

    def test_true_is_not_one(self, rig):
        """P2: a control for names that follow Python's equality, on the whole path."""
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
