"""The receipt by itself: names, reasons, own environment variables, and one record whatever happens."""

import contextlib
import copy
import json
import re
from types import SimpleNamespace

import pytest

import hookcache.metering
from fakes import summarization_event
from hookcache.errors import BackendThrottled, backend_failed
from hookcache.hook import CachingHook
from hookcache.metering import Meter, function_name
from hookcache.outcome import Outcome, Reason
from hookcache.policy import Rules
from hookcache.prices import Prices
from hookcache.receipt import Receipt
from hookcache.spending import Spending
from hookcache.truth import TruthCheck

ARN = "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-cache-x"


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (ARN, "GENAIIDP-cache-x"),
        (f"{ARN}:live", "GENAIIDP-cache-x"),
        (f"{ARN}:$LATEST", "GENAIIDP-cache-x"),
        (ARN.replace("aws:", "aws-cn:", 1), "GENAIIDP-cache-x"),
        ("GENAIIDP-cache-x:7", "GENAIIDP-cache-x"),
        ("GENAIIDP-cache-x", "GENAIIDP-cache-x"),
    ],
)
def test_a_function_has_one_name(arn, name):
    """S55, P35: ARN, alias, version, `$LATEST`, other partitions, bare."""
    assert name == function_name(SimpleNamespace(invoked_function_arn=arn))


def test_a_function_that_nobody_names():
    """S55: in a decorator outside Lambda."""
    assert "unknown" == function_name(None)
    assert "own" == function_name(SimpleNamespace(invoked_function_arn=None), "own:7")


def meter(clock, **environ):
    return Meter(clock, Spending(), Prices(), environ)


def one_receipt(meter, told=lambda _: None):
    receipt = meter.open("OCR", None)
    told(receipt)
    meter.close(receipt)


def receipts(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (backend_failed("a", "b", shared=True), Reason.SHARED_FAILURE),
        (backend_failed("a", "b", timed_out=True), Reason.BACKEND_TIMEOUT),
        (backend_failed("a", "b"), Reason.BACKEND_FAILED),
        (BackendThrottled("a"), Reason.BACKEND_THROTTLED),
        (KeyboardInterrupt(), Reason.BACKEND_FAILED),
        (ValueError("mine"), Reason.BACKEND_FAILED),
    ],
    ids=repr,
)
def test_whatever_is_raised_closes_the_receipt_and_goes_on(clock, capsys, error, reason):
    """P31: exactly one receipt, `failed`, with its reason; no credit for what was not served."""

    class Failing(CachingHook):
        def _prepare(self, call):
            call.receipt.end(Outcome.HIT_MEMORY)
            call.receipt.units_saved = {"pages": 1}
            raise error

    hook = Failing(None, None, {"OCR": Rules()}, Prices(), meter(clock), TruthCheck(clock), clock)
    with pytest.raises(type(error)) as caught:
        hook({"context": "OCR"}, None)
    (written,) = receipts(capsys)

    assert caught.value is error
    assert ("failed", reason.value, {}) == (written["outcome"], written["reason"], written["units_saved"])


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_counts_once(clock, capsys, outcome):
    """P31: the equation that dashboards rely on."""
    one_receipt(meter(clock), lambda receipt: receipt.end(outcome))
    (written,) = receipts(capsys)
    counts = [written[name][0] for name in ("MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures")]

    assert 1 == written["Requests"][0] == sum(counts)


def test_namespace_and_service_are_powertools_own_settings(clock, capsys):
    """P35: no convention of our own where there is one."""
    chosen = meter(clock, POWERTOOLS_METRICS_NAMESPACE="Mine", POWERTOOLS_SERVICE_NAME="pages")
    one_receipt(chosen)
    (written,) = receipts(capsys)

    assert ("Mine", "pages") == (written["_aws"]["CloudWatchMetrics"][0]["Namespace"], written["Service"])


@pytest.mark.parametrize(("own", "process", "written"), [("true", "", 0), ("", "true", 1), ("", "", 1)])
def test_receipts_are_switched_off_by_the_meters_own_environment(own, process, written, clock, capsys, monkeypatch):
    """P31: an operator's shell, where `hookcache warm` meters for itself, is another environment than the function's."""
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", process)
    one_receipt(meter(clock, POWERTOOLS_METRICS_DISABLED=own))

    assert written == len(receipts(capsys))


def test_health_metrics_are_written_only_where_they_count(clock, capsys):
    """P35: every custom metric costs money."""
    health = {"TableErrors", "ImageErrors", "Refusals", "LeaseLost", "CorruptEntries", "Unpriced"}
    one = meter(clock)
    one_receipt(one)
    receipt = one.open("OCR", None)
    receipt.table_errors = receipt.image_errors = receipt.lease_lost = receipt.corrupt_entries = 1
    receipt.refusal, receipt.unpriced = Reason.TRUNCATED, {"pages": 1}
    one.close(receipt)
    quiet, loud = receipts(capsys)

    assert set() == health & quiet.keys()
    assert health == health & loud.keys()


def test_only_the_first_invocation_of_an_environment_is_cold(clock, capsys):
    """P56: cold starts have a price of their own."""
    one = meter(clock)
    for _ in range(2):
        one_receipt(one)

    assert [True, False] == [written["cold_start"] for written in receipts(capsys)]


def test_of_two_invocations_that_come_first_at_once_one_is_cold(clock, capsys, monkeypatch):
    """P56: in threads of one process the second begins while the first one's receipt is made."""
    one, receipt_of = meter(clock), hookcache.metering.Receipt

    def interrupted(*told: str, **more: bool) -> Receipt:
        monkeypatch.setattr(hookcache.metering, "Receipt", receipt_of)
        one_receipt(one)
        return receipt_of(*told, **more)

    monkeypatch.setattr(hookcache.metering, "Receipt", interrupted)
    one_receipt(one)

    assert [False, True] == [written["cold_start"] for written in receipts(capsys)]


def test_an_environment_has_one_name_whoever_waited_to_give_it_another(clock, capsys, monkeypatch):
    """P56: in threads of one process the second saw no name, and waits while the first gives one."""
    one = meter(clock)
    lock = one._lock

    @contextlib.contextmanager
    def waiting():
        monkeypatch.setattr(one, "_lock", lock)
        one_receipt(one)
        with lock:
            yield

    monkeypatch.setattr(one, "_lock", waiting())
    one_receipt(one)
    first, second = receipts(capsys)

    assert (True, False) == (first["cold_start"], second["cold_start"])
    assert first["environment"] == second["environment"]


class EarlyMeter(Meter):
    """One that names its environment when it is made."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self._begin()


@pytest.mark.parametrize(("kind", "words"), [(Meter, 2), (EarlyMeter, 1)], ids=["promise", "control"])
def test_environments_restored_from_one_snapshot_have_names_of_their_own(clock, capsys, kind, words):
    """P35: one word for all receipts of an environment, and no two environments with the same."""
    snapshot = kind(clock, Spending(), Prices(), {})
    restored = copy.copy(snapshot), copy.copy(snapshot)
    for one in (*restored, *restored):
        one_receipt(one)
    said = [written["environment"] for written in receipts(capsys)]

    assert said[:2] == said[2:]
    assert words == len(set(said))
    assert all(re.fullmatch("[0-9a-f]{8}", word) for word in said)


def test_latency_is_split(rig):
    """P31: look-up, backend, total; the parts sum to the whole."""
    rig.backend.seconds = 3
    rig.call(summarization_event())
    latency = {name: rig.last[name][0] for name in ("Latency", "BackendLatency", "LookupLatency")}

    assert {"Latency": 3000, "BackendLatency": 3000, "LookupLatency": 0} == pytest.approx(latency)


@pytest.mark.parametrize("micros", [249, 493, 17])
def test_times_are_told_in_whole_microseconds(rig, micros):
    """P31, P56: the nearest, in every part. 249 are 248.99... to a computer, and cut off they would always tell too little."""
    rig.backend.seconds = micros / 1e6
    rig.dynamodb.before = lambda *_: rig.clock.advance(0.0001006)
    rig.call(summarization_event())
    total, backend, lookup = (rig.last[name][0] for name in ("Latency", "BackendLatency", "LookupLatency"))

    assert micros / 1000 == backend
    assert lookup > 0
    assert [round(told, 3) for told in (total, lookup, total - backend)] == [total, lookup, lookup]
