"""The key: what goes into it beside the request, and that nobody makes it without the secret."""

import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hookcache.images import ImageDigest
from hookcache.key import Keyer, Secrets

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
    assert SECRETS.key_id in repr(SECRETS)


def test_the_displayed_key_is_no_key():
    """P36, S60: receipts tell keys apart without opening anything."""
    key = KEYER.key_of(FORM, IDENTITY, "0")

    assert 16 == len(KEYER.shown(key))
    assert KEYER.shown(key) not in key.hex()


def test_every_image_and_the_form_are_indexed_once():
    """P46: an erase finds the keys of a request by any of its images and by its form alone."""
    one, other = ImageDigest(b"\x01" * 32, 7, "", ""), ImageDigest(b"\x02" * 32, 7, "", "")

    key = KEYER.key_of(FORM, IDENTITY, "0")
    form, images = KEYER.form_index(sha256(FORM).digest()), [KEYER.image_index(each.sha256) for each in (one, other)]

    assert [form, *images, KEYER.shown_index(KEYER.shown(key))] == KEYER.indexes(FORM, [one, other, one], key)
