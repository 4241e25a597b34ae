"""P41: pages that come by reference, in a member of the event that the operator named."""

import json

import pytest

from fakes import BUCKET, image_block, json_answer
from hookcache.errors import ConfigurationError
from hookcache.settings import Settings
from rig import ENVIRONMENT

PAGES = f"s3://{BUCKET}/output/"
POLICY = {"Classification": {"resolve_references": ["pageOutputUri"], "trace": True}}


@pytest.fixture
def bridge(make_rig):
    """A rig that resolves `pageOutputUri`; its backend answers differently each time."""
    rig = make_rig(
        HOOKCACHE_POLICY=json.dumps(POLICY), HOOKCACHE_IMAGE_PREFIXES=f"s3://{BUCKET}/temp/lambdahook,{PAGES}"
    )
    rig.backend.handler = lambda event: json_answer({"class": "invoice", "call": len(rig.backend.calls)})
    return rig


def page(rig, folder, image=b"pixels", text=b'{"Blocks": []}'):
    for name, data in (("image.jpg", image), ("rawText.json", text)):
        if data is not None:
            rig.image(data, name=f"output/{folder}/{name}")
    return f"{PAGES}{folder}/"


def request(uri, name="pageOutputUri", **members):
    event = {
        "modelId": "LambdaHook",
        "messages": [{"role": "user", "content": [{"text": "Which class?"}]}],
        "system": [],
        "inferenceConfig": {"temperature": 0},
        "context": "Classification",
    }
    return event | {name: uri} | members


def test_the_same_page_under_another_prefix_hits_and_another_page_misses(bridge):
    """S14: the content is the input, not its place."""
    told = [bridge.call(request(page(bridge, folder))) for folder in ("1", "2")]
    bridge.call(request(page(bridge, "3", image=b"other pixels")))
    bridge.call(request(page(bridge, "4", text=b'{"Blocks": [1]}')))

    assert ["miss", "hit_memory", "miss", "miss"] == bridge.outcomes
    assert told[0]["output"] == told[1]["output"]
    assert 2 == bridge.last["images"]


def test_a_prefix_with_and_without_its_slash_is_one_page(bridge):
    """The bridge reads the same two objects."""
    uri = page(bridge, "1")
    for spelt in (uri, uri.rstrip("/")):
        bridge.call(request(spelt))

    assert ["miss", "hit_memory"] == bridge.outcomes


def test_the_picture_and_the_text_cannot_be_swapped_and_no_block_stands_for_them(bridge):
    """P2, P4: position counts, and an image block is not a page by reference."""
    bridge.call(request(page(bridge, "1", b"a", b"b")))
    bridge.call(request(page(bridge, "2", b"b", b"a")))
    event = request(page(bridge, "1"))
    del event["pageOutputUri"]
    event["messages"][0]["content"] += [image_block(f"{PAGES}1/{name}") for name in ("image.jpg", "rawText.json")]
    bridge.call(event)

    assert ["miss"] * 3 == bridge.outcomes


@pytest.mark.parametrize("missing", ["image", "text"])
def test_a_page_that_cannot_be_read_whole_is_bypassed(bridge, missing):
    """P42: no key of half a page."""
    bridge.call(request(page(bridge, "1", **{missing: None})))

    assert ("bypass", "image_unreadable") == (bridge.last["outcome"], bridge.last["reason"])


@pytest.mark.parametrize(
    "uri",
    ["s3://another-bucket/output/1/", f"{PAGES}../secret/", "https://example.org/page/", "no uri", f"s3://{BUCKET}/x/"],
)
def test_a_page_outside_the_allow_list_is_not_read(bridge, uri):
    """T8: the allow-list of images holds here as well."""
    bridge.call(request(uri))

    assert ("bypass", "image_not_allowed") == (bridge.last["outcome"], bridge.last["reason"])
    assert 0 == bridge.s3.count("get_object")


def test_a_page_that_changed_while_the_backend_ran_is_not_kept(bridge):
    """P15: the answer may be about the new page."""
    uri = page(bridge, "1")
    answer = bridge.backend.handler

    def overtaken(event):
        page(bridge, "1", image=b"newer pixels")
        return answer(event)

    bridge.backend.handler = overtaken
    bridge.call(request(uri))

    assert "image_changed" == bridge.last["refusal"]


def test_a_reference_that_was_not_named_is_bypassed_also_beside_one_that_was(bridge):
    """P41: another step, another member, or a named member's value elsewhere."""
    uri = page(bridge, "1")
    bridge.call(request(uri, context="Extraction"))
    bridge.call(request(uri, name="otherUri"))
    bridge.call(request(uri) | {"inferenceConfig": {"temperature": 0, "pageOutputUri": uri}})

    assert [("bypass", "reference")] * 3 == [(each["outcome"], each["reason"]) for each in bridge.receipts]


def test_a_named_member_that_holds_no_text_counts_as_what_it_is(bridge):
    """P3: null, a number and absence are three requests."""
    for event in (request(None), request(5), request(None)):
        bridge.call(event)
    event = request(None)
    del event["pageOutputUri"]
    bridge.call(event)

    assert ["miss", "miss", "hit_memory", "miss"] == bridge.outcomes


def test_a_member_named_twice_is_one_page(make_rig):
    """P41: a slip in the policy makes no second page, which would be read, digested and counted again."""
    rig = make_rig(
        HOOKCACHE_POLICY=json.dumps({"*": {"resolve_references": ["pageOutputUri", "pageOutputUri"]}}),
        HOOKCACHE_IMAGE_PREFIXES=PAGES,
    )
    rig.call(request(page(rig, "1")))

    assert ("miss", 2) == (rig.last["outcome"], rig.last["images"])


@pytest.mark.parametrize("name", ["messages", "context", "", "a b", 5])
def test_only_members_of_another_name_can_be_references(name):
    """P52: a part of every request is no reference; said at cold start."""
    policy = json.dumps({"*": {"resolve_references": [name]}})

    with pytest.raises(ConfigurationError, match="HOOKCACHE_POLICY"):
        Settings.of({**ENVIRONMENT, "HOOKCACHE_POLICY": policy})
