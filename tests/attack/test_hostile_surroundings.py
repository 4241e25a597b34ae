"""What a hostile or merely odd surrounding does to the hook: contexts, answers, settings, spellings, slow helpers."""

from __future__ import annotations

import json
import random
import threading
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from fakes import ACCOUNT, BACKEND, BUCKET, CANARY, REGION, BackendRaised, FakeContext, answer, ocr_event, token_answer
from hookcache.assembly import Assembly
from hookcache.backend import CallableBackend
from hookcache.clock import SystemClock
from hookcache.control import BackendIdentity
from hookcache.hook import CachingHook
from hookcache.settings import Settings
from rig import Environment, Rig, metric
from stopwatch import Stopwatch
from waiting import eventually

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{BACKEND}"
HANG_SECONDS = 4.0
"""More than any bound of ours on what an answer waits for."""


def decorated(rig: Rig, handler: Any) -> CachingHook:
    """A hook in front of a handler of this process, on the rig's doubles."""
    assembly = Assembly(Settings.of(rig.settings), rig.settings, rig.clients, rig.clock)
    return assembly.hook(CallableBackend(handler), BackendIdentity(b"this package"))


def at_once(count: int, call: Any) -> tuple[list[Any], list[Exception]]:
    """What `count` callers got or were raised, who all came at the same time."""
    answers: list[Any] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(call())
        except Exception as error:
            errors.append(error)

    callers = [threading.Thread(target=ask) for _ in range(count)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(100)
    return answers, errors


def open_when_others_wait(rig: Rig, environment: Environment, others: int) -> None:
    """Let the backend answer once so many callers wait for the one who asked it."""
    flights = environment.cache.flights._flights
    waited = eventually(lambda: any(len(flight.over._cond._waiters) == others for flight in list(flights.values())), 30)
    rig.backend.gate.set()
    assert waited


def unchecked(rig: Rig) -> Rig:
    """The rig for calls that go round `Rig.call`: its own oracle counts only those."""
    rig.check = lambda: None  # type: ignore[method-assign]
    return rig


# -------------------------------------------------------------------- answers


def test_an_answer_with_half_a_character_reaches_the_host_and_kills_no_environment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    P18: a reply that the backend's runtime could send is one that ours can send on, from a call and from the cache alike.

    The runtimes from Python 3.12 on write UTF-8, which has no form for a lone surrogate: posting the answer kills the
    process, and a kept answer kills it again at every hit.
    """
    text = r'{"output": {"message": {"role": "assistant", "content": [{"text": "cut \ud83d"}]}}}'
    rig.backend.replies = [text.encode()]
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    environment = unchecked(rig).first

    for _ in range(2):
        answered = environment.hook(ocr_event(rig.image(b"page")), FakeContext(rig.clock))
        posted, _kind = LambdaMarshaller().marshal_response(answered)
        sent = posted if isinstance(posted, bytes) else posted.encode()
        assert json.loads(text) == json.loads(sent)


def test_decimal_usage_of_a_decorated_handler_is_charged(rig: Rig) -> None:
    """P32: what the handler used is returned; the runtime writes a Decimal as the number that it is."""
    hook = decorated(unchecked(rig), lambda event, context: answer("read", inputTokens=Decimal(10)))

    reply = hook(ocr_event(rig.image(b"page")), FakeContext(rig.clock))

    assert {"inputTokens": 10} == reply["usage"]


def test_followers_of_a_decorated_handler_with_decimal_usage_are_answered(rig: Rig) -> None:
    """P18: an answer that was never spelt as bytes is kept nowhere and handed to nobody as an empty body."""
    landed = threading.Event()

    def handler(event: Any, context: Any) -> Any:
        landed.wait(0.5)
        return answer("read", inputTokens=Decimal(10))

    hook, uri = decorated(unchecked(rig), handler), rig.image(b"page")

    answers, errors = at_once(3, lambda: hook(ocr_event(uri), FakeContext(rig.clock)))

    assert ([], 3) == (errors, len(answers))


def test_callers_of_an_answer_too_large_to_keep_do_not_queue(make_rig: Any) -> None:
    """P48: a refusal serialises nobody, whoever it is that refuses: here the tier, for want of an overflow bucket."""
    rig = make_rig(HOOKCACHE_OVERFLOW_BUCKET=None)
    large = token_answer(random.Random(7).randbytes(600_000).hex())
    here, refused, together = [0], [False], threading.Event()
    lock = threading.Lock()

    def handler(event: Any) -> Any:
        with lock:
            first, refused[0] = not refused[0], True
            here[0] += not first
            if here[0] > 1:
                together.set()
        if not first:
            together.wait(20)  # only callers who do not queue are ever here together
            with lock:
                here[0] -= 1
        return large

    rig.backend.handler = handler
    uri = rig.image(b"page")
    environment = rig.first

    at_once(4, lambda: rig.call(ocr_event(uri), environment))

    assert "answer_size" in {receipt["refusal"] for receipt in rig.receipts}
    assert together.is_set(), "each caller waited for the one before it"


# -------------------------------------------------------------------- orders and wishes


def test_orders_hold_however_the_backend_is_spelt(rig: Rig) -> None:
    """P44: by name or by ARN it is one backend, its entries are shared, and so must its invalidations be."""
    uri = rig.image(b"page")
    rig.call(ocr_event(uri))
    rig.clock.advance(10)
    rig.first.cache.control.amend(lambda orders: orders.invalidated("*", int(rig.clock.now_ms())))
    rig.clock.advance(400)

    rig.call(ocr_event(uri), rig.cold_start(HOOKCACHE_BACKEND=ARN))

    assert "miss" == rig.last["outcome"]


def test_read_only_writes_nothing_to_the_table(make_rig: Any) -> None:
    """P50: neither entries nor leases nor what was learnt about the backend (S58)."""
    rig = make_rig(HOOKCACHE_MODE="read_only")

    rig.call(ocr_event(rig.image(b"page")))

    assert [] == [name for name in rig.dynamodb.calls if "get" not in str(name)]


# -------------------------------------------------------------------- time


def test_a_price_table_that_hangs_does_not_hold_the_answer(make_rig: Any) -> None:
    """P34, P21: prices are for the receipt; an answer does not wait for them longer than a short bound."""
    rig = make_rig(HOOKCACHE_PRICES=f"s3://{BUCKET}/prices.yaml", HOOKCACHE_PRICE_AS="row")
    over = threading.Event()
    rig.s3.before = lambda operation, told: over.wait(100) if told.get("Key") == "prices.yaml" else None
    uri = rig.image(b"page")

    with Stopwatch() as watch:
        rig.call(ocr_event(uri))
    over.set()

    assert watch.seconds < HANG_SECONDS, f"the answer was held for {watch.seconds:.1f} s"


def test_images_are_not_waited_for_past_the_deadline(rig: Rig) -> None:
    """P18, P21: a bucket that hangs leaves the backend half of the time, and the handler its `MARGIN`."""
    unchecked(rig).listen()
    over = threading.Event()
    rig.s3.before = lambda operation, told: over.wait(100) if operation == "get_object" else None
    limit = 3.0
    watch = Stopwatch()

    def left_ms() -> int:
        return int((limit - watch.seconds) * 1000)

    environment = Environment(rig.settings, rig.clients, SystemClock())  # type: ignore[arg-type]
    told = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=left_ms)
    with watch:
        answers, errors = at_once(1, lambda: environment.hook(ocr_event(rig.image(b"page")), told))
    left = limit - watch.seconds
    over.set()
    environment.close()

    assert (1, []) == (len(answers), errors)
    assert left > 0, f"the handler ended {-left:.1f} s after its deadline"


# -------------------------------------------------------------------- contexts


@pytest.mark.parametrize("said", [None, "soon", SimpleNamespace()], ids=["none", "text", "object"])
def test_a_context_that_cannot_say_how_much_time_is_left_fails_no_request(rig: Rig, said: Any) -> None:
    """P18: what is no number is no limit, as a context without the method is."""
    told = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: said)

    reply = unchecked(rig).first.hook(ocr_event(rig.image(b"page")), told)

    assert "output" in reply


def test_a_client_context_that_is_no_json_fails_no_request(rig: Rig) -> None:
    """P51, P18: what the caller's client context holds is dropped where it cannot be passed on."""
    told = FakeContext(rig.clock, client_context=SimpleNamespace(custom={"trace": object()}))

    reply = unchecked(rig).first.hook(ocr_event(rig.image(b"page")), told)

    assert "output" in reply


# -------------------------------------------------------------------- secrecy


def test_the_trace_shows_no_member_name_of_the_event(make_rig: Any) -> None:
    """P36, P58: a name that is none of the host's own numbers is content, and may be a megabyte long (B2)."""
    rig = unchecked(make_rig(HOOKCACHE_POLICY='{"*": {"trace": true}}'))
    event = ocr_event(rig.image(b"page"))
    event["inferenceConfig"][CANARY * 1000] = 1

    rig.call(event)

    assert CANARY not in rig.stdout.text


def test_receipts_show_no_unit_whose_name_is_no_word(rig: Rig) -> None:
    """P36: unit names come from the backend's answer; what is no plain identifier of sane length is not written."""
    rig.backend.replies = [answer("read", **{f"{CANARY} lives here {number}": 1 for number in range(2_000)})]

    unchecked(rig).call(ocr_event(rig.image(b"page")))

    assert CANARY not in rig.stdout.text
    assert len(rig.stdout.text) < 16_000


def test_error_detail_type_hides_the_words_of_a_decorated_handler(make_rig: Any) -> None:
    """P36: `error_detail=type` suppresses the message wherever the backend runs."""
    rig = unchecked(make_rig(HOOKCACHE_POLICY='{"*": {"error_detail": "type"}}'))

    def handler(event: Any, context: Any) -> Any:
        raise ValueError(f"cannot read {CANARY}")

    with pytest.raises(Exception) as raised:
        decorated(rig, handler)(ocr_event(rig.image(b"page")), FakeContext(rig.clock))

    assert "ValueError" == type(raised.value).__name__
    assert CANARY not in str(raised.value)


def test_a_shared_failure_is_told_apart_whatever_the_detail(make_rig: Any) -> None:
    """P32, 3.4: of callers that one failed call failed, one has unknown spend and the others none."""
    rig = unchecked(make_rig(HOOKCACHE_POLICY='{"*": {"error_detail": "type"}}'))
    uri, environment = rig.image(b"page"), rig.first
    rig.backend.gate.clear()
    rig.backend.replies = [BackendRaised("Boom", "no")]
    threading.Thread(target=open_when_others_wait, args=(rig, environment, 2)).start()

    at_once(3, lambda: rig.call(ocr_event(uri), environment))

    assert 1 == len(rig.backend.calls)
    assert ["backend_failed", "shared_failure", "shared_failure"] == sorted(each["reason"] for each in rig.receipts)


@pytest.mark.parametrize(("mode", "kept"), [("on", 1), ("read_only", 0)])
def test_callers_of_one_process_share_a_call_in_every_mode_that_serves(make_rig: Any, mode: str, kept: int) -> None:
    """P23, P50: `read_only` takes no lease and writes nothing, and who waits in the same process needs neither."""
    rig = make_rig(HOOKCACHE_MODE=mode)
    uri, environment = rig.image(b"page"), rig.first
    rig.backend.gate.clear()
    threading.Thread(target=open_when_others_wait, args=(rig, environment, 2)).start()

    answers, _ = at_once(3, lambda: rig.call(ocr_event(uri), environment))

    assert (1, 3, kept) == (len(rig.backend.calls), len(answers), len(rig.entries))
    assert ["collapsed", "collapsed", "miss"] == sorted(rig.outcomes)
    assert kept == len(rig.dynamodb.of_kind("LEASE"))
    assert [0.0] * 3 == [metric(receipt, "TableErrors") for receipt in rig.receipts]


# -------------------------------------------------------------------- receipts and settings


def test_a_receipt_is_json_whatever_was_used(make_rig: Any, tmp_path: Any) -> None:
    """P35, P33: a cost that no float holds does not make the record one that CloudWatch cannot read."""
    table = tmp_path / "prices.yaml"
    table.write_text("pricing: [{name: row, units: [{name: inputTokens, price: '100'}]}]")
    rig = make_rig(HOOKCACHE_PRICES=str(table), HOOKCACHE_PRICE_AS="row")
    rig.backend.replies = [answer("read", inputTokens=1e308)]

    rig.call(ocr_event(rig.image(b"page")))

    assert "Infinity" not in rig.stdout.text
    assert 1.0 == metric(rig.last, "Requests")


BASE = {"HOOKCACHE_TABLE": "table", "HOOKCACHE_SECRET": "secret"}


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws-eusc", "eusc-de-east-1"), ("aws-iso", "us-iso-east-1"), ("aws-iso-b", "us-isob-east-1")],
)
def test_a_backend_in_our_own_partition_is_accepted(partition: str, region: str) -> None:
    """P52, B19: only another partition is refused."""
    arn = f"arn:{partition}:lambda:{region}:{ACCOUNT}:function:{BACKEND}"

    assert arn == Settings.of({**BASE, "HOOKCACHE_BACKEND": arn, "AWS_REGION": region}).backend


@pytest.mark.parametrize(
    "told",
    [
        {"HOOKCACHE_FRESH_SECONDS": " 60"},
        {"HOOKCACHE_FRESH_SECONDS": "60.0"},
        {"HOOKCACHE_POLICY": '{"OCR": {"fresh_seconds": 60}}'},
    ],
    ids=["space", "decimal", "policy"],
)
def test_a_short_freshness_shortens_the_memory_that_nobody_set(told: dict[str, str]) -> None:
    """P52: memory ≤ fresh is the operator's to break; a default must not break it for them."""
    assert 60 >= Settings.of({**BASE, **told}).memory_seconds
