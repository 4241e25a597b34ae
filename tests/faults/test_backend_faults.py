"""F20-F27, F40: the backend raises, is slow, throttled, odd, redeployed, or is ourselves. P14, P17, P21, P22, P33, P40."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from types import SimpleNamespace

import pytest
from botocore.exceptions import ConnectTimeoutError

from fakes import BackendRaised, client_context_of, ocr_event, page_answer, refusal, token_answer
from hookcache import control, percall
from hookcache.assembly import wrapper
from hookcache.errors import BackendThrottled, ConfigurationError, DeadlineTooClose, LoopDetected
from hookcache.leader import Alone
from hookcache.outcome import Reason
from hookcache.policy import Admit
from hookcache.usage import Metered
from rig import ENVIRONMENT

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}
EVENT = ocr_event(text="the one page")
TIMED_OUT = "2026-11-21T09:00:00.000Z 3c1b0f7a Task timed out after 120.00 seconds"


def states(rig) -> list[str]:
    return [item["state"]["S"] for item in rig.dynamodb.of_kind("LEASE")]


class TestABackendThatRaises:
    def test_its_type_and_message_go_upward(self, rig):
        """F20, P17: as if we were not there; nothing stored, lease released, and the next request asks again."""
        rig.backend.replies = [BackendRaised("ThrottlingException", "Too many requests")]
        with pytest.raises(Exception, match=r"^Too many requests$") as raised:
            rig.call(EVENT)
        rig.call(EVENT)

        assert "ThrottlingException" == type(raised.value).__name__
        assert ["failed", "miss"] == rig.outcomes
        assert ("backend_failed", "ThrottlingException") == (rig.receipts[0]["reason"], rig.receipts[0]["error_type"])
        assert ["DONE"] == states(rig)

    def test_nothing_is_stored_and_the_lease_is_released(self, rig):
        """F20: seen between the failure and the next request."""
        rig.backend.replies = [BackendRaised("ValueError", "no")]
        with pytest.raises(Exception, match=r"^no$"):
            rig.call(EVENT)

        assert ([], ["FAILED"]) == (rig.entries, states(rig))

    def test_control_stored_the_error_is_replayed(self, rig, monkeypatch):
        """F20, Control: a backend's error kept as an answer comes back as success."""
        monkeypatch.setattr("hookcache.backend._failed", lambda body: _Swallowed(body))
        monkeypatch.setattr("hookcache.backend._answer", _swallowing)
        monkeypatch.setattr("hookcache.cache.admit", lambda *_: Admit())
        rig.backend.replies = [BackendRaised("ValueError", "no")]
        rig.call(EVENT)

        assert "no" == rig.call(EVENT)["errorMessage"]

    def test_its_own_timeout_has_its_own_reason(self, rig):
        """F21: `backend_timeout`, told apart from an error."""
        rig.backend.replies = [BackendRaised("Sandbox.Timedout", TIMED_OUT)]
        with pytest.raises(Exception, match="timed out"):
            rig.call(EVENT)

        assert ("failed", "backend_timeout") == (rig.last["outcome"], rig.last["reason"])

    def test_control_merged_reasons_tell_nothing(self, rig, monkeypatch):
        """F21, Control: without the look at its words a timeout is an error like any other."""
        monkeypatch.setattr("hookcache.backend._TIMED_OUT", re.compile("never"))
        rig.backend.replies = [BackendRaised("Sandbox.Timedout", TIMED_OUT)]
        with pytest.raises(Exception, match="timed out"):
            rig.call(EVENT)

        assert "backend_failed" == rig.last["reason"]


class _Swallowed(Exception):
    pass


def _swallowing(reply):
    from hookcache.backend import Answer

    return Answer(reply["Payload"], json.loads(reply["Payload"]))


class TestASlowBackend:
    def test_the_wait_ends_a_margin_before_the_deadline(self, rig):
        """F22, P21: the read timeout is what is left less the margin; too little left is not even begun."""
        rig.call(EVENT, seconds=30.0)
        with pytest.raises(DeadlineTooClose):
            rig.call(ocr_event(text="another page"), seconds=1.0)

        assert [29.0] == rig.backend.read_seconds
        assert ("failed", "deadline") == (rig.last["outcome"], rig.last["reason"])
        assert "HELD" not in states(rig)

    def test_no_time_left_is_none_and_not_unknown(self, rig):
        """P21, S40: a context that says 0 ms has none."""
        with pytest.raises(DeadlineTooClose):
            rig.call(EVENT, seconds=0.0)

        assert [] == rig.backend.calls

    def test_what_hangs_outside_the_socket_is_bounded_too(self, rig, monkeypatch):
        """F22, P21: name resolution, or a reply that trickles, is in nobody's read timeout."""
        rig.first.cache.control.now()
        rig.backend.gate.clear()
        with pytest.raises(DeadlineTooClose):
            rig.call(EVENT, seconds=1.3)
        rig.backend.gate.set()
        rig.charged_hits = True  # the reply that came too late is on the bill and in no receipt

        assert ("failed", "deadline") == (rig.last["outcome"], rig.last["reason"])
        assert ["FREE"] == states(rig)

    def test_control_without_deadline_it_listens_for_as_long_as_it_likes(self, rig, monkeypatch):
        """F22, Control: the platform would have killed us long before."""
        monkeypatch.setattr("hookcache.backend.LambdaBackend._read_seconds", lambda *_: 125.0)
        rig.call(EVENT, seconds=30.0)

        assert [125.0] == rig.backend.read_seconds


class TestAThrottledInvoke:
    THROTTLED = refusal("TooManyRequestsException", "Rate Exceeded.", "Invoke")

    @pytest.mark.parametrize("code", ["TooManyRequestsException", "EC2ThrottledException"])
    def test_it_is_repeated_once(self, rig, code):
        """F23, P22: with a pause, if the time allows."""
        rig.backend.replies = [refusal(code, "Rate Exceeded.", "Invoke")]
        rig.call(EVENT)

        assert ["miss"] == rig.outcomes
        assert 1 == len(rig.clock.slept)
        assert 0.25 <= rig.clock.slept[0] <= 0.5

    def test_the_pause_is_not_the_same_each_time(self, rig):
        """F23: those who were throttled together do not come back together."""
        rig.backend.replies = [refusal("TooManyRequestsException"), token_answer()] * 5
        for page in range(5):
            rig.call(ocr_event(text=f"page {page}"))

        assert 5 == len(set(rig.clock.slept))

    def test_twice_is_an_error_and_the_lease_is_free(self, rig):
        """F23: retryable, and the next caller asks for itself."""
        rig.backend.replies = [self.THROTTLED] * 2
        with pytest.raises(BackendThrottled) as raised:
            rig.call(EVENT)

        assert raised.value.retryable
        assert ("failed", "backend_throttled") == (rig.last["outcome"], rig.last["reason"])
        assert (2, ["FREE"]) == (len(rig.backend.calls), states(rig))

    def test_without_time_it_is_not_repeated(self, rig):
        """F23: no budget, no retry."""
        rig.first.cache.control.now()
        rig.backend.replies = [self.THROTTLED] * 2
        with pytest.raises(BackendThrottled):
            rig.call(EVENT, seconds=2.2)

        assert 1 == len(rig.backend.calls)

    def test_control_without_a_bound_retries_multiply(self, rig, monkeypatch):
        """F23, Control: an SDK that retries for itself sends every throttled call many times."""
        invoke = rig.backend.invoke

        def retried(**arguments):
            for _ in range(4):
                try:
                    return invoke(**arguments)
                except Exception as error:
                    last = error
            raise last

        rig.backend.replies = [self.THROTTLED] * 8
        rig.backend.invoke = retried
        with pytest.raises(BackendThrottled):
            rig.call(EVENT)

        assert 8 == len(rig.backend.calls)

    @pytest.mark.parametrize(
        ("failure", "told"),
        [
            (ConnectTimeoutError(endpoint_url="https://lambda"), "cannot be invoked"),
            (refusal("ServiceException", "internal error", "Invoke"), "ServiceException"),
        ],
    )
    def test_any_other_failure_to_invoke_is_not_repeated(self, rig, failure, told):
        """P22: at most one invocation: what may have arrived is not sent again."""
        rig.backend.replies = [failure] * 2
        with pytest.raises(Exception, match=told):
            rig.call(EVENT)

        assert 1 == len(rig.backend.calls)


ODD_JSON = [b"{}", b'"text"', b"[1, 2]", b"null", b"17", b'{"output": {}}']
NOT_JSON = [b"<html>502</html>", b"\xff\xfe{}", b"", b'{"output":']


class TestOddReplies:
    @pytest.mark.parametrize("payload", ODD_JSON)
    def test_json_is_passed_on_and_not_stored(self, rig, payload):
        """F24, P14."""
        rig.backend.replies = [payload]
        got = rig.call(EVENT)

        assert json.loads(payload) == got
        assert rig.last["refusal"]
        assert [] == rig.entries

    @pytest.mark.parametrize("payload", NOT_JSON)
    def test_what_is_no_json_is_malformed(self, rig, payload):
        """F24: an error, never kept; nothing of the payload in it."""
        rig.backend.replies = [payload]
        with pytest.raises(Exception, match="is not JSON"):
            rig.call(EVENT)

        assert ("failed", "backend_malformed") == (rig.last["outcome"], rig.last["reason"])
        assert [] == rig.entries

    def test_a_reply_over_the_limit_is_the_backends_error(self, rig):
        """F24: Lambda's own word for it goes upward."""
        rig.backend.replies = [BackendRaised("Function.ResponseSizeTooLarge", "Response payload size exceeded")]
        with pytest.raises(Exception, match="size exceeded") as raised:
            rig.call(EVENT)

        assert "Function.ResponseSizeTooLarge" == type(raised.value).__name__

    @pytest.mark.parametrize("stop", ["max_tokens", "guardrail_intervened", "content_filtered", "tool_use"])
    def test_an_answer_that_stopped_short_is_passed_on_and_refused(self, rig, stop):
        """F25, P14."""
        rig.backend.replies = [token_answer() | {"stopReason": stop}] * 2
        for _ in range(2):
            assert stop == rig.call(EVENT)["stopReason"]

        assert 2 == len(rig.backend.calls)
        assert [] == rig.entries

    @pytest.mark.parametrize(
        "reply", [json.loads(b'{"output": {}}'), token_answer() | {"stopReason": "max_tokens"}], ids=["F24", "F25"]
    )
    def test_control_with_the_gate_off_it_is_replayed(self, rig, monkeypatch, reply):
        """F24, F25, Control: whatever came once comes for ever."""
        monkeypatch.setattr("hookcache.cache.admit", lambda *_: Admit())
        rig.backend.replies = [reply]
        rig.call(EVENT)
        rig.call(EVENT)

        assert ["miss", "hit_memory"] == rig.outcomes


class TestOddUsage:
    USAGES = (
        ({"inputTokens": 3, "note": "text"}, {"inputTokens": 3}, True),
        ({"inputTokens": 3, "cost": math.nan}, {"inputTokens": 3}, False),
        ({"inputTokens": 3, "cost": -1}, {"inputTokens": 3}, False),
        ({"inputTokens": 3, "cost": math.inf}, {"inputTokens": 3}, False),
        ({"inputTokens": 3, "batch": True, "detail": {"a": 1}}, {"inputTokens": 3}, True),
    )

    @pytest.mark.parametrize(("usage", "good", "kept"), USAGES)
    def test_bad_numbers_do_not_reach_the_host(self, rig, usage, good, kept):
        """F26, P33: the answer passes; what harms the host is taken out; an unsound usage is not kept."""
        rig.backend.replies = [token_answer() | {"usage": usage}]
        got = rig.call(EVENT)

        assert good == got["usage"]
        assert kept == (not rig.last["refusal"])

    @pytest.mark.parametrize("usage", ["much", 17, ["inputTokens", 3]])
    def test_a_usage_that_is_no_object_is_removed(self, rig, usage):
        """F26, P33."""
        rig.backend.replies = [token_answer() | {"usage": usage}]

        assert "usage" not in rig.call(EVENT)
        assert "usage" == rig.last["refusal"]

    def test_an_absent_usage_stays_absent(self, rig):
        """F26, P32."""
        reply = token_answer()
        del reply["usage"]
        rig.backend.replies = [reply]

        assert reply == rig.call(EVENT) == rig.call(EVENT)

    def test_control_without_repair_a_bad_number_reaches_the_host(self, rig, monkeypatch):
        """F26, Control."""
        monkeypatch.setattr("hookcache.hook.metered", lambda reply: Metered(reply, {}, sound=True, removed=0))
        rig.charged_hits = True
        rig.backend.replies = [token_answer() | {"usage": {"inputTokens": -3}}]

        assert {"inputTokens": -3} == rig.call(EVENT)["usage"]


class TestARedeployedBackend:
    def test_old_answers_end_with_the_identitys_minute(self, rig):
        """F27, P40: 60 s after the deployment nothing of the old code is served."""
        rig.call(EVENT)
        rig.backend.deploy(code="code-2")
        rig.clock.advance(59)
        rig.call(EVENT)
        rig.clock.advance(2)
        rig.call(EVENT)

        assert ["miss", "hit_memory", "miss"] == rig.outcomes

    def test_what_others_resolved_ages_with_them(self, rig):
        """F27, P40: an identity that is half a minute old when it is taken over is good for the other half only."""
        rig.call(EVENT)
        rig.clock.advance(50)
        rig.call(EVENT, rig.second)
        rig.backend.deploy(code="code-2")
        rig.clock.advance(11)
        rig.call(EVENT, rig.second)

        assert ["miss", "hit_table", "miss"] == rig.outcomes
        assert 2 == rig.backend.described

    def test_an_answer_of_the_other_version_is_not_stored(self, rig):
        """F27, P40: an alias moved between the look and the call."""
        rig.backend.version, rig.backend.executed_version = "7", "8"
        rig.call(EVENT)

        assert ("miss", "other_version") == (rig.last["outcome"], rig.last["refusal"])
        assert [] == rig.entries

    def test_control_without_identity_the_old_answer_is_served(self, rig, monkeypatch):
        """F27, Control: a key that leaves the backend out outlives it."""
        monkeypatch.setattr("hookcache.control.identity_of", lambda _: control.BackendIdentity(b""))
        rig.call(EVENT)
        rig.backend.deploy(code="code-2")
        rig.clock.advance(120)
        rig.call(EVENT)

        assert ["miss", "hit_memory"] == rig.outcomes


class TestWeAreOurOwnBackend:
    OWN = ENVIRONMENT["AWS_LAMBDA_FUNCTION_NAME"]
    ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{OWN}"

    @pytest.mark.parametrize("backend", [OWN, f"{OWN}:live", f"{OWN}:7", f"{OWN}:$LATEST", ARN, f"{ARN}:live"])
    def test_in_any_form_it_is_refused_at_cold_start(self, backend):
        """F40, P52."""
        with pytest.raises(ConfigurationError, match="this function itself"):
            wrapper({**ENVIRONMENT, "HOOKCACHE_BACKEND": backend})

    def circle(self, rig) -> list:
        """A's backend is B and B's is A: each hook's invoke is the other's call. The client contexts sent on."""
        names = ("GENAIIDP-a", "GENAIIDP-b")
        both = [
            rig.cold_start(AWS_LAMBDA_FUNCTION_NAME=own, HOOKCACHE_BACKEND=other) for own, other in (names, names[::-1])
        ]
        hops: list = []

        def invoke(**arguments):
            hops.append(client_context_of(arguments))
            told = SimpleNamespace(custom=hops[-1]["custom"], env={}, client=None)
            try:
                if len(hops) > 16:
                    raise BackendRaised("RecursiveInvocation", "the platform stopped it: it leads back")
                rig.call(json.loads(arguments["Payload"]), both[len(hops) % 2], client_context=told)
            except Exception as error:
                payload = json.dumps({"errorMessage": str(error), "errorType": type(error).__name__})
                return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(payload.encode())}

        rig.backend.invoke = invoke
        with pytest.raises(Exception, match="leads back"):
            rig.call(EVENT, both[0])
        return hops

    def test_a_cycle_is_refused_at_the_first_return(self, make_rig):
        """F40: A to B to A: the second visit of A refuses, nobody is invoked a third time."""
        rig = make_rig(**PINNED)

        assert 2 == len(self.circle(rig))
        assert ["loop", "backend_failed", "backend_failed"] == [receipt["reason"] for receipt in rig.receipts]
        assert {"LoopDetected"} == {receipt["error_type"] for receipt in rig.receipts}

    def test_control_without_marks_the_hops_grow(self, make_rig, monkeypatch):
        """F40, Control: until the platform stops them."""
        monkeypatch.setattr("hookcache.percall.refuse_loop", lambda *_: None)
        monkeypatch.setattr("hookcache.flight.Flights.board", lambda *_, **__: Alone(Reason.UNLEASED))

        assert len(self.circle(make_rig(**PINNED))) > 16

    @pytest.mark.parametrize(
        "custom", [{"hookcache_hops": "a,b"}, {"hookcache_hops": ["x"]}, {"hookcache_hops": 7}, {}]
    )
    def test_a_forged_mark_refuses_at_most(self, rig, custom):
        """B21: marks of others change nothing; our own only refuses."""
        rig.call(EVENT, client_context=SimpleNamespace(custom=custom))
        forged = SimpleNamespace(custom={"hookcache_hops": self.OWN})
        with pytest.raises(LoopDetected):
            rig.call(EVENT, client_context=forged)

        assert ["miss", "failed"] == rig.outcomes

    def test_marks_fit_into_a_client_context(self):
        """F40: what is sent on never passes Lambda's 3,583 bytes."""
        custom = {"large": "x" * 5_000, "hookcache_hops": ",".join(f"GENAIIDP-cache-{n:040}" for n in range(40))}
        sent = percall.onward(SimpleNamespace(client_context=SimpleNamespace(custom=custom)), self.OWN)

        assert len(sent) <= 3_583
        assert self.OWN in base64.b64decode(sent).decode()


def test_a_page_charged_for_nothing_is_refused(rig):
    """F24, P14: a backend that swallowed an S3 failure says so with 0 pages."""
    rig.backend.replies = [page_answer(pages=0)]
    rig.call(ocr_event(rig.image(b"a page")))

    assert "no_pages" == rig.last["refusal"]
