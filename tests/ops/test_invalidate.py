"""Invalidation through the CONTROL item: hard, soft and by generation, seen everywhere, and the command for it."""

import io
import json
import sys
from contextlib import nullcontext

import pytest

from fakes import BackendRaised, extraction_event, ocr_event
from hookcache.errors import BackendFailed
from hookcache.orders import Orders
from hookcache_ops import invalidate
from hookcache_ops.cli import main
from hookcache_ops.reach import ReachError
from hookcache_ops.times import now_ms
from operator_rig import OperatedRig, arguments, operator_of, reach_to

STALE_IF_ERROR = json.dumps({"*": {"stale_if_error": True}})
SEEN_EVERYWHERE_SECONDS = 60
NOW_MS = 1_790_000_000_000


def now_invalidated(rig, operator, **members):
    """Everything made until now is invalidated, and every environment has had its minute."""
    rig.clock.advance(1)
    report = operator({"command": "invalidate", "before_ms": rig.clock.now_ms(), **members})
    assert "error" not in report
    rig.clock.advance(SEEN_EVERYWHERE_SECONDS)


# -------------------------------------------------------------------- what environments do about it


def test_a_hard_invalidation_reaches_table_and_memory_everywhere(rig, operator):
    """P44: both environments hold a copy; within IDENTITY both ask anew, and what they store then is served."""
    event = ocr_event(rig.image(b"page"))
    for environment in (rig.first, rig.second):
        rig.call(event, environment)
    now_invalidated(rig, operator)
    for environment in (rig.first, rig.second, rig.first):
        rig.call(event, environment)

    assert ["miss", "hit_table", "miss", "hit_table", "hit_memory"] == rig.outcomes
    assert "invalidated" == rig.receipts[2]["reason"]


def test_an_invalidation_of_one_step_leaves_the_others(rig, operator):
    """P44: by context."""
    events = [ocr_event(rig.image(b"page")), extraction_event()]
    for event in events:
        rig.call(event)
    now_invalidated(rig, operator, context="OCR")
    for event in events:
        rig.call(event)

    assert ["miss", "miss", "miss", "hit_memory"] == rig.outcomes


def test_an_invalidation_leaves_what_was_made_after_its_time(rig, operator):
    """P44: `before_ms` is a time in the past, and answers made since are good."""
    old, new = ocr_event(rig.image(b"old")), ocr_event(rig.image(b"new"))
    rig.call(old)
    rig.clock.advance(10)
    between = rig.clock.now_ms()
    rig.clock.advance(10)
    rig.call(new)
    operator({"command": "invalidate", "before_ms": between})
    rig.clock.advance(SEEN_EVERYWHERE_SECONDS)
    for event in (old, new):
        rig.call(event)

    assert ["miss", "miss", "miss", "hit_memory"] == rig.outcomes


def test_a_fetch_begun_before_an_invalidation_does_not_outlive_it(rig, operator):
    """P44: an answer is as old as its fetch; one that was asked for before the time is invalid when it lands after it."""
    event = ocr_event(rig.image(b"page"))
    rig.backend.seconds = 30
    rig.call(event)
    operator({"command": "invalidate", "before_ms": rig.clock.now_ms() - 10_000})
    rig.clock.advance(SEEN_EVERYWHERE_SECONDS)
    rig.call(event)

    assert ["miss", "miss"] == rig.outcomes
    assert "invalidated" == rig.last["reason"]


@pytest.mark.parametrize(("soft", "outcome"), [(True, "stale"), (False, "failed")], ids=["soft", "hard"])
def test_a_soft_invalidation_leaves_answers_for_errors_only(soft, outcome):
    """P44, P45: soft makes them stale: not served while the backend answers, served when it fails; hard never."""
    with OperatedRig(HOOKCACHE_POLICY=STALE_IF_ERROR) as rig, operator_of(rig) as operator:
        event = ocr_event(rig.image(b"page"))
        rig.call(event)
        now_invalidated(rig, operator, soft=soft)
        rig.backend.replies = [BackendRaised("Overloaded", "later")]
        with nullcontext() if soft else pytest.raises(BackendFailed):
            rig.call(event)

        assert ["miss", outcome] == rig.outcomes
        assert 2 == len(rig.backend.calls)


def test_a_soft_invalidation_is_a_miss_where_stale_answers_are_not_allowed(rig, operator):
    """P44, P45: `stale_if_error` is off unless the operator turns it on."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    now_invalidated(rig, operator, soft=True)
    rig.call(event)

    assert ["miss", "miss"] == rig.outcomes
    assert "invalidated" == rig.last["reason"]


def test_a_generation_puts_answers_out_of_reach_and_back(rig, operator):
    """P44: another word misses everything; the old one finds everything again."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    for generation in ("2", None):
        operator({"command": "generation", "generation": generation})
        rig.clock.advance(SEEN_EVERYWHERE_SECONDS)
        rig.call(event, rig.cold_start())

    assert ["miss", "miss", "hit_table"] == rig.outcomes


def test_what_was_invalidated_stays_so(rig, operator):
    """P44: an earlier time, given later, does not bring answers back."""
    operator({"command": "invalidate", "before_ms": 2_000})
    report = operator({"command": "invalidate", "before_ms": 1_000})

    assert {"*": 2_000} == report["not_before_ms"]


@pytest.mark.parametrize(("for_all", "for_one"), [(2_000, 1_000), (1_000, 2_000)])
def test_of_an_order_for_every_step_and_one_for_a_single_step_the_later_holds(for_all, for_one):
    """P44: neither brings back what the other made invalid, or stale."""
    times = {"*": for_all, "OCR": for_one}
    orders = Orders(not_before_ms=times, stale_before_ms=times)

    assert (2_000, 2_000) == (orders.not_before("OCR"), orders.stale_before("OCR"))
    assert (for_all, for_all) == (orders.not_before("Extraction"), orders.stale_before("Extraction"))


def test_every_kind_of_invalidation_that_was_seen_stays():
    """P44, T5: under older orders that somebody puts back; a later time of theirs counts."""
    seen = Orders(not_before_ms={"OCR": 5}, stale_before_ms={"OCR": 7, "*": 1})

    assert seen == Orders().no_earlier_than(seen)
    assert 9 == Orders(stale_before_ms={"OCR": 9}).no_earlier_than(seen).stale_before("OCR")


def test_orders_of_two_operators_at_once_are_both_kept(rig, operator):
    """P44: the second writes between the first's read and write; neither order is lost."""
    raced = []

    def race(operation, arguments):
        if operation == "update_item" and not raced:
            raced.append(True)
            rig.first.cache.control.amend(lambda orders: orders.with_mode("OCR", "observe"))

    rig.dynamodb.before = race
    report = operator({"command": "invalidate", "context": "OCR", "before_ms": 5})

    assert ({"OCR": 5}, {"OCR": "observe"}) == (report["not_before_ms"], report["modes"])


def test_tampered_orders_are_ignored_counted_and_told(rig, operator):
    """T5: a writer without the secret can neither give orders nor undo those that an environment knows."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    now_invalidated(rig, operator)
    rig.call(event)
    (control,) = rig.dynamodb.of_kind("CONTROL")
    rig.dynamodb.plant({**control, "orders": {"S": Orders(modes={"*": "off"}).text()}})
    rig.clock.advance(SEEN_EVERYWHERE_SECONDS)
    rig.call(event)

    assert ["miss", "miss", "hit_memory"] == rig.outcomes
    assert [1.0] == rig.last["CorruptEntries"]
    assert rig.first.cache.control.last().orders.not_before("OCR") > 0
    assert operator({"command": "show"})["tampered"]


def test_orders_read_what_an_older_release_wrote():
    """P44, F39: without the members that it did not know; unknown members are passed over, another form is refused."""
    old = json.dumps({"generation": "2", "not_before_ms": {"OCR": 7}, "modes": {"*": "observe"}})

    assert Orders("2", {"OCR": 7}, {"*": "observe"}) == Orders.parse(old)
    assert Orders("2") == Orders.parse(json.dumps(json.loads(Orders("2").text()) | {"later": 1}))
    with pytest.raises(ValueError, match="form"):
        Orders.parse(json.dumps(json.loads(Orders().text()) | {"form": 2}))


# -------------------------------------------------------------------- the command


def carried_out(args, operator):
    commands = invalidate.commands_of(args, now_ms())
    return invalidate.carry_out(args, commands, reach_to(operator), "invalidate")


@pytest.mark.parametrize(
    ("argv", "commands"),
    [
        (["--context", "OCR"], [{"command": "invalidate", "context": "OCR", "soft": False}]),
        (
            ["--all", "--before", "2h", "--soft"],
            [{"command": "invalidate", "context": "*", "before_ms": NOW_MS - 7_200_000, "soft": True}],
        ),
        (
            ["--namespace", "ours", "--before", "1970-01-01T00:00:01Z"],
            [{"command": "invalidate", "context": "*", "before_ms": 1000, "soft": False, "namespace": "ours"}],
        ),
        (
            ["--generation", "2", "--namespace", "ours"],
            [{"command": "generation", "generation": "2", "namespace": "ours"}],
        ),
        (["--own-generation"], [{"command": "generation", "generation": None}]),
    ],
)
def test_arguments_mean_these_commands(argv, commands):
    assert commands == invalidate.commands_of(arguments(invalidate, *argv), NOW_MS)


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        ([], "--context STEP"),
        (["--before", "2h"], "--context STEP"),
        (["--context", "OCR", "--before", "soon"], "write 2026-11-01"),
        (["--context", "OCR", "--before", "2999-01-01"], "leave it out"),
        (["--generation", "2", "--own-generation"], "one of them"),
        (["--generation", "2", "--soft"], "--all"),
        (["--generation", "a b"], "up to 64 letters"),
        (["--generation", "a" * 65], "up to 64 letters"),
        (["--context", "OCR", "--all"], "one of them"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(argv, remedy, capsys):
    """Status 2, and the table is not even looked for."""
    assert 2 == main(["invalidate", *argv, "--yes"])
    written = capsys.readouterr().err
    assert remedy in written
    assert 1 == written.count("\n")


def test_the_command_gives_its_order_and_shows_what_stands(rig, operator, capsys):
    """P44: an order from the command line reaches the environments."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    rig.clock.advance(120)
    args = arguments(invalidate, "--context", "OCR", "--before", "1970-01-02", "--yes", "--json")
    assert 0 == carried_out(args, operator)

    assert {"OCR": 86_400_000} == json.loads(capsys.readouterr().out)["not_before_ms"]
    assert {"OCR": 86_400_000} == rig.first.cache.control.orders().not_before_ms


@pytest.mark.parametrize("off_ms", [3_000, -60_000], ids=["ahead", "behind"])
def test_without_a_time_the_clock_of_the_cache_decides(rig, operator, off_ms):
    """P44: whatever the operator's own clock shows, what was kept until now is not served again."""
    event = ocr_event(rig.image(b"page"))
    rig.call(event)
    rig.clock.advance(1)
    args = arguments(invalidate, "--all", "--yes")
    commands = invalidate.commands_of(args, rig.clock.now_ms() + off_ms)
    status = invalidate.carry_out(args, commands, reach_to(operator), "invalidate")
    rig.clock.advance(SEEN_EVERYWHERE_SECONDS)
    rig.call(event)

    assert (0, ["miss", "miss"]) == (status, rig.outcomes)


def older(operator):
    """An erase function of a release that wanted a time."""

    def asked(command, context=None):
        if command["command"] == "invalidate" and "before_ms" not in command:
            return {"error": "before_ms: Field required", "fault": "command"}
        return operator(command, context)

    return asked


def test_an_older_erase_function_is_told_with_the_remedy(rig, operator, capsys):
    args = arguments(invalidate, "--all", "--yes")
    refused = carried_out(args, older(operator))
    said = capsys.readouterr().err
    rig.clock.wall_ms = now_ms()  # --before goes by the real one

    assert 2 == refused
    assert "--before 0s" in said
    assert 0 == carried_out(arguments(invalidate, "--all", "--before", "0s", "--yes"), older(operator))


@pytest.mark.parametrize("how", ["refused", "unreached"])
def test_where_the_second_order_fails_the_first_is_told(operator, capsys, how):
    """The generation is in force all the same."""

    def half(command, context=None):
        if command["command"] == "invalidate":
            if how == "unreached":
                raise ReachError("it cannot be asked; try again")
            return {"error": "no", "fault": "cache"}
        return operator(command, context)

    with pytest.raises(ReachError) if how == "unreached" else nullcontext():
        assert 1 == carried_out(arguments(invalidate, "--generation", "2", "--all", "--yes"), half)

    assert "Ordered already: Generation 2" in capsys.readouterr().err
    assert "2" == operator({"command": "show"})["generation"]


def test_a_dry_run_orders_nothing(rig, operator, capsys):
    """P44: it says in words what would hold."""
    args = arguments(invalidate, "--all", "--dry-run")
    assert 0 == carried_out(args, operator)

    assert capsys.readouterr().out.startswith("Would be ordered: Answers for every step")
    assert [] == rig.dynamodb.of_kind("CONTROL")


@pytest.mark.parametrize(("typed", "told"), [("n", "Nothing was ordered."), ("", "interrupted; nothing was ordered")])
def test_who_is_asked_and_does_not_say_yes_has_ordered_nothing(rig, operator, capsys, monkeypatch, typed, told):
    """P44: a no, or Ctrl-C at the question, which is one sentence with the way that it takes."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def readline(self):
            if not typed:
                raise KeyboardInterrupt
            return typed

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert 1 == carried_out(arguments(invalidate, "--all"), operator)

    said = capsys.readouterr().err
    assert f"Order it {reach_to(operator).where}? [y/N]" in said
    assert said.endswith(f"{told}\n")
    assert [] == rig.dynamodb.of_kind("CONTROL")


@pytest.mark.parametrize("way", ["--yes", "--dry-run"])
def test_a_namespace_that_is_not_the_caches_is_refused(rig, operator, capsys, way):
    """P7: a command for another namespace does not take effect in this one, and a dry run says so already."""
    args = arguments(invalidate, "--namespace", "other", way)
    assert 2 == carried_out(args, operator)
    assert "namespace default" in capsys.readouterr().err
