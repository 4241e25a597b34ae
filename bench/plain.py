"""
(a) The handler that a user would write in an afternoon, and (b) the same work with Powertools' Idempotency.

Both do what ours does as far as they can: one record of the same metrics and members for each invocation, the answer
parsed anew, its usage zeros. Neither has leases, tags, admission, erasure or bounds on time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import boto3
import cachetools
from aws_lambda_powertools import Metrics

METRICS = [
    "Requests",
    "MemoryHits",
    "TableHits",
    "Collapsed",
    "Misses",
    "Bypasses",
    "Failures",
    "InputTokens",
    "SavedInputTokens",
    "OutputTokens",
    "SavedOutputTokens",
    "Pages",
    "SavedPages",
    "Cost",
    "SavedCost",
    "OwnCost",
    "Latency",
    "BackendLatency",
    "LookupLatency",
]
MEMBERS = [
    "schema",
    "outcome",
    "reason",
    "refusal",
    "error_type",
    "context",
    "function",
    "request_id",
    "mode",
    "key_id",
    "age_seconds",
    "entry_bytes",
    "backend_version",
    "images",
    "image_bytes",
    "units_spent",
    "units_saved",
    "unpriced_units",
    "own_units",
    "cold_start",
    "environment",
]

Backend = Callable[[Any], dict[str, Any]]


def emit(metrics: Metrics, event: Any, context: Any, outcome: str, started: float) -> None:
    """One record with as many metrics, members and dimensions as ours."""
    metrics.add_dimension("MeteringKey", f"{event['context']}/lambda_hook/{context.function_name}")
    for name in METRICS:
        metrics.add_metric(name=name, unit="Count", value=1 if name == "Requests" else time.perf_counter() - started)
    for name in MEMBERS:
        metrics.add_metadata(name, outcome if name == "outcome" else "")
    metrics.flush_metrics()


class Plain:
    """boto3 clients made once, `json.dumps(sort_keys)` into SHA-256, cachetools, images one after another."""

    def __init__(self, table: str, backend: Backend) -> None:
        self.dynamodb = boto3.client("dynamodb")
        self.s3 = boto3.client("s3")
        self._table, self._backend = table, backend
        self.memory: cachetools.TTLCache[str, str] = cachetools.TTLCache(1_000, 300)
        self._metrics = Metrics(namespace="Bench", service="plain")

    def __call__(self, event: Any, context: Any) -> Any:
        started = time.perf_counter()
        key = self.key_of(event)
        outcome, body = "hit_memory", self.memory.get(key)
        if body is None:
            outcome, body = "hit_table", self._from_table(key)
        if body is None:
            outcome, body = "miss", json.dumps(self._backend(event))
            self.dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": {"B": key.encode()},
                    "kind": {"S": "ENTRY"},
                    "body": {"S": body},
                    "ttl": {"N": str(int(time.time()) + 604_800)},
                },
            )
        self.memory[key] = body
        response = json.loads(body)
        if outcome != "miss":
            response["usage"] = dict.fromkeys(response["usage"], 0)
        emit(self._metrics, event, context, outcome, started)
        return response

    def key_of(self, event: Any) -> str:
        """The event with its images' names replaced by their digests, each fetched after the other."""
        digests = []
        keyed = json.loads(json.dumps(event)) if any("image" in block for block in _blocks(event)) else event
        for block in _blocks(keyed):
            if "image" in block:
                location = block["image"]["source"]["s3Location"]
                _, _, bucket, name = location.pop("uri").split("/", 3)
                body = self.s3.get_object(Bucket=bucket, Key=name)["Body"].read()
                digests.append(hashlib.sha256(body).hexdigest())
        return plain_key(keyed, digests)

    def _from_table(self, key: str) -> str | None:
        keys = {"pk": {"B": key.encode()}, "kind": {"S": "ENTRY"}}
        item = self.dynamodb.get_item(TableName=self._table, Key=keys).get("Item")
        return item["body"]["S"] if item and int(item["ttl"]["N"]) > time.time() else None


def plain_key(event: Any, digests: list[str]) -> str:
    return hashlib.sha256(json.dumps([event, digests], sort_keys=True).encode()).hexdigest()


def _blocks(event: Any) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = event["messages"][0]["content"]
    return blocks


class Idempotent:
    """Powertools' Idempotency over DynamoDB with its local cache, or without it, so that the table answers."""

    def __init__(self, table: str, backend: Backend, *, local_cache: bool = True) -> None:
        from aws_lambda_powertools.utilities.idempotency import (
            DynamoDBPersistenceLayer,
            IdempotencyConfig,
            idempotent,
        )

        store = DynamoDBPersistenceLayer(table_name=table, key_attr="id", boto3_client=boto3.client("dynamodb"))
        config = IdempotencyConfig(use_local_cache=local_cache, hash_function="sha256", local_cache_max_items=1_000)
        metrics = Metrics(namespace="Bench", service="idempotent")

        @idempotent(config=config, persistence_store=store)
        def answered(event: Any, context: Any) -> Any:  # noqa: ARG001 - the decorator asks for both
            return backend(event)

        def handler(event: Any, context: Any) -> Any:
            started = time.perf_counter()
            response = answered(event, context)
            reply = response | {"usage": dict.fromkeys(response["usage"], 0)}
            emit(metrics, event, context, "hit", started)
            return reply

        self._handler = handler

    def __call__(self, event: Any, context: Any) -> Any:
        return self._handler(event, context)
