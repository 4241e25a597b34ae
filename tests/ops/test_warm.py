"""`hookcache warm`: finished work goes through the hook's own path, so that the next request hits."""

import gzip
import hashlib
import json
import os
import threading
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import pytest

from fakes import (
    BACKEND,
    BUCKET,
    OVERFLOW_BUCKET,
    BackendRaised,
    extraction_event,
    json_answer,
    ocr_event,
    page_answer,
    summarization_event,
    token_answer,
)
from hookcache.flight import Flights
from hookcache.leader import Shared
from hookcache.references import PAGE_FILES
from hookcache.settings import Settings
from hookcache_ops import warm
from hookcache_ops.cli import main
from hookcache_ops.pairs import Pair, PairError, check_sources, read_pairs
from hookcache_ops.prices_command import example_path
from hookcache_ops.warmer import Warmed, Warmer
from operator_rig import OperatedRig, Slow, operator_of

DAY_MS = 86_400_000


def warmer(rig, table=None, **options):
    settings = Settings.of({name: value for name, value in rig.settings.items() if name.startswith("HOOKCACHE_")})
    return Warmer(settings, clients=table or rig.clients, clock=rig.clock, **options)


def filled(rig, *pairs, **options):
    warmed = Warmed()
    filler = warmer(rig, **options)
    for pair in pairs:
        filler.fill(pair, warmed)
    return warmed


def pair(event, answer, time_ms=None):
    return Pair(event, answer, time_ms, "test")


def test_a_warmed_request_hits_and_the_backend_is_never_asked(rig):
    """P1, P9: same key, same answer, as if the wrapper had fetched it."""
    events = [ocr_event(rig.image(b"page")), extraction_event(), summarization_event()]
    answers = [page_answer("A page"), json_answer({"total": 17.2}), token_answer("A summary")]
    warmed = filled(rig, *(pair(event, answer) for event, answer in zip(events, answers, strict=True)))
    got = [rig.call(ocr_event(rig.image(b"page"))), rig.call(events[1]), rig.call(events[2])]

    assert (warmed.pairs, warmed.kept, rig.backend.calls) == (3, 3, [])
    assert rig.outcomes == ["hit_table"] * 3
    assert [each["output"] for each in got] == [each["output"] for each in answers]


def test_without_warming_it_misses(rig):
    """Negative control of the test above."""
    rig.call(extraction_event())

    assert rig.outcomes == ["miss"]


def test_what_the_hook_would_refuse_is_refused(rig):
    """P14, P16, P47: the same gate."""
    sampled = extraction_event()
    sampled["inferenceConfig"]["temperature"] = 0.7
    warmed = filled(
        rig,
        pair(extraction_event("a"), token_answer("no JSON at all")),
        pair(summarization_event("b"), {**token_answer("cut"), "stopReason": "max_tokens"}),
        pair(sampled, json_answer({})),
    )

    assert (warmed.kept, dict(warmed.refused), dict(warmed.bypassed)) == (
        0,
        {"not_json": 1, "truncated": 1},
        {"sampling": 1},
    )


def test_a_run_that_was_cut_short_is_repeated_and_skips_what_is_kept(rig):
    """Resuming is running again."""
    pairs = [pair(summarization_event(str(number)), token_answer(str(number))) for number in range(5)]
    filled(rig, *pairs[:3])
    writes = len(rig.dynamodb.of_kind("ENTRY"))
    warmed = filled(rig, *pairs)

    assert (writes, warmed.known, warmed.kept) == (3, 3, 2)


@pytest.mark.parametrize("mode", ["observe", "read_only", "write_only"])
class TestOrders:
    """P50: an order for a mode is for the hook's callers; a run that fills the cache goes on under it, as under such a setting."""

    def test_what_is_counted_as_kept_is_there(self, mode, rig):
        with operator_of(rig) as operator:
            operator({"command": "mode", "mode": mode})
        warmed = filled(rig, pair(summarization_event("a"), token_answer("a")))

        assert (1, 1) == (warmed.kept, len(rig.entries))

    def test_a_second_run_writes_nothing(self, mode, rig):
        """And so an older pair never replaces a newer answer."""
        with operator_of(rig) as operator:
            operator({"command": "mode", "mode": mode})
        now = rig.clock.now_ms()
        filled(rig, pair(summarization_event(), token_answer("newer"), now - 1_000))
        before = rig.entries
        warmed = filled(rig, pair(summarization_event(), token_answer("older"), now - DAY_MS))

        assert (0, 1, 0) == (warmed.kept, warmed.known, warmed.write_units)
        assert before == rig.entries


def test_mode_off_holds_for_a_run_as_well(rig):
    """P50: nothing is written under it, by nobody, and nothing is said to be kept."""
    with operator_of(rig) as operator:
        operator({"command": "mode", "mode": "off"})
    warmed = filled(rig, pair(summarization_event(), token_answer("x")))

    assert (0, {"mode_off": 1}, []) == (warmed.kept, dict(warmed.bypassed), rig.entries)


@pytest.mark.parametrize("soft", [False, True])
def test_an_answer_that_was_invalidated_is_not_written_again(soft, rig):
    """P44: nobody would ever be served it."""
    now = rig.clock.now_ms()
    with operator_of(rig) as operator:
        operator({"command": "invalidate", "before_ms": now - 1_000, "soft": soft})
    warmed = filled(
        rig,
        pair(summarization_event("before"), token_answer("x"), now - 2_000),
        pair(summarization_event("after"), token_answer("x"), now - 500),
    )

    assert (1, {"invalidated": 1}) == (warmed.kept, dict(warmed.bypassed))


@pytest.mark.parametrize(
    ("given_ms", "kept"),
    [(-DAY_MS // 2, 0), (None, 0), (500, 1)],
    ids=["before the erase", "nobody knows", "control: after it"],
)
def test_an_answer_that_was_erased_does_not_come_back(given_ms, kept, rig):
    """P13: by running the same command again."""
    event, now = ocr_event(rig.image(b"page")), rig.clock.now_ms()
    old = pair(event, page_answer("erased"), None if given_ms is None else now + given_ms)
    filled(rig, pair(event, page_answer("erased"), now - DAY_MS // 2))
    with operator_of(rig) as operator:
        operator({"command": "erase", "images": [hashlib.sha256(b"page").hexdigest()]})
    rig.clock.advance(60)
    if given_ms is not None and given_ms > 0:
        old = pair(event, page_answer("new"), rig.clock.now_ms() - given_ms)
    warmed, dry = filled(rig, old), None
    if not kept:
        dry = filled(rig, old, dry_run=True)
    rig.call(event)

    assert (kept, {} if kept else {"erased": 1}) == (warmed.kept, dict(warmed.bypassed))
    assert dry is None or {"erased": 1} == dict(dry.bypassed)
    assert ["hit_table" if kept else "miss"] == rig.outcomes


def test_a_copy_of_an_erased_answer_does_not_come_back_from_a_folder(rig, tmp_path):
    """P13: a file's time is that of its copy, and says nothing of when the answer was given."""
    event, answer = ocr_event(rig.image(b"page")), page_answer("erased")
    filled(rig, pair(event, answer, rig.clock.now_ms() - 1_000))
    with operator_of(rig) as operator:
        operator({"command": "erase", "images": [hashlib.sha256(b"page").hexdigest()]})
    rig.clock.advance(60)
    copied = tmp_path / "a.answer.json"
    copied.write_text(json.dumps(answer))
    (tmp_path / "a.request.json").write_text(json.dumps(event))
    os.utime(copied, ns=(rig.clock.now_ms() * 10**6, rig.clock.now_ms() * 10**6))
    (found,) = read_pairs([str(tmp_path)])
    warmed = filled(rig, found)
    told = filled(rig, pair(event, answer, found.time_ms))

    assert (0, {"erased": 1}) == (warmed.kept, dict(warmed.bypassed))
    assert 1 == told.kept  # control: as if the copy's time were the answer's


def test_an_answer_in_a_folder_is_as_old_as_its_file(rig, tmp_path):
    """P10: at least."""
    old = tmp_path / "a.answer.json"
    old.write_text(json.dumps(token_answer("old")))
    (tmp_path / "a.request.json").write_text(json.dumps(summarization_event()))
    os.utime(old, ns=((rig.clock.now_ms() - 8 * DAY_MS) * 10**6,) * 2)

    assert {"expired": 1} == dict(filled(rig, *read_pairs([str(tmp_path)])).bypassed)


def test_a_page_whose_fetch_failed_a_moment_ago_is_kept_all_the_same():
    """P17: a note on an error spares the backend; here nobody is asked, and the run goes on."""
    with OperatedRig(HOOKCACHE_POLICY=json.dumps({"*": {"negative_errors": ["ThrottlingException"]}})) as rig:
        rig.backend.replies = [BackendRaised("ThrottlingException", "Too many")]
        for _ in range(2):
            with pytest.raises(Exception, match=r"Too many|failed at the backend"):
                rig.call(summarization_event())
        warmed = filled(rig, pair(summarization_event(), token_answer("x")))
        rig.call(summarization_event(), rig.second)

        assert (1, 1) == (len(rig.backend.calls), warmed.kept)
        assert ["failed", "failed", "hit_table"] == rig.outcomes


def test_a_caller_whose_fetch_fails_ends_no_run(rig, monkeypatch):
    """P17, P28: a pair that waited for it is told as such, and the pairs behind it are kept."""
    board, shared = Flights.board, [Shared("ThrottlingException")]
    monkeypatch.setattr(Flights, "board", lambda *told, **named: shared.pop() if shared else board(*told, **named))
    warmed = filled(rig, *(pair(summarization_event(name), token_answer(name)) for name in "ab"))

    assert (2, 1, {"shared_failure": 1}) == (warmed.pairs, warmed.kept, dict(warmed.bypassed))


@pytest.mark.parametrize("age_ms", [0, 2_000])
def test_under_orders_that_cannot_be_read_nothing_is_kept_or_called_kept(age_ms, rig):
    """P44, T5: they may forbid it, and the reason is not that they did."""
    with operator_of(rig) as operator:
        operator({"command": "mode", "mode": "observe"})
    (control,) = rig.dynamodb.of_kind("CONTROL")
    rig.dynamodb.plant({**control, "orders_tag": {"B": b"\0" * 32}})
    warmed = filled(rig, pair(summarization_event(), token_answer("x"), rig.clock.now_ms() - age_ms))

    assert (0, []) == (warmed.kept, rig.entries)
    assert "invalidated" not in warmed.bypassed
    assert 1 == sum(warmed.bypassed.values()) + sum(warmed.refused.values())


def test_what_was_not_written_is_not_called_kept(rig, monkeypatch):
    """Whatever the reason: here one that no receipt tells of."""
    monkeypatch.setattr("hookcache.cache.Cache.keep", lambda *_, **__: None)
    warmed = filled(rig, pair(summarization_event(), token_answer("x")))

    assert (0, {"unwritten": 1}) == (warmed.kept, dict(warmed.bypassed))


def test_a_dry_run_writes_nothing_and_tells_the_cost(rig):
    pairs = [pair(summarization_event(str(number)), token_answer("text " * 2_000)) for number in range(3)]
    warmed = filled(rig, *pairs, dry_run=True)

    assert (warmed.kept, rig.dynamodb.of_kind("ENTRY"), rig.dynamodb.of_kind("LEASE")) == (3, [], [])
    assert warmed.write_units >= 18
    assert warmed.cost > 0


@pytest.mark.parametrize("bucket", [OVERFLOW_BUCKET, None])
def test_a_dry_run_foretells_what_becomes_of_a_large_answer(bucket):
    """P49, P56: its body is an object, and no hundreds of write units; without a bucket it is not kept."""
    dense = [{"Id": hashlib.sha256(b"%d" % number).hexdigest()} for number in range(15_000)]
    with OperatedRig(HOOKCACHE_OVERFLOW_BUCKET=bucket) as rig:
        event = ocr_event(rig.image(b"page"))
        large = pair(event, page_answer("A page") | {"textractBlocks": {"Blocks": dense}})
        foretold, warmed = filled(rig, large, dry_run=True), filled(rig, large)

        assert (bool(bucket), {} if bucket else {"answer_size": 1}) == (bool(warmed.kept), dict(warmed.refused))
        assert (warmed.kept, warmed.refused) == (foretold.kept, foretold.refused)
        assert foretold.write_units <= warmed.write_units
        if bucket:
            assert pytest.approx(float(warmed.cost), rel=0.5) == float(foretold.cost)


def test_a_dry_run_writes_nothing_although_the_control_item_orders_otherwise(rig):
    """P50: an order of mode `on` reaches every environment; the dry run's client could not write."""
    rig.call(summarization_event("first"))
    before = rig.dynamodb.of_kind("ENTRY")
    filler = warmer(rig, dry_run=True)
    table = filler._assembly.clients.dynamodb()

    with pytest.raises(PermissionError):
        table.put_item()
    filler.fill(pair(summarization_event("other"), token_answer("x")), Warmed())
    assert rig.dynamodb.of_kind("ENTRY") == before


def test_an_entry_lives_from_the_time_of_its_answer(rig):
    """P10: an answer of six days ago is served for one more day, and one of eight days ago not at all."""
    now = rig.clock.now_ms()
    young, old = summarization_event("young"), summarization_event("old")
    warmed = filled(
        rig, pair(young, token_answer("y"), now - 6 * DAY_MS), pair(old, token_answer("o"), now - 8 * DAY_MS)
    )
    rig.call(young)
    rig.clock.advance(86_400 + 1)
    rig.cold_start()
    rig.call(young, rig.second)

    assert (warmed.kept, dict(warmed.bypassed)) == (1, {"expired": 1})
    assert rig.outcomes == ["hit_table", "miss"]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("prices", "row", "unpriced"),
    [
        ("/var/task/prices.yaml", "bedrock/us.amazon.nova-pro-v1:0", 1),
        (None, "bedrock/us.amazon.nova-pro-v1:0", 1),
        (example_path(), "bedrock/us.amazon.nova-pro-v1:0", 0),
        (None, None, 0),
    ],
    ids=["not to be read here", "not set", "control: there", "nobody asked for prices"],
)
def test_what_is_kept_without_a_price_is_told(prices, row, unpriced, dry_run):
    """P55: an answer keeps the price of the day it was kept, so one without never says what it saves."""
    with OperatedRig(HOOKCACHE_PRICES=prices, HOOKCACHE_PRICE_AS=row) as rig:
        first, again = (filled(rig, pair(summarization_event(), token_answer("x")), dry_run=dry_run) for _ in "12")

    assert (1, unpriced) == (first.kept, first.unpriced)
    assert dry_run or 0 == again.unpriced


def test_pages_that_s3_lost_are_read_from_a_folder(rig, tmp_path):
    """P4: bytes count, wherever they come from."""
    event = ocr_event(rig.image(b"page"))
    lost = ocr_event("s3://working-bucket/temp/lambdahook/0123456789abcdef0123456789abcdef.jpeg")
    lost["messages"][0]["content"][1]["image"]["source"]["s3Location"]["uri"] = (
        event["messages"][0]["content"][1]["image"]["source"]["s3Location"]["uri"].rpartition("/")[0] + "/lost.jpeg"
    )
    (tmp_path / "lost.jpeg").write_bytes(b"page")
    without = filled(rig, pair(lost, page_answer("A page")))
    warmed = filled(rig, pair(lost, page_answer("A page")), images=str(tmp_path))
    rig.call(event)

    assert dict(without.bypassed) == {"image_unreadable": 1}
    assert (warmed.kept, rig.outcomes) == (1, ["hit_table"])


def test_a_page_by_reference_is_never_read_from_a_folder(tmp_path):
    """P1, P41: the files of every page have the same last names, so that page 2's answer would be kept as page 1's."""
    policy = json.dumps({"*": {"resolve_references": ["pageOutputUri"]}})
    with OperatedRig(HOOKCACHE_POLICY=policy, HOOKCACHE_IMAGE_PREFIXES=f"s3://{BUCKET}/") as rig:
        for page in ("1", "2"):
            for file in PAGE_FILES:
                rig.s3.put_object(Bucket=BUCKET, Key=f"document/pages/{page}/{file}", Body=f"{file} {page}".encode())
        for file in PAGE_FILES:
            (tmp_path / file).write_bytes(f"{file} 1".encode())

        def of_page(page):
            return summarization_event() | {"pageOutputUri": f"s3://{BUCKET}/document/pages/{page}"}

        warmed = filled(rig, pair(of_page("2"), token_answer("page 2")), images=str(tmp_path))
        got = [rig.call(of_page(page))["output"]["message"]["content"][0]["text"] for page in ("1", "2")]

        assert (1, ["miss", "hit_table"]) == (warmed.kept, rig.outcomes)
        assert "page 2" != got[0]
        assert "page 2" == got[1]


class TestSources:
    def test_lines_and_folders(self, tmp_path):
        (tmp_path / "a.request.json").write_text('{"x": 1}')
        (tmp_path / "a.answer.json").write_text('{"y": 2}')
        lines = tmp_path / "pairs.jsonl"
        lines.write_text('{"event": {"x": 3}, "answer": {"y": 4}, "time": "2026-11-01T08:00Z"}\n\n')

        assert [(found.event, found.answer) for found in read_pairs([str(tmp_path), str(lines)])] == [
            ({"x": 1}, {"y": 2}),
            ({"x": 3}, {"y": 4}),
        ]
        assert next(read_pairs([str(lines)])).time_ms == 1_793_520_000_000
        # In seconds as well, as `simulate` reads the same lines.
        for epoch in ("1793520000000", "1793520000", "1793520000.0"):
            lines.write_text(f'{{"event": {{}}, "answer": {{}}, "time": {epoch}}}\n')
            assert next(read_pairs([str(lines)])).time_ms == 1_793_520_000_000

    @pytest.mark.parametrize("name", ["pairs.jsonl.gz", "pairs.jsonl"])
    def test_a_file_may_be_gzipped(self, name, tmp_path):
        """Known by its first bytes, as in every command that reads logs; also of several members, as `cat a.gz b.gz` makes it."""
        lines = [json.dumps({"event": {"x": number}, "answer": {}}) + "\n" for number in range(3)]
        (tmp_path / name).write_bytes(b"".join(gzip.compress(line.encode()) for line in lines))

        found = list(read_pairs([str(tmp_path / name)]))
        assert [0, 1, 2] == [each.event["x"] for each in found]
        assert f"{tmp_path / name}:3" == found[-1].where

    def test_a_pipe_may_be_gzipped(self, tmp_path):
        """It is read once, from its first byte on."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        line = json.dumps({"event": {}, "answer": {"y": 1}}).encode()
        writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(line),))
        writer.start()
        found = list(read_pairs([str(pipe)]))
        writer.join(60)

        assert [{"y": 1}] == [each.answer for each in found]

    @pytest.mark.parametrize("spoil", [lambda whole: whole[:-9], lambda whole: whole[:20] + bytes(9) + whole[29:]])
    def test_a_damaged_gzip_is_named(self, spoil, tmp_path):
        """In one line that says what to do, once what came before it was sent."""
        path = tmp_path / "pairs.jsonl.gz"
        path.write_bytes(spoil(gzip.compress(b'{"event": {}, "answer": {}}\n' * 3)))

        with pytest.raises(PairError, match=r"pairs\.jsonl\.gz: cut short or damaged gzip; make the file again"):
            list(read_pairs([str(path)]))

    @pytest.mark.parametrize(
        "text", ["nonsense", '{"event": {}}', '{"event": {}, "answer": {}, "time": "noon"}', "[1]"]
    )
    def test_what_is_no_pair_is_named_with_its_line(self, text, tmp_path):
        lines = tmp_path / "pairs.jsonl"
        lines.write_text(text)

        with pytest.raises(PairError, match=r"pairs\.jsonl:1"):
            list(read_pairs([str(lines)]))


class Bypassing:
    """A warmer whose pairs end for these reasons, one after the other; none: kept."""

    def __init__(self, reasons):
        self._reasons, self.asked = reasons, 0

    def fill(self, _pair, warmed):
        reason = self._reasons[self.asked]
        self.asked += 1
        warmed.pairs += 1
        warmed.bypassed.update([reason] if reason else [])
        return reason


class TestCommand:
    @pytest.fixture(autouse=True)
    def shell(self, monkeypatch):
        monkeypatch.setenv("HOOKCACHE_TABLE", "hookcache")
        monkeypatch.setenv("HOOKCACHE_SECRET", "0123456789abcdef0123456789abcdef")
        monkeypatch.setenv("HOOKCACHE_BACKEND", BACKEND)

    @pytest.mark.parametrize(
        ("arguments", "remedy"),
        [
            (["{none}"], "give a file of pairs"),
            (["{none}", "--rate", "0"], "--rate"),
            (["{none}", "--images", "/no/such"], "is no folder"),
        ],
    )
    def test_bad_input_is_one_line_and_status_2(self, arguments, remedy, tmp_path, capsys):
        none = tmp_path / "none.jsonl"

        assert main(["warm", *(argument.format(none=none) for argument in arguments)]) == 2
        captured = capsys.readouterr()
        assert remedy in captured.err
        assert captured.err.count("\n") == 1

    @pytest.mark.parametrize("identity", ["auto", "pinned"])
    def test_a_function_that_is_no_wrapper_is_refused(self, identity, pairs, capsys, monkeypatch):
        """P40: its keys name its own code; with `pinned` all pairs were kept where nobody looks, and called kept."""
        monkeypatch.delenv("HOOKCACHE_BACKEND")
        monkeypatch.setenv("HOOKCACHE_IDENTITY", identity)

        assert main(["warm", pairs(3)]) == 2
        captured = capsys.readouterr()
        assert ("", 1) == (captured.out, captured.err.count("\n"))
        assert "give a wrapper's name" in captured.err

    @pytest.mark.parametrize("reason", warm.REMEDIES)
    def test_a_cache_that_cannot_be_reached_ends_the_run_with_the_remedy(self, reason, pairs, capsys, monkeypatch):
        """A million pairs past a login that has expired would be a day's work for nothing."""
        filler = Bypassing([reason] * 300)
        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: filler)

        assert main(["warm", pairs(300), "--rate", "1e6", "--json"]) == 1
        captured = capsys.readouterr()
        assert (json.loads(captured.out)["bypassed"], filler.asked) == ({reason: 10}, 10)
        assert f"hookcache warm: {warm.REMEDIES[reason]}; then run the same command again" in captured.err
        assert captured.err.count("\n") == 1

    @pytest.mark.parametrize("reason", ["table_down", "secret_unavailable", "backend_unknown"])
    def test_what_aws_does_not_give_may_be_a_login_that_is_over(self, reason):
        """The commonest of all troubles: rights may be as they should."""
        assert "login has expired" in warm.REMEDIES[reason]

    def test_a_mode_that_is_off_is_told_with_the_remedy(self, pairs, capsys, monkeypatch):
        """P50: one step may be off and the next one on, so the run goes on."""
        filler = Bypassing(["mode_off"] * 20)
        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: filler)

        assert main(["warm", pairs(20), "--rate", "1e6"]) == 1
        assert filler.asked == 20
        assert "hookcache mode --clear" in capsys.readouterr().err

    def test_answers_without_a_price_are_told_with_the_remedy(self, pairs, capsys, monkeypatch):
        class Unpricing(Bypassing):
            def fill(self, pair, warmed):
                warmed.kept += 1
                warmed.unpriced += 1
                return super().fill(pair, warmed)

        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: Unpricing([""] * 3))

        assert main(["warm", pairs(3), "--rate", "1e6"]) == 0
        captured = capsys.readouterr()
        assert "3 answers kept without a price" in captured.err
        assert captured.err.count("\n") == 1

    def test_json_has_every_figure_that_the_text_has(self, pairs, capsys, monkeypatch):
        """A script must see that what was kept will never say what it saves."""

        class Unpricing(Bypassing):
            def fill(self, pair, warmed):
                warmed.kept += 1
                warmed.unpriced += 1
                warmed.cost += Decimal("6.25E-8")
                return super().fill(pair, warmed)

        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: Unpricing([""] * 3))

        assert main(["warm", pairs(1), "--rate", "1e6", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["unpriced"], told["cost"]) == (1, 6.25e-8)
        assert main(["warm", pairs(1), "--rate", "1e6"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("1 pair: 1 kept")
        assert "$0.000000062 at" in shown  # one look-up; and not 0.0000

    def test_a_spell_of_it_is_passed_over(self, pairs, capsys, monkeypatch):
        """P18: nine in a row, one that is kept, nine again; and other bypasses without end."""
        filler = Bypassing((["table_down"] * 9 + [""]) * 2 + ["sampling"] * 20)
        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: filler)

        assert main(["warm", pairs(40), "--rate", "1e6"]) == 1
        assert filler.asked == 40
        assert capsys.readouterr().err.count("table") == 1

    def test_a_file_without_pairs_is_no_success(self, tmp_path, capsys):
        (tmp_path / "empty").write_text("\n")

        assert main(["warm", str(tmp_path / "empty")]) == 2
        assert "no pairs in" in capsys.readouterr().err

    @pytest.fixture
    def pairs(self, tmp_path):
        def written(number):
            path = tmp_path / "pairs.jsonl"
            path.write_text('{"event": {}, "answer": {}}\n' * number)
            return str(path)

        return written

    def test_the_second_source_is_looked_at_before_the_first_is_sent(self, pairs, tmp_path, capsys, monkeypatch):
        filler = Bypassing([""] * 3)
        monkeypatch.setattr(warm, "Warmer", lambda *_, **__: filler)

        assert main(["warm", pairs(3), str(tmp_path / "none")]) == 2
        assert (filler.asked, capsys.readouterr().out) == (0, "")

    def test_a_pipe_is_not_opened_twice(self, tmp_path, monkeypatch):
        """`<(zcat pairs.jsonl.gz)`: what the look took would be missing."""
        os.mkfifo(tmp_path / "pipe")
        check_sources([str(tmp_path / "pipe")])

    def test_ctrl_c_shows_what_was_done(self, tmp_path, capsys, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(warm, "_walk", interrupted)
        (tmp_path / "pairs.jsonl").touch()

        assert main(["warm", str(tmp_path / "pairs.jsonl"), "--json"]) == 1
        captured = capsys.readouterr()
        assert json.loads(captured.out)["pairs"] == 0
        assert "run the same command again" in captured.err


@pytest.mark.parametrize(("rate", "seconds"), [(10.0, 2.0), (40.0, 0.5)])
def test_no_more_pairs_a_second_than_were_asked_for(monkeypatch, rate, seconds):
    """The table's and the bucket's other callers are not to notice: 21 pairs, the first at once, the last when it is due."""
    now, filled_at = [100.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda pause: now.__setitem__(0, now[0] + pause))
    monkeypatch.setattr(warm, "time", clock)
    told = SimpleNamespace(json=True, rate=rate)
    filler = SimpleNamespace(fill=lambda *_: filled_at.append(now[0]) or "")
    warm._walk(filler, [pair({}, {})] * 21, Warmed(), told)

    assert 100.0 == filled_at[0]
    assert pytest.approx(100.0 + seconds) == filled_at[-1]
    assert pytest.approx([1 / rate] * 20) == [after - before for before, after in pairwise(filled_at)]


def test_half_a_character_is_kept_as_an_escape(rig):
    """P18: Lambda's runtime cannot write the three bytes, and environments of another release do not look for them."""
    filled(rig, pair(summarization_event(), token_answer("cut \ud83d")))
    (entry,) = rig.entries

    assert rb"\ud83d" in entry["body"]["B"]


def test_a_page_that_somebody_fetches_just_now_is_passed_over(make_rig):
    """P27: a fetch of the live hook that outlasts the wait is no reason to stop a whole run."""
    rig = make_rig(HOOKCACHE_WAIT_SECONDS="1")
    rig.backend.gate.clear()
    live = threading.Thread(target=lambda: rig.call(summarization_event()))
    live.start()
    assert rig.backend.waiting.acquire(timeout=20)
    try:
        warmed = filled(rig, pair(summarization_event(), token_answer("recorded")))
    finally:
        rig.backend.gate.set()
        live.join(20)

    assert (warmed.pairs, warmed.bypassed) == (1, {"unleased": 1})


def test_a_table_that_is_far_away_or_throttles_for_a_spell_is_waited_for(rig):
    """F3 bounds what a request waits for the table; an operator's run waits, and passes nothing over."""
    warmed = filled(rig, pair(summarization_event(), token_answer("x")), table=Slow(rig.clients, 1.1))

    assert (warmed.kept, dict(warmed.bypassed)) == (1, {})
