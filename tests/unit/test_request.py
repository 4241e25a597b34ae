"""The event as hookcache understands it: what has the host's shape, what has not, and why."""

import copy
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from fakes import CANARY, image_block, ocr_event
from hookcache.errors import Unkeyable
from hookcache.outcome import Reason
from hookcache.request import MAX_BLOCKS, MAX_IMAGES, ImageRef, held, metered_context, parse


def refused(event: object) -> Reason:
    with pytest.raises(Unkeyable) as caught:
        parse(event)
    return caught.value.reason


class Blocks(list):
    """Of a handler's own."""


class Window(Mapping):
    """Read-only, over what it was given: as event classes of frameworks are."""

    def __init__(self, behind):
        self._behind = behind

    def __getitem__(self, name):
        return self._behind[name]

    def __iter__(self):
        return iter(self._behind)

    def __len__(self):
        return len(self._behind)


@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict])
def test_an_event_that_is_held_shares_no_object_with_its_owners(kind):
    """P5: of whatever kind they are; its owner may write into each of them."""
    event = kind(ocr_event("s3://b/1", text="before"))
    event["messages"][0]["content"] = Blocks(map(kind, event["messages"][0]["content"]))
    kept = held(event)
    event["messages"][0]["content"][0]["text"] = "after"
    event["messages"][0]["content"].append({"text": "more"})
    event["context"] = "Other"

    assert ("OCR", [f"before {CANARY}"]) == (
        kept["context"],
        [block["text"] for block in kept["messages"][0]["content"] if "text" in block],
    )
    assert (kind, Blocks) == (type(kept), type(kept["messages"][0]["content"]))


@pytest.mark.parametrize("kind", [MappingProxyType, Window, namedtuple("Pair", "a b")._make], ids=repr)
def test_an_event_that_cannot_be_held_is_not_keyed(kind):
    """P5: a view shows what becomes of the event behind it, and what cannot be written cannot be copied part by part."""
    with pytest.raises(Unkeyable) as caught:
        held({**ocr_event(), "more": kind({"a": [], "b": []})})

    assert caught.value.reason is Reason.EVENT_SHAPE


def test_an_event_too_deep_to_be_held_is_told_as_too_deep():
    """B6: as one that can be spelt is; and it is no crash."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unkeyable) as caught:
        held({**ocr_event(), "deep": deep})

    assert caught.value.reason is Reason.EVENT_SIZE


@pytest.mark.parametrize("event", [None, [], "text", 7, True, {}], ids=repr)
def test_an_event_that_is_no_request_is_not_keyed(event):
    """B1: `{}`, `null`, a list, a string."""
    assert refused(event) is Reason.EVENT_SHAPE


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("messages", None),
        ("messages", {}),
        ("messages", []),
        ("messages", ["text"]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": "text"}]),
        ("messages", [{"role": "user", "content": []}, {"role": "assistant", "content": []}]),
        ("system", None),
        ("system", "You are"),
        ("system", ["You are"]),
        ("inferenceConfig", None),
        ("inferenceConfig", [0.0]),
        ("context", 5),
        ("context", None),
    ],
)
def test_a_member_of_the_wrong_type_is_not_keyed(member, value):
    """B1: wrongly typed `messages`, `system`, `inferenceConfig`; several messages."""
    assert refused(ocr_event() | {member: value}) is Reason.EVENT_SHAPE


@pytest.mark.parametrize("member", ["messages", "system", "inferenceConfig"])
def test_a_missing_member_is_not_keyed(member):
    """B1: missing `messages`, `system`, `inferenceConfig`."""
    event = ocr_event()
    del event[member]

    assert refused(event) is Reason.EVENT_SHAPE


def test_an_event_without_context_is_an_unspecified_one():
    """B1: the host's own default is `Unspecified`; a missing context is no malformed event."""
    event = ocr_event()
    del event["context"]

    assert parse(event).context == "Unspecified"


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ({"context": "OCR"}, "OCR"),
        ({}, "Unspecified"),
        ({"context": "OCR "}, "Other"),
        ({"context": "doc-4711.pdf"}, "Other"),
        ({"context": 5}, "Other"),
        ({"context": ["OCR"]}, "Other"),
        ({"context": {}}, "Other"),
        (None, "Unspecified"),
        ([], "Unspecified"),
    ],
)
def test_an_event_is_metered_under_one_of_few_words(event, word):
    """P35, B1: dimensions are a small closed set, whatever a caller writes into `context`, and of whatever type."""
    assert word == metered_context(event)


def test_parsing_reads_what_policy_needs():
    """P5: numbers as received, images in order of position, repeated ones repeated."""
    event = ocr_event("s3://b/1", "s3://b/2", "s3://b/1")
    event["inferenceConfig"] = {"temperature": 0.5, "maxTokens": 100}
    event["messages"][0]["content"].append(image_block("s3://b/3", owner="123456789012"))

    request = parse(event)

    assert (0.5, 100) == (request.temperature, request.max_tokens)
    assert ["s3://b/1", "s3://b/2", "s3://b/1", "s3://b/3"] == [image.uri for image in request.images]
    assert ImageRef("s3://b/3", "123456789012") == request.images[-1]


@pytest.mark.parametrize("told", ["0.0", None, True, float("nan"), float("inf"), []], ids=repr)
def test_a_temperature_that_is_no_number_is_not_taken_for_one(told):
    """S3, B5: string, null and boolean are not 0; only a number is a temperature."""
    event = ocr_event()
    event["inferenceConfig"] = {"temperature": told}

    assert parse(event).temperature is None


def test_parsing_leaves_the_event_as_it_is():
    """P5: the backend receives what we received."""
    event = ocr_event("s3://b/1")
    before = copy.deepcopy(event)

    parse(event)

    assert before == event


@pytest.mark.parametrize(
    "source",
    [
        {"bytes": "/9j/4AAQSkZJRg=="},
        {"bytes": "b'\\xff\\xd8\\xff'"},
        {"bytes": "", "s3Location": {"uri": "s3://b/temp/lambdahook/1"}},
    ],
    ids=["base64", "repr text", "both"],
)
def test_inline_bytes_of_any_spelling_are_never_decoded(source):
    """P42, B11: base64, Python repr text, both `bytes` and `s3Location`."""
    event = ocr_event()
    event["messages"][0]["content"].append({"image": {"format": "jpeg", "source": source}})

    assert refused(event) is Reason.INLINE_IMAGE


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"document": {"format": "pdf"}},
        {"video": {}},
        {"toolUse": {}},
        {"text": 5},
        {"text": None},
        {"text": "a", "image": {"source": {"s3Location": {"uri": "s3://b/1"}}}},
        {"image": "s3://b/1"},
        {"image": {}},
        {"image": {"source": {}}},
        {"image": {"source": {"s3Location": "s3://b/1"}}},
        {"image": {"source": {"s3Location": {}}}},
        {"image": {"source": {"s3Location": {"uri": 5}}}},
        "text",
        None,
    ],
    ids=repr,
)
def test_another_block_type_is_not_keyed(block):
    """P42, B3: tools, documents, video, and images of another shape."""
    event = ocr_event()
    event["messages"][0]["content"].append(block)

    assert refused(event) is Reason.BLOCK_TYPE


def test_a_blank_text_block_is_a_text_block():
    """B3: the host drops blank texts, others need not; they are keyed like any text."""
    event = ocr_event()
    event["messages"][0]["content"].append({"text": ""})

    assert parse(event).event is event


def test_too_many_parts_are_not_keyed():
    """B3: 1,000 blocks and 100 images are the bounds, on both sides."""
    within, over = ocr_event(), ocr_event()
    within["messages"][0]["content"] = [{"text": "a"}] * (MAX_BLOCKS - 1)
    over["messages"][0]["content"] = [{"text": "a"}] * MAX_BLOCKS
    images = [image_block("s3://b/1")]
    many, too_many = ocr_event(), ocr_event()
    many["messages"][0]["content"] = images * MAX_IMAGES
    too_many["messages"][0]["content"] = images * (MAX_IMAGES + 1)

    assert MAX_BLOCKS - 1 == len(parse(within).event["messages"][0]["content"])
    assert refused(over) is Reason.EVENT_SIZE
    assert MAX_IMAGES == len(parse(many).images)
    assert refused(too_many) is Reason.EVENT_SIZE


def test_an_owner_that_is_no_text_is_nobody():
    """B12: the host's account may be absent; what is no text is not passed on as an owner."""
    event = ocr_event()
    event["messages"][0]["content"].append(image_block("s3://b/1"))
    event["messages"][0]["content"][-1]["image"]["source"]["s3Location"]["bucketOwner"] = 123456789012

    assert parse(event).images[0].owner is None
