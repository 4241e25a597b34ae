"""The HMAC secret: without it nothing is ever keyed."""

import threading

import pytest
from botocore.exceptions import EndpointConnectionError

from fakes import SECRET_ARN, FakeSecrets, refusal
from hookcache.key import Secrets
from hookcache.secret import RETRY_SECONDS, SecretSource, every_version, from_secrets_manager


class Stored:
    """A secret in Secrets Manager, and a source that reads it."""

    def __init__(self, clock) -> None:
        self.secrets = FakeSecrets("top secret")
        self.source = SecretSource(from_secrets_manager(lambda: self.secrets, SECRET_ARN), clock)


@pytest.fixture
def stored(clock) -> Stored:
    return Stored(clock)


def test_the_secret_is_read_once(stored, clock):
    """P37: one read per environment, however long it lives."""
    first = stored.source.get()
    clock.advance(10**6)

    assert Secrets.derive(b"top secret") == first == stored.source.get()
    assert 1 == stored.secrets.reads


@pytest.mark.parametrize(
    "error",
    [
        refusal("AccessDeniedException"),
        refusal("DecryptionFailure"),
        EndpointConnectionError(endpoint_url="x"),
        OSError(),
    ],
    ids=repr,
)
def test_an_unavailable_secret_is_asked_for_again_each_minute(stored, clock, error):
    """P37, F30: None meanwhile, never an unkeyed digest; the environment recovers without a redeploy."""
    stored.secrets.error = error
    assert stored.source.get() is None
    assert stored.source.get() is None
    assert 1 == stored.secrets.reads

    stored.secrets.error = None
    clock.advance(RETRY_SECONDS - 1)
    assert stored.source.get() is None
    clock.advance(1)
    assert stored.source.get() is not None


def test_a_wall_clock_set_back_does_not_stop_the_retries(stored, clock):
    """F30, F31: otherwise an hour of a wrong clock would cost an hour of bypasses."""
    stored.secrets.error = OSError()
    stored.source.get()
    stored.secrets.error = None
    clock.set_back(3_600)

    assert stored.source.get() is not None


@pytest.mark.parametrize("text", ["", " ", "\n"], ids=repr)
def test_a_blank_secret_is_none(stored, text):
    """P37, B22: an empty HMAC key confirms every guess."""
    stored.secrets.text = text

    assert stored.source.get() is None


def test_a_binary_secret_will_do(clock):
    """P37: Secrets Manager holds text or bytes."""

    class Binary:
        def get_secret_value(self, **arguments):
            return {"SecretBinary": b"\x00\xff"}

    source = SecretSource(from_secrets_manager(Binary, SECRET_ARN), clock)

    assert Secrets.derive(b"00ff") == source.get()


@pytest.mark.parametrize(
    ("before", "texts"),
    [
        ("the one before", ["top secret", "the one before"]),
        ("top secret", ["top secret"]),
        (" ", ["top secret"]),
        (refusal("ResourceNotFoundException"), ["top secret"]),
        (refusal("AccessDeniedException"), None),
        (EndpointConnectionError(endpoint_url="x"), None),
    ],
    ids=["rotated", "the same", "blank", "never rotated", "not to be read", "out of reach"],
)
def test_every_version_is_had_or_its_absence_is_told(stored, monkeypatch, before, texts):
    """T14, P46: an erase that passed over the secret before would leave what was kept under it, and say that it is done."""

    def read(**asked):
        assert SECRET_ARN == asked.pop("SecretId")
        if not asked:
            return {"SecretString": "top secret"}
        assert {"VersionStage": "AWSPREVIOUS"} == asked
        if isinstance(before, Exception):
            raise before
        return {"SecretString": before}

    monkeypatch.setattr(stored.secrets, "get_secret_value", read)
    if texts is None:
        with pytest.raises(type(before)):
            every_version(lambda: stored.secrets, SECRET_ARN)
    else:
        assert texts == every_version(lambda: stored.secrets, SECRET_ARN)


def test_a_secret_that_is_not_told_in_time_is_none(stored, monkeypatch):
    """P18, F30: the bound is on the whole, name resolution included."""
    monkeypatch.setattr("hookcache.secret.READ_SECONDS", 0.01)
    told = threading.Event()
    monkeypatch.setattr(stored.source, "_read", lambda: str(told.wait(60)))
    had = stored.source.get()
    told.set()

    assert had is None
