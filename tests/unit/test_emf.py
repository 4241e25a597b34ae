"""The record of an invocation, judged by Powertools' own."""

import json

import pytest
from aws_lambda_powertools.metrics.functions import is_metrics_disabled
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider
from hypothesis import given
from hypothesis import strategies as st

from hookcache.emf import EmfShape, is_disabled

UNITS = {"Requests": "Count", "Cost": "None", "Latency": "Milliseconds"}
VALUES = st.one_of(st.integers(0, 2**53), st.floats(0, 1e12))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
JSON = st.one_of(st.none(), st.booleans(), st.integers(), WORDS, st.dictionaries(WORDS, st.integers(), max_size=3))


def by_powertools(timestamp_ms, dimensions, members, metrics):
    emf = AmazonCloudWatchEMFProvider(namespace="Test/Namespace")
    emf.service = None
    emf.set_timestamp(timestamp_ms)
    (first, second) = dimensions.items()
    emf.add_dimension(*first)
    emf.add_dimensions(**dict([second]))
    for name, value in metrics.items():
        emf.add_metric(name, UNITS[name], value)
    for name, value in members.items():
        emf.add_metadata(name, value)
    return emf.serialize_metric_set()


@given(
    key=WORDS,
    members=st.dictionaries(st.sampled_from(["outcome", "context", "age_seconds"]), JSON),
    metrics=st.dictionaries(st.sampled_from(sorted(UNITS)), VALUES, min_size=1),
)
def test_a_record_is_what_powertools_writes(key, members, metrics):
    """P31, P35: members, values, definitions and dimension sets, in the same order."""
    dimensions = {"MeteringKey": key, "Service": "hookcache"}
    shape = EmfShape("Test/Namespace", tuple(dimensions))

    line = shape.line(
        1_790_000_000_000, dimensions, members, [(name, UNITS[name], value) for name, value in metrics.items()]
    )

    expected = json.dumps(by_powertools(1_790_000_000_000, dimensions, members, metrics), separators=(",", ":"))
    assert expected == line
    assert "\n" not in line


def test_a_number_that_json_cannot_spell_is_no_record():
    """P34: the meter drops such a record and says so; CloudWatch would drop it without a word."""
    with pytest.raises(ValueError, match="JSON"):
        EmfShape("N", ("a",)).line(1, {"a": "b"}, {"age_seconds": float("nan")}, [("Requests", "Count", 1)])


@pytest.mark.parametrize("dev", [None, "true", "0"])
@pytest.mark.parametrize("disabled", [None, "true", "1", "false", "off"])
def test_the_switches_are_those_of_powertools(dev, disabled, monkeypatch):
    """P31: whoever switches metrics off the way Powertools documents has them off."""
    for name, value in (("POWERTOOLS_DEV", dev), ("POWERTOOLS_METRICS_DISABLED", disabled)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)

    assert is_metrics_disabled() == is_disabled()
