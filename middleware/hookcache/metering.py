"""
Metering: one receipt per invocation, opened when it begins and written when it ends, whatever happened (P31, P34).

    receipt.py   what is known of an invocation
    record.py    the receipt as one line, which is also the access log that the `hookcache` commands read
    emf.py       CloudWatch's embedded metric format, as Powertools writes it
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache

from hookcache.clock import Clock, whole_micros
from hookcache.emf import is_disabled
from hookcache.hints import Any
from hookcache.prices import Prices
from hookcache.receipt import Receipt
from hookcache.record import Recorder
from hookcache.spending import Spending

TYPICAL_LINE_BYTES = 2_000  # a receipt counts the log bytes of the one before it, the first of an environment this many
DEFAULT_NAMESPACE, DEFAULT_SERVICE = "GenAIIDP/HookCache", "hookcache"


class Meter:
    """
    Opens a receipt for each invocation and writes it when that ends, whatever happened.

    Namespace and service come from Powertools' own environment variables. Lines go to `write`, standard output if not given.
    """

    def __init__(
        self,
        clock: Clock,
        spending: Spending,
        prices: Prices,
        environ: Mapping[str, str] = os.environ,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._write = write or _to_stdout
        self._clock = clock
        self._spending = spending
        self._prices = prices
        namespace = environ.get("POWERTOOLS_METRICS_NAMESPACE") or DEFAULT_NAMESPACE
        self._recorder = Recorder(namespace, environ.get("POWERTOOLS_SERVICE_NAME") or DEFAULT_SERVICE)
        self._disabled = is_disabled(environ)
        self._own_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self._memory_gb = _memory_mb(environ) / 1024
        self._environment = ""
        self._line_bytes = TYPICAL_LINE_BYTES
        self._lock = threading.Lock()

    def open(self, step: str, context: Any) -> Receipt:
        """The receipt of one invocation of `step` (the host's context word), which begins now."""
        cold_start = not self._environment and self._begin()
        request_id = getattr(context, "aws_request_id", None)
        receipt = Receipt(
            step,
            function_name(context, self._own_name),
            str(request_id) if request_id else os.urandom(16).hex(),
            cold_start=cold_start,
        )
        receipt.environment = self._environment
        receipt.began = self._clock.elapsed()
        return receipt

    def close(self, receipt: Receipt) -> None:
        """
        Write the receipt of an invocation that ends now. Never raises.

        Promise: P34 (a metering failure never touches the answer).
        """
        try:
            receipt.total_ms = whole_micros(self._clock.elapsed() - receipt.began)
            self._tell(receipt)
        except Exception as trouble:
            _last_word(trouble)

    def _begin(self) -> bool:
        """
        Name this environment, at its first invocation: whatever is made before that, many may share from one snapshot (SnapStart).

        True for the one invocation that does so, of those that come first at once.
        """
        with self._lock:
            if self._environment:
                return False
            self._environment = os.urandom(4).hex()
            return True

    def _tell(self, receipt: Receipt) -> None:
        units = self._spending.take()
        units["lambda_requests"] = 1
        units["lambda_gb_seconds"] = round(self._memory_gb * receipt.total_ms * 1e6) / 1e9
        units["log_bytes"] = self._line_bytes
        receipt.own_units, receipt.own_cost = units, round(self._prices.own_estimate(units) * 1e12) / 1e12
        if self._disabled:
            return
        line = self.record(receipt) + "\n"
        self._line_bytes = len(line)
        with self._lock:
            self._write(line)

    def record(self, receipt: Receipt) -> str:
        """The receipt as one line (`record.py`)."""
        return self._recorder.line(self._clock.now_ms(), receipt)


_FUNCTION_ARN = re.compile(r"arn:[^:]+:lambda:[^:]*:[^:]*:function:([^:]+)")


def function_name(context: Any, otherwise: str = "") -> str:
    """
    The bare name under which this function is metered: no account, alias or version, whatever form it was called by (S55).

    Source: the host's metering key since it names functions alone; AWS Lambda Developer Guide, "Python context object".
    """
    for name in ("invoked_function_arn", "function_name"):
        told = getattr(context, name, None)
        if isinstance(told, str) and told:
            return _bare(told)
    return _bare(otherwise) if otherwise else "unknown"


@lru_cache(maxsize=16)  # one function has few names, and is called by them all day
def _bare(told: str) -> str:
    arn = _FUNCTION_ARN.match(told)
    return arn[1] if arn else told.split(":")[0]


def _memory_mb(environ: Mapping[str, str]) -> float:
    told = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return float(told) if told.isdigit() else 0.0


def _to_stdout(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _last_word(trouble: Exception) -> None:
    try:
        sys.stderr.write(f"hookcache: a receipt was lost: {type(trouble).__name__}\n")
    except Exception:
        return  # stderr is gone as well; the answer still goes out
