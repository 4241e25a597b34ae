"""Digests from kept beginnings are those of the standard library. P2, P6."""

from __future__ import annotations

import hashlib
import hmac
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcache.mac import Mac, sha256_hex


@given(secret=st.binary(max_size=200), beginning=st.binary(max_size=200), text=st.binary(max_size=3_000))
def test_a_mac_is_the_standard_library_s(secret, beginning, text):
    """P2, P6: of any secret and beginning, and again of the same."""
    mac = Mac(secret, beginning)

    assert [hmac.digest(secret, beginning + text, "sha256")] * 2 == [mac.digest(text), mac.digest(text)]
    assert hmac.digest(secret, text, "sha256") == Mac(secret).digest(text)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 128])
def test_secrets_around_a_block(length):
    """P6: RFC 2104 pads what is shorter and digests what is longer."""
    secret = b"s" * length

    assert hmac.digest(secret, b"text", "sha256") == Mac(secret).digest(b"text")


@given(text=st.binary(max_size=3_000))
def test_a_digest_is_the_standard_library_s(text):
    """P2: twice, since the beginning is used again."""
    assert [hashlib.sha256(text).hexdigest()] * 2 == [sha256_hex(text), sha256_hex(text)]


def test_one_call_leaves_nothing_to_the_next_or_to_another_thread():
    """P6: the kept beginnings are copied and never written to."""
    mac, right = Mac(b"secret"), []
    texts = [bytes([number]) * 5_000 for number in range(8)]

    def compare(text: bytes) -> None:
        expected = hmac.digest(b"secret", text, "sha256"), hashlib.sha256(text).hexdigest()
        right.append(all((mac.digest(text), sha256_hex(text)) == expected for _ in range(200)))

    threads = [threading.Thread(target=compare, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [True] * len(texts) == right
