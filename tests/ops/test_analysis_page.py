"""docs/analysis.md: each command in it is run on the data beside it, and prints what the page shows."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hookcache_ops.cli import main
from hookcache_ops.explain.causes import CAUSES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "analysis.md").read_text(encoding="utf-8")


def shown() -> list[tuple[str, str]]:
    """Each `$ hookcache ...` line of the page with the indented block after it."""
    found, lines = [], PAGE.splitlines()
    for at, line in enumerate(lines):
        if line.strip().startswith("$ hookcache "):
            margin = len(line) - len(line.lstrip())
            block = []
            for following in lines[at + 1 :]:
                if following.strip() and not following.startswith(" " * margin):
                    break
                block.append(following[margin:])
            found.append((line.strip().removeprefix("$ hookcache "), "\n".join(block).strip()))
    return found


@pytest.mark.parametrize(("command", "output"), shown(), ids=lambda text: text[:30])
def test_the_page_shows_what_its_commands_print(command, output, monkeypatch, capsys):
    """P58: a figure in the page that no longer holds fails here."""
    monkeypatch.chdir(DOCS / "analysis-example")
    main(shlex.split(command))

    assert output == capsys.readouterr().out.strip()


def test_the_page_has_commands():
    """Control: the test above is not vacuous."""
    assert {"explain", "report"} <= {command.split()[0] for command, _ in shown()}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "time_stamp",
            "attribute_order",
            "image_reencoded",
            "prompt_changed",
            "namespace_split",
            "temperature_omitted",
        ),
        *("freshness", "memory", "environments", "spacing", "refused"),
    ],
)
def test_each_cause_stands_in_the_page_by_its_title(name):
    """P58: what `explain` says can be looked up."""
    assert f"| {CAUSES[name].title} |" in PAGE
