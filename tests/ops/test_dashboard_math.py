"""Metric math: read as CloudWatch reads it, evaluated the same here and in the page."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hookcache_ops.dashboard import metric_math
from hookcache_ops.dashboard.metric_math import MathError, evaluate, parse, references
from missing import missing

ASSETS = Path(metric_math.__file__).with_name("assets")
KNOWN: dict[str, list[float | None]] = {
    "m1": [1.0, 2.0, None, 4.0],
    "m2": [3.0, None, None, 0.0],
    "m3": [0.0, 5.0, 0.0, 8.0],
}
PERIOD = 60.0
CASES: dict[str, object] = {
    "m1": [1.0, 2.0, None, 4.0],
    "2+3*4": 14.0,
    "(2+3)*4": 20.0,
    "2^3*2": 16.0,
    "10-4-3": 3.0,
    "-m1": [-1.0, -2.0, None, -4.0],
    "m1+m2": [4.0, None, None, 4.0],
    "100*(m1+m3)/m3": [None, 140.0, None, 150.0],
    "m1/PERIOD(m1)*60": [1.0, 2.0, None, 4.0],
    "m1/0": [None, None, None, None],
    "SUM([m1,m2,m3])": [4.0, 7.0, 0.0, 12.0],
    "AVG([m1,m3])": [0.5, 3.5, 0.0, 6.0],
    "MAX([m1,m2])": [3.0, 2.0, None, 4.0],
    "MIN([m1,m2])": [1.0, 2.0, None, 0.0],
    "SUM(m1)": 7.0,
    "AVG(m1)": pytest.approx(7 / 3),
    "MAX(m3)": 8.0,
    "m1/SUM(m1)": [pytest.approx(1 / 7), pytest.approx(2 / 7), None, pytest.approx(4 / 7)],
    "SUM(METRICS())": [4.0, 7.0, 0.0, 12.0],
    "FILL(m2, 0)": [3.0, 0.0, 0.0, 0.0],
    "FILL(m2, m3)": [3.0, 5.0, 0.0, 0.0],
    "FILL(m1,0)+FILL(m2,0)": [4.0, 2.0, 0.0, 4.0],
    "IF(m3>0, m1, 0)": [0.0, 2.0, 0.0, 4.0],
    "IF(m3>0, 100*m1/m3)": [None, 40.0, None, 50.0],
    "IF(m1>1 AND m3>5, 1, 0)": [0.0, 0.0, None, 1.0],
    "m1>1 || m3==0": [1.0, 1.0, None, 1.0],
    "m1 != 2": [1.0, 0.0, None, 1.0],
    "RATE(m3)": [None, pytest.approx(5 / 60), pytest.approx(-5 / 60), pytest.approx(8 / 60)],
    "RUNNING_SUM(m1)": [1.0, 3.0, 3.0, 7.0],
    "RUNNING_SUM(m1-m3)": [1.0, -2.0, -2.0, -6.0],
    "CEIL(m1/2)": [1.0, 1.0, None, 2.0],
    "FLOOR(m1/2)": [0.0, 1.0, None, 2.0],
    "ABS(-m1)": [1.0, 2.0, None, 4.0],
    "1.5e1*m1": [15.0, 30.0, None, 60.0],
}


@pytest.mark.parametrize("expression", CASES)
def test_expressions_have_the_values_that_cloudwatch_documents(expression):
    """Gaps stay gaps unless filled, functions over a list skip them, division by zero is no value."""
    assert evaluate(parse(expression), KNOWN, PERIOD) == CASES[expression]


def test_the_page_evaluates_every_expression_alike():
    """The page's script and this module are two readings of one tree; they must not drift apart."""
    if shutil.which("node") is None:
        missing("Node.js, which runs the page's script outside a browser, is not installed")
    trees = {expression: parse(expression) for expression in CASES}
    script = (
        (ASSETS / "evaluate.js").read_text()
        + """
        const { trees, known, period } = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const series = new Map(Object.entries(known));
        const found = Object.fromEntries(Object.entries(trees).map(([name, tree]) => [name, evaluate(tree, series, period, 4)]));
        console.log(JSON.stringify(found));
    """
    )
    given = json.dumps({"trees": trees, "known": KNOWN, "period": PERIOD})
    done = subprocess.run(["node", "-e", script], input=given, capture_output=True, text=True, check=True, timeout=30)

    assert json.loads(done.stdout) == CASES


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "empty"),
        ("m1+", "ends too early"),
        ("(m1", "')' is missing"),
        ("m1 m2", "'m2' is out of place"),
        ("M1", "ids begin with a small letter"),
        ("m1 % m2", "cannot read"),
        ("SEARCH('x')", "cannot read"),
        ("MEDIAN(m1)", "MEDIAN is not known"),
        ("FILL(m1)", "FILL takes 2 arguments, not 1"),
        ("[m1,", "ends too early"),
    ],
)
def test_what_cannot_be_read_is_named(expression, told):
    with pytest.raises(MathError, match=told.replace("(", r"\(").replace(")", r"\)")):
        parse(expression)


def test_a_list_where_one_series_is_needed_is_an_error():
    with pytest.raises(MathError, match="wrap it in SUM"):
        evaluate(parse("[m1,m2]*2"), KNOWN, PERIOD)


def test_references_are_all_that_a_tree_reads():
    assert references(parse("IF(a1>0, SUM([b1,c2])/PERIOD(d4))")) == {"a1", "b1", "c2", "d4"}
