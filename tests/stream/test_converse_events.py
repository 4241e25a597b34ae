"""Answers as streams of events: what is put together, and that a replay tells the same answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from converse_events import PIECE_LETTERS, Assembled, Unassembled, events_of, jsonable
from hypothesis import given
from hypothesis import strategies as st

Answer = dict[str, Any]
TEXT = st.text(max_size=20) | st.text(min_size=1, max_size=3).map(lambda text: text * PIECE_LETTERS)
PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)
BLOCK = st.one_of(
    st.builds(lambda text: {"text": text}, TEXT),
    st.builds(
        lambda name, told: {"toolUse": {"toolUseId": "t1", "name": name, "input": told}},
        st.text(min_size=1, max_size=5),
        st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
    ),
    st.builds(lambda text: {"reasoningContent": {"reasoningText": {"text": text}}}, TEXT),
    st.builds(lambda text: {"reasoningContent": {"reasoningText": {"text": text, "signature": "s1"}}}, TEXT),
    st.builds(
        lambda data: {"reasoningContent": {"redactedContent": base64.b64encode(data).decode()}}, st.binary(max_size=9)
    ),
    st.builds(
        lambda text: {"citationsContent": {"content": [{"text": text}], "citations": [{"title": "page 1"}]}}, TEXT
    ),
)
ANSWER = st.builds(
    lambda content, units, extra: {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "end_turn",
        "usage": units,
        **extra,
    },
    st.lists(BLOCK, max_size=4),
    st.dictionaries(st.sampled_from(["inputTokens", "outputTokens", "cacheReadInputTokens"]), st.integers(0, 9)),
    st.just({}) | st.just({"additionalModelResponseFields": {"stop_sequence": "END"}}),
)


def assembled(*events: Any) -> Assembled:
    made = Assembled()
    for event in events:
        made.add(jsonable(event))
    return made


def of_blocks(*events: Any) -> list[Any]:
    """The content that the events between start and stop make."""
    start, stop = {"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": "end_turn"}}
    content: list[Any] = assembled(start, *events, stop, {"metadata": {"usage": {}}}).answer()["output"]["message"][
        "content"
    ]
    return content


def delta(index: int, **told: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": told, "contentBlockIndex": index}}


@given(ANSWER)
def test_a_replay_tells_the_answer_that_was_kept(answer: Answer) -> None:
    """P9: put together, the replayed events make the kept answer again: every block, in its order."""
    events = list(events_of(answer))

    assert answer == assembled(*events).answer()
    assert assembled(*events).ended_well
    assert not assembled(*events[:-1]).ended_well


@given(ANSWER)
def test_no_line_of_a_replay_is_long(answer: Answer) -> None:
    """Issue D: a kept answer comes in pieces as a fresh one does, so that a client can show it as it comes."""
    longest = max(len(json.dumps(event)) for event in events_of(answer))

    assert longest <= 12 * PIECE_LETTERS + 200  # twelve bytes is what JSON may take for a letter


def test_deltas_of_interleaved_blocks_go_where_they_belong() -> None:
    """P14: by index, whatever the order; a tool's input is one JSON text in pieces."""
    use = {"toolUse": {"toolUseId": "t1", "name": "note"}}
    content = of_blocks(
        delta(0, text="Hel"),
        {"contentBlockStart": {"start": use, "contentBlockIndex": 1}},
        delta(1, toolUse={"input": '{"a":'}),
        delta(0, text="lo"),
        delta(1, toolUse={"input": " [1]}"}),
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
    )

    assert [{"text": "Hello"}, {"toolUse": {"toolUseId": "t1", "name": "note", "input": {"a": [1]}}}] == content


def test_blocks_stand_in_the_order_of_their_numbers() -> None:
    """P9: and not in that in which their first words came."""
    assert [{"text": "first"}, {"text": "second"}] == of_blocks(delta(1, text="second"), delta(0, text="first"))


def test_a_tool_that_is_used_without_input_has_an_empty_one() -> None:
    """P9: Converse answers with an empty object; a replay spells it, and is put together again."""
    use = {"toolUse": {"toolUseId": "t1", "name": "note"}}
    content = of_blocks({"contentBlockStart": {"start": use, "contentBlockIndex": 0}})
    answer = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use", "usage": {}}
    events = list(events_of(answer))

    assert [{"toolUse": {"toolUseId": "t1", "name": "note", "input": {}}}] == content
    assert {"contentBlockStart": {"start": use, "contentBlockIndex": 0}} in events
    assert answer == assembled(*events).answer()


def test_citations_without_a_text_of_their_own_are_kept() -> None:
    """P9: of a block that holds nothing else, too."""
    cited = {"citationsContent": {"content": [{"text": ""}], "citations": [{"title": "a"}]}}

    assert [cited] == of_blocks(delta(0, citation={"title": "a"}))


def test_who_says_nothing_of_its_role_is_the_assistant() -> None:
    """P14: another role would be refused by the admission gate."""
    told = assembled({"messageStart": {}}, delta(0, text="x"), {"messageStop": {}}, {"metadata": {"usage": {}}})

    assert "assistant" == told.answer()["output"]["message"]["role"]


def test_bytes_of_the_sdk_become_what_was_on_the_wire() -> None:
    """P9: redacted reasoning comes as bytes, in pieces, and is kept as base64, as Converse spells it in JSON."""
    content = of_blocks(
        delta(0, reasoningContent={"redactedContent": b"ab"}), delta(0, reasoningContent={"redactedContent": b"c"})
    )

    assert [{"reasoningContent": {"redactedContent": base64.b64encode(b"abc").decode()}}] == content


@pytest.mark.parametrize(
    "odd",
    [
        {"surprise": {}},
        delta(0, hologram="x"),
        delta(0, toolUse={"input": "{}"}),  # no start named the tool
        delta(0, reasoningContent={"shape": "new"}),
        delta(0, text=7),
        delta(0, toolUse=["x"]),
    ],
    ids=["event", "delta", "tool without a start", "reasoning", "number", "list"],
)
def test_what_is_unknown_is_never_put_together_by_halves(odd: Any) -> None:
    """P1, P14: a kind of event or content that this version does not know makes no answer, so nothing is kept."""
    with pytest.raises(Unassembled):
        of_blocks(odd)


def test_a_tool_input_that_is_no_json_makes_no_answer() -> None:
    """P14: half an input is no input."""
    use = {"toolUse": {"toolUseId": "t1", "name": "note"}}
    with pytest.raises(Unassembled):
        of_blocks({"contentBlockStart": {"start": use, "contentBlockIndex": 0}}, delta(0, toolUse={"input": '{"a":'}))
