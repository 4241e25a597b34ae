"""F30-F32: a secret that cannot be had, clocks that are wrong, environments that were frozen. P10-P12, P37."""

from __future__ import annotations

import hashlib
import threading

import pytest
from cachetools import TTLCache

from fakes import SECRET_ARN, FakeClock, ocr_event, refusal
from hookcache.backend import ClientPool
from hookcache.key import Secrets
from hookcache.memory import MemoryTier
from hookcache.secret import SecretSource
from stopwatch import Stopwatch

PINNED = {"HOOKCACHE_IDENTITY": "pinned"}
EVENT = ocr_event(text="the one page")
HOUR = 3_600


class TestNoSecret:
    @pytest.mark.parametrize(
        "error", [refusal("AccessDeniedException"), refusal("InternalServiceError"), OSError("x"), RuntimeError("x")]
    )
    def test_everything_is_bypassed_and_asked_again_each_minute(self, rig, error):
        """F30: no key of any kind is made; the secret is asked for once a minute, and then all is well."""
        rig.secrets.error = error
        for _ in range(3):
            rig.call(EVENT)
        asked = rig.secrets.reads
        rig.clock.advance(61)
        rig.secrets.error = None
        rig.call(EVENT)
        rig.call(EVENT)

        assert 1 == asked
        assert ["secret_unavailable"] * 3 == [receipt["reason"] for receipt in rig.receipts[:3]]
        assert [""] * 3 == [receipt["key_id"] for receipt in rig.receipts[:3]]
        assert ["miss", "hit_memory"] == rig.outcomes[3:]

    @pytest.mark.parametrize("text", ["", "   ", "\n"])
    def test_a_blank_secret_is_none(self, rig, text):
        """F30: an empty secret would let anybody make our keys."""
        rig.secrets.text = text or " "
        rig.call(EVENT)
        rig.secrets.text = "a secret"

        assert "secret_unavailable" == rig.last["reason"]

    def test_a_secret_that_hangs_is_given_up(self, monkeypatch):
        """F30, P18: name resolution included, whatever hangs (here the bound is 0.2 s)."""
        monkeypatch.setattr("hookcache.secret.READ_SECONDS", 0.2)
        gate = threading.Event()
        with Stopwatch() as watch:
            got = SecretSource(lambda: (gate.wait(60) and "late") or "late", FakeClock()).get()
        gate.set()

        assert got is None
        assert watch.seconds < 1.0

    def test_control_with_a_fall_back_a_guess_is_confirmed(self, make_rig, monkeypatch):
        """F30, Control: a plain digest, which anybody can make of a guessed prompt."""

        def plain(self):
            nothing = hashlib.sha256(b"").digest()
            return Secrets(nothing, nothing, nothing, nothing, nothing, "plain")

        monkeypatch.setattr(SecretSource, "get", plain)
        seen, guessed = make_rig(HOOKCACHE_SECRET_ARN=SECRET_ARN, **PINNED), make_rig(**PINNED)
        guessed.call(EVENT)
        seen.call(EVENT)
        seen.dynamodb.faulted = guessed.dynamodb.faulted = True

        assert [item["pk"]["B"] for item in seen.entries] == [item["pk"]["B"] for item in guessed.entries] != []


class TestAWrongClock:
    @pytest.mark.parametrize("hours", [1, -1])
    def test_a_clock_that_jumps_serves_nothing_past_its_time(self, make_rig, hours):
        """F31, P10, P12: entries of an hour live two more reads at most, never beyond their end."""
        rig = make_rig(HOOKCACHE_FRESH_SECONDS=str(HOUR), **PINNED)
        rig.call(EVENT)
        rig.clock.freeze(hours * HOUR)
        rig.call(EVENT, rig.cold_start())
        expected = {1: ("miss", "expired"), -1: ("miss", "created_in_future")}

        assert expected[hours] == (rig.last["outcome"], rig.last["reason"])

    def test_a_clock_set_back_does_not_keep_copies_for_longer(self, rig):
        """F31, P11: a copy that seems to end later than any copy may is dropped."""
        rig.call(EVENT)
        rig.clock.set_back(HOUR)
        rig.call(EVENT)

        assert "hit_memory" != rig.last["outcome"]

    @pytest.mark.parametrize("elapsed", [0.0, 0.001])
    def test_a_monotonic_clock_near_zero_or_frozen_changes_nothing(self, make_rig, elapsed):
        """F31, S31: on a cold start it reads near 0; in a frozen environment it stands still."""
        rig = make_rig(**PINNED)
        rig.clock.elapsed_seconds = elapsed
        rig.call(EVENT)
        rig.clock.freeze(299)
        rig.call(EVENT)
        rig.clock.freeze(2)
        rig.call(EVENT)

        assert ["miss", "hit_memory", "hit_table"] == rig.outcomes

    def test_control_by_monotonic_time_stale_copies_are_served(self, rig, monkeypatch):
        """F31, F32, Control: a cache that counts elapsed time outlives a freeze."""
        rig.call(EVENT)
        cache = rig.first.cache
        (key,) = cache._memory._copies
        kept = TTLCache(10, 300, timer=rig.clock.elapsed)
        kept[key] = cache._memory.get(key)
        rig.clock.freeze(24 * HOUR)

        assert key in kept
        assert cache._memory.get(key) is None
        assert isinstance(cache._memory, MemoryTier)


class TestAFrozenEnvironment:
    class Client:
        def __init__(self) -> None:
            self.closed = 0

        def close(self) -> None:
            self.closed += 1

    def test_connections_to_the_backend_are_not_trusted_after_a_freeze(self):
        """F32, P22: an invoke is never repeated, so a client that was idle opens a new connection first."""
        clock, made = FakeClock(), []
        pool = ClientPool(lambda seconds: made.append(self.Client()) or made[-1], clock)
        pool(30.0)
        clock.advance(10)
        pool(30.0)
        busy = made[0].closed
        clock.freeze(600)
        pool(30.0)

        assert (1, 0, 1) == (len(made), busy, made[0].closed)

    def test_at_most_so_many_clients_are_kept(self):
        """P30: one per read timeout; the one unused for longest goes, and gives its sockets back."""
        made = []
        pool = ClientPool(lambda seconds: made.append(self.Client()) or made[-1], FakeClock())
        for seconds in range(20):
            pool(float(seconds))

        assert ClientPool.KEPT == len(pool._clients)
        assert 20 - ClientPool.KEPT == sum(client.closed for client in made)
