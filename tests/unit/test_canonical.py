"""The canonical form: what it keeps apart, and the four spellings that it takes for one."""

import copy
import json
import sys

import pytest

from fakes import STEPS, extraction_event, image_block, ocr_event
from hookcache import canonical
from hookcache.canonical import (
    MAX_DEPTH,
    canonical_form,
    canonical_pieces,
    number_frame,
    value_form,
)
from hookcache.errors import Unkeyable
from hookcache.frames import APART, LONG_TEXT, WORD
from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets, form_digest
from hookcache.outcome import Reason
from hookcache.references import PAGE_FILES
from hookcache.request import parse
from hookcache.value import replace

DIGEST = ImageDigest(b"\x01" * 32, 7, "etag", "version")


def form(event, *digests):
    request = parse(event)
    return canonical_form(request, digests or [DIGEST] * len(request.images))


def refused(event, *digests) -> Reason:
    with pytest.raises(Unkeyable) as caught:
        form(event, *digests)
    return caught.value.reason


def _is_keyed(event) -> bool:
    try:
        form(event)
    except Unkeyable:
        return False
    return True


def with_extra(value):
    return ocr_event() | {"extra": value}


def with_text(text):
    event = ocr_event()
    event["messages"][0]["content"][0]["text"] = text
    return event


def nested(levels):
    value: object = "end"
    for _ in range(levels):
        value = [value]
    return value


class TestWhatIsRemembered:
    """P30: what surrounds the blocks of the host's own events is spelt once; nothing long or odd is kept for that."""

    def remembered(self, event) -> bool:
        canonical._around_blocks.cache_clear()
        first, second = form(event), form(event)
        told = canonical._around_blocks.cache_info()
        assert first == second
        assert (told.misses, told.hits) in {(1, 1), (0, 0)}
        return told.hits == 1

    @pytest.mark.parametrize("step", STEPS)
    def test_the_hosts_own_events_are(self, step):
        """P30: one of each step, asked for twice."""
        assert self.remembered(STEPS[step]())

    @pytest.mark.parametrize("value", [0, 0.5, True])
    def test_numbers_of_every_kind_are(self, value):
        """P2: whole, broken, and a boolean that equals one."""
        event = ocr_event()
        event["inferenceConfig"]["temperature"] = value

        assert self.remembered(event)

    @pytest.mark.parametrize(("length", "kept"), [(WORD, True), (WORD + 1, False)])
    def test_long_texts_are_not(self, length, kept):
        """P30: what is remembered is bounded in length as in number."""
        event = ocr_event()
        event["messages"][0]["role"] = "user"
        event["modelId"] = "m" * (length - len("user") - len(event["context"]))

        assert kept is self.remembered(event)

    @pytest.mark.parametrize(
        "change", [{"modelId": None}, {"more": 1}, {"inferenceConfig": {"temperature": 0, "n": 1}}]
    )
    def test_other_members_and_kinds_are_not(self, change):
        """P3: another event goes the general way."""
        assert not self.remembered(ocr_event() | change)

    @pytest.mark.parametrize("change", [{"role": None}, {"name": "n"}])
    def test_another_message_is_not(self, change):
        """P3: so does one whose message is another."""
        event = ocr_event()
        event["messages"][0] |= change

        assert not self.remembered(event)

    def test_numbers_of_another_kind_are_not(self):
        """P3: and one whose numbers are texts."""
        event = ocr_event()
        event["inferenceConfig"]["temperature"] = "0"

        assert not self.remembered(event)


class TestTheFourEquivalences:
    def test_member_order_does_not_count(self):
        """P2 (E1), S10: the same members in another order are the same request."""
        event = extraction_event()
        turned = dict(reversed(event.items()))
        turned["inferenceConfig"] = dict(reversed(event["inferenceConfig"].items()))

        assert list(event) != list(turned)
        assert form(event) == form(turned)

    @pytest.mark.parametrize("spelling", ["0", "0.0", "-0.0", "0e0", "0E5", "-0"])
    def test_a_number_counts_by_its_value(self, spelling):
        """P2 (E2), B5, S10: `0`, `0.0`, `-0.0` and `0e0` are one number."""
        assert form(with_extra(0)) == form(with_extra(json.loads(spelling)))

    def test_an_image_stands_for_its_bytes(self):
        """P2 (E3), P3, S6: two URIs, with and without owner, the same bytes: one form."""
        one = ocr_event("s3://b/temp/lambdahook/1.jpeg")
        other = ocr_event()
        other["messages"][0]["content"].append(image_block("s3://b/temp/lambdahook/2.jpeg", owner="123456789012"))

        assert form(one) == form(other)

    def test_cache_points_are_taken_out_of_system_texts_only(self):
        """P2 (E4), B16: the host takes the mark out of the user's text itself; there it is text like any other."""
        marked, plain = ocr_event(), ocr_event()
        marked["system"] = [{"text": "before <<CACHEPOINT>> after"}]
        plain["system"] = [{"text": "before  after"}]

        assert form(plain) == form(marked)
        assert form(with_text("before  after")) != form(with_text("before <<CACHEPOINT>> after"))

    def test_a_cache_point_is_only_taken_out_of_the_text_of_a_system_block(self):
        """P2 (E4): another member of a system block keeps it."""
        one, other = ocr_event(), ocr_event()
        one["system"] = [{"text": "a", "note": "<<CACHEPOINT>>"}]
        other["system"] = [{"text": "a", "note": ""}]

        assert form(one) != form(other)


class TestWhatStaysApart:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (0, False),
            (1, True),
            (0, None),
            (0, "0"),
            (0.0, "0.0"),
            ("", None),
            ([], {}),
            ([1], 1),
            ([[1]], [1]),
            (["ab", "c"], ["a", "bc"]),
            (["a"], "a"),
            ({"a": "b"}, ["a", "b"]),
            ({"a": ""}, {"": "a"}),
            ({"ab": "c"}, {"a": "bc"}),
            ("null", None),
            ("s\0\0\0\0\0\0\0\x01a", "a"),
            (2**53 + 1, float(2**53 + 1)),
            (0.1, 0.1 + 2**-56),
            (1e16, "1e16"),
            (-1, 255),
            (128, -128),
            (256, 1),
        ],
        ids=repr,
    )
    def test_values_of_different_meaning_have_different_forms(self, one, other):
        """P2, B5, B17, S3, S9, S10: types, boundaries, absent, null and 0 all stay apart; `true` is not 1."""
        assert form(with_extra(one)) != form(with_extra(other))

    def test_absent_is_no_value(self):
        """P2 (E2), S2, S3: an omitted temperature is not 0, an omitted `maxTokens` is not the model's own."""
        for name, value in (("temperature", 0), ("maxTokens", 0), ("temperature", None)):
            absent, present = ocr_event(), ocr_event()
            absent["inferenceConfig"] = {}
            present["inferenceConfig"] = {name: value}

            assert form(absent) != form(present)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("caf\u00e9", "cafe\u0301"),
            ("a\r\nb", "a\nb"),
            ("a ", "a"),
            ("a\u200bb", "ab"),
            ("\ufeffa", "a"),
            ("\u202ea", "a"),
            ("A", "a"),
            ("pay", "p\u0430y"),
            ("\ud83d", "\ufffd"),
            ("\ud83d\ude00", "\U0001f600"),
        ],
        ids=ascii,
    )
    def test_text_is_not_normalised(self, one, other):
        """P2, B14, B15: NFC and NFD, zero width, bidi, BOM, CRLF, trailing space, homoglyphs, lone surrogates differ."""
        assert form(with_text(one)) != form(with_text(other))

    def test_lone_surrogates_are_kept_by_code_point(self):
        """B15, S9: UTF-8 cannot spell them, the key can; two of them differ from each other and from a pair."""
        spelt = ["\ud83d", "\ude00", "\ud83d\ude00", "\ude00\ud83d", "\ud83e"]

        assert len(spelt) == len({form(with_text(text)) for text in spelt})

    def test_members_do_not_move_between_system_and_messages(self):
        """B17, S9: the same texts in other places are another request."""
        one, other = ocr_event(), ocr_event()
        one["system"], one["messages"][0]["content"] = [{"text": "a"}], [{"text": "b"}]
        other["system"], other["messages"][0]["content"] = [{"text": "a"}, {"text": "b"}], []

        assert form(one) != form(other)

    def test_a_text_that_looks_like_our_frames_is_text(self):
        """B16, S9: neither separators, nor another request's canonical form, nor a digest written as text passes for one."""
        other = form(ocr_event("s3://b/1"))
        disguises = [other.decode("latin-1"), DIGEST.sha256.hex(), "x" + DIGEST.sha256.decode("latin-1"), "n", "o\0"]
        forms = [form(with_text(text)) for text in disguises]

        assert len(disguises) + 1 == len({*forms, other})

    @pytest.mark.parametrize(
        "name", ["", "__proto__", "x" * 1_000_000, "\ud83d", "modelId "], ids=lambda name: ascii(name[:12])
    )
    def test_a_member_of_any_name_is_keyed(self, name):
        """B2, P3: `__proto__`, the empty name, a name of 1 MB."""
        event = ocr_event()

        assert form(event) != form(event | {name: 1}) != form(event | {name: 2})

    def test_unknown_members_are_keyed_at_every_level(self):
        """P3, B2, S1: whatever a later host may send counts."""
        places = [
            lambda event: event,
            lambda event: event["messages"][0],
            lambda event: event["messages"][0]["content"][0],
            lambda event: event["messages"][0]["content"][1],
            lambda event: event["messages"][0]["content"][1]["image"],
            lambda event: event["messages"][0]["content"][1]["image"]["source"],
            lambda event: event["messages"][0]["content"][1]["image"]["source"]["s3Location"],
            lambda event: event["system"][0],
            lambda event: event["inferenceConfig"],
        ]
        forms = {form(ocr_event("s3://b/1"))}
        for place in places:
            event = copy.deepcopy(ocr_event("s3://b/1"))
            place(event)["novel"] = 1
            forms.add(form(event))

        assert len(places) + 1 == len(forms)


class TestImages:
    @pytest.mark.parametrize(
        "other",
        [
            ImageDigest(b"\x02" * 32, 7, "etag", "version"),
            ImageDigest(b"\x01" * 32, 8, "etag", "version"),
        ],
        ids=["bytes", "length"],
    )
    def test_an_image_counts_by_digest_and_length(self, other):
        """P4, B10: other bytes or another length are another request."""
        event = ocr_event("s3://b/1")

        assert form(event, DIGEST) != form(event, other)

    def test_etag_and_version_do_not_count(self):
        """P4, S7: under KMS an ETag is no digest, and every upload is a new version."""
        event = ocr_event("s3://b/1")

        assert form(event, DIGEST) == form(event, ImageDigest(DIGEST.sha256, DIGEST.size_bytes, "other", "other"))

    def test_order_number_and_place_of_images_count(self):
        """P4, B10, S8: swapped, repeated or interleaved images are other requests."""
        other = ImageDigest(b"\x02" * 32, 7, "", "")
        swapped = ocr_event("s3://b/1", "s3://b/2")
        between = ocr_event("s3://b/1")
        between["messages"][0]["content"].reverse()
        forms = {
            form(ocr_event("s3://b/1"), DIGEST),
            form(swapped, DIGEST, DIGEST),
            form(swapped, DIGEST, other),
            form(swapped, other, DIGEST),
            form(between, DIGEST),
        }

        assert len(forms) == 5

    def test_the_declared_format_counts(self):
        """P4, B10, S5: the same bytes declared as something else are another request."""
        event = ocr_event("s3://b/1")
        event["messages"][0]["content"][1]["image"]["format"] = "png"

        assert form(ocr_event("s3://b/1")) != form(event)

    def test_a_digest_in_the_event_is_only_text(self):
        """P4, S4: what a caller says about an image does not stand for its bytes."""
        one, other = ocr_event("s3://b/1"), ocr_event("s3://b/1")
        for event, digest in ((one, "aa"), (other, "bb")):
            event["messages"][0]["content"][1]["image"]["source"]["s3Location"]["sha256"] = digest

        assert form(one) != form(other)

    def test_an_unknown_member_of_the_location_makes_the_place_count(self):
        """P3, P41: it may select a part of the object, so neither it nor the place may be left out."""
        one, other = ocr_event("s3://b/1"), ocr_event("s3://b/2")
        for event in (one, other):
            event["messages"][0]["content"][1]["image"]["source"]["s3Location"]["page"] = 3

        assert form(one) != form(other)


class TestWhatIsNotKeyed:
    @pytest.mark.parametrize(
        "number",
        [float("nan"), float("inf"), float("-inf"), 10**4300, -(2**1024)],
        ids=lambda n: str(n)[:9] if isinstance(n, float) else "integer",
    )
    def test_a_number_that_no_model_is_asked_for(self, number):
        """B4: NaN, infinities and integers past 1,024 bits are never keyed."""
        assert refused(with_extra(number)) is Reason.NUMBER

    def test_numbers_that_share_a_hash_cost_little_more_than_others(self):
        """B4, T10: 50,000 multiples of 2^61 - 1 took three seconds of a look-up; a megabyte holds as many."""
        compared = []

        class Alike(int):
            def __hash__(self):
                return 7

            def __eq__(self, other):
                compared.append(other)
                return int(self) == int(other)

        frames = {number_frame(Alike(number)) for number in range(2_000)}
        compared.clear()
        number_frame(Alike(2_000))

        assert 2_000 == len(frames)
        assert len(compared) <= 500

    def test_the_largest_float_is_a_number(self):
        """B4, control: the bound lies above every float."""
        assert number_frame(sys.float_info.max) == number_frame(int(sys.float_info.max))
        assert number_frame(-(2**1023)) != number_frame(2**1023)

    @pytest.mark.parametrize(
        "reference",
        [
            "s3://bucket/prefix/",
            "S3://bucket/prefix",
            " s3://bucket",
            "https://example.com/page.jpg",
            "arn:aws:s3:::bucket/key",
            "ARN:aws:s3:::bucket",
            "file:///etc",
            "gs+x://bucket",
        ],
    )
    def test_a_reference_outside_the_images(self, reference):
        """P41, S14: a member such as `pageOutputUri` names an input that we cannot read."""
        places = [with_extra(reference), with_extra({"deep": [reference]}), ocr_event() | {reference: 1}]
        places.append(ocr_event())
        places[-1]["inferenceConfig"]["pageOutputUri"] = reference

        for event in places:
            assert refused(event) is Reason.REFERENCE

    @pytest.mark.parametrize("text", ["Read s3://bucket/key", "https://example.com", "arn:aws:lambda"])
    def test_a_reference_in_a_prompt_is_text(self, text):
        """P41, control: prompts quote web addresses; the model reads their letters, not what they point to."""
        assert form(with_text(text)) != form(with_text(text + "?"))

    @pytest.mark.parametrize("levels", [63, 65, 990, 100_000])
    def test_our_own_bound_decides_on_depth(self, levels):
        """B6: 64 levels are keyed, more are not, and no RecursionError is seen."""
        event = with_extra(nested(levels))

        if levels + 1 <= MAX_DEPTH:
            assert form(event) != form(with_extra(nested(levels - 1)))
        else:
            assert refused(event) is Reason.EVENT_SIZE

    @pytest.mark.parametrize("place", ["content", "system"])
    def test_depth_counts_the_same_in_the_hosts_own_events(self, place):
        """B6: an event of the host's shape, and one with a member more, are keyed to the same level."""
        keyed = {}
        for levels in range(55, 66):
            host, other = ocr_event(), ocr_event() | {"more": 1}
            for event in (host, other):
                blocks = event["messages"][0]["content"] if place == "content" else event["system"]
                blocks[:] = [{"text": "a", "deep": nested(levels)}]
            keyed[levels] = _is_keyed(host)
            assert keyed[levels] is _is_keyed(other)
        assert {True, False} == set(keyed.values())

    def test_depth_counts_the_same_beside_references(self):
        """B6, P41: members that count by the objects they name make no event shallower."""
        event = with_extra(nested(63)) | {"page": "prefix"}
        deeper = with_extra(nested(64)) | {"page": "prefix"}
        digests = [DIGEST] * len(PAGE_FILES)

        assert canonical_form(replace(parse(event), references=("page",)), digests)
        with pytest.raises(Unkeyable):
            canonical_form(replace(parse(deeper), references=("page",)), digests)

    @pytest.mark.parametrize(
        "value", [{1: 2}, {"a": {1, 2}}, b"bytes", object()], ids=lambda value: type(value).__name__
    )
    def test_what_is_not_json(self, value):
        """P2: a direct call may hand us anything; what has no JSON form has no key."""
        assert refused(with_extra(value)) is Reason.EVENT_SHAPE

    @pytest.mark.parametrize("around", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "objects"])
    def test_sixty_four_levels_are_keyed_and_no_more(self, around):
        """B3: the same bound for lists and objects, the event itself being the first level of its members."""

        def within(levels):
            value: object = "end"
            for _ in range(levels):
                value = around(value)
            return value

        assert value_form(within(64))
        with pytest.raises(Unkeyable) as caught:
            value_form(within(65))
        assert Reason.EVENT_SIZE == caught.value.reason
        assert form(with_extra(within(63)))
        assert Reason.EVENT_SIZE == refused(with_extra(within(64)))

    def test_members_whose_names_cannot_be_sorted(self):
        """B1: names of several types come from no JSON parser; in a decorated function they may."""
        assert Reason.EVENT_SHAPE == refused(with_extra({1: "a", "b": 2}))


class TestTextsThatAreNames:
    @pytest.mark.parametrize("name", ["modelId", "context"])
    def test_an_address_in_a_members_own_place_is_text(self, name):
        """P41, control: a model named by its ARN points at nothing that we would have to read, and it counts."""
        one, other = ocr_event(**{name: "arn:aws:bedrock:1"}), ocr_event(**{name: "arn:aws:bedrock:2"})

        assert form(one) != form(other)

    def test_a_system_text_that_is_no_text_counts_by_its_value(self):
        """P3: a shape that the host does not send is keyed as it stands."""
        one, other = ocr_event(system=[{"text": 5}]), ocr_event(system=[{"text": 6}])

        assert form(one) != form(other)


class TestResolvedReferences:
    IMAGE, WORDS, OTHER = (ImageDigest(bytes([byte]) * 32, byte, "", "") for byte in (2, 3, 4))

    def resolved(self, event, *digests):
        request = replace(parse(event), references=("pageOutputUri",))
        return canonical_form(request, [*[DIGEST] * len(request.images), *digests])

    def test_a_page_counts_by_both_of_its_objects(self):
        """P41: image and words, each in its place; the prefix under which they lie does not count."""
        here, there = ocr_event(pageOutputUri="s3://b/1/"), ocr_event(pageOutputUri="s3://b/2/")
        forms = {
            self.resolved(here, self.IMAGE, self.WORDS),
            self.resolved(here, self.WORDS, self.IMAGE),
            self.resolved(here, self.OTHER, self.WORDS),
            self.resolved(here, self.IMAGE, self.OTHER),
        }

        assert 4 == len(forms)
        assert self.resolved(here, self.IMAGE, self.WORDS) == self.resolved(there, self.IMAGE, self.WORDS)

    def test_the_image_blocks_keep_their_own_digests(self):
        """P4, P41: blocks come first among the digests, pages behind them."""
        event = ocr_event("s3://b/block", pageOutputUri="s3://b/1/")

        made = self.resolved(event, self.IMAGE, self.WORDS)

        first, second, third = (made.index(each.sha256) for each in (DIGEST, self.IMAGE, self.WORDS))
        assert first < second < third

    def test_its_frame_is_a_list_of_two_images(self):
        """P2, P43: a frame says its type and length, so that no text passes for a page."""
        made = self.resolved(ocr_event(pageOutputUri="s3://b/1/"), self.IMAGE, self.WORDS)
        frame = b"l" + (2).to_bytes(8, "big")
        for digest in (self.IMAGE, self.WORDS):
            frame += b"x" + digest.size_bytes.to_bytes(8, "big") + digest.sha256

        assert frame in made


@pytest.mark.parametrize(
    ("value", "frame"),
    [
        (None, b"n"),
        (True, b"t"),
        (False, b"f"),
        ("a", b"s" + (1).to_bytes(8, "big") + b"a"),
        (7, b"i" + (1).to_bytes(8, "big") + b"\x07"),
        (-128, b"i" + (2).to_bytes(8, "big") + b"\xff\x80"),
        (0.5, b"d?\xe0\0\0\0\0\0\0"),
        ([], b"l" + bytes(8)),
        ({}, b"o" + bytes(8)),
    ],
    ids=repr,
)
def test_the_frames_of_the_description(value, frame):
    """P2, P43: as the table at the head of the module has them."""
    assert frame == value_form(value)


def test_a_single_value_is_framed_as_in_an_event():
    """P58: the trace compares components; their bytes are those that the key was made of."""
    value = {"b": [None, True, False, 0.5, 7], "a": "text"}

    assert value_form(value) in form(with_extra(value))
    assert value_form([value]) != value_form(value)


class TestPieces:
    """The quick ways are the same form: what is usual is spelt once, what is long goes in pieces."""

    @pytest.mark.parametrize("letter", ["a", "ü"], ids=["ascii", "umlauts"])
    @pytest.mark.parametrize("length", [0, 48, 49, APART - 1, APART, LONG_TEXT - 1, LONG_TEXT, 3 * LONG_TEXT + 1])
    def test_a_long_text_has_the_key_of_its_whole_form(self, length, letter):
        """P2, P5: a text's frame says its length in bytes, however many pieces it is digested in."""
        request, keyer = parse(with_text(letter * length)), Keyer(Secrets.derive(b"secret"), "default")
        pieces = canonical_pieces(request, ())

        whole = keyer.key_of(canonical_form(request, ()), b"i", "0")
        assert whole == keyer.key_of_digest(form_digest(pieces), b"i", "0")
        assert canonical_form(request, ()).count(letter.encode()) >= length

    @pytest.mark.parametrize("step", STEPS)
    def test_members_in_the_hosts_order_are_spelt_as_in_any_other(self, step):
        """P2, E1: the orders that are known and those that are sorted when they come give one form, for every step."""

        def turned(value):
            if isinstance(value, dict):
                return {name: turned(value[name]) for name in reversed(value)}
            return [turned(each) for each in value] if isinstance(value, list) else value

        event = STEPS[step]()
        event["messages"][0]["content"].append(image_block("s3://b/temp/1"))

        assert form(event) == form(turned(event))


@pytest.mark.parametrize("place", ["messages", "system"])
def test_every_letter_of_a_text_counts(place):
    """P2, B14: whichever it is; nothing but the host's own marker is taken out of a text, and that of `system` alone."""
    letters = [chr(code) for code in (*range(0x180), 0x2028, 0xFEFF, 0xFFFF, 0x1F600)]
    forms = set()
    for letter in ["", *letters]:
        event = extraction_event()
        blocks = event["system"] if place == "system" else event["messages"][0]["content"]
        blocks[0]["text"] = f"a{letter}b"
        forms.add(form(event))

    assert 1 + len(letters) == len(forms)
