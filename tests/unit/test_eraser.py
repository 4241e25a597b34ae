"""Erase: what it reaches, what it forbids, what it reports; each guard with the schedule that needs it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from itertools import groupby

import pytest
from botocore.exceptions import EndpointConnectionError

from fakes import CANARY, OVERFLOW_BUCKET, START_MS, FakeContext, FakeSecrets, ocr_event, refusal, token_answer
from hookcache import commands, eraser
from hookcache.canonical import canonical_form
from hookcache.entry import Fence
from hookcache.index import index_item, index_kind
from hookcache.key import CacheKey
from hookcache.memory import MemoryTier
from hookcache.orders import Orders
from hookcache.request import parse
from hookcache.sealer import Sealer
from operator_rig import operator_of

PAGE = b"page 1"
_put = MemoryTier.put
LOST = EndpointConnectionError(endpoint_url="https://dynamodb")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def erase(operator, *pages, **members):
    return operator({"command": "erase", "images": [sha256(page) for page in pages], **members})


def form_of(rig, event):
    """SHA-256 of the canonical form of `event`, as the CLI makes it."""
    request = parse(event)
    return sha256(canonical_form(request, rig.first.cache._images.digest(request.images)))


def begin(rig, event):
    """A call that has asked the backend and is held there, and its thread."""
    rig.backend.gate.clear()
    thread = threading.Thread(target=rig.call, args=(event, rig.second))
    thread.start()
    assert rig.backend.waiting.acquire(timeout=60)
    return thread


def live(rig):
    return [entry for entry in rig.entries if "erased" not in entry]


class Hurried:
    """The context of an invocation whose time is over."""

    def get_remaining_time_in_millis(self):
        return 0


class DeletingEraser(eraser.Eraser):
    """Control: deletes the entry instead of fencing its key."""

    def _bury(self, key, body):
        self._items.delete(key, "ENTRY")
        return Fence(0), None


class ForgetfulEraser(eraser.Eraser):
    """Control: deletes index items without asking whether a newer fetch counts on them."""

    def _forget(self, key, indexes, fence):
        for index in indexes:
            self._items.delete(index, index_kind(key))
        return len(indexes)


class Forgetful(MemoryTier):
    """Control: a copy's life begins when it is put."""

    def put(self, entry, since_ms=None):
        _put(self, entry)


# -------------------------------------------------------------------- P13: it does not come back


@pytest.mark.parametrize(
    ("kind", "returned"), [(eraser.Eraser, 0), (DeletingEraser, 1)], ids=["promise", "control: no fence"]
)
def test_a_fetch_begun_before_an_erase_cannot_bring_its_answer_back(rig, operator, monkeypatch, kind, returned):
    """P13, F19: the caller is served, the table stays without the answer, and the next request asks the backend."""
    monkeypatch.setattr(commands, "Eraser", kind)
    event = ocr_event(rig.image(PAGE))
    flight = begin(rig, event)
    report = erase(operator, PAGE)
    rig.backend.gate.set()
    flight.join(60)

    assert 1 == len(rig.answers)
    assert 1 == report["fetches_stopped"]
    assert returned == len(live(rig))
    rig.call(event, rig.cold_start())
    assert 2 - returned == len(rig.backend.calls)


@pytest.mark.parametrize(("operation", "before"), [("put_item", []), ("get_item", ["miss"])])
@pytest.mark.parametrize(
    ("put", "after"), [(MemoryTier.put, ["miss"]), (Forgetful.put, ["hit_memory"])], ids=["promise", "control"]
)
def test_no_copy_of_what_was_erased_outlives_a_freeze(rig, operator, monkeypatch, operation, before, put, after):
    """P13, F32: the table did as it was asked, the environment stood still for an hour, and only then read the reply."""
    monkeypatch.setattr(MemoryTier, "put", put)
    event = ocr_event(rig.image(PAGE))
    for _ in before:
        rig.call(event)
    do = getattr(rig.dynamodb, operation)

    def frozen(**arguments):
        reply = do(**arguments)
        if "ENTRY" == (arguments.get("Item") or arguments["Key"])["kind"]["S"]:
            delattr(rig.dynamodb, operation)
            rig.clock.freeze(3_600)
            erase(operator, PAGE)
        return reply

    setattr(rig.dynamodb, operation, frozen)
    environment = rig.cold_start()
    for _ in range(2):
        rig.call(event, environment)
    rig.dynamodb.faulted = True  # its lease was fenced: nobody but the erase ended it

    assert after == rig.outcomes[-1:]


def test_an_erased_answer_is_fetched_and_kept_anew(rig, operator):
    """P13, S25, 3.7: erase forbids fetches begun before it, and no others; a miss after it says `erased`."""
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    erase(operator, PAGE)
    fresh = rig.cold_start()
    for _ in range(2):
        rig.call(event, fresh)

    assert ["miss", "miss", "hit_memory"] == rig.outcomes
    assert "erased" == rig.receipts[1]["reason"]


def test_every_memory_copy_of_an_erased_answer_is_gone_within_its_time(rig, operator):
    """P13: two environments hold copies; once MEMORY is over both ask anew, and until then only memory served."""
    event = ocr_event(rig.image(PAGE))
    for environment in (rig.first, rig.second):
        rig.call(event, environment)
    erase(operator, PAGE)
    rig.clock.advance(300)
    for environment in (rig.first, rig.second):
        rig.call(event, environment)

    assert ["miss", "hit_table", "miss", "hit_table"] == rig.outcomes
    assert 2 == len(rig.backend.calls)


def test_an_erase_returns_only_when_first_looks_can_no_longer_see_the_old_entry(rig, operator):
    """P13: first looks read eventually, so an erase that removed something waits for the table's copies to agree."""
    rig.call(ocr_event(rig.image(PAGE)))
    erase(operator, b"another page")
    assert [] == rig.clock.slept
    erase(operator, PAGE)
    assert [eraser.SETTLE_SECONDS] == rig.clock.slept


# -------------------------------------------------------------------- 3.7: fences that grow, replies that get lost


def newer_entry(rig, item):
    """The same entry as a fetch with a larger fence would have put it, beyond any fence known."""
    fences = [int(each["fence"]["N"]) for kind in ("ENTRY", "LEASE") for each in rig.dynamodb.of_kind(kind)]
    return {**item, "fence": {"N": str(max(fences) + 1_000)}}


@pytest.mark.parametrize("hidden", [False, True], ids=["told", "to be read"])
@pytest.mark.parametrize(("times", "failed"), [(1, 0), (4, 0), (5, 1)])
def test_an_entry_with_a_larger_fence_is_erased_above_it_at_most_five_times(rig, operator, times, failed, hidden):
    """3.7: an entry stored between fence and tombstone sends the erase back; the sixth time is the operator's."""
    if hidden:
        rig.dynamodb.misbehave(hide_old=True, operation="put_item", kind="ENTRY")
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries
    left = times

    def store_anew(operation, arguments):
        nonlocal left
        if operation == "put_item" and "erased" in arguments["Item"] and left:
            left -= 1
            rig.dynamodb.plant(newer_entry(rig, entry))

    rig.dynamodb.before = store_anew
    report = erase(operator, PAGE)

    assert failed == report["failed"]
    assert failed == len(live(rig))
    assert ("run the erase again" in report["removed"][0]["error"]) == bool(failed)


def test_a_tombstone_whose_reply_was_lost_is_recognised(rig, operator):
    """F8: the repeated put meets our own tombstone; the entry counts as removed."""
    rig.call(ocr_event(rig.image(PAGE)))
    rig.dynamodb.misbehave(LOST, after=True, operation="put_item", kind="ENTRY", times=1)
    report = erase(operator, PAGE)

    assert (1, 0) == (report["entries"], report["failed"])
    assert [] == live(rig)


@pytest.mark.parametrize("change", [{"fence": {"S": "huge"}}, {"fence": {"N": "1.5"}}], ids=["a text", "no whole one"])
@pytest.mark.parametrize("kind", ["ENTRY", "LEASE"])
def test_an_item_that_no_writer_of_ours_made_does_not_stop_an_erase(rig, operator, kind, change):
    """T5, S25: a fence that is a text can be neither compared nor replaced; the erase removes its item."""
    rig.call(ocr_event(rig.image(PAGE)))
    (item,) = rig.dynamodb.of_kind(kind)
    rig.dynamodb.plant({**item, **change})
    report = erase(operator, PAGE)

    assert 0 == report["failed"]
    assert [] == live(rig)


def test_an_index_item_that_no_writer_of_ours_made_leads_nowhere(rig, operator):
    """T5, P46: it stops no erase, and what it names instead of the key in its name is left in peace."""
    rig.call(ocr_event(rig.image(PAGE)))
    rig.call(ocr_event(rig.image(b"page 2")))
    short = CacheKey(b"short")
    for index in rig.dynamodb.of_kind("INDEX#"):
        for number, planted in enumerate(
            [
                *({"key": other["key"]} for other in rig.dynamodb.of_kind("INDEX#")),
                {"key": {"B": short}, "kind": {"S": index_kind(short)}},
                {"key": {"B": "text"}},
                {"key": {"S": "text"}},
            ]
        ):
            rig.dynamodb.plant({**index, "kind": {"S": f"INDEX#{number}"}, **planted})

    reports = [erase(operator, page) for page in (PAGE, b"page 2")]

    assert [(1, 1, 0)] * 2 == [(report["keys"], report["entries"], report["failed"]) for report in reports]
    assert [] == live(rig)


def test_an_index_item_lies_in_the_table_as_ever():
    """P43, P46, F39: pinned to the bit, for an erase of one release finds what another kept."""
    key = CacheKey(b"\xab" * 32)

    assert {
        "pk": {"B": b"index"},
        "kind": {"S": "INDEX#" + "ab" * 32},
        "key": {"B": key},
        "ttl": {"N": str(1_790_000_000 + 31 * 86_400)},
    } == index_item(b"index", key, 1_790_000_000_999)


def test_index_items_leave_when_no_entry_can_need_them(rig):
    """P46, P30: a day after the longest lifetime, and not a thousand times as late."""
    rig.call(ocr_event(rig.image(PAGE)))
    days = {(int(item["ttl"]["N"]) - START_MS // 1000) / 86_400 for item in rig.dynamodb.of_kind("INDEX#")}

    assert {31.0} == days


def test_an_erase_tells_what_each_key_was(rig, operator):
    """P46: kept and when, or erased before, or never kept; no fetch was stopped where none was in flight."""
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries
    begun = {"created_ms": rig.clock.now_ms(), "stored_bytes": int(entry["stored_bytes"]["N"])}
    rig.clock.advance(5)
    index = rig.dynamodb.of_kind("INDEX#")
    told = [erase(operator, PAGE, dry_run=True), erase(operator, PAGE)]
    for item in index:
        rig.dynamodb.plant(item)
    told.append(erase(operator, PAGE))
    rig.backend.replies = [token_answer("cut") | {"stopReason": "max_tokens"}]
    rig.call(ocr_event(rig.image(b"page 2")))
    told.append(erase(operator, b"page 2"))
    nothing = {"created_ms": 0, "stored_bytes": 0}

    assert [{"entry": "removed", **begun}] * 2 + [
        {"entry": "erased_before", **nothing},
        {"entry": "none", **nothing},
    ] == [{name: report["removed"][0][name] for name in ("entry", *begun)} for report in told]
    assert [1, 1, 0, 0] == [report["entries"] for report in told]
    assert [(0, "")] * 4 == [(report["fetches_stopped"], report["removed"][0]["error"]) for report in told]


def test_damaged_figures_and_a_missing_index_item_stop_no_erase(rig, operator):
    """T5, P46: what its writer said of an entry is told where it can be read; one index is enough to find it."""
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries
    rig.dynamodb.plant({**entry, "created_ms": {"N": "1.5"}, "stored_bytes": {"S": "many"}})
    found = rig.dynamodb.of_kind("INDEX#")
    keyer = rig.first.cache._keyer
    own = keyer.shown_index(keyer.shown(CacheKey(entry["pk"]["B"])))
    for item in found:
        if item["pk"]["B"] == own:
            del rig.dynamodb.items[own, item["kind"]["S"]]
        else:
            rig.dynamodb.plant({name: value for name, value in item.items() if name != "ttl"})
    report = erase(operator, PAGE)

    assert (1, 1, 0, 0) == tuple(report[name] for name in ("keys", "entries", "failed", "bytes"))
    assert [] == live(rig)


def test_a_large_body_without_its_bucket_is_told_of(rig):
    """P46, P49: an operator whose settings name no bucket cannot delete it, and must hear so."""
    rig.backend.handler = lambda event: token_answer(os.urandom(400_000).hex())
    rig.call(ocr_event(rig.image(PAGE)))
    with operator_of(rig, HOOKCACHE_OVERFLOW_BUCKET="") as operator:
        report = erase(operator, PAGE)

    assert (1, 1, 0, []) == (report["entries"], report["failed"], report["overflow_objects"], live(rig))
    assert "bucket's lifecycle" in report["removed"][0]["error"]


def test_a_tombstone_stays_for_a_day(rig, operator):
    """P13, 3.8: longer than any fetch that could store over it, and not for ever."""
    rig.call(ocr_event(rig.image(PAGE)))
    rig.clock.advance(100)
    erase(operator, PAGE)
    (tombstone,) = rig.entries

    assert 86_400 == int(tombstone["ttl"]["N"]) - (START_MS // 1000 + 100)


def test_an_erase_reports_each_key_that_it_could_not_reach(rig, operator):
    """3.7: trouble with one key is told and hides no other; running the erase again finishes it."""
    for page in (PAGE, b"page 2"):
        rig.call(ocr_event(rig.image(page)))
    rig.dynamodb.misbehave(refusal("ThrottlingException"), operation="update_item", kind="LEASE", times=1)
    first, second = erase(operator, PAGE, b"page 2"), erase(operator, PAGE, b"page 2")
    assert "ThrottlingException" in {each["error"] for each in first["removed"]}

    assert (2, 1, 1) == (first["keys"], first["entries"], first["failed"])
    assert (1, 1, 0) == (second["keys"], second["entries"], second["failed"])
    assert [] == live(rig)


def test_an_erase_that_cannot_ask_the_table_says_so(rig, operator):
    """3.7: no report of zero keys where the table did not answer."""
    rig.dynamodb.misbehave(refusal("AccessDeniedException"), operation="query")

    assert {"fault": "cache", "error": "the cache could not be asked: AccessDeniedException"} == erase(operator, PAGE)


# -------------------------------------------------------------------- P46: what it reaches


def test_an_erase_by_image_reaches_every_generation_and_identity(rig, operator):
    """P46: the same page under two deployments, a generation and two prompts; another page stays."""
    page, other = rig.image(PAGE), rig.image(b"another")
    rig.call(ocr_event(page))
    rig.call(ocr_event(page, text="Read it again."))
    rig.backend.deploy(code="code-2")
    rig.clock.advance(61)
    rig.call(ocr_event(page))
    rig.call(ocr_event(page, other), rig.cold_start(HOOKCACHE_GENERATION="2"))
    rig.call(ocr_event(other))
    assert 5 == len(live(rig))
    report = erase(operator, PAGE)

    assert (4, 4) == (report["keys"], report["entries"])
    assert 1 == len(live(rig))


def test_an_erase_by_event_reaches_that_request_under_every_identity_and_no_other(rig, operator):
    """P46, P5, S25: the same request before and after a deployment; another prompt over the same page stays."""
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    rig.call(ocr_event(rig.image(PAGE), text="Read it again."))
    rig.backend.deploy(code="code-2")
    rig.call(event, rig.cold_start())
    rig.clock.advance(61)
    rig.call(event, rig.cold_start())
    stored = len(live(rig))
    report = operator({"command": "erase", "forms": [form_of(rig, event)]})

    assert stored - 1 == report["entries"] == 2
    assert 1 == len(live(rig))


def test_an_erase_by_key_id_reaches_the_key_that_a_receipt_shows(rig, operator):
    """P46: `key_id` of a receipt is all that it takes; the other key stays."""
    rig.call(ocr_event(rig.image(PAGE)))
    shown = rig.last["key_id"]
    rig.call(ocr_event(rig.image(b"page 2")))
    report = operator({"command": "erase", "key_ids": [shown]})

    assert [shown] == [removed["key_id"] for removed in report["removed"]]
    assert (1, 1) == (report["entries"], len(live(rig)))


def test_an_erase_removes_the_large_body_of_its_entry(rig, operator):
    """P46, P49: the overflow object goes with its entry, and is reported."""
    rig.backend.handler = lambda event: token_answer(os.urandom(400_000).hex())
    rig.call(ocr_event(rig.image(PAGE)))
    assert 1 == len(rig.s3.names(OVERFLOW_BUCKET))
    report = erase(operator, PAGE)

    assert 1 == report["overflow_objects"]
    assert [] == rig.s3.names(OVERFLOW_BUCKET)


@pytest.mark.parametrize("names_it", [True, False], ids=["promise", "control: a tombstone without the name"])
def test_a_body_that_could_not_be_deleted_is_found_by_the_same_erase_again(rig, operator, monkeypatch, names_it):
    """P46, P49: the tombstone names it and the index still leads there, once the right is given back or the run goes on."""
    if not names_it:
        told = Sealer.tombstone
        monkeypatch.setattr(Sealer, "tombstone", lambda self, key, fence, ttl, body=None: told(self, key, fence, ttl))
    rig.backend.handler = lambda event: token_answer(os.urandom(400_000).hex())
    rig.call(ocr_event(rig.image(PAGE)))
    delete_object, refused = rig.s3.delete_object, []

    def denied(**arguments):
        refused.append(arguments["Key"])
        raise refusal("AccessDenied", operation="DeleteObject")

    rig.s3.delete_object = denied
    first = erase(operator, PAGE)
    assert (1, 1, []) == (first["entries"], first["failed"], live(rig))
    assert "run the same command again" in first["removed"][0]["error"]
    rig.s3.delete_object = delete_object
    looked, again = erase(operator, PAGE, dry_run=True), erase(operator, PAGE)

    assert refused
    assert (1, 0) == (again["keys"], again["failed"])
    assert (0 if names_it else 1) == len(rig.s3.names(OVERFLOW_BUCKET))
    assert [(0, 1 if names_it else 0)] * 2 == [(each["entries"], each["overflow_objects"]) for each in (looked, again)]
    rig.call(ocr_event(rig.image(PAGE)), rig.cold_start())
    assert ("miss", "erased") == (rig.last["outcome"], rig.last["reason"])


def test_an_answer_stays_to_be_found_whatever_lifetimes_were_in_force_meanwhile(make_rig):
    """P46: a fetch under short lifetimes that keeps nothing writes the same index items; the entry before it may live longer."""
    rig = make_rig(HOOKCACHE_MEMORY_SECONDS="60")
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    rig.clock.advance(7_200)
    rig.backend.replies = [token_answer("cut") | {"stopReason": "max_tokens"}]
    rig.call(event, rig.cold_start(HOOKCACHE_FRESH_SECONDS="3600"))
    assert "truncated" == rig.last["refusal"]
    rig.clock.advance(2 * 86_400)
    rig.dynamodb.expire(rig.clock.now_ms() / 1000)

    with operator_of(rig) as operator:
        assert 1 == erase(operator, PAGE, dry_run=True)["entries"]
    rig.call(event, rig.cold_start())
    assert "hit_table" == rig.last["outcome"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_erase_reads_whatever_was_written_and_page_by_page(rig, operator, dry_run):
    """P13, P46: a fetch that began a moment ago is in the index, but an eventual read might not show it; nor would a first page."""
    for number in range(3):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))
    query = rig.dynamodb.query
    rig.dynamodb.query = lambda **asked: query(**asked, Limit=1)
    rig.dynamodb.calls.clear()
    report = erase(operator, PAGE, dry_run=dry_run)
    reads = [asked["ConsistentRead"] for name, asked in rig.dynamodb.calls if name in {"get_item", "query"}]

    assert (3, 0, 3 * dry_run) == (report["entries"], report["failed"], len(live(rig)))
    assert len(reads) > 3
    assert {True} == set(reads)


@pytest.mark.parametrize("deletes", [True, False], ids=["deleted", "not to be deleted"])
def test_the_body_that_was_seen_and_the_one_that_was_replaced_both_go(rig, operator, monkeypatch, deletes):
    """P46, P49: the entry was stored anew between look and tombstone, and its writer could not delete the body before."""
    rig.backend.handler = lambda event: token_answer(os.urandom(400_000).hex())
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,), (name,) = rig.entries, rig.s3.names(OVERFLOW_BUCKET)

    def stored_anew(operation, arguments):
        if operation == "update_item":
            rig.s3.put_object(Bucket=OVERFLOW_BUCKET, Key=f"{name}-anew", Body=b"body")
            rig.dynamodb.plant({**entry, "overflow": {"S": f"{name}-anew"}})

    rig.dynamodb.before = stored_anew
    if not deletes:
        monkeypatch.setattr(rig.s3, "delete_object", lambda **_: 1 / 0)
    report = erase(operator, PAGE)

    deleted = 2 if deletes else 0
    assert (1, deleted, 2 - deleted) == (
        report["entries"],
        report["overflow_objects"],
        len(rig.s3.names(OVERFLOW_BUCKET)),
    )
    assert (not deletes, 2 * deletes) == (report["failed"], report["index_items"]), "what is left must be found again"


def test_one_key_after_another_is_tried_however_many_failed(rig, operator, monkeypatch):
    """P46: no breaker stands between an operator and the keys that the table would take."""
    monkeypatch.setattr(eraser, "PARALLEL", 1)
    for number in range(5):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))
    rig.dynamodb.misbehave(LOST, kind="LEASE", times=8)  # four keys, two attempts each
    report = erase(operator, PAGE)

    assert (5, 4, 1) == (report["keys"], report["failed"], report["entries"])


def test_an_erase_reaches_its_own_namespace(make_rig):
    """P7, P46: whatever that is called."""
    rig = make_rig(HOOKCACHE_NAMESPACE="ours")
    rig.call(ocr_event(rig.image(PAGE)))
    with operator_of(rig) as operator:
        assert 1 == erase(operator, PAGE)["entries"]
    assert [] == live(rig)


def test_index_items_that_led_to_what_is_gone_go_as_well(rig, operator):
    """3.7: that of the image and that of the receipt's `key_id`; what else leads there is not known, and ends by its ttl."""
    rig.call(ocr_event(rig.image(PAGE)))
    before = len(rig.dynamodb.of_kind("INDEX#"))
    report = erase(operator, PAGE)

    assert (3, 2, 1) == (before, report["index_items"], len(rig.dynamodb.of_kind("INDEX#")))


def test_a_dry_run_tells_of_a_fetch_in_flight(rig, operator):
    """P46: it would be stopped."""
    event = ocr_event(rig.image(PAGE))
    flight = begin(rig, event)
    looked = erase(operator, PAGE, dry_run=True)
    rig.backend.gate.set()
    flight.join(60)

    assert (1, 1) == (looked["fetches_stopped"], len(live(rig)))


def test_an_erase_that_is_cut_short_has_told_of_every_key_that_it_erased(rig, operator):
    """P46: none is begun that is not reported; with its index gone no later erase would find it, or its body."""
    for number in range(30):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))

    command = {"command": "erase", "images": [sha256(PAGE)]}
    report = operator(command, Hurried())

    assert report["finished"] is False
    assert 30 - len(live(rig)) == report["entries"] == eraser.PARALLEL


def test_an_entry_that_names_the_body_of_another_does_not_take_it_along(rig, operator):
    """T5: a planted name is not followed."""
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries
    rig.s3.put_object(Bucket=OVERFLOW_BUCKET, Key="entries/other/1-body", Body=b"of another")
    rig.dynamodb.plant({**entry, "overflow": {"S": "entries/other/1-body"}})
    report = erase(operator, PAGE)

    assert (1, 0) == (report["entries"], report["overflow_objects"])
    assert ["entries/other/1-body"] == rig.s3.names(OVERFLOW_BUCKET)


@pytest.mark.parametrize(
    ("kind", "found"), [(eraser.Eraser, 1), (ForgetfulEraser, 0)], ids=["promise", "control: deletes what is in use"]
)
def test_an_answer_fetched_while_an_erase_tidies_up_is_found_by_the_next_one(rig, operator, monkeypatch, kind, found):
    """P46: a fetch begun after the fence writes its index items before the erase deletes them; it stays reachable."""
    monkeypatch.setattr(commands, "Eraser", kind)
    event = ocr_event(rig.image(PAGE))
    rig.call(event)
    refetched = []

    def fetch_between(operation, arguments):
        if operation == "delete_item" and not refetched:
            refetched.append(True)
            rig.call(event, rig.cold_start())

    rig.dynamodb.before = fetch_between
    erase(operator, PAGE)
    assert 1 == len(live(rig))

    assert found == erase(operator, PAGE)["entries"]


# -------------------------------------------------------------------- what it says


def test_a_dry_run_counts_and_changes_nothing(rig, operator):
    """P46: the report is that of the erase that follows, and the table is as it was."""
    rig.call(ocr_event(rig.image(PAGE)))
    before = dict(rig.dynamodb.items)
    looked = erase(operator, PAGE, dry_run=True)

    assert [] == rig.clock.slept, "there is nothing to settle"
    assert before == rig.dynamodb.items
    assert (1, 1) == (looked["keys"], looked["entries"])
    erased = erase(operator, PAGE)
    assert looked == {**erased, "dry_run": True}
    assert erased["bytes"] > 0


def test_a_report_holds_no_content_and_no_key(rig, operator):
    """P36: display ids, counts, sizes and times; the key itself stays inside."""
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries
    text = json.dumps(erase(operator, PAGE))

    assert rig.last["key_id"] in text
    for secret in (CANARY, entry["pk"]["B"].hex(), sha256(PAGE), "s3://", rig.secrets.text):
        assert secret not in text


def test_an_erase_that_runs_out_of_time_says_so_and_goes_on_when_asked_again(rig, operator, monkeypatch):
    """3.7: thousands of keys do not fit into one invocation; what was reported is done, the rest is found again."""
    monkeypatch.setattr(eraser, "PARALLEL", 1)
    for number in range(3):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))

    command = {"command": "erase", "images": [sha256(PAGE), sha256(b"another")]}
    reports = [operator(command, Hurried()) for _ in range(3)]

    assert [False, False, True] == [report["finished"] for report in reports]
    assert [[sha256(b"another")]] * 3 == [report["nothing_of"] for report in reports]
    assert [1, 1, 1] == [report["entries"] for report in reports]
    assert [] == live(rig)


@pytest.mark.parametrize(("seconds", "erased"), [(22, 2), (21, 1)])
def test_a_report_is_there_before_its_invocation_ends(rig, operator, monkeypatch, seconds, erased):
    """3.7: keys that take ten seconds each, and the wait for replicas behind them: what was done is told in any case."""
    monkeypatch.setattr(eraser, "PARALLEL", 1)
    for number in range(4):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))

    def slowly(operation, arguments):
        if operation == "put_item" and "erased" in arguments["Item"]:
            rig.clock.advance(9.9)

    rig.dynamodb.before = slowly
    context = FakeContext(rig.clock, seconds=seconds)
    report = operator({"command": "erase", "images": [sha256(PAGE)]}, context)

    assert (False, erased, 0) == (report["finished"], report["entries"], report["failed"])
    assert context.get_remaining_time_in_millis() > 0


def test_a_report_names_some_keys_and_counts_all(rig, operator, monkeypatch):
    """3.7, P46: a report of ten thousand keys would fit into no reply."""
    monkeypatch.setattr(eraser, "LISTED", 2)
    for number in range(3):
        rig.call(ocr_event(rig.image(PAGE), text=f"Prompt {number}."))
    report = erase(operator, PAGE)

    assert (3, 3, 2) == (report["keys"], report["entries"], len(report["removed"]))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (None, "command"),
        ([], "command"),
        ({"command": "drop"}, "erase"),
        ({"command": "erase"}, "nothing to erase was named"),
        ({"command": "erase", "images": ["zz"]}, "images.0"),
        ({"command": "erase", "images": [PAGE]}, "images.0"),
        ({"command": "erase", "images": [sha256(PAGE)], "before": 1}, "before"),
        ({"command": "erase", "images": [sha256(PAGE)], "namespace": "other"}, "namespace default"),
        ({"command": "invalidate", "context": "Ocr", "before_ms": 1}, "context"),
        ({"command": "invalidate", "before_ms": 10**15}, "future"),
        ({"command": "invalidate", "before_ms": START_MS + 60_000}, "future"),
        ({"command": "mode", "mode": "fast"}, "mode"),
        ({"command": "generation", "generation": "a b"}, "generation"),
    ],
)
def test_a_command_that_is_malformed_is_refused_with_its_reason(rig, operator, command, said):
    """B22: nothing is done, and the answer names the member."""
    rig.call(ocr_event(rig.image(PAGE)))
    report = operator(command)

    assert "command" == report["fault"]
    assert said in report["error"]
    assert 1 == len(live(rig))
    assert Orders() == rig.first.cache.control.orders()


def test_the_hook_does_not_load_what_its_role_may_not_do():
    """P39: neither erase nor commands are imported by the hook."""
    seen = "import sys, hookcache.assembly; print(sorted(m for m in sys.modules if 'eras' in m or 'commands' in m))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True, timeout=60)

    assert "[]" == done.stdout.strip()


# -------------------------------------------------------------------- T14: a new secret


class RotatingSecrets(FakeSecrets):
    """Secrets Manager after a rotation: the version in force, and the one before it."""

    def __init__(self, text):
        super().__init__(text)
        self.previous = None

    def rotate(self, text):
        self.previous, self.text = self.text, text

    def get_secret_value(self, **arguments):
        if arguments.get("VersionStage") != "AWSPREVIOUS":
            return super().get_secret_value(**arguments)
        if self.previous is None:
            raise refusal("ResourceNotFoundException", operation="GetSecretValue")
        return {"ARN": arguments["SecretId"], "SecretString": self.previous}


@pytest.fixture
def rotating(rig):
    rig.secrets = rig.clients.secrets = RotatingSecrets("the first secret, long enough")
    return rig


def test_a_new_secret_is_a_cold_cache_for_environments_that_start_with_it(rotating):
    """T14, F38: nothing kept under the old secret is served under the new one, nor the other way round."""
    event = ocr_event(rotating.image(PAGE))
    rotating.call(event)
    rotating.secrets.rotate("the second secret, long enough")
    new = rotating.cold_start()
    for environment in (new, new, rotating.first):
        rotating.call(event, environment)

    assert ["miss", "miss", "hit_memory", "hit_memory"] == rotating.outcomes
    assert 2 == len(rotating.backend.calls)


def test_an_erase_reaches_what_was_kept_under_the_secret_before(rotating, operator):
    """T14, P46: entries of both key ids lie in the table; one erase removes them all."""
    event = ocr_event(rotating.image(PAGE))
    rotating.call(event)
    rotating.secrets.rotate("the second secret, long enough")
    rotating.call(event, rotating.cold_start())
    assert 2 == len(live(rotating))

    assert 2 == erase(operator, PAGE)["entries"]
    assert [] == live(rotating)


@pytest.fixture
def rotated(rotating, monkeypatch):
    """Three entries of one page under the secret before, and one under the secret in force; erased one by one."""
    monkeypatch.setattr(eraser, "PARALLEL", 1)
    for number in range(3):
        rotating.call(ocr_event(rotating.image(PAGE), text=f"Prompt {number}."))
    rotating.secrets.rotate("the second secret, long enough")
    rotating.call(ocr_event(rotating.image(PAGE)), rotating.cold_start())
    return rotating


def test_what_was_erased_is_told_though_the_table_then_fails(rotated, operator):
    """P46: with its index gone no later erase says of a page that it was erased."""
    erased = []

    def fail_behind(operation, arguments):
        erased.append(operation == "put_item" and "erased" in arguments["Item"])
        if operation == "query" and sum(erased) == 3:
            raise refusal("AccessDeniedException")

    rotated.dynamodb.before = fail_behind
    report = erase(operator, PAGE, b"another")
    rotated.dynamodb.before = lambda *_: None

    assert (3, False, []) == (report["entries"], report["finished"], report["nothing_of"])
    assert (1, True) == (lambda again: (again["entries"], again["finished"]))(erase(operator, PAGE))


def test_an_erase_without_time_looks_nowhere_else(rotated, operator):
    """3.7: its report is to be there before its invocation ends; the next one goes on."""
    command = {"command": "erase", "images": [sha256(PAGE), sha256(b"another")]}
    reports = [operator(command, Hurried()) for _ in range(3)]

    assert [1, 1, 2] == [report["entries"] for report in reports]
    assert [False, False, True] == [report["finished"] for report in reports]
    assert [[], [], [sha256(b"another")]] == [report["nothing_of"] for report in reports]


def namespace(entry):
    return entry["namespace"]["S"]


def test_what_cannot_be_erased_of_the_secret_before_shields_nothing_that_is_served(rotated, operator):
    """P46: where nothing comes of the first, each call would meet it again, and the entry in force would stay."""
    by_namespace = groupby(sorted(live(rotated), key=namespace), namespace)
    before, (in_force,) = sorted(([entry["pk"] for entry in some] for _, some in by_namespace), key=len, reverse=True)

    def fail(operation, arguments):
        if operation == "update_item" and arguments["Key"]["pk"] in before:
            raise refusal("AccessDeniedException")

    rotated.dynamodb.before = fail
    report = operator({"command": "erase", "images": [sha256(PAGE)]}, Hurried())

    assert (1, 1, False) == (report["entries"], report["failed"], report["finished"])
    assert in_force not in [entry["pk"] for entry in live(rotated)]


def test_what_nothing_is_kept_of_is_named(rotating, operator):
    """P46: of two pages one may be another file than the host sent; kept under the secret before is kept as well."""
    for page in (PAGE, b"page 2"):
        rotating.call(ocr_event(rotating.image(page)))
    rotating.secrets.rotate("the second secret, long enough")
    rotating.call(ocr_event(rotating.image(PAGE)), rotating.cold_start())
    looked = erase(operator, PAGE, b"page 2", b"another", dry_run=True)
    report = erase(operator, PAGE, b"page 2", b"another", key_ids=["0" * 16])

    assert [sha256(b"another")] == looked["nothing_of"]
    assert [sha256(b"another"), "0" * 16] == report["nothing_of"]
    assert [sha256(PAGE)] == erase(operator, PAGE)["nothing_of"]


def test_orders_reach_environments_that_still_run_with_the_secret_before(rotating, operator):
    """T14, P44: an invalidation after a rotation holds under both key ids."""
    event = ocr_event(rotating.image(PAGE))
    rotating.call(event)
    rotating.secrets.rotate("the second secret, long enough")
    rotating.clock.advance(1)
    operator({"command": "invalidate", "before_ms": rotating.clock.now_ms()})
    rotating.clock.advance(60)
    rotating.call(event)

    assert ["miss", "miss"] == rotating.outcomes
    assert "invalidated" == rotating.last["reason"]


def test_a_key_is_32_bytes_in_every_index_item(rig):
    """P46: what erase reads back is the key that the hook looked up."""
    rig.call(ocr_event(rig.image(PAGE)))
    (entry,) = rig.entries

    assert {CacheKey(entry["pk"]["B"])} == {eraser.indexed_key(item) for item in rig.dynamodb.of_kind("INDEX#")}
