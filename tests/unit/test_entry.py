"""Stored entries: sealed, compressed, bounded, and refused when anything about them is not as it was sealed."""

import copy
import decimal
import hashlib
import json
import os
import tracemalloc
import zlib

import pytest

import hookcache.entry
from fakes import START_MS
from hookcache.canonical import SCHEMA
from hookcache.entry import ANSWER_BYTES, Entry, held_bytes
from hookcache.errors import EntryRejected, TierUnavailable
from hookcache.outcome import Reason
from hookcache.sealer import INLINE_BYTES, Sealer, Tombstone, body_of
from hookcache.value import replace

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

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 101])
    def test_what_it_was_made_of_can_be_told_with_the_secret_only(self, count):
        """P37, P46: the digests of request and images come back; in the item they do not stand in clear."""
        origin = tuple(hashlib.sha256(b"%d" % number).digest() for number in range(count))
        item = SEALER.seal(replace(ENTRY, origin=origin)).item

        assert origin == SEALER.origin_of(KEY, item)
        assert ("origin" in item) == (count > 0)
        assert not any(digest in item.get("origin", {}).get("B", b"") for digest in origin)
        if count:
            assert origin != SEALER.origin_of(b"x" * 32, item)
            assert origin != Sealer(b"another secret", "default/1").origin_of(KEY, item)

    def test_how_it_is_masked_never_changes(self):
        """P43, P46: an erase finds what entries of earlier releases were made of."""
        origin = tuple(hashlib.sha256(b"%d" % number).digest() for number in range(2))
        masked = SEALER.seal(replace(ENTRY, origin=origin)).item["origin"]["B"].hex()

        assert masked == (
            "7dc13ffd2a40997ca0f6e14c18f1911a8f6367e4f660e6e1bf5f2834091d3c32"
            "8e8189af52cf4db2a56f16a515e37585be41f58006269ffd73cbd104b9c8774a"
        )

    @pytest.mark.parametrize("size", [349, 351, 399, 401, 700])
    def test_a_large_body_goes_to_the_overflow_bucket(self, size):
        """P49, S43: what cannot be compressed below 350 KB is no longer in the item; the item stays small."""
        entry = replace(ENTRY, body=os.urandom(size * 1024))
        sealed = SEALER.seal(entry)

        assert (size > 350) == (sealed.overflow_name is not None) == ("body" not in sealed.item)
        assert (sealed.overflow_body == b"") == (sealed.overflow_name is None)
        assert entry == opened(
            sealed.item, fetch=lambda name, bound: {sealed.overflow_name: sealed.overflow_body}[name]
        )

    @pytest.mark.parametrize(("size", "inline"), [(358_400, True), (358_401, False)])
    def test_the_item_holds_a_body_of_350_kb(self, size, inline):
        """P49: to the byte; the item's own limit is 400 KB."""
        assert inline == ("body" in SEALER.seal(replace(ENTRY, body=os.urandom(size))).item)

    @pytest.mark.parametrize(("size", "codec"), [(1_024, "plain"), (1_025, "zlib")])
    def test_a_body_is_compressed_from_1_kb_on(self, size, codec):
        """P49: below, a write unit is paid either way; above, level 6."""
        body = b"a" * size
        sealed = SEALER.seal(replace(ENTRY, body=body)).item

        assert codec == sealed["codec"]["S"]
        assert (body if codec == "plain" else zlib.compress(body, 6)) == sealed["body"]["B"]

    def test_the_level_of_compression(self):
        """P49: level 6 is the one that was measured; this body comes out differently under its neighbours."""
        body = json.dumps(
            [{"line": number, "text": f"word {number * 7919 % 1009}"} for number in range(2_000)]
        ).encode()
        levels = [zlib.compress(body, level) for level in (5, 6, 7)]

        assert levels[1] not in (levels[0], levels[2])
        assert levels[1] == SEALER.seal(replace(ENTRY, body=body)).item["body"]["B"]

    def test_noise_is_kept_as_it_is(self):
        """P49: a body that compression makes longer."""
        assert "plain" == SEALER.seal(replace(ENTRY, body=os.urandom(3_000))).item["codec"]["S"]

    def test_a_cipher_only_opens_unless_told_to_encrypt(self):
        """P38: encryption is the operator's choice; what was encrypted before is still read."""

        class Unused:
            def seal(self, body, place):
                raise AssertionError("encrypted without being asked to")

        assert "cipher" not in Sealer(b"tag secret", "default/1", Unused()).seal(ENTRY).item

    def test_the_place_of_an_encrypted_body(self):
        """P38, P43: its key and its fence, for writers and readers of every release alike."""
        places = []

        class Noting:
            def seal(self, body, place):
                places.append(place)
                return body

        Sealer(b"tag secret", "default/1", Noting(), encrypts=True).seal(ENTRY)

        assert [KEY + b"7"] == places

    def test_the_largest_answer_is_kept(self):
        """P49, S43: 5.9 MB, and nothing above that is ever inflated."""
        largest = 6_186_598

        assert opened(SEALER.seal(replace(ENTRY, body=b"a" * largest)).item).body == b"a" * largest
        assert rejected(SEALER.seal(replace(ENTRY, body=b"a" * (largest + 1))).item) is Reason.CORRUPT

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


def resealed(item, **changes):
    """An item with a right tag over wrong contents: what a broken release of ours might write."""
    changed = copy.deepcopy(item) | changes
    return changed | {"tag": {"B": SEALER._tag(changed)}}


def with_body(item, body, **changes):
    """The same, of a body with its own digest and length."""
    told = {"body": {"B": body}, "sha256": {"B": hashlib.sha256(body).digest()}, "stored_bytes": {"N": str(len(body))}}
    return resealed(item, **told, **changes)


class TestWhatOnlyWeCouldWrite:
    @pytest.mark.parametrize("schema", [str(SCHEMA + 1), str(SCHEMA - 1), "99", "-1"])
    def test_another_schema_is_a_miss_in_both_directions(self, item, schema):
        """P43, F12, F39, B18: during a rolling deployment each release reads what it can; no alarm."""
        assert rejected(resealed(item, schema={"N": schema})) is Reason.SCHEMA
        assert rejected(item | {"schema": {"N": schema}}) is Reason.SCHEMA

    def test_an_unknown_codec_is_another_release(self, item):
        """P49, F12, B18: a miss and no alarm."""
        assert rejected(resealed(item, codec={"S": "zstd"})) is Reason.SCHEMA

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
        assert rejected(resealed(item, **{name: {"N": str(size)}})) is Reason.CORRUPT

    def test_a_size_that_was_counted_wrong(self, item):
        """F13: the right bytes under a wrong length."""
        stored_bytes = int(item["stored_bytes"]["N"])
        assert rejected(resealed(item, stored_bytes={"N": str(stored_bytes + 1)})) is Reason.CORRUPT

    def test_an_empty_answer_is_none(self, item):
        """F13, P14: an empty body is admitted by nobody, so that nobody of ours can have stored it."""
        body = zlib.compress(b"")
        planted = with_body(item, body, plain_bytes={"N": "0"})

        assert rejected(planted) is Reason.CORRUPT

    @pytest.mark.parametrize(("over", "asks"), [(0, 1), (1, 0)])
    def test_an_object_that_is_too_large_is_not_even_asked_for(self, item, over, asks):
        """P30, F13: the longest body and what encryption adds, to the byte."""
        asked = []
        planted = resealed(item, overflow={"S": "entries/x"}, stored_bytes={"N": str(6_186_598 + 28 + over)})

        assert rejected(planted, fetch=lambda name, bound: asked.append(bound) or b"") is Reason.CORRUPT
        assert asks == len(asked)

    def test_a_compressed_body_without_its_end(self, item):
        """F13: all bytes came out, and the checksum that follows them is missing."""
        assert rejected(with_body(item, item["body"]["B"][:-4])) is Reason.CORRUPT

    def test_an_item_of_another_kind(self, item):
        """P6: an order or a lease under a right tag is no answer."""
        assert rejected(resealed(item, kind={"S": "CONTROL"})) is Reason.CORRUPT

    def test_an_encrypted_body_where_nothing_decrypts(self, item):
        """P38, F12: a miss and no alarm."""
        assert rejected(resealed(item, cipher={"S": "aes-256-gcm"})) is Reason.SCHEMA

    @pytest.mark.parametrize("odd", [{"B": 10**30}, {"B": "text"}, {"B": -1}, {"S": b"text"}, "text", None, {}, 5])
    def test_a_body_of_another_shape(self, item, odd):
        """B18: whatever a client library makes of it."""
        assert rejected(item | {"body": odd}) is Reason.CORRUPT

    @pytest.mark.parametrize("name", ["fence", "schema", "about", "tag"])
    @pytest.mark.parametrize("odd", ["text", None, {}, 5, [1]])
    def test_an_attribute_of_no_shape_at_all(self, item, name, odd):
        """B18: never an exception of another kind."""
        assert rejected(item | {name: odd}) is Reason.CORRUPT

    def test_a_compressed_body_that_is_none(self, item):
        """F13, B18: the right digest of bytes that nothing inflates."""
        assert rejected(with_body(item, b"no zlib stream")) is Reason.CORRUPT

    def test_words_about_an_answer_that_no_parser_follows(self, item):
        """B18, P18: deeper than Python's own recursion allows."""
        assert rejected(resealed(item, about={"S": "[" * 100_000})) is Reason.CORRUPT

    def test_a_decompression_bomb_is_not_inflated(self, item):
        """P30, F13: inflating stops one byte after the declared size."""
        bomb = zlib.compress(b"\0" * 50_000_000, 9)
        planted = with_body(item, bomb, codec={"S": "zlib"}, plain_bytes={"N": "1000"})

        tracemalloc.start()
        try:
            assert rejected(planted) is Reason.CORRUPT
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("tail", [b"x", zlib.compress(b"more")], ids=["junk", "second stream"])
    def test_what_follows_a_compressed_body(self, item, tail):
        """F13, B18: a body ends where it ends."""
        assert rejected(with_body(item, item["body"]["B"] + tail)) is Reason.CORRUPT

    @pytest.mark.parametrize("about", ["", "[]", "{}", "null", '{"usage": 1}', "{" * 500], ids=lambda text: text[:12])
    def test_other_words_about_an_answer(self, item, about):
        """B18: valid JSON or not."""
        assert rejected(resealed(item, about={"S": about})) is Reason.CORRUPT

    def test_a_resealed_item_opens(self, item):
        """B18, control: the cases above fail by what they change and not by being sealed anew."""
        assert ENTRY == opened(resealed(item))


class TestIsDamaged:
    def test_what_we_sealed_is_not(self, item):
        """F39, control: an entry and a tombstone as they were written."""
        assert SEALER.is_damaged(KEY, item) is False
        assert SEALER.is_damaged(KEY, SEALER.tombstone(KEY, 9, 1)) is False

    @pytest.mark.parametrize("schema", [str(SCHEMA + 1), "0"])
    def test_another_release_is_not(self, item, schema):
        """F12, F39: it is not ours to replace."""
        assert SEALER.is_damaged(KEY, item | {"schema": {"N": schema}}) is False

    @pytest.mark.parametrize(
        "change",
        [
            {"fence": {"N": "8"}},
            {"tag": {"B": b""}},
            {"tag": {"B": "text"}},
            {"tag": {"B": -1}},
            {"tag": "text"},
            {"tag": {}},
            {"tag": {"S": "text"}},
            {"fence": {}},
            {"fence": "7"},
            {"schema": {}},
            {"schema": None},
            {"schema": {"S": "1"}},
        ],
        ids=str,
    )
    def test_what_nobody_of_ours_sealed_is(self, item, change):
        """F39, P6: then a fill may replace it, whatever its fence."""
        assert SEALER.is_damaged(KEY, item | change) is True

    def test_an_entry_in_anothers_place_is(self, item):
        """F39, F11: sealed by us, for another key."""
        assert SEALER.is_damaged(b"o" * 32, item) is True


class TestWhatLiesInTables:
    """Pinned to the bit: the next release opens what this one wrote, or raises `SCHEMA` (P43)."""

    def test_an_entry(self):
        """P43, P6: every attribute, its name and its type, and the tag over them."""
        entry = Entry(
            KEY,
            7,
            1_700_000_000_000,
            1_700_000_001_000,
            1_700_000_002_000,
            b'{"a": 1}',
            {"pages": 1, "inputTokens": 2.5},
            "OCR",
            "12",
            {"pages": "0.004"},
        )

        assert {
            "pk": {"B": KEY},
            "kind": {"S": "ENTRY"},
            "schema": {"N": "1"},
            "namespace": {"S": "default/1"},
            "fence": {"N": "7"},
            "created_ms": {"N": "1700000000000"},
            "fresh_until_ms": {"N": "1700000001000"},
            "hard_until_ms": {"N": "1700000002000"},
            "codec": {"S": "plain"},
            "plain_bytes": {"N": "8"},
            "stored_bytes": {"N": "8"},
            "sha256": {"B": bytes.fromhex("f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310")},
            "about": {
                "S": '{"usage":{"pages":1,"inputTokens":2.5},"context":"OCR","backend_version":"12","cost":{"pages":"0.004"}}'
            },
            "ttl": {"N": "1700003602"},
            "body": {"B": b'{"a": 1}'},
            "tag": {"B": bytes.fromhex("4c4b85ff29c09921477350588fdccb31704e2a7ffb0ad5dac33ca87eaa004cf4")},
        } == SEALER.seal(entry).item

    def test_a_tombstone_that_names_a_body(self):
        """P46, P43: under the tag, so that releases that know nothing of it read the tombstone as any other."""
        name = f"entries/{KEY.hex()}/7-body"
        item = SEALER.tombstone(KEY, 9, 1_700_000_000, name)

        assert {"S": name} == item["overflow"]
        assert Tombstone(9) == opened(item)
        assert rejected({**item, "overflow": {"S": f"{name}~"}}) is Reason.CORRUPT

    def test_the_body_of_an_item_bears_the_keys_own_name(self):
        """T5, P46: of the key that it was read under, whoever wrote the item."""
        own = f"entries/{KEY.hex()}/7-body"

        assert own == body_of(KEY, {"overflow": {"S": own}})
        others = ["", "entries/", f"entries/{'07' * 32}/7-body", f"x{own}"]
        assert [None] * 4 == [body_of(KEY, {"overflow": {"S": name}}) for name in others]
        odd = [None, {}, {"overflow": {"S": 7}}, {"overflow": {"N": own}}]
        assert [None] * 4 == [body_of(KEY, item) for item in odd]

    def test_a_tombstone(self):
        """P43, P13."""
        assert {
            "pk": {"B": KEY},
            "kind": {"S": "ENTRY"},
            "schema": {"N": "1"},
            "namespace": {"S": "default/1"},
            "fence": {"N": "9"},
            "erased": {"BOOL": True},
            "ttl": {"N": "1700000000"},
            "tag": {"B": bytes.fromhex("bdcb3c6ef76ae7ee98c44da642a20019433344a70d9e0c9934cfd7ac4712d157")},
        } == SEALER.tombstone(KEY, 9, 1_700_000_000)

    def test_the_name_of_an_overflow_object(self):
        """P43, P46: an erase finds all objects of a key by their prefix."""
        body = os.urandom(400_000)
        sealed = SEALER.seal(replace(ENTRY, body=body))

        assert f"entries/{KEY.hex()}/7-{hashlib.sha256(body).hexdigest()}" == sealed.overflow_name


def test_a_unit_that_costs_nothing_needs_no_price():
    """P55: nothing was used of it, or the host declares it free."""
    total, unpriced = replace(ENTRY, usage={"pages": 0, "totalTokens": 1700}, cost={}).saved()

    assert ("0", {}) == (str(total), unpriced)


def test_what_hits_worked_out_is_no_part_of_an_entry():
    """P9: it is told by the entry alone, and nobody can hand it in."""
    fresh, used = replace(ENTRY), replace(ENTRY)
    used.saved()
    used.may_be_unpostable()

    assert fresh == used
    assert repr(fresh) == repr(used)
    for name, value in (("_saved", None), ("_odd", True)):
        with pytest.raises((TypeError, ValueError)):
            replace(ENTRY, **{name: value})


def test_every_name_counts_as_held():
    """P30, S44: context, version and the names of units, letter by letter."""
    bare = held_bytes(10, "OCR", "7", {"pages": 1})

    assert bare + 5 == held_bytes(10, "OCR12345", "7", {"pages": 1})
    assert bare + 5 == held_bytes(10, "OCR", "712345", {"pages": 1})
    assert bare + 5 == held_bytes(10, "OCR", "7", {"pages12345": 1})
    assert bare + 5 == held_bytes(15, "OCR", "7", {"pages": 1})


def test_savings_are_at_the_prices_frozen_in_the_entry():
    """P55, S50: units without a price then are named, never taken for free."""
    total, unpriced = ENTRY.saved()

    assert ("0.004", {"inputTokens": 2.5}) == (str(total), unpriced)


def test_savings_are_in_our_own_arithmetic():
    """P18, P55: a handler in this process may have set its thread's to a few digits, or to raise where some are cut."""
    costs = {"inputTokens": "0.012345", "outputTokens": "0.1"}
    with decimal.localcontext() as its:
        its.prec, its.traps[decimal.Inexact] = 3, True
        total, _ = replace(ENTRY, cost=costs).saved()

    assert "0.112345" == str(total)


def test_a_body_is_searched_for_halves_of_characters_once(monkeypatch):
    """P9, G1: by its first hit; both answers are remembered, and told of equal entries alike."""
    searched = []
    search = hookcache.entry.may_be_unpostable
    monkeypatch.setattr(hookcache.entry, "may_be_unpostable", lambda body: searched.append(body) or search(body))
    for body, expected in ((b'{"a": "\\ud83d"}', True), (b'{"a": "\\n"}', False)):
        entry = replace(ENTRY, body=body)

        assert [expected] * 3 == [entry.may_be_unpostable() for _ in range(3)]
        assert entry == replace(ENTRY, body=body)
    assert 2 == len(searched)
