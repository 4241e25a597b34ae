"""
Bedrock's ConverseStream as a backend of the cache: each event goes to the caller at once, the whole makes the answer.

    ConverseStream ──event──> outlet of this invocation, if its caller wants a stream
                   └─event──> Assembled ──> Answer, for the admission gate and the tiers

An answer leaves here only if the stream ended well: the model said why it stopped and what it used. Otherwise an error
does, so that nothing is kept (P14, P17). The model's words are read in a thread of its own, because a socket's time limit
bounds the wait for the next byte and not the whole (P21).
"""

from __future__ import annotations

import json
import math
import queue
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any

from converse_events import Assembled, Unassembled, jsonable

from hookcache.backend import Answer
from hookcache.clock import Deadline
from hookcache.errors import BackendMalformed, DeadlineTooClose, HookCacheError, backend_failed
from hookcache.value import value

_OVER = object()
PROSE_LETTERS = 300
_REMEDIES = {
    "AccessDeniedException": "this function needs bedrock:InvokeModelWithResponseStream on the model and on its inference "
    "profile, and the account access to the model",
    "ResourceNotFoundException": "TARGET_MODEL_ID names nothing in this region, or a model that has ended",
    "ThrottlingException": "it is asked too often: ask for a higher quota, use an inference profile, or send fewer at a time",
    "ValidationException": "check TARGET_MODEL_ID, SAMPLING, CACHE_POINTS and MODEL_FIELDS; ERROR_DETAIL=full says what it says",
}


@value
class _Failure:
    """What the reading thread met; `asked`: the model's service had been asked by then."""

    error: BaseException
    asked: bool


class ConverseStreamSource:
    """
    A backend that streams while it answers.

    Args:
        client: gives the bedrock-runtime client.
        request_of: the arguments of ConverseStream for a host's event; may fetch page images.
        prose: say what Bedrock says about an error. Off, only its type: its words may quote the document.
    """

    def __init__(
        self, client: Callable[[], Any], request_of: Callable[[Any], Mapping[str, Any]], *, prose: bool = False
    ) -> None:
        self._client = client
        self._request_of = request_of
        self._prose = prose

    def invoke(self, event: Any, context: Any, deadline: Deadline) -> Answer:
        """
        Ask the model once; a caller's `context.outlet`, where there is one, gets each event as it comes.

        Raises:
            BackendFailed: with Bedrock's error type, such as ThrottlingException; IncompleteStream where the stream
                stopped before the answer did.
            BackendMalformed: the stream cannot be parsed; or the caller wants the answer whole, and its kind cannot be put
                together here.
            DeadlineTooClose: the invocation's time is over and the model still speaks.
            BadRequestError, NoImageError: no request can be made of the event.
        """
        outlet = getattr(context, "outlet", None)
        assembled = Assembled()
        try:
            with closing(self._events(event, deadline)) as events:
                for told in events:
                    assembled.add(told)
                    if outlet is not None:
                        outlet.send(told)
            return _answer(assembled, whole=outlet is None)
        except Exception as error:
            if outlet is None or not outlet.begun:
                raise
            kind = type(error).__name__
            begun = (
                error if isinstance(error, HookCacheError) else backend_failed(f"the answer broke off: {kind}", kind)
            )
            begun.answer_begun = True
            raise begun from None

    def _events(self, event: Any, deadline: Deadline) -> Generator[Mapping[str, Any], None, None]:
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        left = threading.Event()
        threading.Thread(target=self._read, args=(event, told.put, left), name="converse-stream", daemon=True).start()
        try:
            while True:
                seconds = deadline.usable_seconds()
                try:
                    item = told.get(timeout=None if math.isinf(seconds) else seconds)
                except queue.Empty:
                    raise DeadlineTooClose("the model still speaks and this invocation's time is over") from None
                if item is _OVER:
                    return
                if isinstance(item, _Failure):
                    raise _translated(item, prose=self._prose) from None
                yield jsonable(item)
        finally:
            left.set()

    def _read(self, event: Any, tell: Callable[[Any], None], left: threading.Event) -> None:
        asked = False
        try:
            client, request = self._client(), self._request_of(event)
            asked = True
            with closing(client.converse_stream(**request)["stream"]) as stream:
                for item in stream:
                    if left.is_set():
                        return
                    tell(item)
            tell(_OVER)
        except BaseException as error:
            tell(_Failure(error, asked))


def _answer(assembled: Assembled, *, whole: bool) -> Answer:
    if not assembled.ended_well:
        raise backend_failed("the model's stream stopped before its answer did", "IncompleteStream")
    try:
        answer = assembled.answer()
    except Unassembled as odd:
        if whole:
            raise BackendMalformed(f"the answer holds {odd}, which only a caller of the stream can have") from None
        return Answer(b"", assembled.tail())  # no bytes: the caller has it, and no tier gets it
    return Answer(json.dumps(answer).encode(), answer)


def _translated(failure: _Failure, *, prose: bool) -> BaseException:
    """An error of Bedrock under its own type; of one on the way only the type, for its text may quote the request (P36)."""
    # Loaded by the first miss, with boto3 itself: no hit pays for either.
    from backend_errors import BadRequestError
    from botocore.eventstream import ParserError
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    error = failure.error
    match error:
        case ClientError():
            told = error.response.get("Error", {})
            code = str(told.get("Code") or "ClientError")
            code = code[:1].upper() + code[1:]  # in a stream it is spelt as a member of the event union
            words = f" ({str(told.get('Message', ''))[:PROSE_LETTERS]})" if prose else ""
            return backend_failed(f"Bedrock answered {code}{words}: {_REMEDIES.get(code, 'try again later')}", code)
        case ParamValidationError():  # in its own words it quotes the request
            return BadRequestError(
                "Bedrock takes no such request: check the numbers in the host's configuration of this step"
            )
        case BotoCoreError() | HTTPError() | ParserError() | OSError():
            kind = type(error).__name__
            return backend_failed(f"Bedrock cannot be heard or broke off: {kind}", kind)
        # A reply of another shape than the service's model says is met by botocore's parser in many ways. Before we asked,
        # the same types mean a setting, such as the endpoint's URL, or the prompt, and say so themselves.
        case (
            ResponseParserError() | TypeError() | AttributeError() | LookupError() | ValueError() | OverflowError()
        ) if failure.asked:
            return BackendMalformed("Bedrock sent a stream that cannot be parsed: is something between us?")
        case _:
            return error
