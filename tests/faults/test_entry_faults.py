"""F10-F14, F39: what lies in the table or bucket is not what was put there, or not any more. P6, P10, P43, P49."""

from __future__ import annotations

import hashlib
import json
import random
import zlib

import pytest

from fakes import OVERFLOW_BUCKET, answer, ocr_event, token_answer
from hookcache import policy
from hookcache import sealer as sealer_module
from hookcache.errors import TierUnavailable
from hookcache.overflow import GONE, Overflow
from hookcache.sealer import Sealer
from hookcache.spending import Spending
from rig import metric

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}
EVENT = ocr_event(text="the one page")
LARGE = answer(random.Random(7).randbytes(400_000).hex(), inputTokens=5, outputTokens=9)
"""Does not compress below the size of an item: its body lies in the bucket."""


def flip(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


def tampered(rig, change):
    """The one entry, with `change` done to the bytes of its body; then a look from a fresh environment."""
    (item,) = rig.entries
    rig.dynamodb.plant(item | {"body": {"B": change(item["body"]["B"])}})
    return rig.call(EVENT, rig.cold_start())


class Trusting(Sealer):
    """Opens whatever is there: no tag, no key, no digest, no bound."""

    def _verify(self, key, item) -> None:
        return

    def _open(self, key, item, fetch_overflow):
        stored = fetch_overflow(item["overflow"]["S"], 10**9) if "overflow" in item else item["body"]["B"]
        codec = item["codec"]["S"]
        body = zlib.decompress(stored) if codec == "zlib" else stored
        times = [int(item[name]["N"]) for name in ("fence", "created_ms", "fresh_until_ms", "hard_until_ms")]
        about = json.loads(item["about"]["S"])
        return sealer_module.Entry(key, *times, body, **about)


@pytest.fixture
def without_tags(monkeypatch):
    monkeypatch.setattr("hookcache.assembly.Sealer", Trusting)


class TestADamagedBody:
    @pytest.mark.parametrize("change", [lambda body: flip(body, 30), lambda body: body[:-5], lambda body: b""])
    def test_inline_it_is_a_miss_and_an_alarm_and_is_replaced(self, make_rig, change):
        """F10, P6: never served; the next fill puts it right."""
        rig = make_rig(**PINNED)
        first = rig.call(EVENT)
        again = tampered(rig, change)
        rig.call(EVENT, rig.cold_start())

        assert first == again
        assert ["miss", "miss", "hit_table"] == rig.outcomes
        assert "corrupt" == rig.receipts[1]["reason"]
        assert metric(rig.receipts[1], "CorruptEntries") >= 1

    def test_every_bit_of_it_counts(self, make_rig):
        """F10: a bit flipped at any offset is found."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        (item,) = rig.entries
        sealer = rig.first.cache._table._sealer
        for offset in range(len(item["body"]["B"])):
            damaged = item | {"body": {"B": flip(item["body"]["B"], offset)}}
            with pytest.raises(sealer_module.EntryRejected):
                sealer.open(item["pk"]["B"], damaged, lambda name, size: b"")

    @pytest.mark.parametrize("way", ["flipped", "cut", "gone", "hidden", "swapped"])
    def test_in_the_bucket_it_is_a_miss_and_is_replaced(self, make_rig, way):
        """F10, P49: the same for a large answer, whose body lies in S3, which hides what is gone from who may not list."""
        rig = make_rig(**PINNED)
        rig.backend.replies = [LARGE]
        rig.call(EVENT)
        ((name,),) = (rig.s3.names(OVERFLOW_BUCKET),)
        body = rig.s3.objects[OVERFLOW_BUCKET, name].body
        change = {"flipped": flip(body, 1000), "cut": body[:1000], "swapped": zlib.compress(b"{}")}
        if way in {"gone", "hidden"}:
            rig.s3.delete_object(Bucket=OVERFLOW_BUCKET, Key=name)
            rig.s3.misbehave("forbidden" if way == "hidden" else "missing", key=name)
        else:
            rig.s3.put_object(Bucket=OVERFLOW_BUCKET, Key=name, Body=change[way])
        rig.backend.replies = [LARGE]
        again = rig.call(EVENT, rig.cold_start())
        rig.call(EVENT, rig.cold_start())

        assert LARGE["output"] == again["output"]
        assert ["miss", "miss", "hit_table"] == rig.outcomes
        assert ("corrupt", 1) == (rig.receipts[1]["reason"], metric(rig.receipts[1], "CorruptEntries"))

    def test_one_that_came_in_part_is_an_outage_and_no_damage(self, make_rig):
        """F28, P49: a broken connection accuses nobody who may write the bucket, and the entry is served once it is whole."""
        rig = make_rig(**PINNED)
        rig.backend.replies = [LARGE, LARGE]
        rig.call(EVENT)
        rig.s3.misbehave("cut")
        rig.call(EVENT, rig.cold_start())
        told = rig.last
        rig.s3.behave()
        rig.call(EVENT, rig.cold_start())

        assert ("bypass", "table_down", 0) == (told["outcome"], told["reason"], metric(told, "CorruptEntries"))
        assert "hit_table" == rig.last["outcome"]

    def test_control_a_hidden_object_taken_for_an_outage_is_never_replaced(self, make_rig, monkeypatch):
        """P49, Control: each environment then pays for the page until the entry expires."""
        monkeypatch.setattr("hookcache.table.HIDDEN", GONE)
        rig = make_rig(**PINNED)
        rig.backend.replies = [LARGE, LARGE, LARGE]
        rig.call(EVENT)
        (name,) = rig.s3.names(OVERFLOW_BUCKET)
        rig.s3.misbehave("forbidden", key=name)
        for _ in range(2):
            rig.call(EVENT, rig.cold_start())

        assert ["miss", "bypass", "bypass"] == rig.outcomes

    def test_who_may_list_is_told_of_a_right_that_is_missing(self, make_rig):
        """P49: to an operator's export a denied body is no missing one."""
        rig = make_rig()
        rig.s3.misbehave("forbidden")
        with pytest.raises(TierUnavailable):
            Overflow(lambda: rig.s3, OVERFLOW_BUCKET, Spending()).get("entries/any", 1)

    @pytest.mark.parametrize("from_the_start", [True, False])
    def test_a_bucket_that_fails_costs_no_request(self, make_rig, from_the_start):
        """P18, P20: the bucket does not take the body, or cannot be asked for it."""
        rig = make_rig(**PINNED)
        rig.backend.replies = [LARGE, LARGE]
        if from_the_start:
            rig.s3.misbehave("error", error=OSError("no route"))
        rig.call(EVENT)
        rig.s3.misbehave("error", error=OSError("no route"))
        again = rig.call(EVENT, rig.cold_start())

        assert LARGE["output"] == again["output"]
        assert 2 == len(rig.backend.calls)

    def test_control_without_the_tag_a_wrong_body_is_served(self, make_rig, without_tags):
        """F10, Control."""
        rig = make_rig(**PINNED)
        first = rig.call(EVENT)
        (item,) = rig.entries
        other = json.dumps(token_answer("not what was on the page")).encode()
        rig.dynamodb.plant(item | {"body": {"B": other}, "codec": {"S": "plain"}})
        again = rig.call(EVENT, rig.cold_start())

        assert first["output"] != again["output"]


class TestAnotherKeysEntry:
    def moved(self, rig):
        """The entry of another page lies under this page's key, tag and all."""
        rig.call(EVENT)
        (own,) = rig.entries
        rig.call(ocr_event(text="another page"))
        (foreign,) = [item for item in rig.entries if item["pk"] != own["pk"]]
        rig.dynamodb.plant(foreign | {"pk": own["pk"]})
        return rig.call(EVENT, rig.cold_start())

    def test_it_is_a_miss_and_an_alarm(self, make_rig):
        """F11, P6: an entry names its own key under its tag."""
        rig = make_rig(**PINNED)
        again = self.moved(rig)

        assert rig.answers[0] == again
        assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])
        assert metric(rig.last, "CorruptEntries") >= 1

    def test_control_without_the_check_a_foreign_answer_is_served(self, make_rig, without_tags):
        """F11, Control."""
        rig = make_rig(**PINNED)

        assert self.moved(rig)["output"] == rig.answers[1]["output"]


class Strict(Sealer):
    """Decodes whatever version it meets."""

    def open(self, key, item, fetch_overflow):
        return self._open(key, item, fetch_overflow)


class TestAnotherVersion:
    CHANGES = (
        {"schema": {"N": "2"}},
        {"schema": {"N": "0"}, "body": None, "answer": {"S": "as it used to be"}},
        {"schema": {"N": "99"}, "tag": None, "sha256": None},
    )

    @pytest.mark.parametrize("change", CHANGES)
    def test_newer_and_older_schemas_are_misses(self, make_rig, change):
        """F12, P43: no exception in either direction of a rolling deploy."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        (item,) = rig.entries
        rig.dynamodb.plant({name: value for name, value in (item | change).items() if value is not None})
        rig.call(EVENT, rig.cold_start())

        assert ("miss", "schema") == (rig.last["outcome"], rig.last["reason"])
        assert 0 == metric(rig.last, "CorruptEntries"), "a rolling deploy is no alarm"

    def test_an_unknown_codec_is_a_miss(self, make_rig):
        """F12: sealed by a release of ours that packs otherwise."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        (item,) = rig.entries
        newer = item | {"codec": {"S": "brotli"}}
        rig.dynamodb.plant(newer | {"tag": {"B": rig.first.cache._table._sealer._tag(newer)}})
        rig.call(EVENT, rig.cold_start())

        assert ("miss", "schema") == (rig.last["outcome"], rig.last["reason"])

    def test_control_strict_decoding_fails(self, make_rig):
        """F12, Control: a decoder that knows one form only raises."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        (item,) = rig.entries
        sealer = Strict(b"", "")
        with pytest.raises(KeyError):
            sealer.open(item["pk"]["B"], {"schema": {"N": "0"}}, lambda name, size: b"")

    def test_two_releases_at_once_do_not_corrupt_each_other(self, make_rig, monkeypatch):
        """F39, P43: each reads what it can; entries of two versions lie side by side."""
        rig = make_rig(**PINNED)
        old = rig.first
        rig.call(EVENT, old)
        self.release(monkeypatch, 2)
        new = rig.cold_start()
        rig.call(EVENT, new)
        assert ["miss", "miss"] == rig.outcomes
        for schema, environment in ((1, old), (2, new), (1, old)):
            self.release(monkeypatch, schema)
            environment.cache._memory.drop(rig.entries[0]["pk"]["B"])
            rig.call(EVENT, environment)

        assert all(outcome.startswith("hit") for outcome in rig.outcomes[2:])
        assert 2 == len(rig.entries)

    @pytest.mark.parametrize(("ours", "its"), [(1, 2), (2, 1)], ids=["newer", "older"])
    def test_an_erase_of_the_other_release_is_final(self, rig, operator, monkeypatch, ours, its):
        """F39, P13, P46: what lies there goes, what is being fetched is not kept, and what is fetched after that is."""
        answer = rig.backend.handler

        def erased(event):
            self.release(monkeypatch, its)
            told = operator({"command": "erase", "images": [hashlib.sha256(b"a page").hexdigest()]})
            self.release(monkeypatch, ours)
            assert (1, 0) == (told["keys"], told["failed"])
            return answer(event)

        self.release(monkeypatch, ours)
        event = ocr_event(rig.image(b"a page"))
        rig.call(event)
        erased(event)
        rig.backend.handler = erased
        rig.call(event, rig.cold_start())
        rig.backend.handler = answer
        for _ in range(2):
            rig.call(event, rig.cold_start())

        assert ["", "superseded", "", ""] == [receipt["refusal"] for receipt in rig.receipts]
        assert ["absent", "schema", "schema", ""] == [receipt["reason"] for receipt in rig.receipts]
        assert "hit_table" == rig.last["outcome"]

    def test_control_without_the_version_in_the_key_forms_mix(self, make_rig, monkeypatch):
        """F39, Control: both releases write under one key, and undo each other's entries."""
        rig = make_rig(**PINNED)
        rig.call(EVENT)
        monkeypatch.setattr(sealer_module, "SCHEMA", 2)  # the entry changed, the key did not
        rig.call(EVENT, rig.cold_start())

        assert ("miss", "schema") == (rig.last["outcome"], rig.last["reason"])
        assert 1 == len(rig.entries)

    def release(self, monkeypatch, schema: int) -> None:
        monkeypatch.setattr("hookcache.key.SCHEMA", schema)
        monkeypatch.setattr(sealer_module, "SCHEMA", schema)


class TestABomb:
    SIZE = 80 * 1024 * 1024

    def planted(self, rig, declared: int):
        """80 MB of blanks packed into 80 KB, sealed as if we had done it."""
        rig.call(EVENT)
        (item,) = rig.entries
        stored = zlib.compress(b" " * self.SIZE, 9)
        sealer = rig.first.cache._table._sealer
        bomb = item | {"codec": {"S": "zlib"}, "body": {"B": stored}}
        bomb |= {"stored_bytes": {"N": str(len(stored))}, "plain_bytes": {"N": str(declared)}}
        bomb |= {"sha256": {"B": sealer_module.hashlib.sha256(stored).digest()}}
        rig.dynamodb.plant(bomb | {"tag": {"B": sealer._tag(bomb)}})

    @pytest.mark.parametrize("declared", [1_000, 5 * 1024 * 1024, 80 * 1024 * 1024, -1, 0])
    def test_inflating_stops_at_the_declared_size(self, make_rig, declared):
        """F13: a false size is a miss and an alarm; never more than what it declares is inflated."""
        rig = make_rig(**PINNED)
        self.planted(rig, declared)
        before = peak()
        rig.call(EVENT, rig.cold_start())

        assert ("miss", "corrupt") == (rig.last["outcome"], rig.last["reason"])
        assert peak() - before < 40 * 1024 * 1024

    def test_control_unbounded_inflating_takes_all_of_it(self):
        """F13, Control: the same bytes without the bound."""
        stored = zlib.compress(b" " * self.SIZE, 9)

        assert self.SIZE == len(zlib.decompress(stored))


def peak() -> int:
    """Most memory that this process ever held, in bytes."""
    with open("/proc/self/status") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


class TestAnExpiredEntry:
    def aged(self, rig) -> None:
        rig.call(EVENT)
        rig.clock.advance(7 * 86_400)
        rig.call(EVENT, rig.cold_start())

    def test_it_is_a_miss_although_it_is_still_there(self, make_rig):
        """F14, P10: DynamoDB deletes by TTL days late."""
        rig = make_rig(**PINNED)
        self.aged(rig)

        assert ("miss", "expired") == (rig.last["outcome"], rig.last["reason"])

    def test_control_left_to_the_table_it_is_served(self, make_rig, monkeypatch):
        """F14, Control."""
        rig = make_rig(**PINNED)
        monkeypatch.setattr("hookcache.cache.judge", lambda *_: policy.Fresh())
        self.aged(rig)

        assert "hit_table" == rig.last["outcome"]


def test_the_large_answer_is_too_large_for_an_item():
    """What the tests of the bucket rest on."""
    assert len(zlib.compress(json.dumps(LARGE).encode(), 6)) > sealer_module.INLINE_BYTES
