"""Comparisons in words: two events, two receipts, an event against the deployed cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hookcache_ops.explain.causes import BYPASSES, CAUSES
from hookcache_ops.explain.deployed import Verdict
from hookcache_ops.explain.events import Change, Comparison
from hookcache_ops.explain.findings import duration
from hookcache_ops.explain.nearest import Nearest
from hookcache_ops.explain.traced import HOW, Difference

_SAMPLES = "the temperature is absent or above 0, which only temperature_ceiling in HOOKCACHE_POLICY allows"
SETTING_SAID = {
    "identity": "the backend: other code or configuration answers",
    "generation": "the generation",
    "namespace": "the namespace (or the secret)",
    "rollout": "the rollout id of the client context",
    "model": "modelId",
    "context": "context: another step of the host",
    "unknown": "a member that hookcache does not know, or an unknown member of a known one",
}


def changes_told(comparison: Comparison) -> Iterator[str]:
    """Two events."""
    if comparison.same_key:
        yield "The two events have one key: the second is answered by the first one's answer."
    elif comparison.changes:
        number = len(comparison.changes)
        yield f"The two events have different keys; {number} difference{'s' if number > 1 else ''}:"
    elif comparison.unread:
        yield "Nothing differs but the names of images, whose bytes could not be read; give the folder with --images."
    else:
        yield "Nothing that counts differs, and yet under the default rules neither is answered by the other one's answer."
    yield from bypasses_told(*comparison.bypassed)
    for change in comparison.changes:
        yield ""
        yield from change_told(change)
    if comparison.unread and comparison.changes:
        yield ""
        yield "Images were not compared: their bytes could not be read. Give the folder that holds them with --images."
    if comparison.without_effect:
        yield ""
        yield f"Without effect: {'; '.join(comparison.without_effect)}."


def bypasses_told(first: str, second: str) -> Iterator[str]:
    """Why the cache is not used for one of two events, or both; for neither, nothing."""
    told = (
        [("Both bypass", first)]
        if first == second
        else [("The first bypasses", first), ("The second bypasses", second)]
    )
    for who, reason in told:
        if reason:
            cause = _SAMPLES if reason == "sampling" else BYPASSES.get(reason, "see the reason in docs/operations.md")
            yield f"{who} the cache, reason `{reason}`: {cause}."


def change_told(change: Change) -> Iterator[str]:
    """Where, what, before and after, and the remedy."""
    place = f", line {change.text.line}, character {change.text.column}" if change.text else ""
    yield f"  {change.path}{place}"
    cause = CAUSES.get(change.cause)
    yield f"    {change.said}{f'  [{cause.title}]' if cause else ''}"
    if change.text is not None:
        yield from (f"      {line}" for line in change.text.diff)
    if change.before or change.after:
        yield f"    before  {change.before}"
        yield f"    after   {change.after}"
    if cause is not None:
        yield f"    Remedy: {cause.remedy.replace('STEP', '*')}."


def changes_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": 1,
        "same_key": comparison.same_key,
        "changes": [
            {
                "path": change.path,
                "cause": change.cause,
                "said": change.said,
                "before": change.before,
                "after": change.after,
            }
            for change in comparison.changes
        ],
        "without_effect": comparison.without_effect,
        "bypassed": list(comparison.bypassed),
        "images_unread": comparison.unread,
    }


def difference_told(difference: Difference) -> str:
    """One component that differs between two receipts."""
    if difference.kind in SETTING_SAID:
        return SETTING_SAID[difference.kind]
    if difference.kind == "numbers":
        return f"inference numbers: {difference.how}"
    if difference.kind == "blocks":
        return "the number or order of the blocks"
    name = {"text": "text block", "system": "system block", "image": "image"}[difference.kind]
    how = HOW.get(difference.how, "")
    return f"{name} {difference.at}{f': {how}' if how else ''}"


def receipts_told(one: Mapping[str, Any], other: Mapping[str, Any], differing: list[Difference]) -> Iterator[str]:
    """Two receipts with a trace."""
    if not differing:
        yield "The two requests have equal components: one key, one answer."
    else:
        yield f"The two requests differ in {len(differing)} component{'s' if len(differing) > 1 else ''}:"
        yield from (f"  {difference_told(each)}" for each in differing)
    yield ""
    for name, receipt in (("first", one), ("second", other)):
        reason = f" ({receipt['reason']})" if receipt.get("reason") else ""
        yield f"  {name:<7} {receipt.get('request_id', '')}  key {receipt.get('key_id') or '-'}  {receipt.get('outcome', '')}{reason}"


def differences_json(differing: Iterable[Difference]) -> list[dict[str, Any]]:
    return [
        {"component": each.kind, "place": each.at, "how": each.how, "said": difference_told(each)} for each in differing
    ]


def verdict_told(verdict: Verdict) -> Iterator[str]:
    """One event against the deployed cache."""
    match verdict.outcome:
        case "hit_table":
            yield f"Hit: the table has an answer (key {verdict.key_id}, {verdict.entry_bytes:,} bytes)."
            yield f"  It is {duration(verdict.age_seconds or 0)} old and may be served for {duration(verdict.fresh_seconds_left or 0)} more."
            yield (
                f"  An environment that served it within the last {duration(verdict.memory_seconds)} answers from memory;"
                " others from the table."
            )
        case "bypass":
            yield f"Bypass: the cache is not used for this request, reason `{verdict.reason}`."
            cause = (
                CAUSES["temperature_omitted"].remedy if _no_temperature(verdict) else BYPASSES.get(verdict.reason, "")
            )
            if cause:
                yield f"  Remedy: {cause.replace('STEP', verdict.step)}."
        case _:
            yield f"Miss: the backend would be asked, reason `{verdict.reason}` (key {verdict.key_id})."
            if verdict.others:
                yield (
                    f"  The same request was asked under {verdict.others} other key{'s' if verdict.others > 1 else ''}:"
                    " the backend was deployed anew, or the generation changed."
                )
            elif verdict.others == 0:
                yield "  This very request was not asked before, or was erased: something in it differs from what was."
    if verdict.mode not in {"on", "read_only"}:
        yield f"  The mode is {verdict.mode}: whatever is found, the backend is asked."


def _no_temperature(verdict: Verdict) -> bool:
    return verdict.reason == "sampling" and "temperature" not in (verdict.components or {}).get("numbers", {})


def nearest_told(found: Nearest | None) -> Iterator[str]:
    """The nearest earlier request, from receipts."""
    if found is None:
        yield "No earlier request of this step with a trace in these receipts."
        return
    receipt = found.receipt
    yield (
        f"Nearest earlier request: {receipt.request_id} of {receipt.function}, {receipt.outcome},"
        f" key {receipt.members.get('key_id') or '-'}."
    )
    if not found.differing:
        yield "  Nothing differs: it had the same key."
    yield from (f"  It differs in {difference_told(each)}." for each in found.differing)
