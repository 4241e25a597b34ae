"""
One record of CloudWatch's embedded metric format, exactly as Powertools' Metrics builds it (docs/adr/0011).

Powertools is the judge: tests/unit/test_emf.py compares the two. It is not used at run time because each record took
longer than the rest of a hit, and its import 40 ms of every cold start.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping

from hookcache.hints import Any

Shape = tuple[tuple[str, str], ...]
"""Name and unit of each metric of a record, in order."""

_TRUE = frozenset({"1", "y", "yes", "t", "true", "on"})


def is_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Powertools' own switches: `POWERTOOLS_METRICS_DISABLED`, and `POWERTOOLS_DEV` where that says nothing."""
    told = environ.get("POWERTOOLS_METRICS_DISABLED")
    if told is None:
        return environ.get("POWERTOOLS_DEV", "false").lower() in _TRUE
    return told.lower() in _TRUE


class EmfShape:
    """What is the same in every record of one function: namespace, and sets of one dimension each."""

    def __init__(self, namespace: str, dimensions: tuple[str, ...]) -> None:
        self._namespace = namespace
        self._sets = [[name] for name in dimensions]
        self._heads: dict[Shape, str] = {}

    def line(
        self,
        timestamp_ms: int,
        dimensions: Mapping[str, str],
        members: Mapping[str, Any],
        metrics: Iterable[tuple[str, str, float]],
    ) -> str:
        """
        The record as one line of JSON without its end.

        Args:
            members: plain members beside the metrics, never dimensions.
            metrics: name, unit and value of each.
        """
        listed = list(metrics)
        head = self.head(tuple([(name, unit) for name, unit, _ in listed]))
        body = _encode({**dimensions, **members})
        values = ",".join([f'"{name}":[{float(value)!r}]' for name, _, value in listed])
        return f'{{"_aws":{{"Timestamp":{timestamp_ms},{head}{body[1:-1]},{values}}}'

    def head(self, shape: Shape) -> str:
        """What stands behind the time: the definitions of these metrics, spelt once, for few combinations occur."""
        head = self._heads.get(shape)
        if head is None:
            definitions = [{"Name": name, "Unit": unit} for name, unit in shape]
            about = {"Namespace": self._namespace, "Dimensions": self._sets, "Metrics": definitions}
            head = self._heads[shape] = f'"CloudWatchMetrics":[{_encode(about)}]}},'
        return head


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
