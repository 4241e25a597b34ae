"""
Why requests were not answered from the cache though they might have been: each cause with its name and its remedy.

`Cause.name` is stable: it stands in `--json`, and docs/analysis.md explains each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """`title` names it in a few words; `remedy` says what to do, where."""

    name: str
    title: str
    remedy: str


CAUSES = {
    cause.name: cause
    for cause in (
        Cause(
            "time_stamp",
            "time stamp in the prompt",
            "take the time stamp or request id out of the prompt (a custom prompt, or the custom-prompt Lambda), or let the"
            " backend add it",
        ),
        Cause(
            "values_changed",
            "numbers or dates in the prompt",
            "round them (a day in place of a second), or take them out of the prompt; where they are the page's own, these"
            " are two pages of one layout",
        ),
        Cause(
            "attribute_order",
            "attribute order changed",
            "list attributes and classes in one fixed order, such as by name, wherever the prompt or schema is built from a"
            " set or a dictionary",
        ),
        Cause(
            "spacing",
            "invisible difference in the prompt",
            "make line ends, spaces and Unicode form uniform where the prompt is built;"
            " `hookcache explain EVENT EVENT` shows the place",
        ),
        Cause(
            "punctuation",
            "punctuation in the prompt",
            "find what writes it now one way and now another",
        ),
        Cause(
            "prompt_changed",
            "host upgraded, or its prompts edited",
            "nothing to repair, each page is paid once more; plan such changes together, and fill the cache ahead for pages"
            " that will come again",
        ),
        Cause(
            "text_differs",
            "another wording in the prompt",
            "compare two events with `hookcache explain EVENT EVENT` and make what"
            " builds this text repeatable; if it holds an earlier step's answer, cache that step first",
        ),
        Cause(
            "image_reencoded",
            "image re-encoded",
            "render pages the same way each time (one host build, one renderer, one"
            " JPEG quality); after a host upgrade it happens once per page",
        ),
        Cause(
            "temperature_omitted",
            "temperature omitted",
            "set temperature 0 for the step in the host; answers to requests that name none are not reused, unless you allow"
            ' it: HOOKCACHE_POLICY={"STEP": {"temperature_ceiling": null}}',
        ),
        Cause(
            "temperature_high",
            "temperature above the ceiling",
            "set temperature 0 in the host, or raise temperature_ceiling in HOOKCACHE_POLICY",
        ),
        Cause(
            "sampling",
            "sampling requests",
            "set temperature 0 in the host; with the trace on, this says whether it is absent or too high",
        ),
        Cause(
            "numbers",
            "inference numbers differ",
            "give each step one temperature, topP, topK and maxTokens",
        ),
        Cause(
            "backend_deployed",
            "backend deployed anew",
            "other code may answer otherwise, so each page is asked for once more: deploy less often, call a published version, or set HOOKCACHE_IDENTITY=pinned and raise the generation yourself",
        ),
        Cause(
            "generation",
            "generation changed",
            "an operator's word made the older answers unreachable; setting the generation back restores them",
        ),
        Cause(
            "namespace_split",
            "namespace split",
            "give the functions one HOOKCACHE_NAMESPACE, table and secret if they may share answers",
        ),
        Cause(
            "rollout",
            "rollout ids differ",
            "callers name different rollouts in the client context; answers are not shared between those",
        ),
        Cause(
            "model",
            "another modelId",
            "the host names a model where it named none: check the host's version and its modelId",
        ),
        Cause("step", "the same request under another step", "the host's configuration sends one prompt for two steps"),
        Cause(
            "unknown_member",
            "a member that hookcache does not know",
            "it is in the key because it may change the answer; compare two events to see it. If it is a page by reference,"
            " list it in resolve_references of HOOKCACHE_POLICY",
        ),
        Cause(
            "settings",
            "several settings at once",
            "content agrees, and more than one of namespace, generation, backend and the like do not",
        ),
        Cause(
            "freshness",
            "freshness too short",
            "raise HOOKCACHE_FRESH_SECONDS, or fresh_seconds of the step",
        ),
        Cause(
            "memory",
            "memory too small",
            "raise HOOKCACHE_MEMORY_BYTES, and the function's"
            " memory with it; `hookcache simulate` shows what each size gives",
        ),
        Cause(
            "environments",
            "memory spread over environments",
            "fewer environments (reserved concurrency) hit memory more often, for each has its own; the calls were saved all"
            " the same",
        ),
        Cause(
            "refused",
            "answers that were not kept",
            "see the refusal in docs/operations.md",
        ),
        Cause("reason", "the cache could not serve it", "see the reason in docs/operations.md"),
        Cause(
            "bypass",
            "requests that bypass the cache",
            "see the reason in docs/operations.md; what cannot be keyed is never kept",
        ),
    )
}

REFUSALS = {
    "truncated": "the answer was cut off: raise maxTokens in the host",
    "not_json": "no JSON in the answer: see the prompt, or set require_json to false for the step",
    "blank_text": "blank answers: set blank_pages for the step if blank pages are common",
    "answer_size": "too large for the table: set HOOKCACHE_OVERFLOW_BUCKET",
    "other_version": "the backend was deployed in between; call a published version",
    "image_changed": "the image was overwritten while it was read",
    "store_failed": "the table could not be written: see TableErrors",
    "read_only": "mode read_only keeps no new answer: `hookcache mode --clear` takes the order back; else set HOOKCACHE_MODE=on",
    "refused_text": "an answer that is a failure in disguise; see refused_texts",
}

BYPASSES = {
    "inline_image": "the host's upload failed and it sent the image inline: give its steps WORKING_BUCKET and the right to write there",
    "image_not_allowed": "images lie outside HOOKCACHE_IMAGE_PREFIXES: add their folder",
    "image_unreadable": "images could not be read: give the function s3:GetObject and kms:Decrypt; see ImageErrors",
    "reference": "a member points at content elsewhere: list it in resolve_references",
    "table_down": "the table did not answer: see TableErrors and the alarms",
    "orders_unreadable": "the orders in the table are damaged: give them again, or take them back with `hookcache mode --clear`",
    "secret_unavailable": "the secret cannot be read: give the function secretsmanager:GetSecretValue",
    "backend_unknown": "the backend's identity cannot be resolved: give lambda:GetFunctionConfiguration, or pin it",
    "caller_context": "the caller says something beside the event (client context, identity, tenant): put it into the event, or leave it out",
    "distrusted": "the truth check found too many differences and set the context aside: see its review file",
}

SETTING_CAUSES = {
    "identity": "backend_deployed",
    "generation": "generation",
    "namespace": "namespace_split",
    "rollout": "rollout",
    "model": "model",
    "context": "step",
    "unknown": "unknown_member",
}
