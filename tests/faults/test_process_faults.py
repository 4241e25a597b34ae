"""F16, F22, F23, F33, F34, F40 where processes matter: hook and backend in Lambda's own runtime client. P21, P22, P31, P34."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes import event_of, ocr_event
from hookcache import metering
from hookcache_ops.local import engines
from hookcache_ops.local.aws import TABLE, LocalAws
from hookcache_ops.local.lambda_service import Function
from ops.local_rig import call, lambda_client, require_engine, write_code
from rig import metric
from stopwatch import Stopwatch
from waiting import eventually

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}
HOOK = Path(__file__).resolve().parents[2] / "functions/hook"
BACKEND = """
import os, time

def lambda_handler(event, context):
    text = event["messages"][0]["content"][0]["text"]
    if text.startswith("sleep "):
        time.sleep(float(text.split()[1]))
    if text.startswith("until "):
        while not os.path.exists(text.split()[1]):
            time.sleep(0.01)
    return {"output": {"message": {"role": "assistant", "content": [{"text": "read: " + text}]}},
            "usage": {"inputTokens": 3, "outputTokens": 2}}
"""
IN_PROCESS = """
import os
from hookcache.assembly import in_process
from hookcache.control import BackendIdentity
from hookcache.settings import Settings
import backend

lambda_handler = in_process(backend.lambda_handler, BackendIdentity(b"one release"), Settings.of(os.environ), os.environ)
"""
DEAF = """
import os
from hookcache.assembly import wrapper
from hookcache.backend import LambdaBackend

LambdaBackend._read_seconds = lambda self, deadline: 60.0
lambda_handler = wrapper(os.environ)
"""


@pytest.fixture(scope="module")
def aws():
    require_engine(engines.DYNOXIDE)
    with LocalAws(engines.DYNOXIDE) as aws:
        yield aws


@pytest.fixture
def deploy(aws, tmp_path, request):
    """Deploys a backend and a hook in front of it under names of the test's own; gives both names."""
    count = iter(range(100))

    def deploy(code: str | None = None, backend: str = "", timeout: float = 30, **settings: str) -> tuple[str, str]:
        mark = f"{abs(hash(request.node.nodeid)) % 10**8}-{next(count)}"
        folder = HOOK if code is None else write_code(tmp_path / mark, code)
        if code == IN_PROCESS:
            write_code(folder, BACKEND, "backend.py")
        if not backend:
            backend = f"GENAIIDP-backend-{mark}"
            aws.functions.add(Function(backend, write_code(tmp_path / f"{mark}-backend", BACKEND), timeout_seconds=60))
        name = settings.pop("name", f"GENAIIDP-cache-{mark}")
        own = {**aws.settings(), "HOOKCACHE_BACKEND": backend, **settings}
        aws.functions.add(Function(name, folder, environment=own, timeout_seconds=timeout))
        return name, backend

    return deploy


@pytest.fixture
def host(aws):
    return lambda_client(aws.functions.endpoint, read_timeout=90)


def event(text: str) -> dict:
    return event_of("OCR", [text])


def receipts(aws, name: str) -> list[dict]:
    lines = [line for line in aws.functions.logs(name) if line.startswith('{"_aws"')]
    return [json.loads(line) for line in lines]


def leases(aws) -> list[str]:
    items = aws.client("dynamodb").scan(TableName=TABLE, ConsistentRead=True)["Items"]
    return [item["state"]["S"] for item in items if item["kind"]["S"] == "LEASE"]


class TestADeadline:
    def test_the_hook_ends_before_the_platform_ends_it(self, aws, host, deploy):
        """F22, P21: the backend sleeps past our time; we raise a margin before the end and free the lease."""
        name, _ = deploy(timeout=3)
        before = leases(aws).count("HELD")
        started = time.monotonic()
        error, reply = call(host, name, event("sleep 25"))
        took = time.monotonic() - started

        assert ("Unhandled", "DeadlineTooClose") == (reply["FunctionError"], error["errorType"])
        assert [("failed", "deadline")] == [(one["outcome"], one["reason"]) for one in receipts(aws, name)]
        assert receipts(aws, name)[0]["Latency"][0] < 2_900
        assert took < 20
        assert before == leases(aws).count("HELD")

    def test_control_without_deadline_it_is_killed_and_the_lease_stays(self, aws, host, deploy):
        """F22, Control: the platform ends it, no receipt is written, the lease is held by nobody."""
        name, _ = deploy(DEAF, timeout=4, HOOKCACHE_LEASE_SECONDS="1")
        before = leases(aws).count("HELD")
        error, _ = call(host, name, event("sleep 25"))

        assert "timed out" in error["errorMessage"]
        assert [] == receipts(aws, name)
        assert before + 1 == leases(aws).count("HELD")


class TestAKilledInvocation:
    def test_the_next_one_works(self, aws, host, deploy, tmp_path):
        """F33: killed by the platform while it leads; the next caller takes the lease over when it has ended."""
        name, _ = deploy(IN_PROCESS, timeout=2, HOOKCACHE_LEASE_SECONDS="0.3", HOOKCACHE_MEMORY_SECONDS="60")
        done = tmp_path / "done"
        page = event(f"until {done}")
        error, _ = call(host, name, page)
        aws.functions.update_limits(name, timeout_seconds=20)
        done.touch()
        answer, _ = call(host, name, page)

        assert "timed out" in error["errorMessage"]
        assert f"read: until {done}" == answer["output"]["message"]["content"][0]["text"]
        assert ["miss"] == [one["outcome"] for one in receipts(aws, name)]

    def test_control_a_lease_that_does_not_end_blocks_the_next(self, aws, host, deploy):
        """F33, Control: with a lease as long as a day of work the next caller waits in vain."""
        settings = {"HOOKCACHE_LEASE_SECONDS": "900", "HOOKCACHE_WAIT_SECONDS": "1"}
        name, _ = deploy(IN_PROCESS, timeout=5, **settings)
        call(host, name, event("sleep 25"))
        aws.functions.update_limits(name, timeout_seconds=20)
        error, _ = call(host, name, event("sleep 25"))

        assert "FollowerTimedOut" == error["errorType"]

    def test_a_leader_that_is_killed_is_replaced(self, aws, host, deploy, tmp_path):
        """F16, P26: SIGKILL while the backend works; others lose the rest of the lease and the skew of clocks."""
        name, _ = deploy(HOOKCACHE_LEASE_SECONDS="0.3")
        call(host, name, event("warm"))
        before = leases(aws).count("HELD")
        done = tmp_path / "done"
        page = event(f"until {done}")
        with ThreadPoolExecutor(1) as callers:
            dead = callers.submit(call, host, name, page)
            assert eventually(lambda: leases(aws).count("HELD") > before)
            aws.functions.kill_environments(name)
            error, _ = dead.result(60)
        done.touch()
        with Stopwatch() as watch:
            answer, _ = call(host, name, page)

        assert "errorMessage" in error
        assert f"read: until {done}" == answer["output"]["message"]["content"][0]["text"]
        assert watch.seconds < 0.3 + 2 + 1 + 6, "lease, skew, poll, a cold start"


class TestAThrottledBackend:
    def test_one_retry_and_then_an_error_that_may_be_retried(self, aws, host, deploy, tmp_path):
        """F23: the backend's concurrency is used up by others."""
        name, backend = deploy()
        aws.functions.update_limits(backend, concurrency=1)
        call(host, name, event("warm"))
        with ThreadPoolExecutor(1) as others:
            busy = others.submit(call, host, backend, event(f"until {tmp_path / 'done'}"))
            assert eventually(lambda: len(aws.functions.logs(backend)) > 3)
            error, _ = call(host, name, event("page"))
            (tmp_path / "done").touch()
            busy.result(60)
        answer, _ = call(host, name, event("page"))

        assert "BackendThrottled" == error["errorType"]
        assert ["miss", "failed", "miss"] == [one["outcome"] for one in receipts(aws, name)]
        assert "backend_throttled" == receipts(aws, name)[1]["reason"]
        assert "read: page" == answer["output"]["message"]["content"][0]["text"]


class TestLoops:
    def test_a_cycle_is_refused_at_the_first_return(self, aws, host, deploy):
        """F40: A to B to A through Lambda's own client context."""
        a, b = "GENAIIDP-cache-loop-a", "GENAIIDP-cache-loop-b"
        deploy(name=a, backend=b)
        deploy(name=b, backend=a)
        error, _ = call(host, a, event("round and round"))

        assert "LoopDetected" == error["errorType"]
        assert (2, 1) == (len(receipts(aws, a)), len(receipts(aws, b)))
        assert "loop" == receipts(aws, a)[0]["reason"]

    @pytest.mark.parametrize("form", ["{name}", "{name}:live", "{name}:$LATEST", "{arn}", "{arn}:live"])
    def test_ourselves_in_any_form_does_not_start(self, aws, host, deploy, form):
        """F40, P52: by name, alias, version and ARN; the message names the setting."""
        name = f"GENAIIDP-cache-self-{abs(hash(form)) % 10**6}"
        deploy(name=name, backend=form.format(name=name, arn=aws.functions.arn(name)))
        error, _ = call(host, name, event("page"))

        assert "HOOKCACHE_BACKEND is this function itself" in error["errorMessage"]


class _Closed:
    """A stream that was closed."""

    def write(self, text: str) -> int:
        raise ValueError("I/O operation on closed file.")

    def flush(self) -> None:
        raise ValueError("I/O operation on closed file.")


class TestMeteringThatFails:
    """F34, P31, P34: in one process, where streams can be broken."""

    def broken(self, rig, monkeypatch, *, both: bool) -> dict:
        rig.first.cache.control.now()
        rig.call(ocr_event(text="before"))
        monkeypatch.setattr(rig, "stdout", _Closed())
        if both:
            monkeypatch.setattr(rig, "stderr", _Closed())
        answer = rig.call(ocr_event(text="the page"))
        monkeypatch.undo()
        return answer

    @pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
    def test_a_closed_stream_does_not_touch_the_answer(self, make_rig, monkeypatch, both):
        """F34: the receipt is lost, the answer is not; the last word goes to stderr if there is one."""
        rig = make_rig(**PINNED)
        answer = self.broken(rig, monkeypatch, both=both)
        rig.invocations -= 1  # the one whose receipt is lost
        rig.charged_hits = True

        assert rig.backend.handler(rig.backend.calls[-1]) == answer
        assert both == ("a receipt was lost" not in rig.stderr.text)
        assert 1 == len(rig.receipts)

    def test_streams_that_never_were_do_not_touch_it_either(self, make_rig, monkeypatch):
        """F34, P34: a process that was started without them has None in their place."""
        rig = make_rig(**PINNED)
        monkeypatch.setattr(rig, "stdout", None)
        monkeypatch.setattr(rig, "stderr", None)
        answer = rig.call(ocr_event())
        monkeypatch.undo()
        rig.invocations, rig.charged_hits = 0, True

        assert rig.backend.handler(rig.backend.calls[-1]) == answer

    def test_a_record_that_cannot_be_made_does_not_touch_the_answer(self, make_rig, monkeypatch):
        """F34: whatever raises inside the metering."""
        rig = make_rig(**PINNED)

        def broken(meter, receipt):
            raise RuntimeError("no record")

        monkeypatch.setattr(metering.Meter, "record", broken)
        rig.call(ocr_event())
        rig.invocations, rig.charged_hits = 0, True

        assert [] == rig.receipts
        assert "a receipt was lost" in rig.stderr.text

    def test_a_hundred_values_are_one_record(self, make_rig):
        """F34, S53, P35: no flush in between, none doubled: every receipt is one line of one value per metric."""
        rig = make_rig(**PINNED)
        for number in range(120):
            rig.call(ocr_event(text=f"page {number % 7}"))

        assert 120 == len(rig.receipts) == len({receipt["request_id"] for receipt in rig.receipts})
        assert 120 == sum(metric(receipt, "Requests") for receipt in rig.receipts)

    def test_control_outside_its_guard_the_request_fails(self, make_rig, monkeypatch):
        """F34, Control: the same closed stream without the guard."""
        rig = make_rig(**PINNED)
        monkeypatch.setattr(metering.Meter, "close", metering.Meter._tell)
        rig.charged_hits = True
        with pytest.raises(ValueError, match="closed file"):
            self.broken(rig, monkeypatch, both=False)
        monkeypatch.undo()
        rig.invocations -= 1
        rig.errors.clear()
