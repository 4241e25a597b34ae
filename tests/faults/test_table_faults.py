"""F1-F7, F32: the table refuses, hangs, does not resolve, throttles or denies. P18, P19, P20 over real sockets."""

from __future__ import annotations

import socket
import time

import boto3
import pytest
from botocore.config import Config
from fault_proxy import AwsError, Faults
from sockets import nothing_left_behind
from unguarded import BareItems, NoBreaker, OpenHearted, weakened

from fakes import ocr_event
from hookcache import items as items_module
from hookcache.breaker import Breaker
from hookcache.clock import Countdown
from hookcache.items import BUDGET_SECONDS, Items
from hookcache.slim import SlimDynamoDB
from rig import metric
from waiting import eventually

PROBES = 4
"""Of 64 workers; more would leave none for requests."""
TWO_BUDGETS = 2 * BUDGET_SECONDS
SLACK = 1.5
"""What work may cost beside the waits, on a busy machine of two cores."""
THROTTLED = "ProvisionedThroughputExceededException"


class PatientItems(Items):
    """Waits for the SDK however long that takes: no bound of our own."""

    def __init__(self, assembly) -> None:
        super().__init__(
            assembly.clients.dynamodb, assembly.settings.table, NoBreaker(assembly.clock), assembly.spending, 60
        )


def bare(assembly) -> BareItems:
    return BareItems(assembly.clients.dynamodb, assembly.settings.table, Breaker(assembly.clock), assembly.spending)


def without_breaker(assembly) -> Items:
    return Items(assembly.clients.dynamodb, assembly.settings.table, NoBreaker(assembly.clock), assembly.spending)


def wall_time(rig, environment) -> float:
    """Seconds on the wall that one invocation takes; to be held against a lower bound."""
    started = time.perf_counter()
    rig.call(ocr_event(), environment)
    return time.perf_counter() - started


def attempts_of(rig) -> list[str]:
    """A list that grows by one with every request that either client tries to send to the table."""
    sent: list[str] = []
    client = rig.clients.real.dynamodb()
    if isinstance(client, SlimDynamoDB):
        send = client._send
        client._send = lambda method, url, *rest: (sent.append(url), send(method, url, *rest))[1]
    else:
        client.meta.events.register("before-send.dynamodb", lambda request, **_: sent.append(request.url))
    return sent


class TestATableThatRefuses:
    def test_a_request_is_answered_by_the_backend_and_later_ones_pay_nothing(self, sockets):
        """F1, P18, P19: nobody listens at the table's address."""
        over = sockets(in_time=True)
        over.proxy.behave(Faults(refuse=True))
        with nothing_left_behind(over):
            first = over.timed(ocr_event(text="page 1"))
            sent = attempts_of(over)
            for page in range(2, 6):
                over.call(ocr_event(text=f"page {page}"))
            opened, began = len(sent), time.monotonic()
            later = [over.timed(ocr_event(text=f"page {page}")) for page in range(6, 16)]
            probed, took = len(sent) - opened, time.monotonic() - began

        assert first < TWO_BUDGETS + SLACK
        assert sorted(later)[len(later) // 2] < 0.25
        assert probed <= 2 * (1 + took), "at most one probe a second, of two attempts"
        assert {("bypass", "table_down")} == {(receipt["outcome"], receipt["reason"]) for receipt in over.receipts}
        assert 15 == len(over.backend.calls)
        assert metric(over.receipts[0], "TableErrors") >= 1

    def test_it_is_used_again_once_it_is_back(self, over):
        """F1, F37: half open, a probe a second finds the table again without a request of ours waiting for it."""
        over.proxy.behave(Faults(refuse=True))
        for page in range(4):
            over.call(ocr_event(text=f"page {page}"))
        over.proxy.behave()

        def hits() -> bool:
            over.call(ocr_event(text="page 9"))
            return over.last["outcome"] == "hit_memory"

        assert eventually(hits)

    def test_control_without_translation_the_request_fails(self, over):
        """F1, Control: the same fault without the catch reaches the host."""
        over.proxy.behave(Faults(refuse=True))
        environment = weakened(over, items=bare, hook=OpenHearted)

        with pytest.raises(Exception, match="Could not connect"):
            over.call(ocr_event(), environment)

    def test_control_without_a_breaker_every_request_pays(self, over):
        """F1, Control: each request tries the dead table anew."""
        over.proxy.behave(Faults(refuse=True))
        environment = weakened(over, items=without_breaker)
        sent = attempts_of(over)
        for page in range(6):
            over.call(ocr_event(text=f"page {page}"), environment)
        before = len(sent)
        over.call(ocr_event(text="page 7"), environment)

        assert len(sent) > before


class TestATableThatHangs:
    @pytest.fixture
    def over(self, sockets):
        return sockets(in_time=True)

    def test_the_first_request_pays_two_budgets_at_most(self, over):
        """F2, P19: it accepts and says nothing. No thread or socket stays behind."""
        over.proxy.behave(Faults(hang=True))
        with nothing_left_behind(over):
            costs = [over.timed(ocr_event(text=f"page {page}")) for page in range(5)]

        assert max(costs) < TWO_BUDGETS + SLACK
        assert max(costs[2:]) < 0.5, "open after three failures"
        assert ["table_down"] * 5 == [receipt["reason"] for receipt in over.receipts]

    def test_a_warm_environment_pays_two_budgets_at_most(self, over):
        """F2, P19: the table dies between two requests of an environment that knows its orders."""
        over.call(ocr_event(text="page 1"))
        over.proxy.behave(Faults(hang=True))
        cost = over.timed(ocr_event(text="page 2"))

        assert cost < TWO_BUDGETS + SLACK
        assert ("bypass", "table_down") == (over.last["outcome"], over.last["reason"])

    def test_control_without_read_timeout_the_handler_overruns(self, over, monkeypatch):
        """F2, Control: patience costs more than the promise allows."""
        monkeypatch.setattr("hookcache.clients.ATTEMPT_SECONDS", 1.2)
        over.proxy.behave(Faults(hang=True))
        cost = wall_time(over, weakened(over, items=PatientItems))

        assert cost > TWO_BUDGETS + SLACK


class TestANameThatDoesNotResolve:
    @pytest.fixture
    def over(self, sockets):
        return sockets(in_time=True)

    @pytest.fixture(autouse=True)
    def slow_resolver(self, monkeypatch, over):
        real = socket.getaddrinfo

        def resolve(host, *arguments, **named):
            if host not in {"table.test", b"table.test"}:
                return real(host, *arguments, **named)
            time.sleep(1.2)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://table.test:8000")

    def test_resolution_is_inside_the_budget(self, over):
        """F3, P19: the resolver takes longer than a budget, and no timeout of a socket counts that."""
        costs = [over.timed(ocr_event(text=f"page {page}")) for page in range(4)]

        assert max(costs) < TWO_BUDGETS + SLACK
        assert max(costs[2:]) < 0.5
        assert ["table_down"] * 4 == [receipt["reason"] for receipt in over.receipts]

    def test_control_the_sdk_timeout_alone_is_not_enough(self, over):
        """F3, Control: connect and read timeouts of 0.5 s, and yet more than two budgets."""
        cost = wall_time(over, weakened(over, items=PatientItems))

        assert cost > TWO_BUDGETS + SLACK

    def test_probes_that_hang_leave_workers_for_others(self, over):
        """F3: a resolver that never answers can hold a few workers, not all of them."""
        for page in range(3):
            over.call(ocr_event(text=f"page {page}"))
        table = over.first.assembly.items
        for _ in range(50):
            table._probe()

        assert table._workers._threads <= PROBES + 3, "three that asked for the requests above"
        assert eventually(lambda: not table._workers._queue)


class TestThrottling:
    def test_a_throttled_get_is_a_miss(self, over):
        """F4: counted, asked once each time, no retries of the SDK."""
        over.call(ocr_event(text="another page"))  # the orders are known
        over.proxy.seen.clear()
        over.proxy.behave(Faults(errors=(AwsError("GetItem", THROTTLED),)))
        over.call(ocr_event(text="page 1"))

        assert ("miss", "throttled") == (over.last["outcome"], over.last["reason"])
        assert metric(over.last, "TableErrors") >= 1
        assert 2 == over.proxy.count("GetItem"), "the first look and the leader's second"

    def test_a_throttle_is_no_outage(self, over):
        """F4, P19: whatever was refused for a while, the next operation is made: the breaker stays closed."""
        over.call(ocr_event(text="another page"))
        over.proxy.behave(Faults(errors=(AwsError("", THROTTLED),)))
        for page in range(3):
            over.call(ocr_event(text=f"page {page}"))
        over.proxy.behave()
        over.call(ocr_event(text="yet another page"))

        assert ("miss", "absent", 0) == (over.last["outcome"], over.last["reason"], metric(over.last, "TableErrors"))

    def test_control_default_retries_multiply(self, over):
        """F4, Control: the SDK with its own retries asks a table that is too busy all the more."""
        over.call(ocr_event(text="another page"))
        eager = boto3.Session().client(
            "dynamodb",
            endpoint_url=over.proxy.url,
            config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
        )
        over.clients.real._made["dynamodb"] = eager
        over.proxy.seen.clear()
        over.proxy.behave(Faults(errors=(AwsError("GetItem", THROTTLED),)))
        over.call(ocr_event(text="page 1"))

        assert eventually(lambda: over.proxy.count("GetItem") > 2)

    def test_a_throttled_lease_write_fetches_without_a_lease(self, over):
        """F5, P54: the answer is returned and nothing is stored."""
        over.proxy.behave(Faults(errors=(AwsError("UpdateItem", THROTTLED),)))
        over.call(ocr_event())

        assert ("bypass", "unleased") == (over.last["outcome"], over.last["reason"])
        assert [] == over.stored("ENTRY")
        assert 1 == len(over.backend.calls)


class TestAStoreThatFails:
    @pytest.mark.parametrize(
        ("code", "state"),
        [
            (THROTTLED, "DONE"),
            ("InternalServerError", "DONE"),
            ("ItemCollectionSizeLimitExceededException", "REFUSED"),
            ("AccessDeniedException", "REFUSED"),
        ],
    )
    def test_the_answer_goes_out_and_the_lease_is_released(self, over, code, state):
        """F6, P20, P48: the put fails after a good answer; where the next one would too, nobody is to wait for it."""
        over.proxy.behave(Faults(errors=(AwsError("PutItem", code),)))
        answer = over.call(ocr_event())

        assert over.backend.handler(over.backend.calls[0]) == answer
        assert ("miss", "store_failed") == (over.last["outcome"], over.last["refusal"])
        assert [state] == [item["state"]["S"] for item in over.stored("LEASE")]
        assert [] == over.stored("ENTRY")

    def test_control_without_the_catch_the_answer_is_lost(self, over):
        """F6, Control: the backend has been paid and its answer does not arrive."""
        over.proxy.behave(Faults(errors=(AwsError("PutItem", "ValidationException"),)))
        environment = weakened(over, items=bare, hook=OpenHearted)

        with pytest.raises(Exception, match="ValidationException"):
            over.call(ocr_event(), environment)
        over.charged_hits = True  # paid, and nothing returned: the oracle's bill cannot balance

        assert 1 == len(over.backend.calls)


class TestRefusedRights:
    CODES = ("AccessDeniedException", "ResourceNotFoundException", "KMSAccessDeniedException")

    @pytest.mark.parametrize("code", CODES)
    def test_a_lasting_refusal_is_not_repeated(self, over, code):
        """F7: access denied, table gone, key disabled. Bypass, an alarm's metric, one attempt each."""
        over.proxy.behave(Faults(errors=(AwsError("", code),)))
        over.call(ocr_event())

        assert ("bypass", "table_down") == (over.last["outcome"], over.last["reason"])
        assert metric(over.last, "TableErrors") >= 1
        assert 2 == over.proxy.count("GetItem"), "the orders and the entry, once each"

    def test_control_taken_for_transient_it_is_repeated(self, over, monkeypatch):
        """F7, Control: counted among the errors that pass, each is asked twice."""
        monkeypatch.setattr(items_module, "_PASSING", frozenset(self.CODES))
        over.proxy.behave(Faults(errors=(AwsError("", self.CODES[0]),)))
        over.call(ocr_event())

        assert over.proxy.count("GetItem") > 2


class TestRepliesThatLie:
    @pytest.mark.parametrize("faults", [Faults(cut=1.0), Faults(shorten=1.0), Faults(reset=1.0), Faults(lose=1.0)])
    def test_a_damaged_reply_is_never_an_answer(self, over, faults):
        """P18: cut, shortened, reset or lost replies cost a miss; a shortened get is no "absent" either."""
        over.call(ocr_event(text="page 1"))
        fresh = over.cold_start()
        over.proxy.behave(faults)
        answer = over.call(ocr_event(text="page 1"), fresh)

        assert over.answers[0]["output"] == answer["output"]
        assert ("bypass", "table_down") == (over.last["outcome"], over.last["reason"])

    def test_a_slow_table_is_inside_the_budget(self, sockets):
        """P19: replies that trickle in slower than the budget count as none."""
        over = sockets(in_time=True)
        over.call(ocr_event(text="page 1"))
        over.proxy.behave(Faults(bytes_per_second=40))
        cost = over.timed(ocr_event(text="page 2"))

        assert cost < TWO_BUDGETS + SLACK
        assert "table_down" == over.last["reason"]


class TestAFrozenEnvironment:
    def test_dead_sockets_are_reopened(self, over):
        """F32: every connection died without a word while the environment was frozen; no request notices."""
        over.call(ocr_event(text="page 1"))
        over.proxy.drop_connections()
        over.clock.ahead_ms += 600_000
        over.call(ocr_event(text="page 1"))  # the memory copy ended meanwhile, by wall clock

        assert ["miss", "hit_table"] == over.outcomes
        assert 0 == metric(over.last, "TableErrors")

    def test_sockets_that_die_after_each_reply_cost_nothing(self, over):
        """F32: the other side closes whatever is idle."""
        over.proxy.behave(Faults(close_idle=True))
        for page in range(5):
            over.call(ocr_event(text=f"page {page}"))

        assert ["miss"] * 5 == over.outcomes
        assert 5 == len(over.stored("ENTRY"))

    def test_control_without_the_second_attempt_the_table_is_lost(self, over, monkeypatch):
        """F32, Control: one attempt on a dead socket is a table error."""

        def attempt_once(self, client, operation, arguments):
            return self._attempt(client, operation, arguments, Countdown(BUDGET_SECONDS))

        over.call(ocr_event(text="page 1"))
        monkeypatch.setattr(Items, "_attempt_twice", attempt_once)
        over.proxy.behave(Faults(reset=1.0, times=2))
        over.clock.ahead_ms += 600_000
        over.call(ocr_event(text="page 1"))

        assert metric(over.last, "TableErrors") >= 1
