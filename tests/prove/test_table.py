"""The table of figures: what it shows, and what its exit status depends on."""

from __future__ import annotations

import json

import pytest

import prove_table

LINE = {"what": "", "target": "t", "measured": 1, "unit": "", "met": True, "note": "", "time": "", "machine": ""}


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """The exit status after a run that recorded these lines."""

    def run(*lines, **told):
        file = tmp_path / "figures.jsonl"
        file.write_text("".join(json.dumps(LINE | line) + "\n" for line in lines))
        monkeypatch.setattr("figures.FILE", file)
        monkeypatch.setattr(prove_table, "SUMMARY", tmp_path / "summary.json")
        return prove_table.main(["--partial"] if told.get("partial", True) else [])

    return run


def test_every_figure_has_a_row_even_where_nobody_measured_it(run_of, capsys, tmp_path):
    """G1-G19: a table that leaves one out would not be honest."""
    run_of({"figure": "G5", "what": "p99 of all callers"})
    rows = json.loads((tmp_path / "summary.json").read_text())["figures"]

    assert list(prove_table.NUMBERS) == [row["figure"] for row in rows]
    assert 18 == capsys.readouterr().out.count("not measured")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ({"figure": "G1", "what": "memory hit", "met": False}, 0),
        ({"figure": "G5", "what": "p99 of all callers", "met": False}, 0),
        ({"figure": "G5", "what": "rounds with exactly one backend call", "met": False}, 1),
        ({"figure": "G5", "what": "rounds with exactly one backend call"}, 0),
        ({"figure": "G15", "what": "units", "met": False}, 1),
        ({"figure": "G19", "what": "net savings", "met": None}, 0),
    ],
)
def test_what_must_hold_decides_the_exit_status(run_of, capsys, line, status):
    """A missed target of speed is shown as NO and is no failure; a wrong answer is one."""
    assert status == run_of(line | {"note": "under a load"})
    shown = capsys.readouterr().out
    assert (line.get("met", True) is False) == ("NO" in shown.split())
    assert (line.get("met") is False and status == 0) == ("(under a load)" in shown), "what was missed, and how"


def test_a_whole_run_without_one_of_the_figures_fails(run_of, capsys):
    """G1-G19: silence is no proof, and no measurement either."""
    assert 1 == run_of({"figure": "G1", "what": "memory hit"}, partial=False)
    told = capsys.readouterr().err
    assert "G15: not measured" in told
    assert "G4: not measured" in told
    assert 0 == run_of(
        *({"figure": number, "what": "soak with faults on"} for number in prove_table.NUMBERS), partial=False
    )


def test_a_damaged_file_is_bad_input(run_of, capsys):
    """One line that names the remedy, no traceback."""
    assert 2 == run_of({"figure": "G1", "what": None})
    assert "make prove" in capsys.readouterr().err


def test_the_page_holds_the_same_rows_below_its_own_words(run_of, tmp_path):
    """G19: figures are published as they were measured; what a person wrote above them stays."""
    run_of({"figure": "G7", "what": "recovery", "target": "a | b", "measured": 1.5, "unit": "s", "note": "one engine"})
    page = tmp_path / "figures.md"
    page.write_text(f"# Figures\n\n{prove_table.PAGE_BEGINS}an older table\n")

    assert 0 == prove_table.main(["--partial", "--page", str(page)])
    text = page.read_text()
    assert text.startswith("# Figures\n")
    assert "| G7 | recovery | a \\| b | 1.5 s | yes | one engine |\n" in text
    assert "older" not in text
    assert len(prove_table.NUMBERS) == text.count("\n| G")


@pytest.mark.parametrize("text", [None, "# Figures\n"], ids=["no file", "no mark"])
def test_a_page_without_a_place_for_them_is_bad_input(run_of, capsys, tmp_path, text):
    """Nothing is overwritten that was not made for it."""
    run_of({"figure": "G7", "what": "recovery"})
    page = tmp_path / "figures.md"
    if text is not None:
        page.write_text(text)

    assert 2 == prove_table.main(["--partial", "--page", str(page)])
    assert "cannot write the page" in capsys.readouterr().err
    assert text == (page.read_text() if page.exists() else None)
