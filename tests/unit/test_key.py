"""The key: what goes into it beside the request, and that nobody makes it without the secret."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from hookcache.frames import LONG_TEXT
from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets, form_digest
from hookcache.value import replace

from . import golden

SECRETS = Secrets.derive(b"secret")
KEYER = Keyer(SECRETS, "default")
FORM, IDENTITY = b"canonical form", b"identity"


def test_golden_keys():
    """P43, S11: keys are the same in every process, Python version and release; a change needs a new schema version."""
    for case in golden.cases():
        assert case["key"] == golden.key_of(case), f"{case['name']}: raise SCHEMA and pin the keys anew"


def test_golden_keys_do_not_depend_on_the_hash_seed():
    """P43, E1: another process with another hash seed makes the same keys."""
    told = subprocess.run(
        [sys.executable, golden.__file__],
        env={"PYTHONHASHSEED": "4711", "PYTHONPATH": str(Path(__file__).parents[2] / "middleware")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert [case["key"] for case in golden.cases()] == told.stdout.split()


def test_golden_keys_differ_unless_the_requests_may_share_an_answer():
    """P1, P2: equal keys in the golden file are exactly those of the four equivalences."""
    shared: dict[str, set[str]] = {}
    for case in golden.cases():
        shared.setdefault(case["key"], set()).add(case["same_as"] or case["name"])

    assert all(len(names) == 1 for names in shared.values())
    assert len(shared) == len({case["same_as"] or case["name"] for case in golden.cases()})


def test_a_key_is_a_whole_digest():
    """P2, S9: 32 bytes, never cut."""
    assert len(KEYER.key_of(FORM, IDENTITY, "0")) == 32


@pytest.mark.parametrize(
    "other",
    [
        Keyer(SECRETS, "default").key_of(b"canonical form.", IDENTITY, "0"),
        Keyer(SECRETS, "default").key_of(FORM, b"identity.", "0"),
        Keyer(SECRETS, "default").key_of(FORM, IDENTITY, "1"),
        Keyer(SECRETS, "default").key_of(FORM, IDENTITY, "0", "blue"),
        Keyer(SECRETS, "default").key_of(FORM, IDENTITY, "", "0"),
        Keyer(SECRETS, "tenant").key_of(FORM, IDENTITY, "0"),
        Keyer(Secrets.derive(b"secret."), "default").key_of(FORM, IDENTITY, "0"),
        Keyer(replace(SECRETS, keys=b"other"), "default").key_of(FORM, IDENTITY, "0"),
        Keyer(SECRETS, "default").key_of(b"form", b"identity\0canonical ", "0"),
    ],
    ids=["form", "identity", "generation", "rollout", "moved", "namespace", "secret", "derived secret", "boundary"],
)
def test_everything_beside_the_request_counts(other):
    """P1, P7, P40, P44, P51, S13, S17: namespace, identity, generation, rollout and secret are parts of the key."""
    assert KEYER.key_of(FORM, IDENTITY, "0") != other


def test_another_schema_version_is_another_key(monkeypatch):
    """P43: entries of other versions are misses, in both directions."""
    before = KEYER.key_of(FORM, IDENTITY, "0")
    monkeypatch.setattr("hookcache.key.SCHEMA", 2)

    assert before != KEYER.key_of(FORM, IDENTITY, "0")


def test_equal_parts_make_equal_keys():
    """P1, control: the same parts under a keyer made anew are the same key."""
    assert KEYER.key_of(FORM, IDENTITY, "0") == Keyer(Secrets.derive(b"secret"), "default").key_of(FORM, IDENTITY, "0")


def test_without_the_secret_a_guess_cannot_be_confirmed():
    """P37, T3: every digest that a table or receipt shows changes with the secret."""
    other = Keyer(Secrets.derive(b"other"), "default")
    image = ImageDigest(b"\x01" * 32, 7, "", "")
    key = KEYER.key_of(FORM, IDENTITY, "0")
    shown = [
        (key, other.key_of(FORM, IDENTITY, "0")),
        (KEYER.shown(key), other.shown(key)),
        (KEYER.form_index(FORM), other.form_index(FORM)),
        (KEYER.image_index(image.sha256), other.image_index(image.sha256)),
        (KEYER.control_key("backend"), other.control_key("backend")),
        (KEYER.namespace, other.namespace),
    ]

    assert all(one != another for one, another in shown)


def test_no_digest_of_one_purpose_means_anything_for_another():
    """P37: keys, indexes and control items come from different derived secrets."""
    derived = {SECRETS.keys, SECRETS.tags, SECRETS.index, SECRETS.trace}

    assert len(derived) == 4
    assert len({KEYER.form_index(FORM), KEYER.image_index(FORM), bytes(KEYER.control_key(FORM.decode()))}) == 3


def test_the_secret_is_not_shown():
    """P36: a secret that ends up in a message shows its key id only."""
    assert SECRETS.keys.hex() not in repr(SECRETS)
    assert repr(SECRETS.keys) not in repr(SECRETS)
    assert f"Secrets(key_id='{SECRETS.key_id}')" == repr(SECRETS)


def test_the_displayed_key_is_no_key():
    """P36, S60: receipts tell keys apart without opening anything."""
    key = KEYER.key_of(FORM, IDENTITY, "0")

    assert 16 == len(KEYER.shown(key))
    assert KEYER.shown(key) not in key.hex()


def test_every_image_and_the_form_are_indexed_once():
    """P46: an erase finds the keys of a request by any of its images and by its form alone."""
    one, other = ImageDigest(b"\x01" * 32, 7, "", ""), ImageDigest(b"\x02" * 32, 7, "", "")

    key = KEYER.key_of(FORM, IDENTITY, "0")
    form = sha256(FORM).digest()
    found_by = [KEYER.form_index(form), *(KEYER.image_index(each.sha256) for each in (one, other))]

    indexes = KEYER.indexes([form, one.sha256, other.sha256, one.sha256], key)
    assert [*found_by, KEYER.shown_index(KEYER.shown(key))] == indexes


def test_what_lies_in_tables_never_changes():
    """P43, P46: the next release finds what this one wrote: keys, indexes, orders, tags and bodies, to the bit."""
    key = KEYER.key_of(FORM, IDENTITY, "0")
    written = {
        "keys": "63f20b7706d54baca94b54b973fa287874b969bec86b35e3a1005b13ae686bbe",
        "tags": "d99fbf7c5dfaad126ae280cccded633e9a113fe26de26584d06b0686185737e6",
        "index": "3fa3ed6b211a0b8831d082e95fa907c63adce2d806d3c8299f4c570ec3398c78",
        "trace": "6bb80123ba53e469210ed85ba5b2801265806c2dee7a649e71107efe882074a8",
        "bodies": "8ffe1589e68c565302b2f9ab3a7ba7728ba47309a7b9c8cf72655d2473ce5685",
    }

    assert written == {name: getattr(SECRETS, name).hex() for name in written}
    assert "default/03e2b0abede38f7e" == KEYER.namespace
    assert "b07df1eaf11a973159a374afdd764c9db690577512d48c36c6e1f2a00ef610ae" == key.hex()
    assert "589149175827a2bd" == KEYER.shown(key)
    assert "68c063238fa20b62" == KEYER.traced("system", b"value")
    assert [
        "a1bcea306286aae55294f4b8e88d4b3934ea7a386edc608910ddff41a210d52c",
        "b418c8361ea56bb42acec1377e939c89371f5f8ad0323291cb2e0cf4de13b066",
        "4f008443396cbbcaa82b68f8f98474f91d05785fdc03ed528869aa0b77f223be",
        "4eeeed0d9287efaf60c3021677e3ae31f3615da6458336282ea99d8cdcde70fe",
    ] == [
        digest.hex()
        for digest in (
            KEYER.image_index(b"\x01" * 32),
            KEYER.form_index(b"\x01" * 32),
            KEYER.shown_index("00ff"),
            KEYER.control_key("GENAIIDP-ocr"),
        )
    ]


def test_no_rollout_is_an_empty_one():
    """P51: the host names none; its keys are those of a caller who says so."""
    digest = sha256(FORM).digest()
    keys = [
        KEYER.key_of(FORM, IDENTITY, "0", ""),
        KEYER.key_of(FORM, IDENTITY, "0"),
        KEYER.key_of_digest(digest, IDENTITY, "0"),
    ]

    assert 1 == len(set(keys))
    assert keys[0] != KEYER.key_of(FORM, IDENTITY, "0", "canary")


@pytest.mark.parametrize("size", [1, LONG_TEXT - 1, LONG_TEXT, LONG_TEXT + 1, 2 * LONG_TEXT, 3 * LONG_TEXT + 5])
def test_a_long_text_counts_to_its_last_letter(size):
    """P1, P2, S5: a form in pieces has the digest of the whole, and every letter of a text is in it."""
    text = ("0123456789" * (size // 10 + 1))[:size]
    whole = form_digest([b"before", text, b"behind"])

    assert sha256(b"before" + text.encode() + b"behind").digest() == whole
    for place in {0, size // 2, size - 1, *(at for at in (LONG_TEXT - 1, LONG_TEXT) if at < size)}:
        changed = f"{text[:place]}x{text[place + 1 :]}"
        assert form_digest([b"before", changed, b"behind"]) != whole


def test_bytes_are_digested_as_they_are():
    """P2: pieces that are bytes already, in one or several, beside such that are text."""
    assert sha256(b"caf\xc3\xa9" + b"b").digest() == form_digest([b"caf\xc3\xa9", b"", b"b"])
    assert sha256(b"ab").digest() == form_digest([b"a", "b"])


@pytest.mark.parametrize("purpose", ["keys", "tags", "index", "trace", "bodies"])
def test_no_derived_secret_is_shown(purpose):
    """P36, T3: each of them opens something; only the key id stands in a message."""
    assert purpose not in repr(SECRETS)
    assert repr(getattr(SECRETS, purpose)) not in repr(SECRETS)
