"""How the backend is asked: the event's spelling, one client per read timeout, a handler of this process."""

import io
import json
import logging
import math
import tracemalloc
from collections import OrderedDict, defaultdict
from types import SimpleNamespace

import pytest

from fakes import FakeContext, ocr_event, token_answer
from hookcache.backend import CallableBackend, ClientPool, LambdaBackend
from hookcache.clients import Clients
from hookcache.clock import Deadline
from hookcache.errors import BackendFailed, BackendMalformed
from hookcache.runtime_json import spelt
from hookcache.spending import Spending


@pytest.mark.parametrize(
    "text",
    ["plain", "caf\u00e9", "\u65e5\u672c\u8a9e" * 1_000, "\U0001f600" * 1_000, "\ud83d", '\u2028\0\x7f"\\/<', ""],
    ids=ascii,
)
def test_an_event_is_spelt_no_longer_than_the_host_spells_it(text):
    """P5, B7, B15: deep-equal, lone surrogates included, and within Lambda's limit if the host's spelling was."""
    event = ocr_event() | {"novel": text, "number": 1e22}
    payload = spelt(event)

    assert event == json.loads(payload)
    assert len(payload) <= len(json.dumps(event))


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, '\\"' * 500_000, "Infinity " * 100_000], ids=["plain", "escapes", "words"]
)
def test_a_long_text_that_speaks_of_infinity_takes_no_more_memory_than_another(text):
    """B7, B4, G11: the word is looked for outside texts, and a text of 5.9 MB took 680 MB to be passed over."""
    event = ocr_event() | {"novel": [text, "Infinity", float("inf")]}
    tracemalloc.start()
    try:
        payload = spelt(event)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert event == json.loads(payload)
    assert payload.endswith(b'"Infinity",1e999]}')
    assert peak <= 6 * len(payload)


def test_an_event_nested_as_deep_as_the_runtime_can_read_is_sent():
    """B6, P5: it is spelt further down the stack than it was read, where Python's own limit leaves less."""

    def below(frames):
        return spelt(event) if frames == 0 else below(frames - 1)

    spelling = b"[" * 800 + b"]" * 800
    event = json.loads(spelling)

    assert spelling == below(200)


@pytest.fixture
def clients(monkeypatch):
    """Those of the product, in a function's environment."""
    for name, told in (("DEFAULT_REGION", "us-east-1"), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", told)
    return Clients()


def test_the_sdk_asks_the_backend_once_and_listens_as_long_as_it_is_told(clients):
    """P22, S39: a second attempt of the SDK would be a second paid call; keep-alive lets a long one outlive idle routers."""
    asked = clients.lambda_by_timeout(125.0).meta.config
    control = clients._make("lambda", connect_timeout=1.0, read_timeout=1.0, attempts=2).meta.config

    assert (1, 125.0, True) == (asked.retries["total_max_attempts"], asked.read_timeout, asked.tcp_keepalive)
    assert 2 == control.retries["total_max_attempts"]


def test_the_sdk_logs_no_request_at_any_level(clients, monkeypatch):
    """P36: at DEBUG it would write whole payloads, prompts and answers; before its first client it has written nothing."""
    named = [logging.getLogger(name) for name in ("boto3", "botocore", "botocore.endpoint", "urllib3")]
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    for logger in named:
        monkeypatch.setattr(logger, "level", logging.NOTSET)
        logger.manager._clear_cache()
    before = [logger.isEnabledFor(logging.DEBUG) for logger in named]
    clients.lambda_by_timeout(5.0)

    assert ([True] * 4, [False] * 4) == (before, [logger.isEnabledFor(logging.DEBUG) for logger in named])


def test_connections_that_idled_for_long_are_closed_before_they_are_used(clock):
    """F32, P22: an invoke is never repeated, so one over a connection that died in a frozen environment would fail its request."""
    closed = []
    pool = ClientPool(lambda seconds: SimpleNamespace(close=lambda: closed.append(seconds)), clock)
    client = pool(125.0)
    counts = []
    for step in (59.0, 59.0, 60.0, -1.0):
        clock.freeze(step)
        assert client is pool(125.0)
        counts.append(len(closed))

    assert [0, 0, 1, 2] == counts


class TestReplies:
    """What Lambda says, and what it is to the caller."""

    def ask(self, payload, clock, **reply):
        def invoke(**_):
            return {"StatusCode": 200, "Payload": io.BytesIO(payload), **reply}

        client = SimpleNamespace(invoke=invoke)
        backend = LambdaBackend(lambda _: client, "GENAIIDP-x", lambda: 100.0, "", clock, Spending())
        return backend.invoke(ocr_event(), None, Deadline(FakeContext(clock)))

    @pytest.mark.parametrize("status", [202, 204, 500])
    def test_no_other_status_is_an_answer(self, clock, status):
        """P14: an invocation that was only queued has none."""
        assert {} == self.ask(b"{}", clock).response
        with pytest.raises(BackendMalformed, match=str(status)):
            self.ask(b"{}", clock, StatusCode=status)

    @pytest.mark.parametrize(
        ("error", "error_type", "timed_out"),
        [
            ({"errorMessage": "2026 3c1b Task timed out after 300.00 seconds"}, "Sandbox.Timedout", True),
            ({"errorMessage": "Task timed out after 3.00 seconds", "errorType": "Mine"}, "Mine", True),
            ({"errorMessage": "the page timed out"}, "BackendFailed", False),
            ({"errorType": 7}, "BackendFailed", False),
            ([], "BackendFailed", False),
        ],
    )
    def test_a_function_error_is_named(self, clock, error, error_type, timed_out):
        """F20, F21: a timeout may come without a type; whatever else is odd has a name all the same."""
        with pytest.raises(BackendFailed) as raised:
            self.ask(json.dumps(error).encode(), clock, FunctionError="Unhandled")

        assert (error_type, timed_out) == (raised.value.error_type, raised.value.timed_out)

    @pytest.mark.parametrize(
        ("function_error", "expected"), [({}, BackendMalformed), ({"FunctionError": "Unhandled"}, BackendFailed)]
    )
    def test_a_reply_nested_past_all_parsing_is_the_backends_error(self, clock, function_error, expected):
        """B6, F24: an answer or an error of it; whoever reads the receipt looks for the fault there and not with us."""
        with pytest.raises(expected):
            self.ask(b"[" * 100_000 + b"]" * 100_000, clock, **function_error)


def test_clients_are_few_and_kept():
    """P22, P30: one per read timeout, made when first needed; an environment does not gather them without bound."""
    made, closed = [], []

    def make(seconds):
        made.append(seconds)
        return SimpleNamespace(close=lambda: closed.append(seconds))

    pool = ClientPool(make)
    first = pool(125.0)

    assert first is pool(125.0)
    for seconds in range(100):
        pool(float(seconds))
    assert 101 == len(made)
    assert len(made) - len(closed) == len(pool._clients) <= ClientPool.KEPT


class TestHandlerOfThisProcess:
    def ask(self, response):
        return CallableBackend(lambda event, context: response).invoke({}, None, Deadline(None))

    def test_its_answer_is_what_json_makes_of_it(self):
        """P8, P9: what a caller gets from a miss is what it will get from a hit."""
        given = answered = token_answer()
        reply = self.ask(given)

        assert answered == reply.response == json.loads(reply.body)
        assert given is not reply.response

    @pytest.mark.parametrize("response", [{"a": object()}, {1, 2}, b"bytes"], ids=lambda value: type(value).__name__)
    def test_what_json_cannot_hold_is_the_callers_and_is_never_kept(self, response):
        """P14, P18: the handler's own answer goes out."""
        reply = self.ask(response)

        assert (response, b"") == (reply.response, reply.body)

    def test_bytes_that_are_an_answer_are_one(self):
        """P31, P32: a handler that writes its own JSON, as Lambda's runtime lets it; what it used is counted, and it may be kept."""
        body = json.dumps(token_answer("half a character: \ud83d")).encode()
        reply = self.ask(body)

        assert (body, json.loads(body)) == (reply.body, reply.response)

    @pytest.mark.parametrize("response", [b"[1, 2]", b"7", b"null", b"{"])
    def test_bytes_that_are_none_are_posted_as_they_are(self, response):
        """P18: and never kept; the control is the test above."""
        reply = self.ask(response)

        assert (response, b"") == (reply.response, reply.body)

    @pytest.mark.parametrize("kind", [dict, OrderedDict, lambda members: defaultdict(list, members)], ids=range(3))
    def test_it_has_an_event_of_its_own_of_the_kind_that_came(self, kind):
        """P5: what it changes there is not what was keyed."""
        block = kind({"text": "before"})
        event, seen = kind({"content": [block]}), []

        def handler(event, context):
            event["content"][0]["text"] = "after"
            seen.append(event)
            return token_answer()

        CallableBackend(handler).invoke(event, None, Deadline(None))

        assert ("before", "after") == (block["text"], seen[0]["content"][0]["text"])
        assert type(event) is type(seen[0]) is type(kind({}))

    def test_an_event_that_changes_while_it_is_copied_goes_as_it_is(self):
        """P18: what it then does to it is its own."""

        class Changing(OrderedDict):
            def __copy__(self):
                raise RuntimeError("dictionary changed size during iteration")

        event, seen = Changing(text="before"), []
        CallableBackend(lambda event, context: seen.append(event) or token_answer()).invoke(event, None, Deadline(None))

        assert event is seen[0]

    def test_its_exception_is_its_own(self):
        """P17: any type, unchanged."""

        def handler(event, context):
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            CallableBackend(handler).invoke({}, None, Deadline(None))


class TestDeadline:
    @pytest.mark.parametrize(
        ("seconds", "remaining", "usable"), [(300, 300, 299), (1.5, 1.5, 0.5), (1, 1, 0), (0.2, 0.2, 0), (0, 0, 0)]
    )
    def test_a_second_is_kept_in_hand(self, clock, seconds, remaining, usable):
        """P21, S40: and 0 ms is 0, not unknown."""
        deadline = Deadline(FakeContext(clock, seconds))

        assert (remaining, usable) == pytest.approx((deadline.remaining_seconds(), deadline.usable_seconds()))

    @pytest.mark.parametrize(
        "context", [None, SimpleNamespace(), SimpleNamespace(get_remaining_time_in_millis=None)], ids=range(3)
    )
    def test_a_context_that_cannot_tell_sets_no_limit(self, context):
        """P21, control: outside Lambda."""
        assert math.inf == Deadline(context).usable_seconds()
