"""What hostile or merely unlucky histories do to the hook: one thing follows another, and neither is wrong alone."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from fakes import BackendRaised, FakeContext, answer, ocr_event, summarization_event, token_answer
from hookcache.errors import BackendFailed, ConfigurationError
from hookcache.settings import Settings
from hookcache_ops.local.invocation import SYNC_BYTES
from operator_rig import operator_of
from rig import metric


def policy(**rules: Any) -> dict[str, str]:
    return {"HOOKCACHE_POLICY": json.dumps({"*": rules})}


# -------------------------------------------------------------------- what must not be served

STALE = {"fresh_seconds": 600, "hard_seconds": 6_000, "stale_if_error": True}


def test_observe_serves_nothing_after_a_failed_fetch_either(make_rig: Any) -> None:
    """P50, P45: `observe` never serves, and an answer past its freshness is an answer."""
    rig = make_rig(HOOKCACHE_MODE="observe", **policy(**STALE))
    rig.call(summarization_event())
    rig.clock.advance(1_000)
    rig.backend.replies = [BackendRaised("Boom", "no")]

    with pytest.raises(BackendFailed):
        rig.call(summarization_event())


def test_a_stale_answer_is_served_where_answers_are(make_rig: Any) -> None:
    """Negative control of the test above."""
    rig = make_rig(**policy(**STALE))
    rig.call(summarization_event())
    rig.clock.advance(1_000)
    rig.backend.replies = [BackendRaised("Boom", "no")]
    rig.call(summarization_event())

    assert "stale" == rig.last["outcome"]


@pytest.mark.parametrize("meanwhile", [True, False], ids=["erased", "control"])
def test_what_was_erased_before_the_second_look_stands_in_for_nothing(make_rig: Any, meanwhile: bool) -> None:
    """P13, P45: an erase came between a leader's two looks; by the second it knows."""
    rig = make_rig(**policy(**STALE))
    rig.call(ocr_event(rig.image(b"page")))
    rig.clock.advance(1_000)
    rig.backend.replies = [BackendRaised("Boom", "no")]
    untouched = rig.dynamodb.before

    def overtaken(operation: str, arguments: Any) -> None:
        if operation == "update_item" and arguments["Key"]["kind"]["S"] == "LEASE":
            rig.dynamodb.before = untouched
            erased(rig)

    if meanwhile:
        rig.dynamodb.before = overtaken
        with pytest.raises(BackendFailed):
            rig.call(ocr_event(rig.image(b"page")))
    else:
        rig.call(ocr_event(rig.image(b"page")))
    assert ("failed" if meanwhile else "stale") == rig.last["outcome"]


@pytest.mark.parametrize(
    ("fresh_seconds", "outcome"), [("3600", "miss"), ("604800", "hit_table"), ("1209600", "hit_table")]
)
def test_a_shorter_freshness_holds_for_what_was_kept_before(make_rig: Any, fresh_seconds: str, outcome: str) -> None:
    """P10, P52: the setting says how long an answer may be served, and no word of it lies in what was kept under another."""
    rig = make_rig()
    rig.call(summarization_event())
    rig.clock.advance(7_200)
    rig.settings["HOOKCACHE_FRESH_SECONDS"] = fresh_seconds
    rig.call(summarization_event(), rig.cold_start())

    assert outcome == rig.last["outcome"]
    assert "expired" == rig.last["reason"] or outcome != "miss"


def test_a_shorter_hard_end_holds_for_what_was_kept_before(make_rig: Any) -> None:
    """P45, P10: no answer past what the operator now says stands in for a failed fetch."""
    rig = make_rig(**policy(**STALE))
    rig.call(summarization_event())
    rig.clock.advance(3_000)
    rig.settings.update(policy(**STALE | {"hard_seconds": 2_000}))
    rig.backend.replies = [BackendRaised("Boom", "no")]

    with pytest.raises(BackendFailed):
        rig.call(summarization_event(), rig.cold_start())


def test_a_longer_freshness_revives_nothing(make_rig: Any) -> None:
    """P10: an answer keeps the end that it was given."""
    rig = make_rig(HOOKCACHE_FRESH_SECONDS="600")
    rig.call(summarization_event())
    rig.clock.advance(700)
    rig.settings["HOOKCACHE_FRESH_SECONDS"] = "3600"
    rig.call(summarization_event(), rig.cold_start())

    assert ("miss", "expired") == (rig.last["outcome"], rig.last["reason"])


# -------------------------------------------------------------------- what must go on being served


@pytest.mark.parametrize(
    "ill",
    [answer("", inputTokens=1), answer("Readings of", "max_tokens"), {"errorMessage": "no", "errorType": "E"}, []],
    ids=["blank", "cut", "error", "no object"],
)
def test_a_backend_that_falls_ill_convicts_no_kept_answer(make_rig: Any, ill: Any) -> None:
    """P59, P14: an answer that would not be kept says nothing about one that was; hits go on while the backend is ill."""
    rig = make_rig(**policy(check_share=1))
    rig.call(summarization_event())
    rig.backend.handler = lambda event: ill
    for _ in range(6):
        rig.call(summarization_event())

    assert ["miss", *["hit_memory"] * 6] == rig.outcomes
    assert {"unanswered"} == {receipt["check"]["result"] for receipt in rig.receipts[1:]}


def test_a_backend_that_answers_otherwise_does(make_rig: Any) -> None:
    """Negative control of the test above."""
    rig = make_rig(**policy(check_share=1))
    rig.call(summarization_event())
    rig.backend.handler = lambda event: token_answer("something else entirely")
    for _ in range(6):
        rig.call(summarization_event())

    assert "distrusted" == rig.last["reason"]


# -------------------------------------------------------------------- who answers


def during_an_update(rig: Any, status: str) -> Any:
    """What the same request gets once the update is done, of a request made while Lambda still ran the code before."""
    settled = rig.backend.get_function_configuration
    rig.backend.deploy(code="code-2")
    rig.backend.get_function_configuration = lambda **told: settled(**told) | {"LastUpdateStatus": status}
    rig.backend.handler = lambda event: token_answer("said by the code before")
    rig.call(summarization_event())
    rig.backend.get_function_configuration = settled
    rig.backend.handler = lambda event: token_answer("said by the new code")
    rig.clock.advance(400)
    return rig.call(summarization_event(), rig.cold_start())["output"]["message"]["content"][0]["text"]


@pytest.mark.parametrize("status", ["InProgress", "Failed"])
def test_an_answer_of_the_code_before_is_not_kept_as_the_new_code_s(rig: Any, status: str) -> None:
    """P40, P1: while an update is under way Lambda already tells the new code's digest, and answers with the old code."""
    assert "said by the new code" == during_an_update(rig, status)


def test_an_update_that_is_done_names_who_answers(rig: Any) -> None:
    """Negative control of the test above: from then on the digest told is that of the code that answers."""
    assert "said by the code before" == during_an_update(rig, "Successful")


def test_the_identity_before_an_update_serves_while_it_is_under_way(rig: Any) -> None:
    """P40: hits go on, for who answers has not changed yet."""
    rig.call(summarization_event())
    settled = rig.backend.get_function_configuration
    rig.backend.deploy(code="code-2")
    rig.backend.get_function_configuration = lambda **told: settled(**told) | {"LastUpdateStatus": "InProgress"}
    rig.clock.advance(61)
    rig.call(summarization_event())

    assert ["miss", "hit_memory"] == rig.outcomes


# -------------------------------------------------------------------- what the runtime can post

HALF = "cut \ud83d"
SPELT = json.dumps(token_answer(HALF), ensure_ascii=False).encode("utf-8", "surrogatepass")


def posted(rig: Any) -> bytes:
    """The answer to one request as AWS's runtime for Python 3.13 would send it."""
    rig.check = lambda: None
    sent, _kind = LambdaMarshaller().marshal_response(rig.first.hook(summarization_event(), FakeContext(rig.clock)))
    return sent if isinstance(sent, bytes) else sent.encode()


@pytest.fixture
def on_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")


@pytest.mark.usefixtures("on_lambda")
def test_half_a_character_in_bytes_kills_no_environment(rig: Any) -> None:
    """P18: a runtime that is not strict sends the three bytes themselves, and Python's parser of JSON takes them."""
    rig.backend.replies = [SPELT]

    for _ in range(2):
        assert HALF == json.loads(posted(rig))["output"]["message"]["content"][0]["text"]
    assert ["miss", "hit_memory"] == rig.outcomes


@pytest.mark.usefixtures("on_lambda")
@pytest.mark.parametrize(
    ("rules", "outcomes"),
    [({"mode": "off"}, ["bypass"] * 2), ({"check_share": 1}, ["miss", "hit_memory"])],
    ids=["bypassed", "checked"],
)
def test_half_a_character_kills_none_past_the_cache_either(make_rig: Any, rules: Any, outcomes: list[str]) -> None:
    """P18: of an answer that is not kept, and of a kept one beside which the backend is asked."""
    rig = make_rig(**policy(**rules))
    rig.backend.replies = [SPELT, SPELT]

    for _ in range(2):
        assert HALF == json.loads(posted(rig))["output"]["message"]["content"][0]["text"]
    assert outcomes == rig.outcomes


@pytest.mark.usefixtures("on_lambda")
def test_without_escapes_it_would() -> None:
    """Negative control of the test above: what the parser gives cannot be written."""
    sent, _kind = LambdaMarshaller().marshal_response(json.loads(SPELT))

    with pytest.raises(UnicodeEncodeError):
        sent.encode()


@pytest.mark.usefixtures("on_lambda")
def test_an_answer_with_half_a_character_is_posted_no_longer_than_it_came(rig: Any) -> None:
    """B8: escaping all of a Chinese page makes it twice as long, past what Lambda takes."""
    body = json.dumps(token_answer("X" + "\u8bfb" * 300_000), ensure_ascii=False).encode().replace(b"X", rb"\ud83d")
    rig.backend.replies = [body]

    assert len(body) >= len(posted(rig))


DENSE = token_answer("read" * 1_380_000) | {"places": [1] * 300_000}


@pytest.mark.usefixtures("on_lambda")
def test_a_large_answer_without_blanks_is_posted_without_them(rig: Any) -> None:
    """B8: the runtime puts a blank behind every comma and colon, and so makes too long what Lambda took from the backend."""
    body = json.dumps(DENSE, separators=(",", ":")).encode()
    rig.backend.replies = [body]

    for _ in range(2):
        told = posted(rig)
        assert SYNC_BYTES > len(body) >= len(told)
        assert DENSE["places"] == json.loads(told)["places"]
    assert ["miss", "hit_memory"] == rig.outcomes


def test_with_blanks_it_would_be_too_long() -> None:
    """Negative control of the test above: what the runtime makes of it."""
    sent, _kind = LambdaMarshaller().marshal_response(DENSE)

    assert len(sent) > SYNC_BYTES


# -------------------------------------------------------------------- receipts


@pytest.mark.parametrize("names", [("a b", "c d"), ("inputTokens", "c d")], ids=["together", "apart"])
def test_units_that_add_up_to_no_number_cost_no_receipt(rig: Any, names: tuple[str, str]) -> None:
    """P31, P33: each is a finite number; shown together under `other` they must be one too, for JSON has no infinity."""
    rig.backend.replies = [answer("read", **dict.fromkeys(names, 1e308))]

    rig.call(summarization_event())

    assert 1.0 == metric(rig.last, "Misses")
    rig.check = lambda: None  # what is written down is not their sum


# -------------------------------------------------------------------- erase


def erased(rig: Any) -> dict[str, Any]:
    with operator_of(rig) as commands:
        return commands({"command": "erase", "images": [hashlib.sha256(b"page").hexdigest()]})


@pytest.mark.parametrize("ttl", [None, {"S": "never"}, {"N": "17"}], ids=["none", "text", "another"])
def test_a_damaged_index_item_hides_no_entry_from_an_erase(rig: Any, ttl: Any) -> None:
    """P46, P13: the key that it names is erased, whatever else it says."""
    rig.call(ocr_event(rig.image(b"page")))
    for item in rig.dynamodb.items.values():
        if item["kind"]["S"].startswith("INDEX#"):
            item.pop("ttl")
            item.update({"ttl": ttl} if ttl else {})

    assert (1, 0) == (erased(rig)["entries"], erased(rig)["failed"])
    rig.clock.advance(400)
    rig.call(ocr_event(rig.image(b"page")))
    assert "erased" == rig.last["reason"]


# -------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(("more", "refusal"), [({"cacheReadInputTokens": 3_000}, ""), ({}, "image_not_read")])
def test_a_prompt_from_the_models_own_cache_is_no_missing_image(
    make_rig: Any, more: dict[str, int], refusal: str
) -> None:
    """P14, S16: what the model read from its prompt cache is counted in a unit of its own; without it the image is missing."""
    rig = make_rig(**policy(image_tokens=1_000))
    rig.backend.replies = [answer("read", inputTokens=1_200, outputTokens=5, **more)]

    rig.call(ocr_event(rig.image(b"page"), text="long prompt " * 500))

    assert refusal == rig.last["refusal"]


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize("rule", ["temperature_ceiling", "check_share", "check_limit", "fresh_seconds", "image_tokens"])
def test_a_number_longer_than_any_float_is_refused_by_name(rule: str) -> None:
    """B22, P52: JSON may spell an integer of four hundred digits."""
    told = {
        "HOOKCACHE_TABLE": "table",
        "HOOKCACHE_SECRET": "s",
        "HOOKCACHE_POLICY": f'{{"*": {{"{rule}": 1{"0" * 400}}}}}',
    }

    with pytest.raises(ConfigurationError, match=rule):
        Settings.of(told)


# -------------------------------------------------------------------- what the backend gets


def strictly(payload: bytes) -> Any:
    """As Lambda reads JSON, which knows no word for an infinite number."""

    def refuse(word: str) -> Any:
        raise ValueError(word)

    return json.loads(payload, parse_constant=refuse)


@pytest.mark.parametrize("text", ["", "to Infinity", '" -Infinity', "\\", "\ud83d Infinity"])
def test_a_number_past_all_floats_is_handed_on_as_one(rig: Any, text: str) -> None:
    """P5, B4: `1e999` is JSON, and what Python makes of it is not."""
    event = json.loads(json.dumps(summarization_event(text))[:-1] + ', "extra": [1e999, -1e999, 1]}')
    rig.call(event)

    assert event == strictly(rig.backend.arguments[0]["Payload"])
    assert "number" == rig.last["reason"]
