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
from hookcache_ops.cli import main
from hookcache_ops.explain.findings import findings, switched
from hookcache_ops.explain.losses import Losses
from hookcache_ops.explain.screen import as_json, as_text
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


def explained(receipts, tmp_path, memory_seconds=300.0):
    for number, receipt in enumerate(receipts):
        receipt["request_id"] = f"request {number}"
        receipt["_aws"]["Timestamp"] = samples.START_MS + number * HOUR_MS
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(receipt) + "\n" for receipt in receipts))
    losses = Losses(memory_seconds)
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
    """P17, P58: the backend's error was not kept, as promised; the call that then succeeded is the first sight."""
    _, found, needed = explained([traced(page(0), "failed"), traced(page(0))], tmp_path)

    assert ([], 1, 0.01) == (found, needed.calls, needed.cost)


def test_a_failed_call_hides_no_cause_of_the_one_that_succeeds(tmp_path):
    """P17, P58: the host tries again, so many an answer's first receipt is that of a failure."""
    twice = [traced(page(n), "failed" if at == 0 else "miss") for n in range(30) for at in range(2)]
    again = [traced(page(n), "failed" if at == 0 else "miss", identity=b"2") for n in range(30) for at in range(2)]
    _, (only,), needed = explained(twice + again, tmp_path)

    assert ("backend_deployed", 30, 30) == (only.cause.name, only.calls, needed.calls)


def test_a_failed_call_takes_no_answer_away(tmp_path):
    """P10, P17, P58: an answer that had expired is still why the call was made that failed at first."""
    log = [traced(page(0)), *[traced(page(1), "hit_memory")] * 2, traced(page(0), "failed"), traced(page(0))]
    _, found, _ = explained([copy.deepcopy(each) for each in log], tmp_path)

    assert ["freshness"] == [each.cause.name for each in found]


def test_a_bypass_in_the_window_behind_a_refusal_leaves_the_refusal_the_cause(tmp_path):
    """P48, P58: who asks again within a minute goes past the cache; who asks after it misses for the same refusal."""
    log = [
        traced(page(0), refusal="truncated"),
        traced(page(0), "bypass", reason="refusal_window"),
        traced(page(0)),
    ]
    _, found, _ = explained(log, tmp_path)

    assert {("bypass", "refusal_window"), ("refused", "truncated")} == {(each.cause.name, each.where) for each in found}


@pytest.mark.parametrize(("began_hours_before", "first_sights"), [(2, 1), (0, 0)])
def test_a_fetch_that_began_before_another_went_past_the_cache_was_needed(began_hours_before, first_sights, tmp_path):
    """P27, P58: a caller whose wait was over asks for itself, and may be answered sooner than the one it waited for."""
    latency = began_hours_before * HOUR_MS
    log = [traced(page(0), "bypass", reason="unleased"), traced(page(0), Latency=latency, BackendLatency=latency)]
    _, found, needed = explained(log, tmp_path)

    assert first_sights == needed.calls
    assert ["bypass", *["reason"] * (1 - first_sights)] == sorted(each.cause.name for each in found)


@pytest.mark.parametrize("reason", ["not_looked_up", "throttled"])
def test_a_request_never_seen_before_is_a_first_sight_though_nobody_could_look(reason, tmp_path):
    """P50, P58: mode write_only, and a table that refused the look-up; no cache could have saved the call."""
    _, found, needed = explained([traced(page(n), reason=reason) for n in range(20)], tmp_path)
    _, (again,), _ = explained([traced(page(0)), traced(page(0), reason=reason)], tmp_path)

    assert ([], 20) == (found, needed.calls)
    assert ("reason", reason, 1) == (again.cause.name, again.where, again.calls)


def test_a_mode_that_keeps_nothing_is_the_cause_of_the_next_miss(tmp_path):
    """P50, P58: its answers were refused by nobody, and no lifetime would have made them last."""
    log = [traced(page(0), mode="read_only", request_id=str(at)) for at in range(3)]
    _, (only,), needed = explained(log, tmp_path)

    assert ("refused", "read_only", 2, 1) == (only.cause.name, only.where, only.calls, needed.calls)
    assert "hookcache mode" in only.remedy


@pytest.mark.parametrize("began_in_the_log", [True, False])
def test_the_freshness_that_is_named_counts_from_when_the_answer_was_made(began_in_the_log, tmp_path):
    """P10, P58: an answer that is used every hour is as old as its making, and not as its last use."""
    hours = range(0 if began_in_the_log else 1, 30)
    log = [traced(page(0), "hit_table", age_seconds=at * 3_600) if at else traced(page(0)) for at in hours]
    _, (only,), _ = explained([*log, traced(page(0), reason="expired")], tmp_path)

    assert "freshness" == only.cause.name
    assert "nine in ten within 30.0 hours: 108,000 seconds would do" in only.said


def test_an_answer_that_lasts_is_made_when_its_fetch_began_and_a_refused_one_is_not_it(tmp_path):
    """P10, P14, P58: entries live from the beginning of their fetch; what was refused left the older one in place."""
    log = [
        traced(page(0), Latency=60_000, BackendLatency=59_000),
        traced(page(0), reason="expired", refusal="truncated"),
        traced(page(0), reason="expired"),
    ]
    _, (only,), _ = explained(log, tmp_path)

    assert ("freshness", 2) == (only.cause.name, only.calls)
    assert "nine in ten within 2.0 hours: 7,260 seconds would do" in only.said


@pytest.mark.parametrize("age", [None, -1, float("inf"), "1", 10**400])
def test_no_freshness_is_named_where_no_receipt_tells_an_age(age, tmp_path):
    """P58: the time since the last use says nothing about it."""
    log = [traced(page(0), "hit_table", age_seconds=age), traced(page(0), reason="expired")]
    _, (only,), _ = explained(log, tmp_path)

    assert ("freshness", "") == (only.cause.name, only.said)


def _streams(folder, *, after=0):
    """An export: a folder for each environment's stream. The one that asked first comes last by its name."""
    for name, at, receipt in (
        ("b", 0, lambda n: traced(page(n), environment="bb")),
        ("a", 30 + after, lambda n: traced(page(n), "hit_table", environment="aa")),
        ("c", 60, lambda n: traced(page(n), identity=b"2", environment="cc")),
    ):
        stream = folder / name
        stream.mkdir(parents=True)
        receipts = [receipt(n) | {"request_id": f"{name}{n}"} for n in range(20)]
        for n, each in enumerate(receipts):
            each["_aws"]["Timestamp"] = samples.START_MS + (at + n) * 60_000
        (stream / "000000").write_text("".join(json.dumps(each) + "\n" for each in receipts))
    return folder


@pytest.mark.parametrize("overlapping", [False, True])
def test_streams_of_several_environments_are_read_in_the_order_of_their_times(tmp_path, capsys, overlapping):
    """P58: an export has a file for each environment; who asked first was first, wherever its file stands."""
    folder = _streams(tmp_path / "export", after=-25 if overlapping else 0)

    assert 0 == main(["explain", str(folder), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (20, 20) == (told["first_sights"]["calls"], sum(each["calls"] for each in told["findings"]))
    assert {"backend_deployed"} == {each["cause"] for each in told["findings"]}
    assert all(each["examples"][0]["earlier"][0] in "ab" for each in told["findings"])


def test_more_streams_than_files_may_be_open(tmp_path, capsys):
    """P58: the streams of many environments overlap; each is open while its time lasts."""
    resource = pytest.importorskip("resource")
    for number in range(80):
        log = [samples.receipt(request_id=f"{number} {at}", key_id=f"{number:016x}") for at in range(2)]
        log[1]["_aws"]["Timestamp"] = samples.START_MS + HOUR_MS
        (tmp_path / f"{number}.log").write_text("".join(json.dumps(each) + "\n" for each in log))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        assert 0 == main(["explain", str(tmp_path), "--json"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert 160 == json.loads(capsys.readouterr().out)["requests"]


def test_a_line_in_two_files_counts_once(tmp_path, capsys):
    """P31: log extraction is at-least-once, across files too."""
    for name in "ab":
        (tmp_path / name).write_text(json.dumps(samples.receipt()) + "\n")

    assert 0 == main(["explain", str(tmp_path), "--json"])
    assert 1 == json.loads(capsys.readouterr().out)["requests"]


def test_a_call_begun_before_its_key_was_known_is_a_first_sight(tmp_path):
    """P58: another environment may serve an answer, and say so, before the receipt of the call that brought it."""
    late = traced(page(0), Latency=5_000, BackendLatency=4_900) | {"request_id": "leader"}
    early = traced(page(0), "hit_table") | {"request_id": "other"}
    late["_aws"]["Timestamp"] = samples.START_MS + 20
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(each) + "\n" for each in (early, late)))
    losses = Losses()
    for receipt in read_receipts([str(log)], Reading()):
        losses.add(receipt)

    assert ([], 1) == (findings(losses)[0], findings(losses)[1].calls)


def test_every_call_of_the_backend_is_counted_as_the_other_commands_do(tmp_path, capsys):
    """P31, P59: failed calls and checks of hits asked the backend as well; neither is a loss."""
    log = [
        samples.receipt("miss", BackendLatency=900, Latency=910, Cost=0.01),
        samples.receipt("failed", reason="backend_failed", BackendLatency=900, Latency=910),
        samples.receipt("failed", reason="follower_timed_out", Latency=910),
        samples.receipt("hit_memory", check={"result": "agrees"}, BackendLatency=900, Latency=910, Cost=0.01),
        samples.receipt("hit_table", SavedCost=0.01, Latency=9),
    ]
    path = tmp_path / "log"
    path.write_text("".join(json.dumps(each | {"request_id": str(at)}) + "\n" for at, each in enumerate(log)))
    told = {}
    for command in ("explain", "simulate", "report"):
        assert 0 == main([command, str(path), "--json"])
        told[command] = json.loads(capsys.readouterr().out)
    actual, report = told["simulate"]["actual"], told["report"]["totals"]

    assert (3, 3) == (told["explain"]["backend_calls"], actual["backend_calls"])
    assert [0.02] * 3 == [told["explain"]["backend_cost"], actual["cost"], report["cost"]]
    assert 2 == told["explain"]["hits"] == report["hits"]
    assert all(each["cause"] in {"memory", "environments"} for each in told["explain"]["findings"])


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


@pytest.mark.parametrize(
    "told",
    [
        ("failed", {}),
        ("bypass", {"reason": "unleased"}),
        ("miss", {"refusal": "truncated"}),
        ("stale", {"reason": "expired"}),
    ],
)
def test_an_environment_that_kept_nothing_had_no_copy(tmp_path, told):
    """P11, P58: whoever failed, went past the cache or had its answer refused took no copy that a larger tier would have held."""
    outcome, facts = told
    log = [
        samples.receipt(outcome, environment="a", **facts),
        samples.receipt("miss", environment="b"),
        samples.receipt("hit_table", environment="a"),
    ]
    losses = Losses()
    for at, receipt in enumerate(log):
        receipt |= {"request_id": str(at)}
        receipt["_aws"]["Timestamp"] = samples.START_MS + at * 1_000
    path = tmp_path / "log"
    path.write_text("".join(json.dumps(receipt) + "\n" for receipt in log))
    for receipt in read_receipts([str(path)], Reading()):
        losses.add(receipt)

    assert {"environments": 1} == {
        each.cause.name: each.calls for each in findings(losses)[0] if each.cause.name in {"memory", "environments"}
    }


def unpriced(receipt, **more):
    """The same where nobody set a price: the units stand by name, the amounts are 0."""
    return receipt | {"Cost": [0], "SavedCost": [0], "unpriced_units": {"inputTokens": 900}} | more


def three_losses():
    """A day's prompt with its time in it, thrice; one that expired; and a copy that another environment had."""
    stamped = [first_text(page(0), f"Sum this up at 2026-11-21T10:{minute}:00Z.") for minute in (11, 12, 13)]
    return [
        *(traced(event) for event in stamped),
        traced(page(1)),
        traced(page(1), reason="expired", age_seconds=700_000),
        traced(page(1), "hit_table", OwnCost=0.5),
    ]


def test_an_amount_at_prices_that_nobody_set_is_no_price(tmp_path):
    """P55: never 0; and what the memory tier lost, which has its price always, stands last all the same."""
    losses, found, needed = explained([unpriced(each) for each in three_losses()], tmp_path, memory_seconds=36_000)
    told = as_text(losses, found, needed, ["log"])

    assert "$0.00" not in told
    assert "5 asked the backend (no price): 2 were first sights (no price), 3 need not have been (no price)." in told
    assert "By calls lost:" in told
    assert " 1. no price  " in told
    assert "environments" == found[-1].cause.name
    assert all(each["cost_unknown"] for each in as_json(losses, found, needed)["findings"][:-1])


@pytest.mark.parametrize("width", [40, 80, 120])
def test_headings_are_broken_to_the_terminal_and_commands_are_not(tmp_path, width):
    """A command is there to be copied whole; a heading that the terminal breaks itself ends in the middle of a word."""
    losses, found, needed = explained(three_losses(), tmp_path, memory_seconds=36_000)
    told = as_text(losses, found, needed, [f"{'log' * 40}"], width=width).splitlines()

    assert [line for line in told if len(line) > width] == [line for line in told if "hookcache explain" in line] != []
    heading = next(number for number, line in enumerate(told) if line.startswith(" 1. "))
    assert told[heading + 1].startswith(8 * " ") == (width < 120)
    assert told[-1]


def test_one_of_anything_is_told_as_one(tmp_path):
    losses, found, needed = explained([traced(page(0)) | {"components": None}], tmp_path)

    assert "1 miss without a trace, so" in as_text(losses, found, needed, ["log"])


def test_control_an_amount_with_a_price_is_told_and_ranks(tmp_path):
    losses, found, needed = explained(three_losses(), tmp_path, memory_seconds=36_000)
    told = as_text(losses, found, needed, ["log"])

    assert "5 asked the backend, for $0.05: 2 were first sights ($0.02), 3 need not have been ($0.03)." in told
    assert "By money lost:" in told
    assert "environments" == found[0].cause.name  # half a dollar here
    assert not any(each["cost_unknown"] for each in as_json(losses, found, needed)["findings"])
