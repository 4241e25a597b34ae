"""In front of the host's own sample hooks: nothing hazardous is kept, everything good is, under the documented settings."""

import json
import re
from pathlib import Path

import pytest

from fakes import assessment_event, classification_event, extraction_event, ocr_event, summarization_event
from ops.sample_hooks import HOOKS, SETTINGS, World, converse_reply

PROJECT = Path(__file__).parents[2]


def bedrock(text, out=20):
    return {"output": converse_reply(text)["output"], "usage": {"inputTokens": 9, "outputTokens": out}}


@pytest.fixture
def chain(make_rig):
    """A rig in front of one sample hook; `settings` instead of the documented ones."""

    def make(name, world, settings=None):
        rig = make_rig(HOOKCACHE_POLICY=json.dumps(SETTINGS[name] if settings is None else settings))
        handler = HOOKS[name](world)
        rig.backend.handler = lambda event: handler(event)
        return rig

    return make


def page(rig, context="OCR", name=b"a page"):
    uri = rig.image(name)
    events = {
        "OCR": lambda: ocr_event(uri),
        "Classification": lambda: classification_event("Invoice", uri),
        "Extraction": lambda: extraction_event("Invoice", uri),
        "Assessment": lambda: assessment_event(None, uri),
        "Summarization": summarization_event,
    }
    return events[context]()


GOOD = [
    ("bedrock-proxy", "OCR", lambda n: bedrock(f"page {n}")),
    ("bedrock-proxy", "Classification", lambda n: bedrock(f'{{"class": "invoice", "n": {n}}}')),
    ("bedrock-proxy", "Extraction", lambda n: bedrock(f'Here it is:\n```json\n{{"total": {n}}}\n```')),
    ("bedrock-proxy", "Summarization", lambda n: bedrock(f"A letter, {n}.")),
    ("sagemaker", "OCR", lambda n: {"generated_text": f"page {n}", "input_tokens": 1212.5, "output_tokens": 3}),
    ("sagemaker", "OCR", lambda n: {"generated_text": f"page {n}", "input_tokens": 900, "output_tokens": "many"}),
    (
        "sagemaker",
        "Classification",
        lambda n: {"generated_text": f'{{"class": "invoice", "n": {n}}}', "input_tokens": 900},
    ),
    ("chandra", "OCR", lambda n: f"# Page {n}"),
    ("mistral", "OCR", lambda n: (f"page {n}", 3)),
    ("mistral", "OCR", lambda n: (f"a dense page {n} " * 10, 12_000)),
    ("mistral", "OCR", lambda n: ("", 0)),
    ("cohere", "OCR", lambda n: f"another reading each time: {n}"),
    ("cohere", "OCR", lambda n: ""),
    ("w2", "Assessment", lambda n: {"wages": {"confidence": 0.9}}),
    ("cdk-bridge", "Classification", lambda n: f"invoice-{n}"),
]


@pytest.mark.parametrize(("name", "context", "says"), [good for good in GOOD if good[0] != "w2"])
def test_everything_good_is_kept_and_replayed(chain, name, context, says):
    """P9, P14, P49: text, JSON, fenced JSON, usage that is no integer or no number, 2 MB of blocks, blank pages that were paid."""
    world = World(says=says)
    rig = chain(name, world)
    first = rig.call(page(rig, context))
    second = rig.call(page(rig, context))

    assert ["miss", "hit_memory"] == rig.outcomes
    assert 1 == world.calls
    assert {**first, "usage": dict.fromkeys(first["usage"], 0)} == second


def test_blocks_of_two_megabytes_come_back_from_the_table_as_they_were(chain):
    """P49: too large for an item, so the body lies in S3; another environment reads it."""
    rig = chain("mistral", World(says=lambda n: ("words of a dense page " * 5, 15_000)))
    first = rig.call(page(rig))
    again = rig.call(page(rig), rig.second)

    assert 2_000_000 < len(json.dumps(first["textractBlocks"]))
    assert first["textractBlocks"] == again["textractBlocks"]
    assert ["miss", "hit_table"] == rig.outcomes


HAZARDS = [
    ("bedrock-proxy", "Extraction", lambda n: bedrock('{"total": "17.2', out=10_000), False, "truncated"),
    ("bedrock-proxy", "Extraction", lambda n: bedrock('{"total": "17.2'), False, "not_json"),
    ("bedrock-proxy", "Classification", lambda n: bedrock("I cannot tell."), False, "not_json"),
    ("bedrock-proxy", "OCR", lambda n: bedrock(""), False, "blank_text"),
    ("sagemaker", "OCR", lambda n: {"generated_text": " \n"}, False, "blank_text"),
    ("sagemaker", "Classification", lambda n: {"error": "Model is loading"}, False, "refused_text"),
    ("sagemaker", "OCR", lambda n: {"error": "model is loading"}, False, "refused_text"),
    ("sagemaker", "OCR", lambda n: {"generated_text": f"a guess {n}", "input_tokens": 40}, True, "image_not_read"),
    ("sagemaker", "OCR", lambda n: {"generated_text": f"a guess {n}"}, True, "image_not_read"),
    ("chandra", "OCR", lambda n: "never asked", True, "blank_text"),
    ("mistral", "OCR", lambda n: ("never asked", 1), True, "no_pages"),
    ("cdk-bridge", "Classification", lambda n: RuntimeError("endpoint down"), False, "refused_text"),
    ("cdk-bridge", "Classification", lambda n: "never asked", True, "refused_text"),
]


@pytest.mark.parametrize(("name", "context", "says", "s3_fails", "refusal"), HAZARDS)
def test_a_failure_in_disguise_is_not_kept_and_its_repair_is_seen_at_once(
    chain, name, context, says, s3_fails, refusal
):
    """P14, P47, S20, S23: swallowed S3 failures, empty text, cut answers without a stop reason, errors as classes."""
    world = World(says=says, s3_fails=s3_fails)
    rig = chain(name, world)
    rig.call(page(rig, context))
    first = rig.last
    world.s3_fails, world.says = False, {case[:2]: case[2] for case in reversed(GOOD)}[name, context]
    rig.clock.advance(61)  # the minute in which nobody waits for a refused key, and nothing is stored (P48)
    for _ in range(2):
        rig.call(page(rig, context))

    assert ("miss", refusal) == (first["outcome"], first["refusal"])
    assert ["miss", "hit_memory"] == rig.outcomes[1:]


def test_an_empty_object_passes_for_json_unless_its_text_is_refused(chain):
    """P47: the w2 hook's parse failure is a JSON object; where it is cached after all, `{}` must be named."""
    by_default = chain("w2", World(says=lambda n: None), {})
    by_default.call(page(by_default, "Assessment"))
    careful = chain("w2", World(says=lambda n: None), {"Assessment": {"refused_texts": ["{}"]}})
    careful.call(page(careful, "Assessment"))

    assert ["", "refused_text"] == [by_default.last["refusal"], careful.last["refusal"]]


def test_a_free_and_deterministic_hook_is_better_left_alone(chain):
    """The documented setting for w2-copy-consistency is `off`: every call reaches it, nothing is stored."""
    world = World(says=lambda n: {"wages": 1.0})
    rig = chain("w2", world)
    for _ in range(2):
        rig.call(page(rig, "Assessment"))

    assert 2 == world.calls
    assert [("bypass", "mode_off")] * 2 == [(each["outcome"], each["reason"]) for each in rig.receipts]


def test_a_hook_that_raises_on_an_s3_failure_is_asked_again(chain):
    """P17: Cohere's and Bedrock's raise, which is the honest way; the next attempt reaches them."""
    for name in ("cohere", "bedrock-proxy"):
        world = World(says=lambda n: bedrock("read") if n == 0 else "read", s3_fails=True)
        rig = chain(name, world)
        with pytest.raises(Exception, match="Access Denied"):
            rig.call(page(rig))
        world.s3_fails, world.says = False, lambda n: bedrock("read")
        if name == "cohere":
            world.says = lambda n: "read"
        rig.call(page(rig))

        assert ["failed", "miss"] == rig.outcomes


def test_pages_that_differ_between_repeats_are_frozen_at_the_first_reading(chain):
    """Contract of a cache over a non-deterministic hook: later steps see one text, so their keys hold still too."""
    rig = chain("cohere", World(says=lambda n: f"reading {n}"))
    texts = {rig.call(page(rig))["output"]["message"]["content"][0]["text"] for _ in range(3)}

    assert {"reading 0"} == texts


def test_without_the_documented_setting_an_answer_without_its_image_is_kept(chain):
    """Control: nothing else in the answer tells that the sagemaker hook dropped the image; docs name the setting."""
    world = World(says=lambda n: {"generated_text": f"a guess {n}", "input_tokens": 40}, s3_fails=True)
    rig = chain("sagemaker", world, {})
    rig.call(page(rig))
    chaining = (PROJECT / "docs" / "chaining.md").read_text()

    assert "" == rig.last["refusal"]
    assert re.search(r"### sagemaker-hook.*image_tokens.*\*\*is kept\*\*.*### chandra", chaining, re.DOTALL)


@pytest.mark.parametrize("name", HOOKS)
def test_the_documented_settings_are_the_tested_ones(name):
    """docs/chaining.md gives for each hook the very policy that this suite runs with."""
    chaining = (PROJECT / "docs" / "chaining.md").read_text()
    settings = SETTINGS[name]

    assert not settings or f"HOOKCACHE_POLICY='{json.dumps(settings)}'" in chaining
