"""Pure decisions: what may be looked up, served and kept."""

import json

import pytest

from fakes import START_MS, answer, json_answer, ocr_event, page_answer, token_answer
from hookcache.entry import ANSWER_BYTES, Entry
from hookcache.lease import SKEW_MS
from hookcache.outcome import Reason
from hookcache.policy import (
    Admit,
    Bypass,
    Fresh,
    Mode,
    Refuse,
    Rules,
    Stale,
    Unusable,
    admit,
    default_rules,
    json_in,
    judge,
    may_look_up,
)
from hookcache.references import with_references
from hookcache.request import parse
from hookcache.usage import metered


def request_with(images=0, **numbers):
    event = ocr_event(*["s3://b/1"] * images)
    event["inferenceConfig"] = numbers
    return parse(event)


def decided(response, rules=None, request=None, body_bytes=100):
    return admit(request or request_with(temperature=0), rules or Rules(), metered(response), body_bytes)


class TestMayLookUp:
    @pytest.mark.parametrize(
        ("numbers", "ceiling", "allowed"),
        [
            ({"temperature": 0}, 0.0, True),
            ({"temperature": 0.0}, 0.0, True),
            ({"temperature": -0.0}, 0.0, True),
            ({"temperature": 0.01}, 0.0, False),
            ({"temperature": -1}, 0.0, False),
            ({}, 0.0, False),
            ({"temperature": None}, 0.0, False),
            ({"temperature": "0.0"}, 0.0, False),
            ({"temperature": False}, 0.0, False),
            ({"temperature": 0.5}, 0.5, True),
            ({"temperature": 0.6}, 0.5, False),
            ({}, 0.5, False),
            ({"temperature": 2}, None, True),
            ({}, None, True),
        ],
    )
    def test_sampling_requests_are_bypassed(self, numbers, ceiling, allowed):
        """P16, S3, B5: absent, no number, or above the ceiling; None allows everything."""
        expected = None if allowed else Bypass(Reason.SAMPLING)

        assert expected == may_look_up(request_with(**numbers), Rules(temperature_ceiling=ceiling))


def entry(created=0, fresh=1_000, hard=2_000):
    return Entry(b"k", 1, START_MS + created, START_MS + fresh, START_MS + hard, b"{}", {}, "OCR", "1", {})


class TestJudge:
    @pytest.mark.parametrize(
        ("at", "use"),
        [
            (-SKEW_MS - 1, Unusable(Reason.FUTURE)),
            (-SKEW_MS, Fresh()),
            (0, Fresh()),
            (999, Fresh()),
            (1_000, Stale(Reason.EXPIRED)),
            (1_999, Stale(Reason.EXPIRED)),
            (2_000, Unusable(Reason.EXPIRED)),
            (10**12, Unusable(Reason.EXPIRED)),
        ],
    )
    def test_lifetimes_to_the_millisecond(self, at, use):
        """P10, P12, S30, S33, F14, F31: each look-up judges on its own reading of the wall clock."""
        assert use == judge(entry(), START_MS + at)

    def test_an_entry_fresh_until_its_hard_end_has_no_stale_time(self):
        """P10: hard = fresh is the default."""
        assert Unusable(Reason.EXPIRED) == judge(entry(fresh=2_000), START_MS + 2_000)

    @pytest.mark.parametrize(("not_before", "use"), [(0, Fresh()), (1, Unusable(Reason.INVALIDATED))])
    def test_what_was_made_before_an_invalidation_is_not_used(self, not_before, use):
        """P44: and what was made at that very time is."""
        assert use == judge(entry(), START_MS, START_MS + not_before)

    @pytest.mark.parametrize(("stale_before", "use"), [(0, Fresh()), (1, Stale(Reason.INVALIDATED))])
    def test_what_was_made_before_a_soft_invalidation_is_stale(self, stale_before, use):
        """P44: it may still stand in for an error, unlike after a hard one, which goes first."""
        assert use == judge(entry(), START_MS, stale_before=START_MS + stale_before)
        assert Unusable(Reason.INVALIDATED) == judge(entry(), START_MS, START_MS + 2, stale_before=START_MS + 1)

    def test_without_an_order_nothing_is_invalidated(self):
        """P44, control: not even what a clock that starts with the epoch has made."""
        at_the_epoch = Entry(b"k", 1, 0, 1_000, 2_000, b"{}", {}, "OCR", "1", {})

        assert Fresh() == judge(at_the_epoch, 0)

    @pytest.mark.parametrize(("later_ms", "use"), [(60_000, Fresh()), (60_001, Unusable(Reason.EXPIRED))])
    def test_an_age_counts_to_the_millisecond(self, later_ms, use):
        """P51: a minute is 60,000 ms."""
        assert use == judge(entry(fresh=10**6, hard=10**6), START_MS + later_ms, max_age_seconds=60)

    @pytest.mark.parametrize(
        ("age", "use"), [(0.5, Fresh()), (0.499, Unusable(Reason.EXPIRED)), (None, Fresh()), (10**6, Fresh())]
    )
    def test_a_caller_may_ask_for_a_lower_age(self, age, use):
        """P51, S56: lower only; it never makes an entry live longer."""
        assert use == judge(entry(), START_MS + 500, max_age_seconds=age)
        assert Unusable(Reason.EXPIRED) == judge(entry(), START_MS + 2_000, max_age_seconds=age)


class TestAdmit:
    @pytest.mark.parametrize(
        "response",
        [
            token_answer(),
            page_answer(),
            answer("text", "stop_sequence", outputTokens=5),
            answer("text", None),
            {"output": {"message": {"content": [{"text": "no role"}]}}},
            {"output": {"message": {"role": "assistant", "content": [{"reasoning": {}}, {"text": "a"}]}}, "novel": [1]},
        ],
        ids=range(6),
    )
    def test_a_good_answer_is_kept(self, response):
        """P14, control: nothing speaks against these."""
        assert Admit() == decided(response)

    @pytest.mark.parametrize(
        ("response", "reason"),
        [
            ([], Reason.NOT_AN_OBJECT),
            (None, Reason.NOT_AN_OBJECT),
            ("text", Reason.NOT_AN_OBJECT),
            (5, Reason.NOT_AN_OBJECT),
            ({}, Reason.CONTENT),
            ({"output": None}, Reason.CONTENT),
            ({"output": {"message": []}}, Reason.CONTENT),
            ({"output": {"message": {"content": []}}}, Reason.CONTENT),
            ({"output": {"message": {"content": "text"}}}, Reason.CONTENT),
            ({"output": {"message": {"content": 5}}}, Reason.CONTENT),
            ({"output": {"message": {"content": ["text"]}}}, Reason.CONTENT),
            ({"output": {"message": {"content": [{"text": 5}]}}}, Reason.BLANK_TEXT),
            ({"output": {"message": {"content": [{"toolUse": {}}]}}}, Reason.BLANK_TEXT),
            (answer(""), Reason.BLANK_TEXT),
            (answer(" \n\t\u00a0"), Reason.BLANK_TEXT),
            (answer("a") | {"errorMessage": "x"}, Reason.ERROR_BODY),
            (answer("a") | {"errorType": None}, Reason.ERROR_BODY),
            (answer("a", "max_tokens"), Reason.TRUNCATED),
            (answer("", "max_tokens"), Reason.TRUNCATED),
            (answer("a", "length"), Reason.TRUNCATED),
            (answer("a", "max_output_tokens"), Reason.TRUNCATED),
            (answer("a", "incomplete"), Reason.TRUNCATED),
            (answer("a", "guardrail_intervened"), Reason.STOP_REASON),
            (answer("a", "content_filtered"), Reason.STOP_REASON),
            (answer("a", "tool_use"), Reason.STOP_REASON),
            (answer("a") | {"stopReason": None}, Reason.STOP_REASON),
            (answer("a") | {"stopReason": ["end_turn"]}, Reason.STOP_REASON),
            ({"output": {"message": {"role": "user", "content": [{"text": "a"}]}}}, Reason.ROLE),
            (answer("a", pages=-1), Reason.USAGE),
            (answer("a", pages=float("nan")), Reason.USAGE),
            (answer("a") | {"usage": []}, Reason.USAGE),
            (answer("a") | {"confidence": float("nan")}, Reason.NOT_FINITE),
            (answer("a") | {"deep": [{"x": float("inf")}]}, Reason.NOT_FINITE),
            (answer("a") | {"long": [*range(200), float("-inf")]}, Reason.NOT_FINITE),
            (answer("a") | {"named": {float("nan"): "x"}}, Reason.NOT_FINITE),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_a_bad_answer_is_not(self, response, reason):
        """P14, P33, S20, S21, S22, F24, F25, F26: each for its own reason, length before emptiness."""
        assert Refuse(reason) == decided(response)

    @pytest.mark.parametrize(("out", "kept"), [(99, True), (100, False), (101, False)])
    def test_an_answer_as_long_as_it_could_be_was_cut(self, out, kept):
        """P14, S2, S20: without a stop reason as well, which some backends drop."""
        request = request_with(temperature=0, maxTokens=100)

        assert kept == (decided(answer("a", None, outputTokens=out), request=request) == Admit())

    def test_no_limit_means_no_cut(self):
        """P14, control: newer hosts send no `maxTokens` for OCR."""
        assert Admit() == decided(answer("a", None, outputTokens=10**6))

    def test_a_limit_without_a_count_means_no_cut(self):
        """P14, control: services that charge by the page count no tokens."""
        assert Admit() == decided(answer("a", None, pages=1), request=request_with(temperature=0, maxTokens=100))

    def test_an_image_that_a_page_was_charged_for_was_read(self):
        """P14, control: one page, or no word about pages."""
        request = request_with(1, temperature=0)

        assert Admit() == decided(page_answer(pages=1), request=request)
        assert Admit() == decided(token_answer(), request=request)

    def test_an_answer_of_no_bytes_is_no_answer(self):
        """P14: a function of this process answered with what cannot be written as JSON."""
        assert Refuse(Reason.NOT_AN_OBJECT) == decided(token_answer(), body_bytes=0)

    @pytest.mark.parametrize(("images", "kept"), [(0, True), (1, False)])
    def test_an_image_that_no_page_was_charged_for_was_not_read(self, images, kept):
        """P14: sample hooks answer so when they could not fetch the image."""
        decision = decided(page_answer(pages=0), request=request_with(images, temperature=0))

        assert (Admit() if kept else Refuse(Reason.NO_PAGES)) == decision

    @pytest.mark.parametrize(
        ("least", "images", "counted", "kept"),
        [(200, 1, 900, True), (200, 1, 40, False), (200, 1, None, False), (200, 0, 40, True), (None, 1, 40, True)],
        ids=["read", "dropped", "not counted", "no image", "not asked for"],
    )
    def test_an_answer_made_without_its_image_is_not_kept_where_tokens_tell(self, least, images, counted, kept):
        """P14, S16: a hook that swallows an S3 failure asks its model without the page; only its bill is smaller."""
        response = answer("A page", **({} if counted is None else {"inputTokens": counted}))
        decision = decided(response, Rules(image_tokens=least), request_with(images, temperature=0))

        assert (Admit() if kept else Refuse(Reason.IMAGE_NOT_READ)) == decision

    @pytest.mark.parametrize(
        ("images", "text", "counted", "kept"),
        [
            (1, "x" * 300, 300, True),  # 200 for the image, a third of 300 bytes for the text
            (1, "x" * 300, 299, False),
            (2, "x" * 300, 500, True),
            (2, "x" * 300, 499, False),
            (1, "\ud800" * 100, 300, True),  # three bytes each, as they would be sent
            (1, "\ud800" * 100, 299, False),
            (0, "x" * 3_000, 40, True),  # no image, nothing to have been left out
        ],
    )
    def test_how_many_tokens_tell_of_an_image(self, images, text, counted, kept):
        """S16: the least for each image beside all that its prompt's texts may cost, system texts included."""
        event = {**request_with(images, temperature=0).event, "system": [{"text": text[:150]}]}
        event["messages"] = [{"role": "user", "content": [{"text": text[150:]}, *event["messages"][0]["content"][1:]]}]
        decision = decided(answer("A page", inputTokens=counted), Rules(image_tokens=200), parse(event))

        assert (Admit() if kept else Refuse(Reason.IMAGE_NOT_READ)) == decision

    @pytest.mark.parametrize(
        ("images", "references", "counted", "kept"),
        [(0, 1, 200, True), (0, 1, 199, False), (1, 2, 600, True), (1, 2, 599, False)],
    )
    def test_a_page_by_reference_costs_the_tokens_of_one_image(self, images, references, counted, kept):
        """P41, S16: below its prefix lie its image and its text, and the text is no second image."""
        names = [f"page{number}Uri" for number in range(references)]
        event = {**ocr_event(*["s3://b/1"] * images), **dict.fromkeys(names, "s3://b/page/"), "system": []}
        event["messages"] = [{"role": "user", "content": event["messages"][0]["content"][1:]}]
        request = with_references(parse(event), names)
        decision = decided(answer("A page", inputTokens=counted), Rules(image_tokens=200), request)

        assert (Admit() if kept else Refuse(Reason.IMAGE_NOT_READ)) == decision

    @pytest.mark.parametrize("cached", ["cacheReadInputTokens", "cacheWriteInputTokens"])
    @pytest.mark.parametrize(("count", "kept"), [(900, True), (40, False)])
    def test_tokens_of_the_models_own_prompt_cache_are_read_too(self, cached, count, kept):
        """S16: an endpoint that cached the page tells its tokens under another name."""
        response = answer("A page", **{"inputTokens": 4, cached: count})
        decision = decided(response, Rules(image_tokens=200), request_with(1, temperature=0))

        assert (Admit() if kept else Refuse(Reason.IMAGE_NOT_READ)) == decision

    def test_no_count_of_tokens_is_none_at_all(self):
        """S16: an endpoint that says nothing has not read an image, however little one costs."""
        event = {**request_with(1, temperature=0).event, "system": []}
        event["messages"] = [{"role": "user", "content": event["messages"][0]["content"][1:]}]

        assert Refuse(Reason.IMAGE_NOT_READ) == decided(answer("A page"), Rules(image_tokens=1), parse(event))

    def test_a_blank_answer_is_blank_with_and_without_its_image(self):
        """S16: the first reason found is the one that is told."""
        blank = answer(" ", inputTokens=1)

        assert Refuse(Reason.BLANK_TEXT) == decided(blank, Rules(image_tokens=200), request_with(1, temperature=0))

    def test_what_holds_where_the_operator_says_nothing(self):
        """P16, P47, P59: the settings' own defaults, as the README lists them."""
        rules = Rules()

        assert (0.0, False, False, "zero", False) == (
            rules.temperature_ceiling,
            rules.require_json,
            rules.blank_pages,
            rules.usage_on_hit,
            rules.trace,
        )
        assert (0.0, 0.001, "paths", None) == (
            rules.check_share,
            rules.check_limit,
            rules.check_detail,
            rules.image_tokens,
        )

    @pytest.mark.parametrize(("size", "kept"), [(ANSWER_BYTES, True), (ANSWER_BYTES + 1, False)])
    def test_size_is_bounded(self, size, kept):
        """P14, P49, S43, B20: 5.9 MB."""
        assert (Admit() if kept else Refuse(Reason.ANSWER_SIZE)) == decided(token_answer(), body_bytes=size)

    @pytest.mark.parametrize(
        ("allowed", "pages", "kept"), [(False, 1, False), (True, 1, True), (True, 0, False), (True, None, False)]
    )
    def test_a_blank_page_is_kept_where_the_operator_says_so(self, allowed, pages, kept):
        """P47: only if it was charged for; off by default."""
        response = answer(" ", **({} if pages is None else {"pages": pages}))

        assert (Admit() if kept else Refuse(Reason.BLANK_TEXT)) == decided(response, Rules(blank_pages=allowed))


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ('{"a": 1}', {"a": 1}),
            ("  [1, 2]\n", [1, 2]),
            ('```json\n{"a": 1}\n```', {"a": 1}),
            ('Here it is:\n```\n{"a": 1}\n```\nDone.', {"a": 1}),
            ('Here it is: {"a": {"b": 2}} as you asked.', {"a": {"b": 2}}),
            ('{"a": "}"}', {"a": "}"}),
            ('{"a": 1} is what I found.', {"a": 1}),
            ("I found [1, 2].", [1, 2]),
            ('As {asked}:\n```json\n{"a": 1}\n```\n[end]', {"a": 1}),
            ('As {asked}:\r\n```JSON \t\r\n{"a": 1}\r\n```\r\n[end]', {"a": 1}),
            ('{"a": 1} and [1]', None),
            ("no JSON at all", None),
            ("", None),
            ("5", None),
            ('"text"', None),
            ('{"a": 1', None),
            ('{"a": [{"b": 1}, {"b"', None),
            ('[{"a": 1}, {"a": 2}, {"a', None),
            ('{"a": 1} and {"b": 2}', None),
            ("[" * 100_000, None),
            ('{"a": ' * 100_000, None),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_json_is_found_where_the_host_finds_it(self, text, found):
        """P47, S24: bare, fenced or in prose; a cut answer that contains whole objects is none."""
        assert found == json_in(text)

    def test_the_blocks_of_an_answer_are_read_as_one_text(self):
        """P47: the host joins them with nothing in between."""
        response = answer("")
        response["output"]["message"]["content"] = [{"text": '{"total": 17'}, {"text": "20}"}]

        assert {"total": 1720} == json_in('{"total": 1720}')
        assert Admit() == decided(response, Rules(require_json=True))

    def test_json_is_required_where_the_step_reads_json(self):
        """P47, S24: by default in Classification, Extraction and Assessment; a retry then reaches the backend."""
        rules = Rules(require_json=True)

        assert Refuse(Reason.NOT_JSON) == decided(token_answer('{"total": '), rules)
        assert Admit() == decided(token_answer('{"total": "17.20"}'), rules)
        assert Admit() == decided(token_answer('{"total": '), Rules())
        assert {"Classification", "Extraction", "Assessment"} == {
            context
            for context in (
                "OCR",
                "Classification",
                "Extraction",
                "Assessment",
                "Summarization",
                "Unspecified",
                "Other",
            )
            if default_rules(context)["require_json"]
        }

    @pytest.mark.parametrize(
        ("response", "kept"),
        [
            (json_answer({"class": "unclassified"}), False),
            (json_answer({"deep": [{"class": " Unclassified "}]}), False),
            (token_answer("UNCLASSIFIED"), False),
            (json_answer({"class": "unclassified invoice"}), True),
            (json_answer({"unclassified": "no"}), True),
        ],
        ids=range(5),
    )
    def test_a_failure_in_disguise_is_not_kept(self, response, kept):
        """P47, S23: a whole string that is on the list, anywhere in the answer, without case."""
        rules = Rules(refused_texts=("unclassified",))

        assert (Admit() if kept else Refuse(Reason.REFUSED_TEXT)) == decided(response, rules)

    def test_only_classification_has_such_a_text_by_default(self):
        """P47, S23: an extracted value may well read so."""
        assert ("unclassified",) == default_rules("Classification")["refused_texts"]
        assert "refused_texts" not in default_rules("Extraction")


def test_modes_say_what_they_do():
    """P50: what each looks up and serves."""
    assert {Mode.ON, Mode.READ_ONLY} == {mode for mode in Mode if mode.serves}
    assert {Mode.ON, Mode.READ_ONLY, Mode.OBSERVE} == {mode for mode in Mode if mode.looks_up}


def test_what_the_operator_need_not_say():
    """P10, P16, P17, P27, P32, P36, P45, P47, P50: the defaults are the careful ones; README lists them."""
    a_week = 604_800
    careful = Rules(
        mode=Mode("on"),
        fresh_seconds=a_week,
        hard_seconds=a_week,
        temperature_ceiling=0,
        require_json=False,
        refused_texts=(),
        blank_pages=False,
        usage_on_hit="zero",
        trace=False,
        resolve_references=(),
        output_limit=None,
        negative_errors=frozenset(),
        delegate_after_wait=False,
        stale_if_error=False,
        error_detail="full",
    )

    assert careful == Rules()
    assert ["on", "off", "observe", "read_only", "write_only"] == [mode.value for mode in Mode]


@pytest.mark.parametrize(
    "more",
    [{}, {"score": 0.5}, {"list": [1, [True, None], {"x": [{}]}]}, {"blocks": [{"score": 1, "text": "x"}] * 200}],
    ids=["text", "float", "nested", "many"],
)
def test_numbers_that_are_finite_are_no_reason(more):
    """P14, control: in small answers, which are looked through, and in large ones, which are spelt."""
    assert Admit() == decided(answer("a") | more)


def test_a_small_answer_is_not_spelt(monkeypatch):
    """P14: a long text holds no number, and to spell it would cost as much as its key. Control: with a float it is."""
    spelt = []
    monkeypatch.setattr(json, "dumps", lambda *told, **named: spelt.append(told))

    assert Admit() == decided(answer("a", pages=1) | {"whole": True, "next": None, "list": [{}]})
    assert [] == spelt
    assert Admit() == decided(answer("a") | {"score": 0.5})
    assert 1 == len(spelt)


@pytest.mark.parametrize("innermost", [1, []], ids=["number", "list"])
def test_a_deeply_nested_answer_is_judged_without_an_exception(innermost):
    """P14, P20: deeper than Python's own recursion allows."""
    deep: object = innermost
    for _ in range(100_000):
        deep = [deep]

    assert Refuse(Reason.NOT_FINITE) == decided(json.loads("{}") | answer("a") | {"deep": deep})


def test_no_hit_is_checked_unless_it_is_asked_for():
    """P59: a check costs a backend call, so its share is none by default."""
    assert 0.0 == Rules().check_share
