"""Encrypted bodies: unreadable without the secret, bound to their place, and paid for only where switched on."""

import subprocess
import sys
import zlib

import pytest

from fakes import CANARY, OVERFLOW_BUCKET, ocr_event, token_answer
from hookcache import cipher
from hookcache.cipher import BodyCipher
from hookcache.errors import ConfigurationError, EntryRejected
from hookcache.outcome import Reason
from hookcache.settings import Settings
from operator_rig import OperatedRig

PLACE = b"k" * 32 + b"17"
LARGE = "".join(chr(33 + (number * number * 7 + number // 89) % 90) for number in range(900_000))


def stored_bytes(rig):
    """Everything that a reader of table and bucket sees of bodies."""
    inline = b"".join(entry.get("body", {}).get("B", b"") for entry in rig.entries)
    return inline + b"".join(rig.s3.objects[OVERFLOW_BUCKET, name].body for name in rig.s3.names(OVERFLOW_BUCKET))


def test_a_body_opens_in_its_own_place_only():
    """P38, T5: another key, another fence, a flipped bit or a cut is `corrupt`."""
    sealed = BodyCipher(b"secret").seal(b"answer", PLACE)
    assert b"answer" == BodyCipher(b"secret").open(sealed, PLACE)

    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong, place, secret in (
        (sealed, b"j" * 32 + b"17", b"secret"),
        (sealed, b"k" * 32 + b"18", b"secret"),
        (flipped, PLACE, b"secret"),
        (sealed[:-1], PLACE, b"secret"),
        (b"", PLACE, b"secret"),
        (sealed, PLACE, b"another secret"),
    ):
        with pytest.raises(EntryRejected) as caught:
            BodyCipher(secret).open(wrong, place)
        assert Reason.CORRUPT == caught.value.reason


def test_equal_answers_are_stored_as_different_bytes():
    """P38: who reads the table cannot tell that two answers are equal."""
    both = {BodyCipher(b"secret").seal(b"answer", PLACE) for _ in range(2)}

    assert 2 == len(both)


@pytest.mark.parametrize("text", ["short", LARGE], ids=["inline", "overflow"])
@pytest.mark.parametrize(("switch", "readable"), [("on", False), ("off", True)], ids=["promise", "control: off"])
def test_what_is_stored_shows_no_answer(switch, readable, text):
    """P38, T4: neither item nor object holds the answer's text; the next environment replays it all the same."""
    with OperatedRig(HOOKCACHE_ENCRYPT=switch) as rig:
        rig.backend.handler = lambda event: token_answer(f"{CANARY} {text}")
        event = ocr_event(rig.image(b"page"))
        first = rig.call(event)
        again = rig.call(event, rig.second)

        assert ["miss", "hit_table"] == rig.outcomes
        assert first["output"] == again["output"]
        assert readable == (CANARY.encode() in plain(rig))


def plain(rig):
    """What a reader gets who undoes the compression, which is no secret."""
    stored = stored_bytes(rig)
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return stored


def test_entries_of_either_kind_are_read_whatever_the_switch_says():
    """F39: switching on or off makes nothing unreachable."""
    with OperatedRig() as rig:
        event, other = ocr_event(rig.image(b"page")), ocr_event(rig.image(b"other"))
        rig.call(event, rig.cold_start(HOOKCACHE_ENCRYPT="on"))
        rig.call(other)
        rig.call(event, rig.cold_start())
        rig.call(other, rig.cold_start(HOOKCACHE_ENCRYPT="on"))

        assert ["miss", "miss", "hit_table", "hit_table"] == rig.outcomes


@pytest.mark.parametrize(("name", "reason"), [("rot13", "schema"), (None, "corrupt")])
def test_an_unknown_cipher_is_a_miss(name, reason):
    """F12, P6: a rule of another release is `schema`; a mark taken off is under the tag, so `corrupt`."""
    with OperatedRig(HOOKCACHE_ENCRYPT="on") as rig:
        event = ocr_event(rig.image(b"page"))
        rig.call(event)
        (entry,) = rig.entries
        changed = {**entry, "cipher": {"S": name}} if name else {n: v for n, v in entry.items() if n != "cipher"}
        if name:
            sealer = rig.first.cache._table._sealer
            changed |= {"tag": {"B": sealer._tag(changed)}}
        rig.dynamodb.plant(changed)
        rig.call(event, rig.second)

        assert reason == rig.last["reason"]


def test_the_library_is_loaded_only_where_it_is_used():
    """G13: a function that does not encrypt pays nothing for it at cold start."""
    seen = "import sys, hookcache.assembly; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True, timeout=60)

    assert "False" == done.stdout.strip()


def test_without_the_library_it_cannot_be_switched_on(monkeypatch):
    """P52: refused at cold start with the remedy; what others encrypted is then a miss."""
    monkeypatch.setattr(cipher, "find_spec", lambda name: None)
    settings = {"HOOKCACHE_TABLE": "hookcache", "HOOKCACHE_SECRET": "a secret", "HOOKCACHE_ENCRYPT": "on"}
    with pytest.raises(ConfigurationError, match=r"HOOKCACHE_ENCRYPT: .*hookcache\[encrypt\]"):
        Settings.of(settings)
    with pytest.raises(EntryRejected) as caught:
        BodyCipher(b"secret").open(b"anything", PLACE)
    assert Reason.SCHEMA == caught.value.reason
