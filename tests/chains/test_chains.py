"""One suite over the three ways to chain: the same answers, receipts, keys and modes, in AWS's own runtime client."""

import json

import pytest

COUNTED = ("MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures")


def number(receipt, metric):
    value = receipt[metric]
    return value[0] if isinstance(value, list) else value


# -------------------------------------------------------------------- answers


def test_a_repeated_request_is_answered_from_memory_then_from_the_table_and_backend_is_called_once(chain):
    """P1, P9, P32: the same page under new names; every field as the backend gave it, its usage as zeros."""
    before = chain.backend_calls
    first = chain.ask(chain.event(page=1))
    again = chain.ask(chain.event(page=1))
    chain.forget_memory()
    cold = chain.ask(chain.event(page=1))

    assert ["miss", "hit_memory", "hit_table"] == chain.outcomes[-3:]
    assert before + 1 == chain.backend_calls
    zeros = dict.fromkeys(first.answer["usage"], 0)
    assert [{**first.answer, "usage": zeros}] * 2 == [again.answer, cold.answer]
    assert list(first.answer) == list(again.answer) == list(cold.answer)
    assert {"inputTokens": 12, "outputTokens": 3, "totalTokens": 15, "pages": 1} == first.answer["usage"]


def test_other_pixels_or_another_prompt_miss(chain):
    """P3, P4: what can change the answer is in the key."""
    chain.ask(chain.event(page=2))
    texts = [chain.ask(event).text["answer"] for event in (chain.event(page=2, image=b"other"), chain.event(page=3))]

    assert ["miss"] * 3 == chain.outcomes[-3:]
    assert 2 == len(set(texts))


def test_an_error_leaves_as_the_backends_own_and_is_not_kept(chain):
    """P17, F20: type and message are the backend's; the next attempt reaches it again."""
    before = chain.backend_calls
    told = [chain.ask(chain.event(do="raise", message="no such page")) for _ in range(2)]

    assert ["Unhandled", "Unhandled"] == [each.error for each in told]
    assert [("LookupError", "no such page")] * 2 == [
        (each.answer["errorType"], each.answer["errorMessage"]) for each in told
    ]
    assert before + 2 == chain.backend_calls
    assert ["failed", "failed"] == chain.outcomes[-2:]
    assert ("backend_failed", "LookupError") == (chain.last["reason"], chain.last["error_type"])


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        ({"output": {"message": {"role": "assistant", "content": [{"text": ""}]}}}, "blank_text"),
        ({"output": {"message": {"content": [{"text": "half"}]}}, "stopReason": "max_tokens"}, "truncated"),
        ({"errorType": "Throttled", "errorMessage": "later"}, "error_body"),
        ({}, "content"),
        ("a text", "not_an_object"),
        ({"output": {"message": {"content": [{"text": "x"}]}}, "usage": {"pages": 0}}, "no_pages"),
    ],
)
def test_a_refused_answer_goes_to_the_caller_untouched_and_is_not_kept(chain, reply, refusal):
    """P14: each time the backend is asked again."""
    before = chain.backend_calls
    answers = [chain.ask(chain.event(do="reply", reply=reply)).answer for _ in range(2)]

    assert [reply, reply] == answers
    assert before + 2 == chain.backend_calls
    # The second attempt may come inside the window in which nobody waits for a refused key (P48).
    assert refusal == chain.receipts[-2]["refusal"]
    assert ("miss", "") != (chain.last["outcome"], chain.last["refusal"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inferenceConfig": {"temperature": 0.7}}, "sampling"),
        ({"inferenceConfig": {}}, "sampling"),
        ({"pageOutputUri": "s3://idp-output/doc/pages/1/"}, "reference"),
        ({"system": "no list"}, "event_shape"),
    ],
)
def test_what_cannot_be_keyed_is_answered_by_the_backend_each_time(chain, change, reason):
    """P16, P41, P42: a bypass says why."""
    before = chain.backend_calls
    answers = [chain.ask(chain.event(page="bypassed") | change).text["answer"] for _ in range(2)]

    assert 2 == len(set(answers))
    assert before + 2 == chain.backend_calls
    assert [("bypass", reason)] * 2 == [(receipt["outcome"], receipt["reason"]) for receipt in chain.receipts[-2:]]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"bytes": "b'\\xff\\xd8'"}, "inline_image"),
        ({"s3Location": {"uri": "s3://another-bucket/temp/lambdahook/1.jpeg"}}, "image_not_allowed"),
        ({"s3Location": {"uri": "s3://idp-working-bucket/temp/lambdahook/missing.jpeg"}}, "image_unreadable"),
    ],
)
def test_an_image_that_is_inline_foreign_or_gone_is_bypassed(chain, source, reason):
    """P42: no key is made of a name."""
    event = chain.event(page="unseen", image=None)
    event["messages"][0]["content"].append({"image": {"format": "jpeg", "source": source}})
    answers = {chain.ask(event).text["answer"] for _ in range(2)}

    assert 2 == len(answers)
    assert ("bypass", reason) == (chain.last["outcome"], chain.last["reason"])


def test_an_event_that_is_no_request_reaches_the_backend_as_it_is(chain):
    """B1: the backend's own complaint comes back, not ours."""
    told = chain.ask({"hello": "world"})

    assert ("Unhandled", "KeyError") == (told.error, told.answer["errorType"])
    assert "failed" == chain.last["outcome"]


# -------------------------------------------------------------------- receipts


def test_receipts_partition_and_name_the_function_that_the_host_calls(chain):
    """P31, S55: one receipt per invocation; their outcomes sum up; the host's own metering key."""
    before = len(chain.receipts)
    for event in (chain.event(page=10), chain.event(page=10), chain.event(do="raise", message="x")):
        chain.ask(event)
    receipts = chain.receipts[before:]

    assert 3 == len(receipts) == len({receipt["request_id"] for receipt in receipts})
    assert [1, 1, 1] == [sum(number(receipt, name) for name in COUNTED) for receipt in receipts]
    assert {f"OCR/lambda_hook/{chain.function}"} == {receipt["MeteringKey"] for receipt in receipts}
    assert [12, 0, 0] == [number(receipt, "InputTokens") for receipt in receipts]
    assert [0, 12, 0] == [number(receipt, "SavedInputTokens") for receipt in receipts]


# -------------------------------------------------------------------- control of one call


def test_a_caller_refreshes_bypasses_bounds_the_age_and_rolls_out_through_the_client_context(chain):
    """P51, S56: a refresh replaces the answer for everybody; a rollout has answers of its own; nothing enters the event."""
    page = {"page": "controlled"}
    first = chain.ask(chain.event(**page)).text
    refreshed = chain.ask(chain.event(**page), refresh=True).text
    known = chain.ask(chain.event(**page)).text
    bypassed = chain.ask(chain.event(**page), bypass=True).text
    too_old = chain.ask(chain.event(**page), max_age_seconds=0).text
    rolled_out = chain.ask(chain.event(**page), rollout="blue").text

    assert refreshed == known
    assert 5 == len({each["answer"] for each in (first, refreshed, bypassed, too_old, rolled_out)})
    assert [("miss", "absent"), ("refresh", "not_looked_up"), ("hit_memory", ""), ("bypass", "requested")] == [
        (receipt["outcome"], receipt["reason"]) for receipt in chain.receipts[-6:-2]
    ]
    assert [("miss", "expired"), ("miss", "absent")] == [
        (receipt["outcome"], receipt["reason"]) for receipt in chain.receipts[-2:]
    ]


def test_hostile_wishes_are_ignored_and_counted(chain):
    """B21: an age of 10^12 s, another namespace, a text where a boolean belongs."""
    chain.ask(chain.event(page="hostile"))
    chain.ask(chain.event(page="hostile"), max_age_seconds=10**12, namespace="other", refresh="yes", rollout="a b")

    assert ("hit_memory", 4) == (chain.last["outcome"], chain.last["control_ignored"])


# -------------------------------------------------------------------- modes


@pytest.fixture(scope="module")
def moody(make_chain):
    """A mode and some rules of its own for each step, in one deployment."""
    policy = {
        "OCR": {"mode": "off"},
        "Classification": {"mode": "observe"},
        "Extraction": {"mode": "read_only"},
        "Assessment": {"mode": "write_only"},
        "Summarization": {"temperature_ceiling": None, "usage_on_hit": "original", "refused_texts": ["n/a"]},
    }
    return make_chain({"HOOKCACHE_POLICY": json.dumps(policy)})


def test_off_is_as_if_we_were_not_there(moody):
    """P50, S58: the backend receives the event deep-equal, its answer is untouched, nothing is read or written."""
    event = moody.event(do="echo", odd={"ünï": [1.50, None, 1e30], "emoji": "😀"})
    odd = {"output": 1, "usage": {"pages": -1, "note": "x", "flag": True}, "z": [1.0, 2]}
    echoed = moody.ask(event).text
    answers = [moody.ask(moody.event(do="reply", reply=odd)).answer for _ in range(2)]

    assert event == echoed
    assert [odd, odd] == answers
    assert json.dumps(odd) == json.dumps(answers[0])
    assert [("bypass", "mode_off")] * 3 == [(each["outcome"], each["reason"]) for each in moody.receipts[-3:]]
    assert not moody.last["own_units"].keys() & {"table_read_units", "table_write_units", "s3_requests"}


def test_observe_serves_nothing_and_says_what_would_have_hit(moody):
    """P50: every request reaches the backend; the would-be hits are in the receipts."""
    before = moody.backend_calls
    answers = {moody.ask(moody.event("Classification", page="observed")).text["answer"] for _ in range(3)}

    assert 3 == len(answers)
    assert before + 3 == moody.backend_calls
    assert [None, True, True] == [receipt.get("would_hit") for receipt in moody.receipts[-3:]]
    assert ["observe"] * 3 == moody.outcomes[-3:]
    assert [0, 0, 0] == [number(receipt, "SavedInputTokens") for receipt in moody.receipts[-3:]]


def test_read_only_never_writes(moody):
    """P50: what is not there stays away, from memory as from the table."""
    answers = {moody.ask(moody.event("Extraction", page="read only")).text["answer"] for _ in range(2)}

    assert 2 == len(answers)
    assert ["miss", "miss"] == moody.outcomes[-2:]


def test_write_only_never_serves_but_keeps(moody):
    """P50: each call is a miss; a reader of the same settings would find the last answer."""
    answers = {moody.ask(moody.event("Assessment", page="write only")).text["answer"] for _ in range(2)}

    assert 2 == len(answers)
    assert ["miss", "miss"] == moody.outcomes[-2:]
    assert all(receipt["own_units"]["table_write_units"] > 0 for receipt in moody.receipts[-2:])


def test_rules_hold_for_their_step_only(moody):
    """P16, P32, P47: sampled answers are reused, hits are charged and a text is refused where the operator says so."""
    event = moody.event("Summarization", page="sampled") | {"inferenceConfig": {"temperature": 0.9}}
    usages = [moody.ask(event).answer["usage"]["inputTokens"] for _ in range(2)]
    sorry = {"output": {"message": {"role": "assistant", "content": [{"text": "N/A"}]}}}
    moody.ask(moody.event("Summarization", do="reply", reply=sorry))

    assert [12, 12] == usages
    assert ["miss", "hit_memory", "miss"] == moody.outcomes[-3:]
    assert "refused_text" == moody.last["refusal"]


# -------------------------------------------------------------------- who answers (P40)


def test_other_code_or_configuration_of_the_backend_misses_and_restoring_it_hits_again(make_chain):
    """P40, S13: a redeploy, and a variable of the backend's own, each change the key; a rollback restores it."""
    chain = make_chain()
    told = [chain.ask(chain.event(page=1)).text]
    chain.deploy("second")
    told.append(chain.ask(chain.event(page=1)).text)
    chain.deploy("first")
    told.append(chain.ask(chain.event(page=1)).text)
    chain.configure(FLAVOUR="vanilla")
    told.append(chain.ask(chain.event(page=1)).text)
    chain.configure(FLAVOUR="plain")
    told.append(chain.ask(chain.event(page=1)).text)

    assert ["first", "second", "first", "first", "first"] == [each["deployed"] for each in told]
    assert ["plain", "plain", "plain", "vanilla", "plain"] == [each["flavour"] for each in told]
    assert ["miss", "miss", "hit_table", "miss", "hit_table"] == chain.outcomes
    assert told[0] == told[2] == told[4]


def test_the_operators_generation_starts_cold_and_its_return_is_warm(make_chain, way, aws):
    """P40: for what no digest can see, such as a model that moves behind an unchanged name."""
    chain = make_chain()
    functions = aws.functions
    settings = dict(functions._pool(chain.function).deployment.latest.function.environment)
    outcomes = []
    for generation in ("0", "1", "0"):
        functions.update_environment(chain.function, {**settings, "HOOKCACHE_GENERATION": generation})
        chain.ask(chain.event(page=1))
        outcomes.append(chain.last["outcome"])

    assert ["miss", "miss", "hit_table"] == outcomes
