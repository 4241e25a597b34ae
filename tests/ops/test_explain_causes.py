"""Small logs with one cause each that the long planted ones do not have, and what is no cause at all."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from fakes import event_of
from hookcache.canonical import canonical_form
from hookcache.key import Keyer, Secrets
from hookcache.request import parse
from hookcache.trace import components
from hookcache_ops.explain.findings import findings, switched
from hookcache_ops.explain.losses import Losses
from hookcache_ops.explain.screen import as_text
from hookcache_ops.receipts import Reading, read_receipts
from ops import receipt_samples as samples

SECRETS = Secrets.derive(b"secret")
HOUR_MS = 3_600_000


def page(number: int) -> dict[str, Any]:
    """A Summarization request of one page; its text is nobody else's."""
    words = " ".join(f"{chr(97 + number % 26)}{word}" for word in ("river", "garden", "window", "ladder", "copper"))
    return event_of("Summarization", ["Sum this up.", f"{words} {number // 26 * 'x'}"], [{"text": "Be brief."}], topK=5)


def traced(event, outcome="miss", identity=b"1", generation="0", namespace="default", **more) -> dict[str, Any]:
    request, keyer = parse(event), Keyer(SECRETS, namespace)
    key = keyer.key_of(canonical_form(request, []), identity, generation)
    told = components(keyer, request, [], identity, generation)
    return samples.receipt(
        outcome, context=event["context"], key_id=keyer.shown(key), components=told, Cost=0.01, **more
    )


def explained(receipts, tmp_path):
    for number, receipt in enumerate(receipts):
        receipt["request_id"] = f"request {number}"
        receipt["_aws"]["Timestamp"] = samples.START_MS + number * HOUR_MS
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(receipt) + "\n" for receipt in receipts))
    losses = Losses()
    for receipt in read_receipts([str(log)], Reading()):
        losses.add(receipt)
    return losses, *findings(losses)


def changed(event, *path_and_value):
    *path, value = path_and_value
    event = copy.deepcopy(event)
    holder = event
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return event


def first_text(event, text):
    return changed(event, "messages", 0, "content", 0, "text", text)


@pytest.mark.parametrize(
    ("again", "cause", "where"),
    [
        (lambda n: traced(page(n), identity=b"2"), "backend_deployed", "identity"),
        (lambda n: traced(page(n), generation="1"), "generation", "generation"),
        (lambda n: traced(changed(page(n), "more", 1)), "unknown_member", "unknown"),
        (lambda n: traced(changed(page(n), "modelId", "nova")), "model", "model"),
        (lambda n: traced(changed(page(n), "inferenceConfig", "topK", 6)), "numbers", "topK"),
        (
            lambda n: traced(changed(page(n), "inferenceConfig", "maxTokens", 9)),
            "numbers",
            "maxTokens (at times absent)",
        ),
        (lambda n: traced(first_text(page(n), "Sum  this up.")), "spacing", "text block 1"),
        (lambda n: traced(first_text(page(n), "Sum this up!")), "punctuation", "text block 1"),
        (lambda n: traced(first_text(page(n), "Sum up this.")), "attribute_order", "text block 1"),
        (lambda n: traced(first_text(page(n), "Say it shortly.")), "prompt_changed", "text block 1"),
        (lambda n: traced(changed(page(n), "system", 0, "text", "Be exact.")), "prompt_changed", "system block 1"),
    ],
)
def test_a_component_that_differs_is_the_cause(again, cause, where, tmp_path):
    """P58: thirty pages, then each once more with one thing changed."""
    _, found, needed = explained([traced(page(n)) for n in range(30)] + [again(n) for n in range(30)], tmp_path)
    (only,) = found

    assert (cause, where, 30) == (only.cause.name, only.where, only.calls)
    assert 30 == needed.calls
    assert 0.3 == pytest.approx(only.cost)
    assert only.once_ms == samples.START_MS + 30 * HOUR_MS


def test_pages_that_share_a_prompt_are_new_pages(tmp_path):
    """P58, control: text 2 alone differs from page to page, and that is no loss."""
    _, found, needed = explained([traced(page(n)) for n in range(60)], tmp_path)

    assert ([], 60) == (found, needed.calls)


def test_an_answer_that_was_refused_is_the_cause_of_the_next_miss(tmp_path):
    """P14, P58: with the refusal's own remedy."""
    _, (only,), needed = explained([traced(page(0), refusal="truncated"), traced(page(0))], tmp_path)

    assert ("refused", "truncated", 1, 1) == (only.cause.name, only.where, only.calls, needed.calls)
    assert "maxTokens" in only.remedy


def test_a_failed_call_that_is_tried_again_is_no_loss(tmp_path):
    """P17: the backend's error was not kept, as promised."""
    _, found, _ = explained([traced(page(0), "failed"), traced(page(0))], tmp_path)

    assert [] == found


def test_a_bypass_that_somebody_asked_for_is_no_finding(tmp_path):
    """P50, P51: mode off and the caller's own bypass are choices; others are amounts that nobody can know exactly."""
    bypasses = [
        samples.receipt("bypass", reason=reason, Cost=0.5) for reason in ("mode_off", "requested", "inline_image")
    ]
    losses, (only,), _ = explained(bypasses, tmp_path)

    assert ("inline_image", True, 0.5) == (only.where, only.at_most, only.cost)
    assert "at most $0.50  requests that bypass the cache" in as_text(losses, [only], losses.first_sights, ["log"])


@pytest.mark.parametrize(
    ("pairs", "moment"),
    [
        ([(at, 100 + at) for at in range(10)], 100),
        ([(at, at + 1) for at in range(0, 20, 2)], None),
        ([(1, 2)] * 4, None),
        ([], None),
    ],
)
def test_a_change_that_happened_once_has_a_moment(pairs, moment):
    """P58: nearly all (before, after) pairs lie across it; four are too few to say."""
    assert moment == switched(pairs)


@pytest.mark.parametrize(
    ("words", "causes"),
    [
        (("a", "a", "a"), {"memory": 2}),
        (("a", "b", "c"), {"environments": 2}),
        (("a", "b", "a"), {"environments": 1, "memory": 1}),
        ((None, None, None), {"environments": 2}),
        (("a", None, "b"), {"environments": 2}),
    ],
    ids=["its own", "others", "both", "guessed", "guessed, some named"],
)
def test_receipts_say_whether_the_tier_was_too_small_or_another_environment_had_the_copy(tmp_path, words, causes):
    """P11, P58: by the word of the environment; where receipts have none it is guessed by size, and said."""
    facts = [{"environment": word} if word else {} for word in words]
    log = [
        samples.receipt(outcome, **told)
        for outcome, told in zip(("miss", "hit_table", "hit_table"), facts, strict=True)
    ]
    for at, receipt in enumerate(log):
        receipt |= {"request_id": str(at)}
        receipt["_aws"]["Timestamp"] = samples.START_MS + at * 1_000
    path = tmp_path / "log"
    path.write_text("".join(json.dumps(receipt) + "\n" for receipt in log))
    losses = Losses()
    for receipt in read_receipts([str(path)], Reading()):
        losses.add(receipt)
    found, _ = findings(losses)

    assert causes == {each.cause.name: each.calls for each in found}
    assert any("guessed" in each.said for each in found) == (None in words)
