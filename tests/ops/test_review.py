"""`hookcache review`: counts of the truth check, how sure they are, and the review file."""

import json
import re

import pytest

from fakes import ocr_event, page_answer
from hookcache_ops.cli import main
from hookcache_ops.review import interval
from ops.receipt_samples import receipt
from rig import Rig


@pytest.fixture
def log(tmp_path):
    """Receipts of a run with a page that differs, one that drifts, one that agrees and one that nobody answered."""
    with Rig(HOOKCACHE_POLICY=json.dumps({"OCR": {"check_share": 1, "check_limit": 0.0001}})) as rig:
        played(rig)
    file = tmp_path / "function.log"
    file.write_text(rig.stdout.text)
    return file


def played(rig):
    pages = [ocr_event(rig.image(b"page %d" % number)) for number in range(3)]
    for event in pages:
        rig.backend.replies = [page_answer("Total 17.20")]
        rig.call(event)
    for event, said in zip(pages, ("Total 99.99", "TOTAL 17.20", "Total 17.20"), strict=True):
        rig.backend.replies = [page_answer(said)]
        rig.call(event)


def test_counts_and_review_file(log, tmp_path, capsys):
    """P59: false hits are a finding; the file names entries and fields and holds no content (P36)."""
    review = tmp_path / "review.jsonl"
    status = main(["review", str(log), "--json", "-o", str(review)])
    figures = json.loads(capsys.readouterr().out)["OCR"]
    lines = [json.loads(line) for line in review.read_text().splitlines()]

    assert (status, figures["checks"], figures["agrees"], figures["drift"], figures["false_hit"]) == (1, 3, 1, 1, 1)
    assert [line["result"] for line in lines] == ["false_hit", "drift"]
    assert "output.message.content[0].text" in lines[0]["paths"]
    assert "17.20" not in review.read_text()
    assert "99.99" not in review.read_text()


@pytest.mark.parametrize(
    ("width", "missing"), [(40, {"false hits", "checks", "bypassed"}), (80, {"agree"}), (200, set()), (None, set())]
)
def test_a_narrow_terminal_gets_fewer_columns_and_no_cut_name(tmp_path, capsys, monkeypatch, width, missing):
    """At 80 columns a step was `Classificat…`, in a pipe as well; the rate is what the table is for, and stays."""
    monkeypatch.setattr("hookcache_ops.review.terminal_width", lambda: width)
    line = receipt("hit_table", context="Classification", check={"result": "false_hit", "paths": ["total"]})
    (tmp_path / "log").write_text(json.dumps(line) + "\n")

    assert 1 == main(["review", str(tmp_path / "log")])
    first, *rest = capsys.readouterr().out.splitlines()
    assert set() == {name for name in missing if name in rest[0]}
    assert width == 40 or {"checks", "drift", "false hits", "bypassed"} <= set(re.split("  +", rest[0]))
    assert "false-hit rate" in first
    assert rest[1].startswith("Classification  ")
    assert all(len(each) <= (width or 200) for each in (first, *rest))


@pytest.mark.parametrize(
    ("lines", "kept", "told"),
    [
        ([], True, "no receipts found"),
        ([receipt()], True, "no checks found"),
        ([receipt("hit_table", check={"result": "agrees"})], False, ""),
    ],
    ids=["no receipts", "no checks", "control: a check"],
)
def test_a_review_of_no_checks_leaves_an_earlier_file(tmp_path, capsys, lines, kept, told):
    """An empty review file says that nothing differed."""
    log, review = tmp_path / "log", tmp_path / "review.jsonl"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    review.write_text("yesterday's")

    assert kept == bool(main(["review", str(log), "-o", str(review)]))
    assert ("yesterday's" if kept else "") == review.read_text()
    err = capsys.readouterr().err
    assert told in err
    assert kept == (f"{review} was not written" in err)


def test_the_table_adds_up(tmp_path, capsys):
    """P59: checks that nobody answered are checks, and tell nothing of the rate."""
    results = [("agrees", 4), ("drift", 3), ("false_hit", 2), ("unanswered", 11)]
    checks = [each for result, number in results for each in [{"result": result}] * number]
    lines = [receipt("hit_table", check=check, request_id=str(number)) for number, check in enumerate(checks)]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    main(["review", str(tmp_path / "log")])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "OCR" in line]

    assert ["20", "4", "3", "2", "11"] == re.findall(r"\d+", row)[:5]


def test_what_tells_nothing_of_the_rate_is_not_in_it(tmp_path, capsys):
    """P59: of the checks that were answered; results of another version are none, and what was bypassed is told apart."""
    results = ["false_hit", "agrees", "agrees", "agrees", *["unanswered"] * 6, "undecided"]
    many = {"result": "drift", "paths": [f"p{number}" for number in range(12)]}
    lines = [receipt("hit_table", check={"result": each}, request_id=f"{at}") for at, each in enumerate(results)]
    lines += [receipt("bypass", context="Extraction", reason="distrusted", request_id=f"b{at}") for at in range(2)]
    lines += [receipt("hit_table", context="Assessment", check=many, request_id="d")]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    main(["review", str(tmp_path / "log"), "--json"])
    told = json.loads(capsys.readouterr().out)

    assert (10, 0.25, 0.0) == tuple(told["OCR"][name] for name in ("checks", "false_hit_rate", "drift_rate"))
    assert interval(1, 4) == (told["OCR"]["false_hit_rate_from"], told["OCR"]["false_hit_rate_to"])
    assert (2, 0, None) == tuple(
        told["Extraction"][name] for name in ("bypassed_as_distrusted", "checks", "false_hit_rate")
    )
    assert 10 == len(told["Assessment"]["paths"])


def test_bypasses_alone_are_no_checks(tmp_path, capsys):
    """P59: a step that is bypassed as distrusted and was checked in no line of this log."""
    (tmp_path / "log").write_text(json.dumps(receipt("bypass", reason="distrusted")) + "\n")

    assert 1 == main(["review", str(tmp_path / "log")])
    assert "no checks found" in capsys.readouterr().err


def test_a_name_is_shown_as_it_stands(tmp_path, capsys):
    """Whatever a log holds: brackets are no mark-up, and end nothing."""
    steps = ["[/b]", "[bold]OCR[/]", ":smile:"]
    paths = {"result": "drift", "paths": ["[/b] total"]}
    lines = [receipt("hit_table", context=step, check=paths, request_id=step) for step in steps]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert 0 == main(["review", str(tmp_path / "log")])
    shown = capsys.readouterr().out
    assert steps == [step for step in steps if step in shown]
    assert "[/b] total differed 1 time" in shown.splitlines()[-1]


def test_paths_that_are_no_list_are_as_none(log, capsys):
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[3]["check"]["paths"] = 7
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = main(["review", str(log), "--json"])

    assert (1, 3) == (status, json.loads(capsys.readouterr().out)["OCR"]["checks"])


def test_content_is_written_where_the_operator_asked_for_it(log, tmp_path):
    """P59: `check_detail` said `content`; negative control of the first test's last lines."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[3]["check"]["values"] = [['"Total 17.20"', '"Total 99.99"']]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    review = tmp_path / "review.jsonl"
    main(["review", str(log), "-o", str(review)])

    assert json.loads(review.read_text().splitlines()[0])["values"] == [['"Total 17.20"', '"Total 99.99"']]


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 100, 0.0, 0.037), (10, 1000, 0.00544, 0.0183), (5, 5, 0.5655, 1.0)],
)
def test_how_sure(found, of, low, high):
    """The interval's ends as published tables of Wilson's formula give them."""
    assert interval(found, of) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(["missing.log"], "missing.log"), (["{log}", "-o", "/no/such/folder/x"], "choose a folder")],
)
def test_bad_input_is_one_line_and_status_2(arguments, remedy, log, capsys):
    assert main(["review", *(argument.format(log=log) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert remedy in captured.err
    assert captured.err.count("\n") == 1


def test_a_log_without_checks_says_what_to_set(log, capsys):
    without = [line for line in log.read_text().splitlines() if '"check"' not in line]
    log.write_text("\n".join(without))

    assert main(["review", str(log)]) == 1
    assert "check_share" in capsys.readouterr().err
