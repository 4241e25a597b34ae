"""The product's canonical form is the one in its table, byte for byte, however it gets there. P2, P3, P41, P43."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

import hookcache.canonical
from fakes import image_block, ocr_event
from hookcache.canonical import (
    canonical_form,
    canonical_pieces,
    image_form,
    value_form,
)
from hookcache.errors import Unkeyable
from hookcache.frames import (
    APART,
    LONG_TEXT,
    WORD,
    number_frame,
    plain_word_frame,
    text_frame,
    word_frame,
)
from hookcache.images import ImageDigest
from hookcache.outcome import Reason
from hookcache.references import with_references
from hookcache.request import parse
from plain_form import plain_form
from property.requests import DIGEST, events

SIZES = [0, 1, *(size + more for size in (WORD, APART, LONG_TEXT) for more in (-1, 0, 1))]
LETTERS = {"ASCII": "a", "others": "\u00e9", "half a character": "\ud83d", "one other at the end": "\u00e9"}


def long_text(kind: str, size: int) -> str:
    if kind == "one other at the end":
        return ("a" * size)[:-1] + LETTERS[kind]
    return LETTERS[kind] * size


def form(event: Mapping[str, Any]) -> bytes:
    request = parse(event)
    return canonical_form(request, [DIGEST] * len(request.images))


def told(spell: Any, event: Mapping[str, Any]) -> bytes | Reason:
    """The form, or why there is none."""
    try:
        return spell(event)
    except Unkeyable as unkeyable:
        return unkeyable.reason


def plain(event: Mapping[str, Any]) -> bytes:
    return plain_form(event, [DIGEST] * len(parse(event).images))


@given(event=events())
def test_generated_events(event):
    """P2, P3, P43."""
    assert told(plain, event) == told(form, event)


def prompt(text: str) -> dict[str, Any]:
    event = ocr_event()
    event["messages"][0]["content"][0]["text"] = text
    return event


PLACES = {
    "prompt": prompt,
    "system": lambda text: ocr_event() | {"system": [{"text": text}, {"text": "<<CACHEPOINT>>" + text}]},
    "unknown member": lambda text: ocr_event() | {"extra": [text, {"inner": text}, "end"]},
    "name": lambda text: ocr_event() | {"extra": {text: text}},
    "context": lambda text: ocr_event() | {"context": text},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", LETTERS)
@pytest.mark.parametrize("place", PLACES)
def test_texts_of_every_length(place, kind, size):
    """P2, P43: on both sides of each length from which texts are spelt another way."""
    event = PLACES[place](long_text(kind, size))

    assert plain(event) == form(event)


@pytest.mark.parametrize("start", ["s3://bucket/", "https://host/", " arn:aws:s3:::", "plain words/"])
@pytest.mark.parametrize("size", [1, WORD - 15, WORD, WORD + 1, APART, LONG_TEXT])
def test_references_of_every_length(start, size):
    """P41, S14: outside prompts none has a form; a text that only looks long has."""
    text = start + "x" * size
    for place in ("unknown member", "name"):
        assert told(plain, PLACES[place](text)) == told(form, PLACES[place](text))
    expected = Reason.REFERENCE if ":" in start else plain(PLACES["unknown member"](text))
    assert expected == told(form, PLACES["unknown member"](text))
    assert plain(PLACES["prompt"](text)) == form(PLACES["prompt"](text))


@pytest.mark.parametrize(
    "changed",
    [
        {"inferenceConfig": {}},
        {"inferenceConfig": {"temperature": 0}},
        {"inferenceConfig": {"maxTokens": 5, "topP": 0.5, "temperature": True}},
        {"inferenceConfig": {"temperature": "s3", "topP": None, "topK": [1], "maxTokens": {"a": 1.5}}},
        {"inferenceConfig": {"stop": ["a", 2**53 + 1]}},
        {"extra": MappingProxyType({"b": (1, 2), "a": {}})},
        {"extra": ({"a": ()}, MappingProxyType({}))},
        {"system": []},
        {"system": [{"text": "a", "other": 1}]},
    ],
)
def test_members_in_any_order_and_of_any_kind(changed):
    """P2 (E1, E2), P3: in the orders that the host uses, and in others."""
    event = ocr_event() | changed
    turned = dict(reversed(event.items()))

    assert plain(event) == form(event) == form(turned)


@pytest.mark.parametrize(
    "numbers",
    [
        {"temperature": 0, "topP": 0.1, "topK": 5, "maxTokens": 4096},
        {"temperature": 0, "topP": 0.1, "maxTokens": 4096},
        {"temperature": 0, "maxTokens": 4096},
        {"temperature": 0},
    ],
)
def test_what_the_host_sends_is_not_sorted_each_time(numbers, monkeypatch):
    """G1: the orders that the host uses were worked out before; any other is, when it comes."""
    asked = []
    sort = hookcache.canonical.sorted_names
    monkeypatch.setattr(hookcache.canonical, "sorted_names", lambda members: asked.append(members) or sort(members))
    event = ocr_event("s3://b/temp/1") | {"inferenceConfig": numbers}
    names = ("modelId", "messages", "system", "inferenceConfig", "context")
    spelt = form({name: event[name] for name in names})
    assert [{}] == [dict(members) for members in asked], "only the place of the image, whose bytes stand for it"

    assert spelt == form(dict(reversed(event.items())))
    assert len(asked) > 1


@pytest.mark.parametrize("names", [["page"], ["page", "form"], ["a", "b", "c"]])
def test_members_that_name_pages_count_by_their_objects(names):
    """P41: two objects each, in order of name, behind the digests of the image blocks."""
    event = ocr_event("s3://b/temp/1") | {name: f"s3://b/temp/{name}/" for name in names}
    request = with_references(parse(event), names)
    digests = [ImageDigest(bytes([number]) * 32, number + 1, "", "") for number in range(1 + 2 * len(names))]
    whole = canonical_form(request, digests)

    for number, name in enumerate(sorted(names)):
        objects = (digests[1 + 2 * number], digests[2 + 2 * number])
        frames = b"".join(b"x" + each.size_bytes.to_bytes(8, "big") + each.sha256 for each in objects)
        assert text_frame(name) + b"l" + (2).to_bytes(8, "big") + frames in whole


@pytest.mark.parametrize(("remembered", "most"), [(word_frame, 512), (plain_word_frame, 512), (number_frame, 64)])
def test_what_is_remembered_is_bounded(remembered, most):
    """P30: so many words or numbers at once, whatever comes by."""
    for number in range(2 * most):
        remembered(number if remembered is number_frame else f"word {number}")

    assert most == remembered.cache_info().currsize


@pytest.mark.parametrize("members", [{}, {"text": "s3 but no reference"}, {"other": 1}, {"text": "s3://bucket/page"}])
@pytest.mark.parametrize("place", [{}, {"page": 2}, {"bucketOwner": "1"}])
def test_image_blocks(members, place):
    """P2 (E3), P3, P4: beside what we do not know of them."""
    block = image_block("s3://b/temp/1") | members
    block["image"]["source"]["s3Location"] |= place
    event = ocr_event()
    event["messages"][0]["content"] = [{"text": "a"}, block, image_block("s3://b/temp/2", "png")]

    assert told(plain, event) == told(form, event)


def test_digests_are_consumed_in_order_of_position():
    """P4, S8."""
    one, other = (ImageDigest(bytes([byte]) * 32, byte, "", "") for byte in (1, 2))
    event = ocr_event()
    event["messages"][0]["content"] = [image_block("s3://b/temp/1"), image_block("s3://b/temp/2")]
    request = parse(event)

    assert plain_form(event, [one, other]) == canonical_form(request, [one, other])
    assert plain_form(event, [one, other]) != canonical_form(request, [other, one])


def test_an_image_by_itself_is_spelt_as_in_its_block():
    """P58: the trace tells images apart as the key does."""
    image = image_block("s3://b/temp/1")["image"]
    spelt = image_form(image, DIGEST)
    event = ocr_event()
    event["messages"][0]["content"] = [{"image": image}]

    assert spelt in form(event)
    assert spelt != image_form(image | {"format": "png"}, DIGEST)


def test_a_long_text_is_a_piece_of_its_own_and_is_not_copied():
    """G1, G11: plain ASCII stands for its bytes; other texts are encoded once, and short ones stay among the frames."""
    page = "a" * LONG_TEXT

    def pieces(text: str) -> list[Any]:
        return canonical_pieces(parse(prompt(text)), [DIGEST] * 9)

    assert any(piece is page for piece in pieces(page))
    assert page[1:].encode() in pieces(page[1:])
    assert (page[1:] + "\u00e9").encode() in pieces(page[1:] + "\u00e9")
    assert 1 == len(pieces("a" * (APART - 1)))
    assert 3 == len(pieces("a" * APART))


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "a", [1], {"a": [None]}, MappingProxyType({"a": 1}), "a" * APART]
)
def test_a_value_by_itself(value):
    """P58: as it stands in an event."""
    assert value_form(value) in plain(ocr_event() | {"extra": value})


KINDS = [{"temperature": number} for number in (1, True, 1.0, 0, False, -0.0, 0.0)]
WORDS = [{"modelId": word} for word in ("LambdaHook", "", "x" * (WORD + 1), None, 1, ["a"])]
ROLES = [{"messages": [{"role": role, "content": [{"text": "page"}]}]} for role in ("user", "x" * WORD, True, 1, [])]
BLOCKS = [{"system": blocks} for blocks in ([], [{}], [{"text": 1}], [{"text": "a"}, {"text": "a", "more": 1.5}])]


def host_event(changed):
    names = ("modelId", "messages", "system", "inferenceConfig", "context")
    event = ocr_event("s3://b/temp/1") | {"inferenceConfig": {"temperature": 0}}
    event["messages"] = [{name: event["messages"][0][name] for name in ("role", "content")}]
    if "temperature" in changed:
        changed = {"inferenceConfig": changed}
    return {name: (event | changed)[name] for name in names}


def test_what_surrounds_the_blocks_is_remembered_by_type_and_value():
    """P2, P3, P43: events of the host's own making, each after all the others; `true` equals 1 and is another request."""
    events = [host_event(changed) for changed in [*KINDS, *WORDS, *ROLES, *BLOCKS]]

    for event in [*events, *reversed(events)]:
        assert plain(event) == form(event)


def test_what_is_remembered_by_value_alone_would_be_mixed_up(monkeypatch):
    """P2: the control; `true` would have the form of 1."""
    untyped = lru_cache(hookcache.canonical._around_blocks.__wrapped__)
    monkeypatch.setattr(hookcache.canonical, "_around_blocks", untyped)
    one, true = host_event({"temperature": 1}), host_event({"temperature": True})
    form(one)

    assert plain(one) == form(true) != plain(true)


@pytest.mark.parametrize("place", ["modelId", "role"])
def test_a_reference_that_surrounds_the_blocks_has_no_form(place):
    """P41, S14: short as it is."""
    event = host_event({"modelId": "s3://b/k"} if place == "modelId" else {})
    if place == "role":
        event["messages"][0]["role"] = "s3://b/k"

    assert told(plain, event) == told(form, event)
    assert (Reason.REFERENCE if place == "role" else plain(event)) == told(form, event)
