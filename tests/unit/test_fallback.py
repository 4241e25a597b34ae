"""What is served in place of a failed fetch, when something happened while the backend was asked (P13, P40, P44, P45)."""

import json
import threading

import pytest

from fakes import BackendRaised, FakeContext, answer, ocr_event, read_timeout
from hookcache.backend import CallableBackend
from hookcache.control import BackendIdentity, Orders
from hookcache.entry import Entry, Fence
from hookcache.errors import BackendFailed, DeadlineTooClose
from hookcache.items import Throttled

POLICY = {"OCR": {"fresh_seconds": 100, "hard_seconds": 2000, "stale_if_error": True}}


@pytest.fixture
def rig(make_rig):
    """A rig with one stale answer in its table, and a backend that fails."""
    rig = make_rig(HOOKCACHE_MEMORY_SECONDS="10", HOOKCACHE_POLICY=json.dumps(POLICY))
    rig.call(ocr_event())
    rig.clock.advance(150)
    meanwhile(rig, lambda: None)
    return rig


def meanwhile(rig, happening):
    """From now on the backend fails, and `happening` is called while it is asked."""

    def fails(event):
        happening()
        return BackendRaised("Overloaded", "no")

    rig.backend.handler = fails


def erase(rig):
    """What an operator's erase leaves in the table."""
    cache = rig.first.cache
    (entry,) = rig.entries
    fence = Fence(rig.clock.now_ms() + 1)
    rig.dynamodb.plant(cache._table._sealer.tombstone(entry["pk"]["B"], fence, rig.clock.now_ms() // 1000 + 86_400))


def ordered(rig, orders):
    """Orders that another environment's operator gave, and the minute in which every environment follows them."""
    rig.first.cache.control.amend(lambda _: orders)
    rig.clock.advance(61)


def test_an_answer_that_was_erased_during_the_fetch_is_not_served_in_its_place(rig):
    """P13, P45: once an erase has returned, the table never serves the entry again, under `stale_if_error` as little."""
    meanwhile(rig, lambda: erase(rig))

    with pytest.raises(BackendFailed, match="no"):
        rig.call(ocr_event())
    assert ("failed", "backend_failed") == (rig.last["outcome"], rig.last["reason"])


def test_who_only_observes_is_served_nothing_in_its_place(rig):
    """P45, P50: the error reaches the caller, as without a cache."""
    observer = rig.cold_start(HOOKCACHE_MODE="observe")

    with pytest.raises(BackendFailed, match="no"):
        rig.call(ocr_event(), observer)
    assert ("failed", "backend_failed") == (rig.last["outcome"], rig.last["reason"])


@pytest.mark.parametrize(("mode", "written"), [("read_only", False), ("on", True)])
def test_who_writes_nothing_keeps_to_itself_who_the_backend_is_then(rig, mode, written):
    """P50: that look finds it due to be asked for again; the control is the mode that does tell the others."""
    reader = rig.cold_start(HOOKCACHE_MODE=mode)
    before = []

    def a_minute_passes():
        before.append(rig.dynamodb.of_kind("CONTROL")[0]["identity"])
        rig.clock.advance(61)

    meanwhile(rig, a_minute_passes)
    rig.call(ocr_event(), reader)

    assert ("stale", written) == (rig.last["outcome"], before != [rig.dynamodb.of_kind("CONTROL")[0]["identity"]])


def test_a_followers_stale_answer_is_looked_for_again_as_well(rig):
    """P13, P45: who only shares a leader's failure holds an answer that is as old."""
    rig.backend.gate.clear()
    raised = []

    def call(environment):
        try:
            rig.call(ocr_event(), environment)
        except BackendFailed as error:
            raised.append(error)

    def on_sleep(seconds):
        if rig.backend.gate.is_set():
            return
        erase(rig)
        rig.backend.gate.set()
        leader.join(60)

    rig.first, rig.second  # noqa: B018 - made before the threads
    leader = threading.Thread(target=call, args=(rig.first,))
    leader.start()
    assert rig.backend.waiting.acquire(timeout=60)
    assert rig.backend.waiting.acquire(timeout=60)
    rig.clock.on_sleep = on_sleep
    call(rig.second)

    assert 2 == len(raised)
    assert ["backend_failed", "shared_failure"] == [receipt["reason"] for receipt in rig.receipts[1:]]


@pytest.mark.parametrize(
    ("orders", "outcome"),
    [
        (lambda now: Orders(not_before_ms={"OCR": now}), "failed"),
        (lambda now: Orders(not_before_ms={"Extraction": now}), "stale"),
        (lambda now: Orders(stale_before_ms={"OCR": now}), "stale"),
        (lambda now: Orders(generation="8"), "failed"),
        (lambda now: Orders(modes={"OCR": "off"}), "failed"),
        (lambda now: Orders(modes={"OCR": "observe"}), "failed"),
        (lambda now: Orders(modes={"*": "read_only"}), "stale"),
        (lambda now: Orders(modes={"*": "on"}), "stale"),
    ],
    ids=["hard", "another step", "soft", "generation", "off", "observe", "read only", "on"],
)
def test_orders_given_during_the_fetch_are_obeyed(rig, orders, outcome):
    """P44, P50: what was ordered while the backend was asked holds for the answer that is served in its place."""
    meanwhile(rig, lambda: ordered(rig, orders(rig.clock.now_ms())))

    if outcome == "stale":
        rig.call(ocr_event())
    else:
        with pytest.raises(BackendFailed):
            rig.call(ocr_event())
    assert outcome == rig.last["outcome"]


def test_an_answer_of_the_backend_before_its_deployment_is_not_served(rig):
    """P40, P45: a backend that fails while it is deployed anew is no reason to serve what the old one said."""

    def deployed():
        rig.backend.deploy(code="code-2")
        rig.clock.advance(61)

    meanwhile(rig, deployed)
    with pytest.raises(BackendFailed):
        rig.call(ocr_event())


@pytest.mark.parametrize("error", [Throttled("slow down"), ConnectionResetError()], ids=["throttled", "down"])
def test_what_cannot_be_looked_for_again_is_not_served(rig, error):
    """P13 before P45: what may have been erased is not served; the backend's error is raised, as it would be without."""
    meanwhile(rig, lambda: rig.dynamodb.misbehave(error))

    with pytest.raises(BackendFailed, match="no"):
        rig.call(ocr_event())
    assert ("failed", "backend_failed") == (rig.last["outcome"], rig.last["reason"])


def test_the_look_is_consistent(rig):
    """P13: an eventual read could still show what was erased a moment ago."""
    rig.dynamodb.calls.clear()
    rig.call(ocr_event())
    looks = [asked for name, asked in rig.dynamodb.calls if name == "get_item" and asked["Key"]["kind"]["S"] == "ENTRY"]

    assert "stale" == rig.last["outcome"]
    assert [False, True, True] == [bool(asked["ConsistentRead"]) for asked in looks]


def test_an_answer_kept_during_the_fetch_is_served_and_earns_nothing(rig):
    """P45, P57: somebody else's fetch went well meanwhile; a call was made all the same, so no credit."""

    def kept_elsewhere(event):
        rig.backend.handler = lambda event: answer("newer", pages=1)
        rig.clock.advance(40)  # its lease has ended and nobody renewed it
        rig.call(event, rig.second)
        return BackendRaised("Overloaded", "no")

    rig.backend.handler = kept_elsewhere
    rig.first, rig.second  # noqa: B018 - the second is made before it is called from within
    told = rig.call(ocr_event())

    assert "newer" == told["output"]["message"]["content"][0]["text"]
    assert ("stale", {}, "Overloaded") == (rig.last["outcome"], rig.last["units_saved"], rig.last["error_type"])


class TestTime:
    def late(self, rig, seconds):
        """A handler of this process that fails when `seconds` of its time are left; what came of asking it."""

        def handler(event, context):
            rig.clock.advance(context.get_remaining_time_in_millis() / 1000 - seconds)
            raise LookupError("late")

        rig.listen()
        hook = rig.first.assembly.hook(CallableBackend(lambda event, context: answer("read")), BackendIdentity(b"own"))
        hook(ocr_event(), FakeContext(rig.clock))
        rig.clock.advance(150)
        hook._backend = CallableBackend(handler)
        rig.invocations += 2
        try:
            return hook(ocr_event(), FakeContext(rig.clock))
        except LookupError as error:
            rig.errors.append(error)
            return None

    @pytest.mark.parametrize("seconds", [299, 5, 1.2, 0.9])
    def test_with_little_time_left_the_look_is_bounded_and_made(self, rig, seconds, monkeypatch):
        """P21, P45: a backend that used up the time is the usual one that fails; a table that works needs milliseconds."""
        monkeypatch.setattr("hookcache.fallback.LATE_SECONDS", 60)  # for a machine that stands still
        told = self.late(rig, seconds)

        assert ("stale", "read") == (rig.last["outcome"], told["output"]["message"]["content"][0]["text"])

    def test_a_table_that_hangs_then_is_not_waited_for(self, rig):
        """P21: the backend's error goes out in time; the look is given up."""
        free = threading.Event()
        armed, waited_out = [], []

        def hang(operation, arguments):
            if armed and arguments.get("ConsistentRead"):
                waited_out.append(not free.wait(20))

        def handler(event, context):
            rig.clock.advance(context.get_remaining_time_in_millis() / 1000 - 1)
            armed.append(True)
            raise DeadlineTooClose("late")

        rig.dynamodb.before = hang
        rig.backend.handler = lambda event: handler(event, context)
        context = FakeContext(rig.clock)
        rig.listen()
        rig.invocations += 1
        try:
            with pytest.raises(DeadlineTooClose) as raised:
                rig.first.hook(ocr_event(), context)
            assert [] == waited_out
        finally:
            free.set()
        rig.errors.append(raised.value)

        assert 1000 == context.get_remaining_time_in_millis()
        assert "failed" == rig.last["outcome"]

    def test_a_timeout_of_the_backend_is_answered_stale(self, rig):
        """P45, F21: the commonest failure."""
        rig.backend.replies = [read_timeout()]
        rig.call(ocr_event())

        assert ("stale", "ReadTimeout") == (rig.last["outcome"], rig.last["error_type"])

    def test_trouble_with_the_stale_answer_leaves_the_backends_error(self, rig, monkeypatch):
        """P18, P45, P57: what the caller hears is the backend's, and nothing was saved."""

        def broken(_):
            raise MemoryError

        monkeypatch.setattr(Entry, "body_bytes", broken)
        rig.backend.replies = [read_timeout()]
        with pytest.raises(BackendFailed):
            rig.call(ocr_event())

        assert ("failed", "backend_timeout") == (rig.last["outcome"], rig.last["reason"])
        assert ({}, None) == (rig.last["units_saved"], rig.last["age_seconds"])
