"""
What is fuzzed: each target takes bytes, makes an odd input of them, and checks that nothing but the declared errors
arises and that what is accepted keeps its promise. Any other exception is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from fakes import STEPS, image_block, json_answer, ocr_event, page_answer, token_answer
from fuzz.edits import ODD_JSON, Edits
from hookcache import cipher
from hookcache.canonical import canonical_form, value_form
from hookcache.cipher import BodyCipher
from hookcache.clock import EpochMillis
from hookcache.entry import Entry, Fence
from hookcache.errors import ConfigurationError, EntryRejected, Unkeyable
from hookcache.images import ImageDigest
from hookcache.key import CacheKey
from hookcache.outcome import Reason
from hookcache.percall import MAX_AGE_LIMIT_SECONDS, call_control, hops, onward
from hookcache.policy import Admit, Bypass, Refuse, Rules, admit, may_look_up
from hookcache.request import parse
from hookcache.sealer import INLINE_BYTES, Sealer, Tombstone
from hookcache.settings import Settings
from hookcache.usage import metered

EVENTS = [*(make() for make in STEPS.values()), ocr_event("s3://b/temp/1", "s3://b/temp/2")]
DIGEST = ImageDigest(b"\x07" * 32, 7, "", "")


def _event(data: bytes) -> Any:
    edits = Edits(data)
    made = edits.applied([edits.choice(EVENTS)])
    return made[0] if made else None


def event(data: bytes) -> None:
    """`parse` and `canonical_form`: a request with one form, or `Unkeyable` (B1 to B16); the event stays as it was."""
    received, before = _event(data), _event(data)
    try:
        request = parse(received)
        form = canonical_form(request, [DIGEST] * len(request.images))
    except Unkeyable:
        return
    assert form == canonical_form(parse(before), [DIGEST] * len(request.images)), "two forms of one event"
    assert may_look_up(request, Rules()) in {None, Bypass(Reason.SAMPLING)}


def value(data: bytes) -> None:
    """`value_form`, which the trace uses on whatever stands in an event: bytes or `Unkeyable`."""
    try:
        form = value_form(Edits(data).applied([[], {"a": [1, "b", None]}]))
    except Unkeyable:
        return
    assert form


KEY = CacheKey(b"k" * 32)
_CIPHER = BodyCipher(b"body secret") if cipher.is_installed() else None
SEALER = Sealer(b"tag secret", "default/1", _CIPHER)
_SEALS = [SEALER, *([Sealer(b"tag secret", "default/1", _CIPHER, encrypts=True)] if _CIPHER else [])]


def _entry(body: bytes) -> Entry:
    at = 1_700_000_000_000
    times = EpochMillis(at), EpochMillis(at + 1_000), EpochMillis(at + 2_000)
    return Entry(KEY, Fence(7), *times, body, {"pages": 1}, "OCR", "12", {"pages": "0.004"})


# Does not compress, so that it lies in the overflow bucket; the same in every run.
_NOISE = b"".join((number * 2_654_435_761 % 2**32).to_bytes(4, "big") for number in range(INLINE_BYTES // 4 + 1_000))
MOST_PLACES = 40
"""No seed has more containers and members than that."""

SEALED = [seal.seal(_entry(body)) for seal in _SEALS for body in (b"{}", b'{"a": 1}' * 300, _NOISE)]
TOMBSTONE = SEALER.tombstone(KEY, Fence(9), 1)
ODD_ATTRIBUTES: tuple[Any, ...] = (
    None, True, 0, -1, "", "x", "0", "1", "-1", "1e9", "9" * 30, "9" * 5_000, "\ud83d", "\u0661", "nan", b"", b"x", b"\x78\x9c",
    {"N": "0"}, {"N": "-1"}, {"N": "1.5"}, {"N": "x"}, {"N": "9" * 5_000}, {"S": ""}, {"S": "{}"}, {"S": "[]"}, {"S": "null"},
    {"S": "zlib"}, {"S": "plain"}, {"S": cipher.NAME}, {"S": "[" * 100_000}, {"S": "\ud83d"}, {"S": 5}, {"B": b""}, {"B": b"x"},
    {"B": "text"}, {"B": 5}, {"BOOL": True}, {"NULL": True}, {"M": {}}, {"L": []}, {"N": "1", "S": "1"}, {}, [], "S", "N",
    {"S": '{"usage": 5, "context": 5, "backend_version": 5, "cost": []}'},
    {"S": '{"usage": {"pages": "x"}, "context": "", "backend_version": "", "cost": {"pages": "x"}}'},
)  # fmt: skip


def entry(data: bytes) -> None:
    """
    `Sealer.open` of a damaged item: what was sealed, or `EntryRejected`, and the tag keeps it so (P6, F12, F13).

    Half of the items bear a right tag for their wrong content, else nothing behind the tag would be reached; of these we
    ask only that nothing but `EntryRejected` arises: what is sealed with our secret is ours.
    """
    edits = Edits(data)
    number = edits.below(len(SEALED) + 1)
    item, body = (TOMBSTONE, b"") if number == len(SEALED) else (SEALED[number].item, SEALED[number].overflow_body)
    intact = SEALER.open(KEY, item, lambda _name, _size: body)
    forged, cut = edits.below(2), edits.below(3)
    damaged = edits.applied(item, ODD_ATTRIBUTES)
    fetched = (body, body[:-1], b"")[cut]
    if forged:
        try:
            damaged["tag"] = {"B": SEALER._tag(damaged)}
        except (ValueError, TypeError, AttributeError):
            return  # no writer of ours could have sealed that
    try:
        opened = SEALER.open(KEY, damaged, lambda _name, _size: fetched)
    except EntryRejected:
        SEALER.is_damaged(KEY, damaged)
        return
    assert isinstance(opened, Entry | Tombstone)
    assert forged or opened == intact, "an item that nobody sealed was opened"


ENVIRONMENT = {
    "HOOKCACHE_BACKEND": "arn:aws:lambda:us-east-1:123456789012:function:GENAIIDP-ocr:live",
    "HOOKCACHE_TABLE": "cache", "HOOKCACHE_OVERFLOW_BUCKET": "bucket", "HOOKCACHE_NAMESPACE": "default",
    "HOOKCACHE_GENERATION": "0", "HOOKCACHE_MODE": "on", "HOOKCACHE_SECRET": "s", "HOOKCACHE_SECRET_ARN": "arn:aws:x:y:1:z",
    "HOOKCACHE_IMAGE_PREFIXES": "s3://bucket/temp, s3://bucket/other", "HOOKCACHE_FRESH_SECONDS": "3600",
    "HOOKCACHE_MEMORY_BYTES": "1000", "HOOKCACHE_MEMORY_SECONDS": "60", "HOOKCACHE_LEASE_SECONDS": "30",
    "HOOKCACHE_WAIT_SECONDS": "45", "HOOKCACHE_IDENTITY": "pinned", "HOOKCACHE_PRICES": "p.yaml", "HOOKCACHE_ENCRYPT": "off",
    "HOOKCACHE_POLICY": '{"*": {"trace": true}, "OCR": {"temperature_ceiling": null, "fresh_seconds": 60}}',
    "AWS_REGION": "us-east-1", "AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-cache",
}  # fmt: skip
POLICY = {"*": {"trace": True}, "OCR": {"fresh_seconds": 60, "hard_seconds": 90, "refused_texts": ["x"], "mode": "off"}}
ODD_TEXTS = (
    *(odd for odd in ODD_JSON if isinstance(odd, str)),
    "0", "-1", "1", "nan", "inf", "1e400", "9" * 5_000, "on", "ON", "true", "\u0661\u0662", "{}", "null", '{"OCR": null}', "[]",
    '{"OCR": {"mode": 1}}', '{"OCR": {"fresh_seconds": 1e999}}', '{"*": {"temperature_ceiling": NaN}}', "a\n", "GENAIIDP-cache",
    "arn:aws:lambda:eu-west-1:1:function:x", "123456789012:function:GENAIIDP-x", "s3://b", ",,", "a:b:c:d", "::::", "s3://bucket\n",
)  # fmt: skip


def settings(data: bytes) -> None:
    """`Settings.of`: settings whose rules can be read for every step, or one `ConfigurationError` (B22, P52)."""
    edits = Edits(data)
    environ = dict(ENVIRONMENT)
    if edits.below(2):
        policy = edits.applied(POLICY)
        try:
            environ["HOOKCACHE_POLICY"] = json.dumps(policy)
        except (TypeError, ValueError, RecursionError):
            return
    else:
        environ = edits.applied(environ, ODD_TEXTS)
    try:
        made = Settings.of(environ)
    except ConfigurationError:
        return
    for context in (*STEPS, "Other"):
        rules = made.rules(context)
        assert 0 < made.memory_seconds <= rules.fresh_seconds <= rules.hard_seconds, context
    assert isinstance(made.backend_name, str)


WISHES = {"refresh": True, "bypass": False, "max_age_seconds": 60, "rollout": "blue"}
CUSTOM = {"hookcache": WISHES, "hookcache_hops": "GENAIIDP-a,GENAIIDP-b", "other": {"a": 1}}


def wishes(data: bytes) -> None:
    """`call_control` and its neighbours never raise, and no wish passes its bounds (P51, B21, F40)."""
    edits = Edits(data)
    shape = edits.below(4)
    custom = edits.applied({"custom": CUSTOM}).get("custom")
    if shape == 3 and isinstance(custom, dict) and "hookcache" in custom:
        try:
            custom["hookcache"] = json.dumps(custom["hookcache"])
        except (TypeError, ValueError, RecursionError):
            return
    context = SimpleNamespace(
        client_context=(SimpleNamespace(custom=custom), {"custom": custom}, custom, SimpleNamespace(custom=custom))[
            shape
        ]
    )
    control = call_control(context)
    assert control.max_age_seconds is None or 0 <= control.max_age_seconds <= MAX_AGE_LIMIT_SECONDS
    assert len(control.rollout) <= 64
    assert isinstance(control.refresh, bool)
    assert isinstance(control.bypass, bool)
    assert all(isinstance(mark, str) for mark in hops(context))
    try:
        json.dumps(custom)
    except (TypeError, ValueError, RecursionError):
        return  # Lambda hands over what it parsed from JSON, nothing else
    assert len(onward(context, "GENAIIDP-cache")) <= 3_583


REPLIES = [token_answer("some text"), json_answer({"class": "invoice"}), page_answer("# Page")]
REQUESTS = [parse(EVENTS[0]), parse(EVENTS[1]), parse(ocr_event(*["s3://b/1"] * 2)), parse({**EVENTS[2], "messages": [
    {"role": "user", "content": [image_block("s3://b/1")]}]})]  # fmt: skip
RULES = [
    Rules(),
    Rules(require_json=True, refused_texts=("unclassified",)),
    Rules(blank_pages=True, output_limit=100, refused_texts=("\u00df",)),
]


def reply(data: bytes) -> None:
    """`metered` and `admit` judge whatever a backend may answer; what is admitted is JSON with sound numbers (P14, P33)."""
    edits = Edits(data)
    request, rules = edits.choice(REQUESTS), edits.choice(RULES)
    received = edits.applied([edits.choice(REPLIES)])
    try:
        # The runtime parses bytes: what cannot be parsed again never gets here.
        received = json.loads(json.dumps(received[0] if received else None))
    except (TypeError, ValueError, RecursionError):
        return
    answer = metered(received)
    decided = admit(request, rules, answer, 100)
    assert isinstance(decided, Admit | Refuse)
    if isinstance(decided, Admit):
        assert isinstance(answer.response, Mapping)
        assert all(number >= 0 for number in answer.units.values())
        json.dumps(answer.response, allow_nan=False)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (event, value, entry, settings, wishes, reply)
}

_FIRST: dict[str, Sequence[bytes]] = {
    "event": [bytes([number]) for number in range(len(EVENTS))],
    "value": [b""],
    "entry": [bytes([number, forged, 0]) for number in range(len(SEALED) + 1) for forged in (0, 1)],
    "settings": [b"\0", b"\1"],
    "wishes": [bytes([shape]) for shape in range(4)],
    "reply": [bytes([number, number, of]) for number in range(3) for of in range(len(REPLIES))],
}
"""What each target reads before its edits: which seed, in which shape."""


def single_edits(name: str) -> Iterator[bytes]:
    """The inputs that change one place of one seed: every place is removed once, and replaced by every odd value."""
    odd = {"entry": ODD_ATTRIBUTES, "settings": ODD_TEXTS}.get(name, ODD_JSON)
    for first in _FIRST[name]:
        for place in range(MOST_PLACES):
            yield first + bytes([place, 2])
            for number in range(len(odd)):
                yield first + bytes([place, 0, number])
