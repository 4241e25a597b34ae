"""Stored entries: sealed, compressed, bounded, and refused when anything about them is not as it was sealed."""

import copy
import hashlib
import json
import os
import zlib
from dataclasses import replace

import pytest

from fakes import START_MS
from hookcache.canonical import SCHEMA
from hookcache.entry import ANSWER_BYTES, INLINE_BYTES, Entry, Sealer, Tombstone
from hookcache.errors import EntryRejected, TierUnavailable
from hookcache.outcome import Reason

KEY = b"k" * 32
SEALER = Sealer(b"tag secret", "default/1")
BODY = json.dumps({"output": {"message": {"content": [{"text": "caf\u00e9 " * 400}]}}}).encode()
ENTRY = Entry(
    KEY,
    7,
    START_MS,
    START_MS + 1_000,
    START_MS + 2_000,
    BODY,
    {"pages": 1, "inputTokens": 2.5},
    "OCR",
    "12",
    {"pages": "0.004"},
)


def nothing(name, size_bytes):
    raise AssertionError("no overflow object was expected")


def opened(item, key=KEY, sealer=SEALER, fetch=nothing):
    return sealer.open(key, item, fetch)


def rejected(item, **more) -> Reason:
    with pytest.raises(EntryRejected) as caught:
        opened(item, **more)
    return caught.value.reason


@pytest.fixture
def item():
    return SEALER.seal(ENTRY).item


class TestRoundTrip:
    @pytest.mark.parametrize(
        "body",
        [b"{}", b"null", b"0", BODY, os.urandom(3_000), "caf\u00e9\u2028".encode() * 999],
        ids=["object", "null", "number", "text", "noise", "long text"],
    )
    def test_an_entry_comes_back_as_it_was_sealed(self, body):
        """P8, P9, P49, S29: whatever the bytes, compressed or not; `null`, `{}` and `0` are answers."""
        entry = replace(ENTRY, body=body)

        assert entry == opened(SEALER.seal(entry).item)

    @pytest.mark.parametrize("size", [349, 351, 399, 401, 700])
    def test_a_large_body_goes_to_the_overflow_bucket(self, size):
        """P49, S43: what cannot be compressed below 350 KB is no longer in the item; the item stays small."""
        entry = replace(ENTRY, body=os.urandom(size * 1024))
        sealed = SEALER.seal(entry)

        assert (size > 350) == (sealed.overflow_name is not None) == ("body" not in sealed.item)
        assert entry == opened(
            sealed.item, fetch=lambda name, bound: {sealed.overflow_name: sealed.overflow_body}[name]
        )

    def test_a_body_that_shrinks_stays_inline(self):
        """P49, G12: the limit is on what is stored, not on what was answered."""
        sealed = SEALER.seal(replace(ENTRY, body=b'{"a": "' + b"word " * 200_000 + b'"}'))

        assert sealed.overflow_name is None
        assert len(sealed.item["body"]["B"]) < INLINE_BYTES

    def test_the_overflow_object_is_read_no_further_than_declared(self):
        """P30, F13: the bound that is handed to the reader."""
        asked = []
        entry = replace(ENTRY, body=os.urandom(400_000))
        sealed = SEALER.seal(entry)
        opened(sealed.item, fetch=lambda name, bound: asked.append(bound) or sealed.overflow_body)

        assert [len(sealed.overflow_body)] == asked

    def test_each_fence_has_an_overflow_object_of_its_own(self):
        """P25, P49: an older writer's late put cannot replace the body of a newer entry."""
        entry = replace(ENTRY, body=os.urandom(400_000))

        assert SEALER.seal(entry).overflow_name != SEALER.seal(replace(entry, fence=8)).overflow_name

    def test_the_table_may_drop_an_item_an_hour_after_its_end(self, item):
        """P10: `ttl` is the table's business; lifetimes are judged by the reader."""
        assert str((START_MS + 2_000) // 1000 + 3_600) == item["ttl"]["N"]

    def test_a_tombstone_comes_back_as_one(self):
        """P13: under its fence, and only under its own key."""
        tombstone = SEALER.tombstone(KEY, 9, START_MS // 1000)

        assert Tombstone(9) == opened(tombstone)
        assert rejected(tombstone, key=b"o" * 32) is Reason.CORRUPT


class TestDamage:
    def test_a_flipped_bit_at_each_offset_of_every_attribute(self, item):
        """P6, B18, F10: whatever is damaged, the entry is a miss and an alarm, or of another schema; never an answer."""
        survived = []
        for name, value in item.items():
            ((kind, raw),) = value.items()
            data = bytes(raw) if kind == "B" else raw.encode()
            for offset in range(len(data)):
                damaged = bytearray(data)
                damaged[offset] ^= 1
                told = bytes(damaged) if kind == "B" else damaged.decode("latin-1")
                try:
                    opened(item | {name: {kind: told}})
                except EntryRejected:
                    continue
                survived.append(name)

        assert {"ttl"} == set(survived), "only the table's own time may change"

    def test_a_cut_at_each_length_of_every_attribute(self, item):
        """P6, B18, F10: cut bodies, names, numbers and tags."""
        for name in item.keys() - {"ttl"}:
            ((kind, raw),) = item[name].items()
            for length in range(len(raw)):
                with pytest.raises(EntryRejected):
                    opened(item | {name: {kind: raw[:length]}})

    def test_a_missing_attribute(self, item):
        """B18: each of them."""
        for name in item.keys() - {"ttl"}:
            assert rejected({has: value for has, value in item.items() if has != name}) is Reason.CORRUPT

    def test_an_extra_attribute(self, item):
        """B18, T5: nobody adds to an entry."""
        assert rejected(item | {"erased": {"BOOL": True}}) is Reason.CORRUPT
        assert rejected(item | {"novel": {"S": ""}}) is Reason.CORRUPT

    def test_an_attribute_of_another_type(self, item):
        """B18: a fence as text, a body as text, nothing at all; never an exception of another kind."""
        for name in item.keys() - {"ttl"}:
            for value in (
                {"S": "7"},
                {"N": "7"},
                {"B": b"7"},
                {"BOOL": True},
                {"NULL": True},
                {"L": []},
                {"M": {}},
                {},
            ):
                if value != item[name]:
                    with pytest.raises(EntryRejected):
                        opened(item | {name: value})

    def test_swapped_bodies(self, item):
        """P6, F11: a body of another entry, sealed by us, is not this entry's."""
        other = SEALER.seal(replace(ENTRY, body=b'{"output": "another page"}')).item

        assert rejected(item | {"body": other["body"]}) is Reason.CORRUPT
        assert rejected(item | {name: other[name] for name in ("body", "sha256")}) is Reason.CORRUPT

    def test_a_swapped_overflow_object(self):
        """P6, P49, S45: missing, short, long or another entry's."""
        sealed = SEALER.seal(replace(ENTRY, body=os.urandom(400_000)))
        body = sealed.overflow_body
        for found in (b"", body[:-1], body + b"x", os.urandom(len(body)), bytes([body[0] ^ 1]) + body[1:]):
            assert rejected(sealed.item, fetch=lambda name, bound, found=found: found) is Reason.CORRUPT

    def test_an_overflow_bucket_that_cannot_be_asked_is_no_damage(self):
        """P49, P18: that is the tier's trouble and no alarm."""

        def unavailable(name, bound):
            raise TierUnavailable("down")

        with pytest.raises(TierUnavailable):
            opened(SEALER.seal(replace(ENTRY, body=os.urandom(400_000))).item, fetch=unavailable)

    def test_another_entrys_item_put_in_place(self, item):
        """P6, F11, B18: sealed by us, under another key."""
        assert rejected(item, key=b"o" * 32) is Reason.CORRUPT
        assert rejected(item | {"pk": {"B": b"o" * 32}}, key=b"o" * 32) is Reason.CORRUPT

    def test_an_entry_of_another_namespace_or_secret(self, item):
        """P6, P7, P38, T5: nobody without the secret plants an entry."""
        assert rejected(item, sealer=Sealer(b"tag secret", "tenant/1")) is Reason.CORRUPT
        assert rejected(item, sealer=Sealer(b"other secret", "default/1")) is Reason.CORRUPT


class Resealed:
    """Items with a right tag over wrong contents: what a broken release of ours might write."""

    @staticmethod
    def of(item, **changes):
        changed = copy.deepcopy(item) | changes
        return changed | {"tag": {"B": SEALER._tag(changed)}}


class TestWhatOnlyWeCouldWrite:
    @pytest.mark.parametrize("schema", [str(SCHEMA + 1), str(SCHEMA - 1), "99", "-1"])
    def test_another_schema_is_a_miss_in_both_directions(self, item, schema):
        """P43, F12, F39, B18: during a rolling deployment each release reads what it can; no alarm."""
        assert rejected(Resealed.of(item, schema={"N": schema})) is Reason.SCHEMA
        assert rejected(item | {"schema": {"N": schema}}) is Reason.SCHEMA

    def test_an_unknown_codec_is_another_release(self, item):
        """P49, F12, B18: a miss and no alarm."""
        assert rejected(Resealed.of(item, codec={"S": "zstd"})) is Reason.SCHEMA

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            *(("plain_bytes", size) for size in (0, -1, len(BODY) - 1, len(BODY) + 1, ANSWER_BYTES + 1, 10**30)),
            ("stored_bytes", 0),
            ("stored_bytes", 10**12),
        ],
    )
    def test_a_false_size(self, item, name, size):
        """F13, B18: declared sizes are checked against each other and against the bound."""
        assert rejected(Resealed.of(item, **{name: {"N": str(size)}})) is Reason.CORRUPT

    def test_a_decompression_bomb_is_not_inflated(self, item):
        """P30, F13: inflating stops one byte after the declared size."""
        bomb = zlib.compress(b"\0" * 50_000_000, 9)
        sha256 = hashlib.sha256(bomb).digest()
        planted = Resealed.of(
            item,
            codec={"S": "zlib"},
            body={"B": bomb},
            sha256={"B": sha256},
            stored_bytes={"N": str(len(bomb))},
            plain_bytes={"N": "1000"},
        )

        assert rejected(planted) is Reason.CORRUPT

    @pytest.mark.parametrize("tail", [b"x", zlib.compress(b"more")], ids=["junk", "second stream"])
    def test_what_follows_a_compressed_body(self, item, tail):
        """F13, B18: a body ends where it ends."""
        body = item["body"]["B"] + tail
        planted = Resealed.of(
            item,
            body={"B": body},
            sha256={"B": hashlib.sha256(body).digest()},
            stored_bytes={"N": str(len(body))},
        )

        assert rejected(planted) is Reason.CORRUPT

    @pytest.mark.parametrize("about", ["", "[]", "{}", "null", '{"usage": 1}', "{" * 500], ids=lambda text: text[:12])
    def test_other_words_about_an_answer(self, item, about):
        """B18: valid JSON or not."""
        assert rejected(Resealed.of(item, about={"S": about})) is Reason.CORRUPT

    def test_a_resealed_item_opens(self, item):
        """B18, control: the cases above fail by what they change and not by being sealed anew."""
        assert ENTRY == opened(Resealed.of(item))


def test_savings_are_at_the_prices_frozen_in_the_entry():
    """P55, S50: units without a price then are named, never taken for free."""
    total, unpriced = ENTRY.saved()

    assert ("0.004", {"inputTokens": 2.5}) == (str(total), unpriced)
