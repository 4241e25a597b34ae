"""The trace: what its components and shapes tell apart, and that they tell nothing else."""

import json
import unicodedata

import pytest

from fakes import event_of, extraction_event, ocr_event
from hookcache.canonical import MAX_DEPTH, canonical_form
from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets
from hookcache.request import parse
from hookcache.trace import SHAPED_CHARS, SHAPES, components, shape_forms, without_images

KEYER = Keyer(Secrets.derive(b"secret"), "default")
DIGEST = ImageDigest(b"\x07" * 32, 7, "", "")


def traced(event, keyer=KEYER, **more):
    request = parse(event)
    return components(keyer, request, [DIGEST] * len(request.images), b"identity", "0", **more)


def shared_shapes(one, other):
    """The names of the shapes that two texts share."""
    first, then = (traced(event_of("OCR", [{"text": text}]))["shapes"]["texts"][0] for text in (one, other))
    return {name for name, a, b in zip(SHAPES, first, then, strict=True) if a == b}


class TestShapes:
    @pytest.mark.parametrize(
        ("other", "shared"),
        [
            ("Caf\u00e9  Bank\r\n on 2026-11-21 ", {"spacing", "values", "order"}),
            ("Cafe\u0301 Bank on\u200b 2026-11-21", {"spacing", "values", "order"}),
            ("Caf\u00e9 Bank on 2026-11-22", {"values"}),
            ("Caf\u00e9 Bank on Sat Nov 21 10:00:01.5 2026", {"values"}),
            ("Caf\u00e9 Bank on 0b7e4a91-dead-4f5f-8a6b-7c8d9e0f1a2b", {"values"}),
            ("Bank Caf\u00e9 on 2026-11-21", {"order"}),
            ("Caf\u00e9, Bank on 2026-11-21", {"values", "order"}),
            ("Caf\u00e9 Bank at 2026-11-21", set()),
        ],
    )
    def test_a_shape_is_shared_where_only_that_differs(self, other, shared):
        """P58: invisible characters, values, order, and none of them, told apart without content."""
        assert shared == shared_shapes("Caf\u00e9 Bank on 2026-11-21", other)

    def test_schema_lists_in_another_order_share_their_words(self):
        """P58: a comma that moves with the lines does not hide it."""
        one = '{"account": "number",\n "balance": "amount"\n}'
        other = '{"balance": "amount",\n "account": "number"\n}'

        assert "order" in shared_shapes(one, other)

    def test_texts_past_the_bound_have_none(self):
        """P58: an event of 6 MB must not cost its caller a second."""
        event = event_of("OCR", [{"text": "a " * (SHAPED_CHARS // 2)}, {"text": "b"}], [{"text": ""}])
        shapes = traced(event)["shapes"]

        assert ([3], [3, 0]) == ([len(each) for each in shapes["system"]], [len(each) for each in shapes["texts"]])

    @pytest.mark.parametrize("mark", ["\u0315\u0300", "\u0f73"], ids=["marks", "a letter made of marks"])
    def test_letters_with_marks_past_all_count_keep_nobody_waiting(self, mark, monkeypatch):
        """P58, P21, T10: to put them in order takes the square of their number, a minute for what a trace looks at."""
        composed, compose = [], unicodedata.normalize
        monkeypatch.setattr(unicodedata, "normalize", lambda form, text: composed.append(text) or compose(form, text))
        shape_forms("Caf\u00e9 a" + mark * 5_000)

        assert ["Caf\u00e9"] == composed


class TestComponents:
    @pytest.mark.parametrize(
        ("changed", "component"),
        [
            ({"context": "Extraction"}, "context"),
            ({"context": "Nobody knows"}, "context"),
            ({"modelId": ""}, "model"),
            ({"system": [{"text": ""}]}, "system"),
            ({"system": [{}]}, "system"),
            ({"system": [{"text": 1}]}, "system"),
            ({"inferenceConfig": {"temperature": 1}}, "numbers"),
            ({"more": 1}, "unknown"),
        ],
    )
    def test_each_member_has_its_component(self, changed, component):
        """P58, P3: and no other component moves with it."""
        before, after = traced(ocr_event()), traced({**ocr_event(), **changed})

        assert {component} == {name for name in before if before[name] != after[name]} - {"shapes"}

    def test_an_absent_member_is_not_an_empty_one(self):
        """P58, P2: a system block without text, a request without context, one without model."""
        event = {**ocr_event(), "system": [{"text": ""}], "context": "Unspecified"}
        bare = {name: value for name, value in event.items() if name not in {"context", "modelId"}} | {"system": [{}]}
        before, after = traced({**event, "modelId": ""}), traced(bare)

        assert {"context", "model", "system", "shapes"} == {name for name in before if before[name] != after[name]}

    def test_an_image_counts_with_its_format_and_unknown_members(self):
        """P58, P4: the same bytes under another declared format are another image."""
        event = ocr_event("s3://b/temp/1.jpeg")
        image = event["messages"][0]["content"][-1]["image"]
        before = traced(event)
        for changed in ({"format": "png"}, {"detail": "high"}):
            event["messages"][0]["content"][-1] = {"image": {**image, **changed}}
            after = traced(event)
            assert {"images"} == {name for name in before if before[name] != after[name]}

    def test_namespace_generation_identity_and_rollout_have_theirs(self):
        """P58: a split of namespaces shows, though every content component agrees."""
        event, request = ocr_event(), parse(ocr_event())
        split = traced(event, Keyer(Secrets.derive(b"secret"), "team-b"))
        others = components(KEYER, request, [], b"another", "1", "blue")
        before = traced(event)

        assert {"namespace"} == {name for name in before if before[name] != split[name]}
        assert {"identity", "generation"} == {name for name in before if before[name] != others[name]}
        assert {"rollout"} == others.keys() - before.keys()

    def test_whoever_lacks_the_secret_makes_other_digests(self):
        """P37: no component can be confirmed by a guess, not even that of a number."""
        mine, other = traced(extraction_event()), traced(extraction_event(), Keyer(Secrets.derive(b"guess"), "default"))

        assert [] == [
            name for name in mine if name not in {"blocks", "images", "numbers", "shapes"} and mine[name] == other[name]
        ]
        assert set() == set(mine["numbers"].values()) & set(other["numbers"].values())
        assert set() == set(mine["shapes"]["texts"][0]) & set(other["shapes"]["texts"][0])

    def test_numbers_past_all_count_make_no_longer_line(self):
        """P58, P31, B2: CloudWatch takes no line past 1 MB; all of them together still tell two requests apart."""
        many = {f"unknown {number}": number for number in range(20_000)}
        events = [event_of("OCR", [{"text": "Read."}], **many | more) for more in ({}, {"unknown 7": 8})]
        one, other = (traced(event) for event in events)

        assert len(json.dumps(one)) < 2_000
        assert {"numbers"} == {name for name in one if one[name] != other[name]}
        assert one["numbers"] == traced(event_of("OCR", [{"text": "Read."}], **dict(reversed(many.items()))))["numbers"]

    def test_the_deepest_event_that_has_a_key_has_a_trace(self):
        """P58, P18: the trace must not turn a request that is cached into one that is bypassed."""
        value = 1
        for _ in range(MAX_DEPTH - 1):
            value = [value]
        event = {**ocr_event(), "deep": value}
        request = parse(event)

        assert canonical_form(request, [])
        assert 16 == len(traced(event)["unknown"])


class TestBypass:
    def test_a_request_that_names_no_temperature_shows_it(self, make_rig):
        """P58, P16: a bypassed request leaves its components, but for images that nobody read."""
        rig = make_rig(HOOKCACHE_POLICY='{"*": {"trace": true}}')
        event = ocr_event(rig.image(b"page"))
        del event["inferenceConfig"]["temperature"]
        rig.call(event)
        told = rig.last["components"]

        assert ("bypass", "sampling") == (rig.last["outcome"], rig.last["reason"])
        assert "temperature" not in told["numbers"]
        assert "images" not in told

    def test_a_request_without_a_form_has_no_trace(self):
        """P58, P41: and the reason of its bypass stays what it was."""
        assert without_images(KEYER, parse({**ocr_event(), "page": "s3://somewhere/"})) is None
