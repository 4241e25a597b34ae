"""The hook in front of a streaming source, in this process: what is kept, who waits, and what may follow a begun answer."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import converse_source
import pytest
from backend_errors import BadRequestError
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import EventStreamError
from converse_events import Assembled
from converse_source import ConverseStreamSource
from stream_function import StreamFunction, bedrock, call_of
from stream_response import Stream
from stream_runtime import Context, Invocation
from urllib3.exceptions import IncompleteRead

from fakes import FakeClock, FakeContext, event_of
from hookcache.control import BackendIdentity
from hookcache.errors import BackendFailed, BackendMalformed, DeadlineTooClose, HookCacheError, backend_failed
from hookcache_ops.backends.converse_stream_server import text_events
from rig import Rig

USAGE = {"inputTokens": 11, "outputTokens": 2, "totalTokens": 13}
STREAM_WISH = {"custom": {"hookcache_stream": True}}
ALL = dict.fromkeys(USAGE, 0)


class Written:
    """A stream that keeps what was written to it."""

    def __init__(self) -> None:
        self.data = b""
        self.begun = False

    def begin(self, content_type: str, prelude: Any = None) -> None:
        self.begun = True

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def names(self) -> list[str]:
        return [name for line in self.data.splitlines() for name in json.loads(line)]


class Model:
    """A bedrock-runtime client that says what it was told; an exception among the events is raised in its place."""

    def __init__(self) -> None:
        self.calls = 0
        self.script: list[Any] = text_events(["one ", "two"], USAGE)
        self.before: Callable[[int], object] = lambda number: None

    def converse_stream(self, **request: Any) -> Mapping[str, Any]:
        self.calls += 1
        return {"stream": _Events(self._events())}

    def _events(self) -> Iterator[Any]:
        for number, step in enumerate(self.script):
            self.before(number)
            if isinstance(step, BaseException):
                raise step
            yield step


class _Events:
    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[Any]:
        return self._events

    def close(self) -> None:
        return


class StreamContext(FakeContext):
    """A context as `stream_runtime` makes it."""

    stream: Any
    outlet: Any


class StreamRig:
    """Stream functions over one table, each call with a stream of its own."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.model = Model()
        self.source = ConverseStreamSource(lambda: self.model, lambda event: event)

    def function(self, environment: Any = None) -> StreamFunction:
        assembly = (environment or self.rig.first).assembly
        return StreamFunction(assembly.hook(self.source, BackendIdentity(b"stream")))

    def call(
        self, event: Any, environment: Any = None, *, streams: bool = True, seconds: float = 300, to: Any = None
    ) -> Any:
        """The stream of one call, or its whole answer."""
        context = StreamContext(self.rig.clock, seconds, client_context=STREAM_WISH if streams else None)
        context.stream = Written() if to is None else to
        self.rig.listen()
        self.rig.invocations += 1
        try:
            answer = self.function(environment)(event, context)
        except HookCacheError as error:
            self.rig.errors.append(error)
            raise
        return context.stream if streams else answer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequestError("send `messages`"), 400),
        (backend_failed("the backend failed", "BadRequestError"), 400),
        (backend_failed("the backend failed", "ThrottlingException"), None),
    ],
    ids=["with its words", "without", "control: the model's error"],
)
def test_by_url_the_callers_own_fault_is_400_whatever_is_told_of_it(error: Exception, status: int | None) -> None:
    """P36: with `error_detail=type` the hook raises another error of that type; no error of the function either way."""
    begun: list[Any] = []

    def hook(event: Any, context: Any) -> Any:
        raise error

    context: Any = StreamContext(FakeClock(), client_context=None)
    context.stream = Written()
    context.stream.begin = lambda content_type, prelude=None: begun.append(prelude["statusCode"])
    asked_by_url = {"requestContext": {"http": {}}, "body": "{}"}
    if status is None:
        with pytest.raises(BackendFailed):
            StreamFunction(hook)(asked_by_url, context)
        assert [] == begun
    else:
        assert StreamFunction(hook)(asked_by_url, context) is None
        assert [status] == begun
        assert {"message": str(error)} == json.loads(context.stream.data)


@pytest.fixture
def make_stream_rig(make_rig: Callable[..., Rig]) -> Callable[..., StreamRig]:
    """Rigs without a Lambda backend; each is checked as a whole when the test is over, but for the backend's bill."""

    def make(**settings: str) -> StreamRig:
        rig = make_rig(HOOKCACHE_BACKEND=None, **settings)
        rig.charged_hits = True
        return StreamRig(rig)

    return make


@pytest.fixture
def streams(make_stream_rig: Callable[..., StreamRig]) -> StreamRig:
    return make_stream_rig()


class Raising(Written):
    """A stream that tells its writer when nobody listens."""

    def write(self, data: bytes) -> None:
        raise BrokenPipeError


def asked(text: str = "Sum this up") -> dict[str, Any]:
    return event_of("Summarization", [text])


def throttled() -> EventStreamError:
    return EventStreamError({"Error": {"Code": "throttlingException", "Message": "slow down"}}, "ConverseStream")


def test_who_waits_for_a_streaming_leader_gets_a_replay(streams: StreamRig) -> None:
    """P23, P32: the second environment polls the lease while the first still streams; one call, outcome `collapsed`."""
    speaks, held, waits = threading.Event(), threading.Event(), threading.Event()
    led: list[Any] = []
    leader = threading.Thread(target=lambda: led.append(streams.call(asked(), streams.rig.first)))

    def speak(number: int) -> None:
        speaks.set()
        if number == 2:
            held.wait(20)

    def while_waiting(_seconds: float) -> None:
        waits.set()
        held.set()
        leader.join(20)

    streams.model.before, streams.rig.clock.on_sleep = speak, while_waiting
    second = streams.rig.second
    leader.start()
    assert speaks.wait(20)
    followed = streams.call(asked(), second)

    assert (True, 1) == (waits.is_set(), streams.model.calls)
    assert {"miss", "collapsed"} == set(streams.rig.outcomes)
    assert led[0].names == [*followed.names[:1], *["contentBlockDelta"] * 2, *followed.names[2:]]


class TestKept:
    def test_a_stream_that_broke_is_asked_again(self, streams: StreamRig) -> None:
        """P14, P17: nothing in the table, nothing in memory."""
        streams.model.script = [*text_events(["half"], USAGE)[:2], throttled()]
        for _ in range(2):
            with pytest.raises(HookCacheError, match="ThrottlingException") as caught:
                streams.call(asked())

        assert "slow down" not in str(caught.value)  # Bedrock's words may quote the document
        assert ("ThrottlingException", 2, []) == (type(caught.value).__name__, streams.model.calls, streams.rig.entries)

    @pytest.mark.parametrize("missing", [-1, -2], ids=["usage", "stop reason"])
    def test_a_stream_that_just_stopped_is_asked_again(self, streams: StreamRig, missing: int) -> None:
        """P14, issue D: kept only once the model has said why it stopped and what it used."""
        del streams.model.script[missing]
        with pytest.raises(HookCacheError, match="stopped before"):
            streams.call(asked())

        assert [] == streams.rig.entries

    @pytest.mark.parametrize("missing", [-1, -2], ids=["usage", "stop reason"])
    def test_without_that_rule_half_an_answer_would_be_kept(
        self, streams: StreamRig, missing: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P14, control: the admission gate alone lets an answer pass that names no stop reason or no usage."""
        lax = type("Lax", (Assembled,), {"ended_well": True})
        monkeypatch.setattr(converse_source, "Assembled", lax)
        del streams.model.script[missing]
        streams.call(asked())

        assert 1 == len(streams.rig.entries)

    def test_what_cannot_be_put_together_is_streamed_and_not_kept(self, streams: StreamRig) -> None:
        """P1, P14: the caller of the stream has every event; the caller of the whole answer gets an error, not a part."""
        streams.model.script.insert(2, {"contentBlockDelta": {"delta": {"hologram": "x"}, "contentBlockIndex": 0}})
        told = streams.call(asked())
        with pytest.raises(BackendMalformed, match="hologram"):
            streams.call(asked(), streams=False)

        assert (b"hologram" in told.data, "metadata", []) == (True, told.names[-1], streams.rig.entries)
        assert "not_an_object" == streams.rig.receipts[0]["refusal"]

    def test_nobody_need_listen(self, streams: StreamRig) -> None:
        """P53: the Runtime API is gone from the first word on, and the answer is kept."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = f"127.0.0.1:{closed.getsockname()[1]}"
        gone = Stream(address, "r1", lambda: 10.0)
        streams.call(asked(), to=gone)

        assert (True, 1, ["miss"]) == (gone.gone, len(streams.rig.entries), streams.rig.outcomes)

    def test_a_stream_that_told_its_writer_would_lose_the_answer(self, streams: StreamRig) -> None:
        """P53, control: the same, with a stream that raises at whoever writes."""
        with pytest.raises(BrokenPipeError):
            streams.call(asked(), to=Raising())
        streams.rig.errors.append(BrokenPipeError())

        assert ([], ["failed"]) == (streams.rig.entries, streams.rig.outcomes)

    def test_usage_that_would_harm_the_host_reaches_no_caller(self, streams: StreamRig) -> None:
        """P33: what the hook takes out of an answer's usage is not in the stream's metadata either."""
        streams.model.script[-1] = {"metadata": {"usage": {"inputTokens": 3, "cacheDetails": [{"ttl": "5m"}]}}}
        told = streams.call(asked())

        assert {"metadata": {"usage": {"inputTokens": 3}}} == json.loads(told.data.splitlines()[-1])


class TestBegun:
    POLICY = json.dumps({"*": {"fresh_seconds": 100, "hard_seconds": 1000, "stale_if_error": True}})

    def stale(self, streams: StreamRig) -> None:
        """Keep an answer and let it grow stale, in table and memory."""
        streams.call(asked())
        streams.rig.clock.advance(500)

    @pytest.mark.parametrize("detail", ["full", "type"])
    def test_no_stale_answer_follows_a_begun_one(self, detail: str, make_stream_rig: Callable[..., StreamRig]) -> None:
        """P9, P45, P36: once a word is out, a broken stream is an error, whatever else could be served or is told of it."""
        rules = {step: {**rules, "error_detail": detail} for step, rules in json.loads(self.POLICY).items()}
        streams = make_stream_rig(HOOKCACHE_POLICY=json.dumps(rules), HOOKCACHE_MEMORY_SECONDS="10")
        self.stale(streams)
        streams.model.script = [*text_events(["half"], USAGE)[:2], throttled()]
        with pytest.raises(HookCacheError) as caught:
            streams.call(asked())

        assert ("failed", True) == (streams.rig.last["outcome"], caught.value.answer_begun)
        assert (detail == "full") == ("ThrottlingException" in str(caught.value))

    def test_a_stale_answer_stands_in_for_one_that_was_not_begun(
        self, make_stream_rig: Callable[..., StreamRig]
    ) -> None:
        """P45, control: the same error before the first event, and the same caller of the whole answer: both get it."""
        streams = make_stream_rig(HOOKCACHE_POLICY=self.POLICY, HOOKCACHE_MEMORY_SECONDS="10")
        self.stale(streams)
        streams.model.script = [throttled()]
        told = streams.call(asked())
        streams.model.script = [*text_events(["half"], USAGE)[:2], throttled()]
        whole = streams.call(asked(), streams=False)

        assert ["miss", "stale", "stale"] == streams.rig.outcomes
        assert (ALL, "metadata") == (whole["usage"], told.names[-1])

    @pytest.mark.parametrize("begun", [False, True], ids=["before", "amid"])
    @pytest.mark.parametrize(
        ("trouble", "error_type"),
        [
            (ConnectionResetError("a prompt"), "ConnectionResetError"),
            (IncompleteRead(1, 2), "IncompleteRead"),
            (ChecksumMismatch(1, 2), "ChecksumMismatch"),
            (EventStreamError({"Error": {"Code": "", "Message": "a prompt"}}, "ConverseStream"), "ClientError"),
            (EventStreamError({"Error": {"Code": "é", "Message": "a prompt"}}, "ConverseStream"), "BackendFailed"),
        ],
        ids=["reset", "cut", "garbled", "without a name", "a name that is none"],
    )
    def test_trouble_on_the_way_is_told_by_its_kind(
        self, streams: StreamRig, trouble: Exception, error_type: str, *, begun: bool
    ) -> None:
        """P36, F20: a type for the log and `negative_errors`, and none of the words."""
        streams.model.script = [*text_events(["half"], USAGE)[: 2 * begun], trouble]
        with pytest.raises(BackendFailed, match="Bedrock") as caught:
            streams.call(asked())

        assert (error_type, begun) == (type(caught.value).__name__, caught.value.answer_begun)
        assert "prompt" not in str(caught.value)

    @pytest.mark.parametrize("at", ["client", "request", "control: reply"])
    def test_only_what_the_service_sent_is_told_as_a_broken_stream(self, streams: StreamRig, at: str) -> None:
        """A setting or a prompt that is wrong says so itself; a reply may be odd before its first event."""

        def fails(*_given: Any, **_more: Any) -> Any:
            raise ValueError("Invalid endpoint: localhost:4566")

        def as_it_came(event: Any) -> Any:
            return event

        if at == "client":
            streams.source = ConverseStreamSource(fails, as_it_came)
        elif at == "request":
            streams.source = ConverseStreamSource(lambda: streams.model, fails)
        else:
            streams.source = ConverseStreamSource(lambda: SimpleNamespace(converse_stream=fails), as_it_came)
        with pytest.raises(Exception, match="parsed" if "reply" in at else "Invalid endpoint") as caught:
            streams.call(asked())
        streams.rig.errors = [caught.value]

        assert isinstance(caught.value, BackendMalformed) == ("reply" in at)

    def test_the_services_prose_has_an_end(self, streams: StreamRig) -> None:
        """ERROR_DETAIL=full: up to 300 characters."""
        streams.source = ConverseStreamSource(lambda: streams.model, lambda event: event, prose=True)
        told = {"Error": {"Code": "validationException", "Message": "x" * 299 + "yz"}}
        streams.model.script = [EventStreamError(told, "ConverseStream")]
        with pytest.raises(BackendFailed, match=r"xy\): check TARGET_MODEL_ID"):
            streams.call(asked())

    def test_an_error_that_nobody_foresaw_is_one_of_ours_once_begun(self, streams: StreamRig) -> None:
        """P36: of what failed on the way only the type is told, for its text may quote the request."""
        streams.model.script = [*text_events(["half"], USAGE)[:2], RuntimeError("a prompt")]
        with pytest.raises(HookCacheError, match="RuntimeError") as caught:
            streams.call(asked())

        assert "prompt" not in str(caught.value)


def test_a_model_that_falls_silent_does_not_outlast_the_invocation(streams: StreamRig) -> None:
    """P21: a second is kept in hand; the lease is free again, so that the next caller asks at once."""
    silent = threading.Event()
    streams.model.before = lambda number: silent.wait(20) if number == 2 else None
    with pytest.raises(DeadlineTooClose):
        streams.call(asked(), seconds=1.2)
    silent.set()
    streams.model.before = lambda number: None
    streams.call(asked())

    assert ["failed", "miss"] == streams.rig.outcomes
    assert "deadline" == streams.rig.receipts[0]["reason"]


def test_a_call_without_a_client_context_wants_the_whole_answer(streams: StreamRig) -> None:
    """Contract 2: the host sends none, and gets what any LambdaHook gives."""
    answer = streams.call(asked(), streams=False)

    assert [{"text": "one two"}] == answer["output"]["message"]["content"]
    assert USAGE == answer["usage"]
    assert SimpleNamespace(**answer).stopReason == "end_turn"


def test_half_a_character_is_streamed_replayed_and_answered(
    streams: StreamRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: the hook gives bytes where AWS's own runtime client could not spell an answer; here every way spells it."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    streams.model.script = text_events(["one \ud83d"], USAGE)
    told, again = streams.call(asked()), streams.call(asked())
    whole = streams.call(asked(), streams=False)

    assert [{"text": "one \ud83d"}] == whole["output"]["message"]["content"]
    assert told.data.splitlines()[:-1] == again.data.splitlines()[:-1]
    assert 1 == streams.model.calls


@pytest.mark.parametrize(
    ("body", "encoded", "request_"),
    [
        ('{"messages": []}', False, {"messages": []}),
        (base64.b64encode(b'{"messages": []}').decode(), True, {"messages": []}),
        ("no base64", True, None),
        ("[" * 100_000, False, None),
        (None, False, None),
    ],
    ids=["as it is", "in base64", "no base64", "too deep", "none"],
)
def test_the_request_of_a_url_is_its_body(body: Any, encoded: bool, request_: Any) -> None:
    """B1: what is no JSON asks for nothing, which the hook refuses; it is no error of Python's."""
    event = {"requestContext": {"http": {}}, "body": body, "isBase64Encoded": encoded}
    call = call_of(event, StreamContext(FakeClock(), client_context=None))

    assert (request_, True, True) == (call.request, call.by_url, call.streams)


@pytest.mark.parametrize("told", ["{", "[]", '"x"', '{"custom": 7}', '{"custom": {"hookcache_stream": "yes"}}'])
def test_a_client_context_that_is_none_wishes_nothing(told: str) -> None:
    """B21: neither an error nor a stream."""
    headers = {"lambda-runtime-aws-request-id": "r1", "lambda-runtime-client-context": told}
    context = Context("127.0.0.1:1", Invocation(b"{}", headers), {})

    assert not call_of({}, context).streams


def test_the_wish_for_a_stream_is_understood() -> None:
    """P51, control."""
    headers = {"lambda-runtime-aws-request-id": "r1", "lambda-runtime-client-context": json.dumps(STREAM_WISH)}

    assert call_of({}, Context("127.0.0.1:1", Invocation(b"{}", headers), {})).streams


def test_a_kept_answer_is_never_streamed_from_the_call_that_would_check_it(
    make_stream_rig: Callable[..., StreamRig],
) -> None:
    """P59, P9: who streams gets the kept answer, even where another call would break off amid other words."""
    streams = make_stream_rig(HOOKCACHE_POLICY=json.dumps({"*": {"check_share": 1}}))
    streams.call(asked())
    streams.model.script = [*text_events(["other ", "words"], USAGE)[:3], throttled()]

    replayed = streams.call(asked())

    assert b"one two" in replayed.data
    assert b"other" not in replayed.data
    assert ("metadata", 1) == (replayed.names[-1], streams.model.calls)


def test_a_whole_answer_is_checked_all_the_same(make_stream_rig: Callable[..., StreamRig]) -> None:
    """Negative control of the test above: callers of the whole answer do ask the model a second time."""
    streams = make_stream_rig(HOOKCACHE_POLICY=json.dumps({"*": {"check_share": 1}}))
    for _ in range(2):
        streams.call(asked(), streams=False)

    assert 2 == streams.model.calls


@pytest.mark.parametrize(("seconds", "closed"), [(600, 1), (59, 0)], ids=["promise", "control"])
def test_the_model_is_not_asked_over_connections_of_before_a_freeze(
    monkeypatch: pytest.MonkeyPatch, seconds: float, closed: int
) -> None:
    """F32: the model is asked once, and a dead connection that nobody hung up on would be listened to for 300 s."""
    made: list[SimpleNamespace] = []

    def make(name: str, config: Any) -> SimpleNamespace:
        made.append(SimpleNamespace(name=name, seconds=config.read_timeout, closed=0))
        made[-1].close = lambda: setattr(made[-1], "closed", made[-1].closed + 1)
        return made[-1]

    monkeypatch.setattr("boto3.client", make)
    clock = FakeClock()
    client = bedrock(clock)
    client()
    clock.freeze(seconds)

    assert client() is made[0]
    assert [("bedrock-runtime", 300.0, closed)] == [(each.name, each.seconds, each.closed) for each in made]
