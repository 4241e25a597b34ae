"""Answers that Lambda's own runtime could not post: which they are, and as what they are posted."""

from __future__ import annotations

import json

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from hookcache.postable import LARGE_BYTES, REPLY_BYTES, may_be_unpostable, postable

PYTHON = "AWS_Lambda_python3.13"


@pytest.mark.parametrize(
    "spelt",
    [
        *(rb'"\u%b"' % code for code in (b"d83d", b"D83D", b"dabc", b"DABC", b"dc00", b"dfff", b"DFFF", b"dEaD")),
        b'"\xed\xa0\xbd"',
        b'"\xed\xbf\xbf"',
    ],
    ids=ascii,
)
def test_half_a_character_is_seen_however_it_is_spelt(spelt: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """P9: the runtime could not post the answer; posted as bytes it is, and is the same answer."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", PYTHON)
    body = b'{"text": %b}' % spelt
    answer = json.loads(body.decode("utf-8", "surrogatepass"))
    assert may_be_unpostable(body)
    with pytest.raises(UnicodeEncodeError):
        LambdaMarshaller().marshal_response(answer)[0].encode()

    posted = postable(answer, body)
    assert isinstance(posted, bytes)
    assert answer == json.loads(posted)


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\ud7a3", "Stra\u00dfe", "back\\slash u"], ids=ascii)
@pytest.mark.parametrize("escapes", [True, False])
def test_whole_characters_are_posted_as_they_are(text: str, escapes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the neighbours of the halves, as escapes and as they are."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", PYTHON)
    answer = {"text": text}
    body = json.dumps(answer, ensure_ascii=escapes).encode()
    assert not may_be_unpostable(body)
    assert answer is postable(answer, body)


@pytest.mark.parametrize(
    ("where", "kind"),
    [(PYTHON, bytes), ("AWS_Lambda_python3.12", bytes), ("AWS_Lambda_java21", dict), ("", dict)],
)
def test_only_pythons_runtime_is_given_bytes(where: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere a caller takes the handler's answer as it is: a test of it, or a runtime of one's own."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", where)
    body = rb'{"text": "\ud83d"}'
    assert kind is type(postable(json.loads(body), body))


@pytest.mark.parametrize(("longest", "kind"), [(0, dict), (1, bytes)], ids=["control: just fits", "a byte too long"])
def test_blanks_that_would_make_it_too_long_are_left_out(
    longest: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B8: the runtime puts a blank behind each comma and colon."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", PYTHON)
    numbers = [1] * (LARGE_BYTES // 2 - 100)
    spelt = len(json.dumps({"n": numbers, "t": ""}))
    answer = {"n": numbers, "t": "x" * (REPLY_BYTES - spelt + longest)}
    body = json.dumps(answer, separators=(",", ":")).encode()
    posted = postable(answer, body)
    assert kind is type(posted)
    if kind is bytes:
        assert len(posted) == len(body) < REPLY_BYTES
