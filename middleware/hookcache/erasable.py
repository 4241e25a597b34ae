"""The table as erase may use it: its role lists partitions and deletes items, which the hook's role may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hookcache.breaker import Breaker, Pass
from hookcache.clock import Clock
from hookcache.entry import Item
from hookcache.hints import Any
from hookcache.index import PREFIX, index_kind
from hookcache.items import Conflict, Items
from hookcache.key import CacheKey
from hookcache.spending import Spending

PATIENCE_SECONDS = 30.0
"""Bound on one operation: nobody's request waits for it, and an erase that gives up early is only run again."""


class _AlwaysGo(Breaker):
    """An operator wants each key tried, also after others failed."""

    def ask(self) -> Pass:
        return Pass.GO


class ErasableItems(Items):
    """Items of one table, as in `Items`, patiently and without a breaker."""

    def __init__(self, dynamodb: Callable[[], Any], table: str, clock: Clock, spending: Spending) -> None:
        super().__init__(dynamodb, table, _AlwaysGo(clock), spending, PATIENCE_SECONDS)

    def indexed(self, index: bytes) -> Iterator[Item]:
        """Every INDEX item of one partition, read consistently, page by page."""
        arguments: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND begins_with(kind, :prefix)",
            "ExpressionAttributeValues": {":pk": {"B": index}, ":prefix": {"S": PREFIX}},
            "ConsistentRead": True,
            **self._single,
        }
        while True:
            reply = self._call("query", "table_read_units", **arguments)
            yield from reply["Items"]
            if not reply.get("LastEvaluatedKey"):
                return
            arguments["ExclusiveStartKey"] = reply["LastEvaluatedKey"]

    def delete(self, key: bytes, kind: str) -> None:
        """Delete an item, whatever it holds."""
        self._call("delete_item", "table_write_units", Key={"pk": {"B": key}, "kind": {"S": kind}}, **self._single)

    def delete_unchanged(self, index: bytes, key: CacheKey, ttl: str) -> bool:
        """Delete an index item unless it was written again since it was read with this `ttl`; False if it was."""
        reply = self._call(
            "delete_item",
            "table_write_units",
            Key={"pk": {"B": index}, "kind": {"S": index_kind(key)}},
            ConditionExpression="#ttl = :seen",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":seen": {"N": ttl}},
            **self._single,
        )
        return not isinstance(reply, Conflict)
