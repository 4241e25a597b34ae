"""
The DynamoDB table as hookcache uses it: single items, conditional writes, each bounded in time, errors translated.

No caller further in sees a `ClientError` (style: translate at the edge). The SDK makes one attempt; the one repeat is
ours, so that a connection which died while the environment was frozen costs a reconnect and not a request (F32).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from hookcache.bounded import NotInTime, Workers
from hookcache.breaker import Breaker, Pass
from hookcache.clock import Countdown
from hookcache.entry import Item
from hookcache.errors import TierUnavailable
from hookcache.hints import Any
from hookcache.refusals import code_in, refusal_in
from hookcache.spending import Spending
from hookcache.value import value

BUDGET_SECONDS = 1.0
ATTEMPT_SECONDS = 0.5
"""Connect and read timeouts of one attempt; two attempts fit into the budget."""
WORKERS = 64
PROBES = 4
"""Probes that may hang at once, so that a slow resolver cannot take every worker."""

_THROTTLES = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "LimitExceededException"}
)
_COUNTED: Mapping[str, Any] = {"ReturnConsumedCapacity": "TOTAL"}
_PASSING = frozenset({"InternalServerError", "ServiceUnavailable", "InternalFailure"})


class Throttled(TierUnavailable):
    """The table refused this operation for now; it is not down."""


@value
class Conflict:
    """A condition failed; `old` is the item that stood in the way, None if the engine did not return one (F9)."""

    old: Item | None


class Items:
    """
    Items of one table.

    Args:
        dynamodb: gives the low-level client, made on first use (`clients.py` sets its timeouts).
        table: the table's name or ARN.
        budget_seconds: bound on one operation, name resolution, connecting and the repeat included (P19, F3).

    Every method raises `TierUnavailable` where the table gave no usable reply in time, `Throttled` where it refused.
    """

    def __init__(
        self,
        dynamodb: Callable[[], Any],
        table: str,
        breaker: Breaker,
        spending: Spending,
        budget_seconds: float = BUDGET_SECONDS,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._single = {"TableName": table, **_COUNTED}
        self._breaker = breaker
        self._spending = spending
        self._budget_seconds = budget_seconds
        self._workers = Workers("hookcache-table", WORKERS)
        self._probes = threading.BoundedSemaphore(PROBES)

    def get(self, key: bytes, kind: str, *, consistent: bool = False) -> Item | None:
        """
        One item, or None where there is none.

        A reply without `ConsumedCapacity` is a truncated one, which botocore turns into "no such item": it is an error.
        """
        place = {"pk": {"B": key}, "kind": {"S": kind}}
        reply = self._call("get_item", "table_read_units", Key=place, ConsistentRead=consistent, **self._single)
        item: Item | None = reply.get("Item")
        return item

    def put(self, item: Item, condition: str = "", values: Mapping[str, Any] | None = None) -> Item | Conflict | None:
        """Write a whole item if `condition` holds; gives the item it replaced, None if there was none."""
        arguments = {"Item": item, "ReturnValues": "ALL_OLD", **_conditional(condition, values), **self._single}
        reply = self._call("put_item", "table_write_units", **arguments)
        return reply if isinstance(reply, Conflict) else reply.get("Attributes")

    def update(
        self, key: bytes, kind: str, change: str, condition: str, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> Conflict | None:
        """Change attributes of one item if `condition` holds, leaving its others as they are."""
        done = self.exchange(key, kind, change, condition, values, names)
        return done if isinstance(done, Conflict) else None

    def exchange(
        self, key: bytes, kind: str, change: str, condition: str, values: Mapping[str, Any], names: Mapping[str, str]
    ) -> Item | Conflict | None:
        """As `update`; gives the item as it was, None if there was none."""
        arguments = {
            "Key": {"pk": {"B": key}, "kind": {"S": kind}},
            "UpdateExpression": change,
            "ExpressionAttributeNames": dict(names),
            "ReturnValues": "ALL_OLD",
            **_conditional(condition, values),
            **self._single,
        }
        reply = self._call("update_item", "table_write_units", **arguments)
        return reply if isinstance(reply, Conflict) else reply.get("Attributes")

    def put_all(self, items: Sequence[Item]) -> None:
        """Write up to 25 items per request, unconditionally. What the table left undone is an error."""
        for start in range(0, len(items), 25):
            batch = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            reply = self._call("batch_write_item", "table_write_units", RequestItems={self._table: batch}, **_COUNTED)
            if reply.get("UnprocessedItems"):
                raise Throttled("the table left a batch unfinished")

    def close(self) -> None:
        """Let the worker threads end."""
        self._workers.close()

    def _call(self, operation: str, unit: str, **arguments: Any) -> Any:
        allowed = self._breaker.ask()
        if allowed is not Pass.GO:
            if allowed is Pass.PROBE:
                self._probe()
            raise TierUnavailable("the table did not answer lately")
        try:
            client = self._dynamodb()  # made outside the budget: a cold start pays for it once, whatever the table does
            reply = self._attempt_twice(client, operation, arguments)
        except NotInTime:
            self._breaker.failed()
            raise TierUnavailable(f"no reply within {self._budget_seconds} s") from None
        except Exception as error:  # whatever it is: nobody further in knows more than "the table gave nothing" (P18)
            refusal = refusal_in(error)
            if refusal is not None:
                return self._refused(refusal)
            self._breaker.failed()
            raise TierUnavailable(type(error).__name__) from None
        if not reply.get("ConsumedCapacity"):
            self._breaker.failed()
            raise TierUnavailable("the reply was cut short")
        self._breaker.succeeded()
        self._spend(unit, reply["ConsumedCapacity"])
        return reply

    def _refused(self, refusal: Mapping[str, Any]) -> Conflict:
        code = refusal["Error"].get("Code", "")
        if code == "ConditionalCheckFailedException":
            self._breaker.succeeded()
            return Conflict(refusal.get("Item"))
        if code in _THROTTLES:
            raise Throttled(code) from None  # one hot key: no reason to stop asking for the others
        self._breaker.failed()
        raise TierUnavailable(code, transient=code in _PASSING) from None

    def _attempt_twice(self, client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        """What the table replies within the budget. Once that is over nothing is repeated: it would only add to the load."""
        within_budget = Countdown(self._budget_seconds)
        try:
            return self._attempt(client, operation, arguments, within_budget)
        except NotInTime:
            raise
        except Exception as error:
            if refusal_in(error) is not None and code_in(error) not in _PASSING:
                raise
            # No refusal: a socket that died while the environment was frozen. The second attempt opens a new one.
        return self._attempt(client, operation, arguments, within_budget)

    def _attempt(self, client: Any, operation: str, arguments: dict[str, Any], left: Countdown) -> Any:
        """One attempt: in this thread where the client can bound it there (`slim`), which spares two changes of threads."""
        at_once = getattr(client, "at_once", None)
        if at_once is not None:
            reply = at_once(operation, arguments, left.seconds())
            if reply is not None:
                return reply
        return self._workers.call(left.seconds(), _ask, client, operation, arguments)

    def _probe(self) -> None:
        """Ask the table something in the background; its answer closes the breaker, its failure says nothing new."""

        def ask() -> None:
            try:
                arguments = {"Key": {"pk": {"B": b"probe"}, "kind": {"S": "PROBE"}}, **self._single}
                try:
                    reply = _ask(self._dynamodb(), "get_item", arguments)
                except Exception:  # a connection from before the trouble: the next one is new
                    reply = _ask(self._dynamodb(), "get_item", arguments)
                if reply.get("ConsumedCapacity"):
                    self._breaker.succeeded()
            finally:
                self._probes.release()

        if not self._probes.acquire(blocking=False):
            return
        try:
            self._workers.begin(ask)
        except RuntimeError:  # no thread to be had: the next probe may be luckier
            self._probes.release()

    def _spend(self, unit: str, consumed: Any) -> None:
        for part in consumed if isinstance(consumed, list) else (consumed,):
            self._spending.add(unit, float(part.get("CapacityUnits", 0)))


def _ask(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
    return getattr(client, operation)(**arguments)


def _conditional(condition: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if condition:
        arguments = {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if values:
        arguments["ExpressionAttributeValues"] = dict(values)
    return arguments
