"""Every promise, story, bad input and fault is cited by a test: a number that nobody cites is a promise that nobody shows."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NUMBER = re.compile(r"\b([PSBF])(\d{1,2})(?:\s?[-\u2013]\s?[PSBF]?(\d{1,2}))?\b")

PROMISES = {f"P{number}" for number in [*range(1, 38), 38, 39, *range(40, 60)]}
STORIES = {f"S{number}" for number in range(1, 61)}
BAD_INPUTS = {f"B{number}" for number in range(1, 23)}
FAULTS = {f"F{number}" for number in range(1, 41)}

# Cited by no test yet. An empty list is the aim; a number that is cited meanwhile must leave it.
PENDING: dict[str, str] = {}


def cited_in(text: str) -> set[str]:
    """The numbers in a docstring: `P3`, `F4-F7` and `S20, S21` alike."""
    found = set()
    for letter, first, last in NUMBER.findall(text):
        found |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    return found


@functools.cache
def docstrings() -> dict[str, str]:
    """The docstrings of all test functions and their classes, by where they stand."""
    found = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        if file == Path(__file__):
            continue  # it names them all and shows none
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[f"{file.relative_to(TESTS)}::{node.name}"] = ast.get_docstring(node) or ""
    return found


@pytest.fixture(scope="module")
def cited() -> set[str]:
    return set().union(*map(cited_in, docstrings().values()))


@pytest.mark.parametrize(
    "numbers", [PROMISES, STORIES, BAD_INPUTS, FAULTS], ids=["promises", "stories", "bad inputs", "faults"]
)
def test_every_number_is_cited_by_a_test(cited, numbers):
    """Each promise, story, bad input and fault stands in the docstring of at least one test."""
    assert [] == sorted(numbers - cited - PENDING.keys(), key=lambda number: int(number[1:]))


def test_what_is_pending_is_really_not_cited(cited):
    """P31: the list of gaps tells the truth."""
    assert [] == sorted(PENDING.keys() & cited)


def test_every_test_says_what_it_shows():
    """Style: a docstring for each test function, so that a failure reads as a broken promise."""
    silent = [
        where
        for where, text in docstrings().items()
        if where.startswith(("unit/", "property/")) and where.split("::")[1].startswith("test_") and not text.strip()
    ]

    assert [] == silent


def test_a_citation_is_recognised():
    """Control: single numbers, lists and ranges; words that look alike are none."""
    assert {"P3", "F4", "F5", "F6", "S20", "S21"} == cited_in("P3, F4-F6 and S20, S21; not P100, GP3, S3.") - {"S3"}
