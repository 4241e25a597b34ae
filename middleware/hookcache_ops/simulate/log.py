"""
A log as a replay needs it: sums over every request, what can be learnt of times and costs, and a sample to replay.

One pass, in bounded memory: the sums and the experience are of fixed size, the sample is bounded, and request ids are
told apart as `hookcache report` does it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hookcache.outcome import Outcome
from hookcache_ops.receipts import Reading, read_receipts
from hookcache_ops.simulate.environments import Environments
from hookcache_ops.simulate.experience import Experience
from hookcache_ops.simulate.sampling import Sample
from hookcache_ops.simulate.tally import Tally
from hookcache_ops.simulate.trace import ReceiptReader, Request, function_gigabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hookcache_ops.ledger.period import Period


@dataclass(slots=True)
class Log:
    """
    Attributes:
        tally: every request as it ended. `sample`: those that are replayed. `sampled`: these as they ended.
        payloads: True where the log says what was asked and not what came of it.
        guessed_environments: requests whose environment the log does not name; it follows from their times.
        keys: by step, how many requests have a key and a trace, and how many a key alone.
        keyless: sampling requests of receipts, which have no key and stay bypassed.
        unpriced: requests with a unit that has no price; of payloads, each without an answer, or all where no price table was given.
    """

    sample: Sample
    tally: Tally = field(default_factory=Tally)
    experience: Experience = field(default_factory=Experience)
    reading: Reading = field(default_factory=Reading)
    environments: int = 0
    guessed_environments: int = 0
    requests: int = 0
    traced: int = 0
    keyless: int = 0
    unread_images: int = 0
    unpriced: int = 0
    first_ms: int = 0
    last_ms: int = 0
    payloads: bool = False
    keys: Counter[tuple[str, bool]] = field(default_factory=Counter)
    modes: set[str] = field(default_factory=set)
    sampled: Tally = field(default_factory=Tally)
    in_time: list[Request] = field(default_factory=list)

    def add(self, request: Request) -> None:
        if not self.requests or request.start_ms < self.first_ms:
            self.first_ms = request.start_ms
        self.last_ms = max(self.last_ms, request.start_ms)
        self.requests += 1
        self.traced += request.whole is not None
        self.keys[request.context, request.whole is not None] += request.key is not None
        self.keyless += request.key is None and request.reason in _KEYLESS
        self.modes.add(request.mode)
        count_logged(self.tally, request)
        self.experience.add(request)
        self.sample.add(request)

    @property
    def cost_unknown(self) -> bool:
        """No unit of the log has a price: what was spent and saved is not 0, nobody knows it (P55)."""
        return bool(self.unpriced) and not self.tally.total(lambda sums: sums.spent + sums.saved)

    def close(self) -> Log:
        """All is read: order the sample, and learn what each of its keys' answers is like."""
        self.in_time = self.sample.in_time()
        self.sampled = as_logged(self.in_time)
        for request in self.in_time:
            self.experience.remember_answer(request)
        return self


_KEYLESS = frozenset({"sampling", "mode_off"})


def read_log(
    sources: Iterable[str], sample: Sample, period: Period, progress: Callable[[Reading], None] | None = None
) -> Log:
    """
    The log in receipts.

    Raises:
        SourceError: a source cannot be read.
    """
    log, reader, environments = Log(sample), ReceiptReader(), Environments()
    for receipt in read_receipts(sources, log.reading, period=period, progress=progress):
        if receipt.outcome not in _OUTCOMES:
            continue
        latency = receipt.metrics.get("Latency", 0.0)
        environment = environments.of(
            round(receipt.time_ms - latency),
            receipt.time_ms,
            cold=bool(receipt.members.get("cold_start")),
            named=receipt.members.get("environment"),
        )
        log.experience.gigabytes = max(log.experience.gigabytes, function_gigabytes(receipt))
        log.unpriced += bool(receipt.members.get("unpriced_units"))
        log.add(reader.request(receipt, environment))
    log.environments, log.guessed_environments = environments.count, environments.guessed
    return log.close()


_OUTCOMES = frozenset(outcome.value for outcome in Outcome)


def as_logged(requests: Iterable[Request]) -> Tally:
    """The sums of the requests as they ended; where the log does not say, as if all had been answered (`tally`)."""
    tally = Tally()
    for request in requests:
        count_logged(tally, request)
    return tally


def count_logged(tally: Tally, request: Request) -> None:
    tally.add(
        request.group,
        request.outcome or Outcome.HIT_TABLE,
        asked=request.asked and request.outcome is not None,
        cost=request.cost,
        own=request.own_cost,
        latency_ms=request.latency_ms if request.outcome is not None else None,
    )
