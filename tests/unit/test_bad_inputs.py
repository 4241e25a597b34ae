"""
Bad inputs B1-B22 through the whole hook.

Unless a test says otherwise: no exception, no false hit, the backend is called with the very event, one receipt, nothing
confidential written. The rig checks the last two after each test.
"""

import base64
import copy
import json
import random

import pytest

from fakes import (
    BUCKET,
    CANARY,
    answer,
    event_of,
    image_block,
    ocr_event,
    page_answer,
    summarization_event,
    token_answer,
)
from hookcache.errors import ConfigurationError, LoopDetected
from hookcache.settings import Settings
from rig import ENVIRONMENT, metric


def bypassed(rig, event, reason):
    """Sends `event` twice: each time the backend is asked with the very event, and nothing is kept."""
    before = len(rig.backend.calls)
    for _ in range(2):
        expected = copy.deepcopy(event)
        rig.call(event)
        assert "bypass" == rig.last["outcome"], rig.last["reason"]
        assert expected == rig.backend.calls[-1] == event
    assert before + 2 == len(rig.backend.calls)
    assert [] == rig.entries
    assert reason == rig.last["reason"]


def kept_apart(rig, *events):
    """Sends all events twice: each has an answer of its own, asked for once."""
    answers = [rig.call(event) for event in events]
    assert ["miss"] * len(events) == rig.outcomes[-len(events) :]
    again = [rig.call(event) for event in events]
    assert ["hit_memory"] * len(events) == rig.outcomes[-len(events) :]
    for first, second in zip(answers, again, strict=True):
        assert first["output"] == second["output"]
    assert len(events) == len({json.dumps(reply["output"]) for reply in answers})


def text_event(text, **members):
    event = summarization_event()
    event["messages"][0]["content"] = [{"text": text}]
    return event | members


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        "text",
        5,
        {"messages": None},
        summarization_event() | {"system": "x"},
        summarization_event() | {"inferenceConfig": None},
        summarization_event() | {"context": ["OCR"]},
        summarization_event() | {"messages": summarization_event()["messages"] * 2},
        {name: value for name, value in summarization_event().items() if name != "messages"},
        {name: value for name, value in summarization_event().items() if name != "system"},
    ],
    ids=lambda event: json.dumps(event)[:30],
)
def test_b1_an_event_of_another_shape_is_forwarded(rig, event):
    """B1: `{}`, `null`, list, string; missing or wrongly typed members; several messages."""
    bypassed(rig, event, "event_shape")


def test_b2_unknown_members_are_keyed_and_may_hit(rig):
    """B2: at every level; `__proto__`, the empty name, a name of 1 MB."""
    deep = summarization_event()
    deep["messages"][0]["content"][0]["novel"] = {"deep": [1]}
    kept_apart(
        rig,
        summarization_event(),
        summarization_event() | {"__proto__": {"admin": True}},
        summarization_event() | {"": 1},
        summarization_event() | {"x" * 1_000_000: 1},
        deep,
    )


def test_b3_too_many_parts_are_forwarded_before_any_read(rig):
    """B3: 10,000 parts; 101 images; no object is read for them."""
    image = image_block(rig.image(b"page"))
    rig.s3.calls.clear()

    bypassed(rig, event_of("OCR", ["a"] * 10_000), "event_size")
    bypassed(rig, event_of("OCR", [image] * 101), "event_size")
    assert [] == rig.s3.calls


@pytest.mark.parametrize("block", [{"document": {"format": "pdf"}}, {"video": {}}, {"toolUse": {"name": "x"}}], ids=str)
def test_b3_other_blocks_are_forwarded(rig, block):
    """B3: tools, documents, video."""
    bypassed(rig, event_of("OCR", ["a", block]), "block_type")


def test_b3_blank_text_blocks_are_texts(rig):
    """B3: keyed, and may hit."""
    kept_apart(rig, event_of("OCR", ["a", ""]), event_of("OCR", ["", "a"]), event_of("OCR", ["a"]))


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), 10**4299], ids=["inf", "-inf", "4300 digits"])
def test_b4_a_number_that_is_none_is_never_keyed(rig, number):
    """B4: infinity, `1e999`, and an integer as long as the parser lets one be."""
    bypassed(rig, summarization_event() | {"novel": number}, "number")


def test_b4_nan_is_never_keyed(rig):
    """B4: NaN is not even equal to itself."""
    rig.call(summarization_event() | {"novel": float("nan")})

    assert ("bypass", "number") == (rig.last["outcome"], rig.last["reason"])


def test_b5_values_that_look_alike_stay_apart(rig):
    """B5: `"0.0"`, null and absent differ from 0; 2^53 + 1 differs from its float; 0, 0.0 and -0.0 are one."""
    kept_apart(
        rig,
        summarization_event() | {"novel": 0},
        summarization_event() | {"novel": "0.0"},
        summarization_event() | {"novel": None},
        summarization_event(),
        summarization_event() | {"novel": 2**53 + 1},
        summarization_event() | {"novel": float(2**53 + 1)},
    )
    for same in (0.0, -0.0):
        rig.call(summarization_event() | {"novel": same})
        assert "hit_memory" == rig.last["outcome"]


@pytest.mark.parametrize(("temperature", "outcome"), [(0, "miss"), (-0.0, "miss"), ("0.0", "bypass"), (None, "bypass")])
def test_b5_a_temperature_is_a_number(rig, temperature, outcome):
    """B5, P16: text and null are no temperature, so the request counts as sampling."""
    event = summarization_event()
    event["inferenceConfig"]["temperature"] = temperature
    rig.call(event)

    assert outcome == rig.last["outcome"]


@pytest.mark.parametrize(("levels", "outcome"), [(60, "miss"), (65, "bypass"), (500, "bypass")])
def test_b6_our_own_bound_decides_on_depth(rig, levels, outcome):
    """B6: well before Python's own limit, and the event still goes on as it is."""
    deep: object = "end"
    for _ in range(levels):
        deep = [deep]
    event = summarization_event() | {"novel": deep}
    rig.call(event)

    assert outcome == rig.last["outcome"]
    assert event == rig.backend.calls[-1]


@pytest.mark.parametrize(
    "text", ["x" * 5_900_000, "\u00e9" * 980_000, "\U0001f600" * 490_000], ids=["ASCII", "Latin", "emoji"]
)
def test_b7_a_large_event_is_not_made_longer(rig, text):
    """B7, P5: the host's spelling escapes non-ASCII text; near Lambda's 6 MB ours must not be longer than the host's."""
    event = text_event(text)
    rig.call(event)
    rig.call(event)

    (sent,) = rig.backend.arguments
    assert ["miss", "hit_memory"] == rig.outcomes
    assert len(sent["Payload"]) <= len(json.dumps(event))


def test_b8_a_large_answer_with_non_ascii_text_is_kept(rig):
    """B8, B20: it is measured as received, replayed as parsed."""
    text = "\u65e5\u672c\u8a9e " * 150_000
    rig.backend.handler = lambda event: token_answer(text)

    first, second = rig.call(summarization_event()), rig.call(summarization_event(), rig.second)

    assert ["miss", "hit_table"] == rig.outcomes
    assert first["output"] == second["output"]


@pytest.mark.parametrize("way", ["empty", "oversized", "forbidden", "missing", "cut"])
def test_b9_an_image_that_is_none(rig, way):
    """B9, P42: 0 bytes, 50 MB: reading stops at the bound, and the backend is asked."""
    event = ocr_event(rig.image(b"page" * 1_000))
    rig.s3.misbehave(way)

    bypassed(rig, event, "image_unreadable")
    assert 1 == metric(rig.last, "ImageErrors")


def test_b9_two_hundred_images(rig):
    """B9: over the bound of 100."""
    bypassed(rig, event_of("OCR", [image_block(rig.image(b"page"))] * 200), "event_size")


def test_b9_the_content_type_of_an_object_does_not_matter(rig):
    """B9: bytes are bytes; the declared format is in the event."""
    kept_apart(rig, ocr_event(rig.image(b"<html>")), ocr_event(rig.image(b"%PDF")))


def test_b10_images_count_by_content_order_number_and_format(rig):
    """B10, P4, S8: once and twice, swapped, another declared format, equal first 64 KB."""
    head = b"\xff\xd8" * 32_768
    one, other = rig.image(head + b"1"), rig.image(head + b"2")
    kept_apart(
        rig,
        ocr_event(one),
        ocr_event(other),
        ocr_event(one, one),
        ocr_event(one, other),
        ocr_event(other, one),
        event_of("OCR", [f"{CANARY}", image_block(one, "png")]),
        event_of("OCR", [f"{CANARY}", image_block(one, "jpeg")]),
    )


@pytest.mark.parametrize(
    "source",
    [
        {"bytes": base64.b64encode(b"\xff\xd8\xff").decode()},
        {"bytes": str(b"\xff\xd8\xff")},
        {"bytes": "", "s3Location": {"uri": f"s3://{BUCKET}/temp/lambdahook/1.jpeg"}},
        {"bytes": [255, 216], "s3Location": {"uri": f"s3://{BUCKET}/temp/lambdahook/1.jpeg"}},
        {"bytes": None, "s3Location": {"uri": f"s3://{BUCKET}/temp/lambdahook/1.jpeg"}},
    ],
    ids=["base64", "repr text", "both", "numbers and both", "null and both"],
)
def test_b11_inline_bytes_are_never_decoded(rig, source):
    """B11, P42: passed through, not stored, and no object is read."""
    bypassed(rig, event_of("OCR", ["a", {"image": {"format": "jpeg", "source": source}}]), "inline_image")
    assert [] == rig.s3.calls


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b",
        "s3://b/",
        f"S3://{BUCKET}/temp/lambdahook/1",
        f"https://{BUCKET}.s3.amazonaws.com/1",
        "arn:aws:s3:::b/k",
        f"s3://{BUCKET}/other/1.jpeg",
        "s3://other/temp/lambdahook/1.jpeg",
        "",
    ],
)
def test_b12_another_place_is_not_read(rig, uri):
    """B12, P42, T8: other bucket, prefix, scheme, access point: bypass without a read."""
    bypassed(rig, ocr_event(uri), "image_not_allowed")
    assert [] == rig.s3.calls


def test_b12_a_bucket_of_another_account_is_not_read(rig):
    """B12: each read names the expected owner, the caller's own account where the host names none."""
    event = ocr_event(rig.image(b"page"))
    rig.s3.owner = "999999999999"

    bypassed(rig, event, "image_unreadable")


@pytest.mark.parametrize("name", ["../1", "a/./b", "a\\b", "a\0b", "a\nb", "x" * 1_024], ids=ascii)
def test_b13_a_name_that_something_may_resolve_is_not_read(rig, name):
    """B13: dot segments, backslash, NUL, newline, over-long names."""
    bypassed(rig, ocr_event(f"s3://{BUCKET}/temp/lambdahook/{name}"), "image_not_allowed")
    assert [] == rig.s3.calls


@pytest.mark.parametrize("name", ["%2e%2e%2fpage", "page#1", "page?versionId=2", "p\u0430ge"], ids=ascii)
def test_b13_names_are_not_decoded(rig, name):
    """B13: an object of exactly that name is read, or none."""
    key = f"temp/lambdahook/{name}"
    rig.call(ocr_event(rig.image(b"page", name=key)))

    assert "miss" == rig.last["outcome"]
    assert {key} == {arguments["Key"] for _, arguments in rig.s3.calls}


def test_b14_texts_that_look_alike_stay_apart(rig):
    """B14: NFC and NFD, zero width, bidi, BOM, CRLF, trailing space, homoglyphs."""
    spelt = [
        "caf\u00e9",
        "cafe\u0301",
        "caf\u00e9 ",
        "\ufeffcaf\u00e9",
        "caf\u200b\u00e9",
        "\u202ecaf\u00e9",
        "c\u0430f\u00e9",
    ]
    kept_apart(rig, *map(text_event, [*spelt, "a\r\nb", "a\nb"]))


def test_b15_lone_surrogates_are_keyed_and_forwarded(rig):
    """B15: no encode error anywhere; the backend gets the very text."""
    events = [text_event("\ud83d"), text_event("\ude00"), text_event("\U0001f600")]
    kept_apart(rig, *events)

    assert events == rig.backend.calls


def test_b16_marks_and_separators_are_text(rig):
    """B16: `<<CACHEPOINT>>` counts in the user's text and not in `system`; nothing else is special."""
    marked = summarization_event() | {"system": [{"text": "a<<CACHEPOINT>>b"}]}
    plain = summarization_event() | {"system": [{"text": "ab"}]}
    kept_apart(
        rig,
        marked,
        text_event("ab"),
        text_event("a<<CACHEPOINT>>b"),
        text_event("s\0\0\0\0\0\0\0\x02ab"),
        text_event('{"pk": {"B": ""}, "kind": {"S": "LEASE"}}'),
    )
    rig.call(plain)
    assert "hit_memory" == rig.last["outcome"]


def test_b17_nothing_moves_unseen(rig):
    """B17: between `system` and `messages`, from list to scalar, from nested to flat; a digest written as text."""
    kept_apart(
        rig,
        text_event("b", system=[{"text": "a"}]),
        text_event("a", system=[{"text": "b"}]),
        text_event("b", system=[{"text": "a"}], novel=[1]),
        text_event("b", system=[{"text": "a"}], novel=1),
        text_event("b", system=[{"text": "a"}], novel=[[1]]),
        text_event("ba591d8ce9a7d36bcc2b0c4bfe6bb1c0"),
        event_of("Summarization", ["b", "a"], maxTokens=4096),
        event_of("Summarization", ["ba"], maxTokens=4096),
    )


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_b17_a_million_random_requests_have_a_million_keys():
    """B17, P2: requests over a tiny alphabet, all different."""
    from hookcache.canonical import canonical_form
    from hookcache.key import Keyer, Secrets
    from hookcache.request import parse

    keyer, seen, made = Keyer(Secrets.derive(b"secret"), "default"), set(), set()
    letters = random.Random(17)
    for _ in range(1_000_000):
        text = "".join(letters.choices("ab\0s", k=letters.randrange(12)))
        system = "".join(letters.choices("ab\0s", k=letters.randrange(6)))
        made.add((text, system))
        seen.add(keyer.key_of(canonical_form(parse(text_event(text, system=[{"text": system}])), []), b"", "0"))

    assert len(made) == len(seen)


@pytest.mark.parametrize(
    "damage",
    [
        lambda item: {"body": {"B": b"{}"}},
        lambda item: {"created_ms": {"N": "-5"}},
        lambda item: {"codec": {"S": "zstd"}},
        lambda item: {"plain_bytes": {"N": str(10**15)}},
        lambda item: {"tag": {"B": b""}},
        lambda item: {"novel": {"S": "x"}},
        lambda item: {"hard_until_ms": {"N": str(10**15)}},
    ],
    ids=["body", "time", "codec", "size", "tag", "extra", "lifetime"],
)
def test_b18_a_damaged_entry_is_a_miss_and_an_alarm(rig, damage):
    """B18, P6: a miss, an alarm where the tag fails, and the next fill repairs it."""
    rig.call(summarization_event())
    (item,) = rig.entries
    rig.dynamodb.plant(item | damage(item))

    rig.call(summarization_event(), rig.second)
    assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])
    assert metric(rig.last, "CorruptEntries") > 0
    rig.call(summarization_event(), rig.cold_start())
    assert "hit_table" == rig.last["outcome"]


def test_b18_a_fence_as_text_is_a_miss_and_an_alarm(rig):
    """B18, P6, F10: no fence is larger than a text, yet the next fill takes the damaged entry's place."""
    rig.call(summarization_event())
    rig.dynamodb.plant(rig.entries[0] | {"fence": {"S": "7"}})

    rig.call(summarization_event(), rig.second)
    assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])
    assert 1 == metric(rig.last, "CorruptEntries")

    rig.call(summarization_event(), rig.cold_start())
    assert "hit_table" == rig.last["outcome"]


def test_b18_an_entry_of_another_key_is_a_miss(rig):
    """B18, P6, F11: moved by somebody who may write to the table."""
    rig.call(text_event("one"))
    rig.call(text_event("other"))
    one, other = rig.entries
    rig.dynamodb.plant(other | {"pk": one["pk"]})
    rig.dynamodb.plant(one | {"pk": other["pk"]})

    for text in ("one", "other"):
        rig.call(text_event(text), rig.second)
        assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])


@pytest.mark.parametrize(
    "name", ["GENAIIDP-cache-backend", "GENAIIDP-cache-backend:live", "GENAIIDP-x\n", "arn:aws:lambda"]
)
def test_b19_a_bad_backend_name_stops_the_cold_start(name):
    """B19, P52: before the first request; the whole table is in test_settings.py."""
    with pytest.raises(ConfigurationError, match="HOOKCACHE_BACKEND"):
        Settings.of({**ENVIRONMENT, "HOOKCACHE_BACKEND": name})


@pytest.mark.parametrize(
    "reply",
    [
        page_answer() | {"novel": {"deep": [[{"x": None}]]}},
        {"zeta": 1, **token_answer(), "alpha": {"b": 1, "a": 2}},
        answer("text", inputTokens=1, novelUnits=7, half=0.5),
        {"output": {"message": {"role": "assistant", "content": [{"reasoningContent": {}}, {"text": "a"}, {"x": 1}]}}},
        token_answer("x" * 400_000),
        token_answer("".join(random.Random(1).choices("abcdefghijklmnop\u00e9", k=1_000_000))),
        token_answer("y" * 5_900_000),
    ],
    ids=["blocks", "order", "units", "other blocks", "400 KB", "1 MB", "5.9 MB"],
)
def test_b20_an_unusual_answer_is_replayed_as_parsed(rig, reply):
    """B20, P9, S27: every field, block, type and member order; only the numbers in `usage` are zeros."""
    rig.backend.handler = lambda event: reply
    first, memory, table = rig.call(ocr_event()), rig.call(ocr_event()), rig.call(ocr_event(), rig.second)

    assert ["miss", "hit_memory", "hit_table"] == rig.outcomes
    assert json.dumps(reply) == json.dumps(first)
    for hit in (memory, table):
        assert {**first, "usage": 0} == {**hit, "usage": 0}
        assert json.dumps({**first, "usage": 0}) == json.dumps({**hit, "usage": 0}) or "usage" not in first


def test_b20_duplicate_members_collapse_in_the_parser(rig):
    """B20: on the miss as on the hit; the last one counts."""
    rig.backend.replies = [json.dumps(answer("a")).replace('"text"', '"text": "b", "text"').encode()]

    assert rig.call(ocr_event()) == rig.call(ocr_event())
    assert ["miss", "hit_memory"] == rig.outcomes


@pytest.mark.parametrize(
    "wishes",
    [{"max_age_seconds": 10**12}, {"namespace": "tenant-b"}, {"mode": "off"}, {"refresh": "yes"}, {"rollout": "\n"}],
    ids=str,
)
def test_b21_wishes_that_are_not_understood_change_nothing(rig, wishes):
    """B21, P51, S57: ignored and counted."""
    rig.call(summarization_event())
    rig.call(summarization_event(), wishes=wishes)

    assert ("hit_memory", 1) == (rig.last["outcome"], rig.last["control_ignored"])


def test_b21_a_client_context_that_is_not_json(rig):
    """B21: text in place of wishes."""
    from types import SimpleNamespace

    for text in ("not json", "[" * 3_000, "\ud83d"):
        rig.call(summarization_event(), client_context=SimpleNamespace(custom={"hookcache": text}))
        assert 1 == rig.last["control_ignored"]


def test_b21_a_forged_hop_mark_only_ever_refuses(rig):
    """B21, F40: our own mark refuses the call; any other is passed on."""
    from types import SimpleNamespace

    def marked(mark):
        return SimpleNamespace(custom={"hookcache_hops": mark})

    rig.call(summarization_event(), client_context=marked("GENAIIDP-cache-other"))
    assert "miss" == rig.last["outcome"]
    with pytest.raises(LoopDetected):
        rig.call(summarization_event(), client_context=marked("GENAIIDP-cache-backend"))
    assert ("failed", "loop") == (rig.last["outcome"], rig.last["reason"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOOKCACHE_FRESH_SECONDS", "0"),
        ("HOOKCACHE_LEASE_SECONDS", "-1"),
        ("HOOKCACHE_MEMORY_SECONDS", "2592001"),
        ("HOOKCACHE_NAMESPACE", "a/b"),
        ("HOOKCACHE_WAIT_SECONDS", "nan"),
    ],
)
def test_b22_a_bad_setting_stops_the_cold_start(name, value):
    """B22, P52: with the setting's name; every setting's bounds are in test_settings.py."""
    with pytest.raises(ConfigurationError, match=name):
        Settings.of({**ENVIRONMENT, name: value})
