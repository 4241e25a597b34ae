"""The runtime of the stream function, without a socket: what it posts, what it tells of errors, what a handler is told."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pytest
import stream_runtime
from stream_runtime import Context, Invocation, RuntimeApi, handler_named, serve

HEADERS = {"lambda-runtime-aws-request-id": "r1", "lambda-runtime-deadline-ms": "0"}


class Api(RuntimeApi):
    """A Runtime API that keeps what it is asked, and replies with `status`."""

    def __init__(self, status: int = 200) -> None:
        super().__init__("127.0.0.1:1")
        self.status = status
        self.asked: list[tuple[str, str, bytes | None, Any]] = []

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path, body, headers))
        return self.status, HEADERS, b"{}"

    @property
    def posted(self) -> tuple[str, Any]:
        """Where the last body went, and what it holds."""
        _, path, body, _ = self.asked[-1]
        return path.rpartition("/")[2], json.loads(body or b"null")


def served(answer: Any, **headers: str) -> Api:
    """What was posted of an invocation whose handler gives `answer`, or raises it."""
    api = Api()

    def handler(event: Any, context: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    serve(api, handler, Invocation(b"{}", {**HEADERS, **headers}))
    return api


@pytest.mark.parametrize("answer", [{"a": "\ud83d"}, {"a": "Stra\u00dfe"}, b'{"a": 1}', None], ids=ascii)
def test_every_answer_is_posted_whole(answer: Any) -> None:
    """P9: half a character has no form in UTF-8 and goes as an escape; bytes are posted as they are."""
    assert ("response", json.loads(answer) if isinstance(answer, bytes) else answer) == served(answer).posted


def test_an_error_is_told_by_type_and_the_head_of_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Trailers are headers, and those are kept short; the log's stack names places and no values."""
    name = "Erreur\u00c9"
    api = served(type(name, (Exception,), {})("x" * 2000 + "y"))

    assert ("error", {"errorType": name, "errorMessage": "x" * 2000}) == api.posted
    assert "Erreur?" == api.asked[-1][3]["Lambda-Runtime-Function-Error-Type"]
    assert "[ERROR] r1 Erreur" in capsys.readouterr().err


def test_the_trace_of_an_invocation_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """As AWS's own client leaves it for the SDK, which sends it on."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")
    served(1)
    assert "before" == os.environ["_X_AMZN_TRACE_ID"]
    served(1, **{"lambda-runtime-trace-id": "Root=1"})
    assert "Root=1" == os.environ["_X_AMZN_TRACE_ID"]


def test_no_time_left_is_none_and_not_less() -> None:
    """P21: 0 means none."""
    later = {**HEADERS, "lambda-runtime-deadline-ms": str(int(time.time() * 1000) + 60_000)}

    assert 0 == Context("127.0.0.1:1", Invocation(b"", HEADERS)).get_remaining_time_in_millis()
    assert 50_000 < Context("127.0.0.1:1", Invocation(b"", later)).get_remaining_time_in_millis() <= 60_000


def test_a_runtime_api_that_gives_no_invocation_ends_the_process() -> None:
    """Whatever it sent is no event; Lambda starts another environment."""
    assert b"{}" == Api().next().payload
    with pytest.raises(RuntimeError, match="500"):
        Api(500).next()


def test_the_handler_is_found_behind_the_last_dot() -> None:
    assert os.path.join is handler_named("os.path.join")


def test_a_function_that_cannot_start_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """P52: to Lambda, which tells the caller, and to the log."""
    api = Api()
    monkeypatch.setattr(stream_runtime, "RuntimeApi", lambda _: api)
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
    monkeypatch.setenv("_HANDLER", "no_such_module_at_all.handler")

    assert 1 == stream_runtime.main()
    assert ("error", "ModuleNotFoundError") == (api.posted[0], api.posted[1]["errorType"])
    assert "/runtime/init/error" in api.asked[-1][1]
    assert "cannot be started" in capsys.readouterr().err
    assert "no_such_module_at_all" not in sys.modules
