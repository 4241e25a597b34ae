"""
A double of the low-level DynamoDB client: one table with partition key `pk` (B) and sort key `kind` (S).

As strict as the contract suite makes it: conditions, unused values, reserved words, item size, capacity units and the
errors that botocore raises. It serialises its operations, so races are proved on real engines and not here.
"""

from __future__ import annotations

import copy
import operator
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, dict[str, Any]]
ITEM_LIMIT_BYTES = 400 * 1024

# Those of AWS's reserved words that a cache might use as attribute names.
RESERVED = frozenset(
    {
        "state",
        "owner",
        "ttl",
        "key",
        "schema",
        "status",
        "name",
        "names",
        "value",
        "values",
        "time",
        "timestamp",
        "count",
    }
    | {"size", "date", "data", "identity", "end", "begin", "comment", "user", "role", "action", "type", "year", "zone"}
)


def refusal(code: str, message: str = "", operation: str = "Operation", item: Item | None = None) -> ClientError:
    """The error that botocore raises when the service answers with `code`."""
    response: dict[str, Any] = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    if item is not None:
        response["Item"] = item
    return ClientError(response, operation)  # type: ignore[arg-type]


@dataclass(slots=True)
class Fault:
    """
    One planned misbehaviour: raise `error` before the operation is done, or after it (its reply is lost).

    `cut` gives a reply without content, as botocore makes of a truncated one. `hide_old` drops the old item of a failed
    condition. `operation` and `kind` limit it; `times` counts down, None lasts.
    """

    error: BaseException | None = None
    after: bool = False
    cut: bool = False
    hide_old: bool = False
    operation: str = ""
    kind: str = ""
    times: int | None = None


class FakeDynamoDB:
    """
    One table in memory.

    Attributes:
        calls: (operation, arguments) of every call, in order.
        faulted: True once a planned fault took effect; the oracle then expects no tidy leases.
        before: called with (operation, arguments) ahead of each operation: a seam for forcing an order of events.
    """

    def __init__(self, table: str = "hookcache-table") -> None:
        self.table = table
        self.items: dict[tuple[bytes, str], Item] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.faulted = False
        self.before: Callable[[str, dict[str, Any]], None] = lambda operation, arguments: None
        self._lock = threading.RLock()

    # ---------------------------------------------------------------- what a test does with it

    def misbehave(self, error: BaseException | None = None, **limits: Any) -> Fault:
        """Plan a fault; the members of `Fault` are its arguments."""
        fault = Fault(error, **limits)
        self.faults.append(fault)
        return fault

    def behave(self) -> None:
        """Forget every planned fault."""
        self.faults.clear()

    def of_kind(self, kind: str) -> list[Item]:
        """Copies of all items whose sort key starts with `kind`."""
        with self._lock:
            return [copy.deepcopy(item) for (_, has), item in sorted(self.items.items()) if has.startswith(kind)]

    def plant(self, item: Item) -> None:
        """Put an item there unconditionally, as somebody with write access could."""
        with self._lock:
            self.items[_key(item)] = copy.deepcopy(item)

    def expire(self, now_seconds: float) -> int:
        """Delete what TTL would; the number deleted."""
        with self._lock:
            over = [key for key, item in self.items.items() if "ttl" in item and float(item["ttl"]["N"]) < now_seconds]
            for key in over:
                del self.items[key]
            return len(over)

    def count(self, operation: str) -> int:
        """How often `operation` was called."""
        return sum(name == operation for name, _ in self.calls)

    # ---------------------------------------------------------------- the client

    def get_item(self, **arguments: Any) -> dict[str, Any]:
        with self._operation("get_item", arguments, _key(arguments["Key"])[1]) as reply:
            item = self.items.get(_key(arguments["Key"]))
            if item is not None:
                reply["Item"] = _projected(item, arguments)
            units = max(1, -(-_size(item or {}) // 4096)) * (1.0 if arguments.get("ConsistentRead") else 0.5)
            _consume(reply, arguments, self.table, units)
        return reply

    def put_item(self, **arguments: Any) -> dict[str, Any]:
        item = copy.deepcopy(arguments["Item"])
        with self._operation("put_item", arguments, _key(item)[1]) as reply:
            old = self.items.get(_key(item))
            self._check("PutItem", arguments, old)
            _bounded(item)
            self.items[_key(item)] = item
            if old is not None and arguments.get("ReturnValues") == "ALL_OLD":
                reply["Attributes"] = copy.deepcopy(old)
            _consume(reply, arguments, self.table, _write_units(item, old))
        return reply

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        key = _key(arguments["Key"])
        with self._operation("update_item", arguments, key[1]) as reply:
            old = self.items.get(key)
            self._check("UpdateItem", arguments, old)
            new = _changed(copy.deepcopy(old) if old else dict(copy.deepcopy(arguments["Key"])), arguments)
            _bounded(new)
            self.items[key] = new
            wanted = arguments.get("ReturnValues")
            shown = {"ALL_OLD": old, "ALL_NEW": new}.get(wanted or "")
            if shown is not None:
                reply["Attributes"] = copy.deepcopy(shown)
            _consume(reply, arguments, self.table, _write_units(new, old))
        return reply

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        key = _key(arguments["Key"])
        with self._operation("delete_item", arguments, key[1]) as reply:
            old = self.items.get(key)
            self._check("DeleteItem", arguments, old)
            self.items.pop(key, None)
            if old is not None and arguments.get("ReturnValues") == "ALL_OLD":
                reply["Attributes"] = copy.deepcopy(old)
            _consume(reply, arguments, self.table, _write_units(old or {}, old))
        return reply

    def batch_write_item(self, **arguments: Any) -> dict[str, Any]:
        ((table, requests),) = arguments["RequestItems"].items()
        if not 1 <= len(requests) <= 25:
            raise refusal("ValidationException", "1 to 25 requests", "BatchWriteItem")
        first = requests[0].get("PutRequest", {}).get("Item") or requests[0]["DeleteRequest"]["Key"]
        with self._operation("batch_write_item", {**arguments, "TableName": table}, _key(first)[1]) as reply:
            targets = [
                _key(each["PutRequest"]["Item"] if "PutRequest" in each else each["DeleteRequest"]["Key"])
                for each in requests
            ]
            if len(set(targets)) < len(targets):
                raise refusal("ValidationException", "Provided list of item keys contains duplicates", "BatchWriteItem")
            units = 0.0
            for key, each in zip(targets, requests, strict=True):
                old = self.items.pop(key, None)
                if "PutRequest" in each:
                    item = copy.deepcopy(each["PutRequest"]["Item"])
                    _bounded(item)
                    self.items[key] = item
                    units += _write_units(item, old)
                else:
                    units += _write_units(old or {}, old)
            reply["UnprocessedItems"] = {}
            if arguments.get("ReturnConsumedCapacity") in {"TOTAL", "INDEXES"}:
                reply["ConsumedCapacity"] = [{"TableName": table, "CapacityUnits": units}]
        return reply

    def query(self, **arguments: Any) -> dict[str, Any]:
        with self._operation("query", arguments, "") as reply:
            found, last = [], None
            start = _key(arguments["ExclusiveStartKey"]) if "ExclusiveStartKey" in arguments else None
            for key in sorted(self.items, reverse=arguments.get("ScanIndexForward") is False):
                item = self.items[key]
                if start is not None and key <= start:
                    continue
                if not _holds(arguments["KeyConditionExpression"], arguments, item):
                    continue
                if len(found) == arguments.get("Limit", 1_000_000):
                    reply["LastEvaluatedKey"] = {"pk": {"B": last[0]}, "kind": {"S": last[1]}} if last else {}
                    break
                last = key
                found.append(item)
            kept = [
                item
                for item in found
                if "FilterExpression" not in arguments or _holds(arguments["FilterExpression"], arguments, item)
            ]
            reply |= {"Items": [_projected(item, arguments) for item in kept], "Count": len(kept)}
            reply["ScannedCount"] = len(found)
            units = max(1, -(-sum(map(_size, found)) // 4096)) * (1.0 if arguments.get("ConsistentRead") else 0.5)
            _consume(reply, arguments, self.table, units)
        return reply

    # ---------------------------------------------------------------- how it is done

    @contextmanager
    def _operation(self, name: str, arguments: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
        """One operation at a time, under the faults that were planned for it."""
        self.before(name, arguments)
        with self._lock:
            self.calls.append((name, copy.deepcopy(arguments)))
            if arguments.get("TableName") != self.table:
                raise refusal("ResourceNotFoundException", "Requested resource not found", name)
            fault = self._due(name, kind)
            if fault is not None and fault.error is not None and not fault.after:
                raise fault.error
            reply: dict[str, Any] = {}
            try:
                yield reply
            except ClientError as error:
                if fault is not None and fault.hide_old:
                    error.response.pop("Item", None)  # type: ignore[misc]
                raise
            if fault is not None and fault.cut:
                reply.clear()
            if fault is not None and fault.error is not None:
                raise fault.error
            reply["ResponseMetadata"] = {"HTTPStatusCode": 200}

    def _due(self, name: str, kind: str) -> Fault | None:
        for fault in self.faults:
            if fault.operation not in {"", name} or not kind.startswith(fault.kind) or fault.times == 0:
                continue
            if fault.times is not None:
                fault.times -= 1
            self.faulted = True
            return fault
        return None

    def _check(self, operation: str, arguments: dict[str, Any], old: Item | None) -> None:
        _all_used(arguments)
        condition = arguments.get("ConditionExpression")
        if condition and not _holds(condition, arguments, old or {}):
            shown = arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None
            raise refusal(
                "ConditionalCheckFailedException",
                "The conditional request failed",
                operation,
                copy.deepcopy(old) if shown else None,
            )


def _key(item: Mapping[str, Any]) -> tuple[bytes, str]:
    pk, kind = item["pk"]["B"], item["kind"]["S"]
    if not pk or not kind:
        raise refusal("ValidationException", "One or more parameter values were invalid: empty key")
    return bytes(pk), kind


def _size(item: Mapping[str, Any]) -> int:
    """Bytes that DynamoDB counts: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    ((kind, raw),) = value.items()
    match kind:
        case "S":
            return len(raw.encode())
        case "B":
            return len(raw)
        case "N":
            return len(raw.strip("-").replace(".", "")) // 2 + 2
        case "L":
            return 3 + sum(1 + _value_size(each) for each in raw)
        case "M":
            return 3 + len(raw) + _size(raw)
        case "SS":
            return sum(len(each.encode()) for each in raw)
        case _:
            return 1


def _bounded(item: Item) -> None:
    for value in item.values():
        if "N" in value:
            if not isinstance(value["N"], str):
                raise TypeError("a number travels as text")
            Decimal(value["N"])
    if _size(item) > ITEM_LIMIT_BYTES:
        raise refusal("ValidationException", "Item size has exceeded the maximum allowed size")


def _write_units(new: Item, old: Item | None) -> float:
    return float(max(1, -(-max(_size(new), _size(old or {})) // 1024)))


def _consume(reply: dict[str, Any], arguments: Mapping[str, Any], table: str, units: float) -> None:
    if arguments.get("ReturnConsumedCapacity") in {"TOTAL", "INDEXES"}:
        reply["ConsumedCapacity"] = {"TableName": table, "CapacityUnits": units}


def _projected(item: Item, arguments: Mapping[str, Any]) -> Item:
    wanted = arguments.get("ProjectionExpression")
    if not wanted:
        return copy.deepcopy(item)
    names = arguments.get("ExpressionAttributeNames", {})
    told = [names.get(name.strip(), name.strip()) for name in wanted.split(",")]
    return {name: copy.deepcopy(item[name]) for name in told if name in item}


# -------------------------------------------------------------------- expressions

_TOKEN = re.compile(r"\s*(?:(?P<name>#?[A-Za-z_]\w*)|(?P<value>:\w+)|(?P<mark><>|<=|>=|=|<|>|[(),+]))")
_SIGNS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS = frozenset({"attribute_exists", "attribute_not_exists", "begins_with", "contains", "size"})


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise refusal("ValidationException", f"Invalid expression near {text[place : place + 10]!r}")
        tokens.append(match[0].strip())
        place = match.end()
    return tokens


def _all_used(arguments: Mapping[str, Any]) -> None:
    """A value or name that no expression mentions is refused, as the service does."""
    said = " ".join(str(arguments[name]) for name in arguments if name.endswith("Expression"))
    used = set(_tokens(said)) if said else set()
    for group in ("ExpressionAttributeValues", "ExpressionAttributeNames"):
        given = arguments.get(group)
        if given is not None and (not given or set(given) - used):
            raise refusal("ValidationException", f"{group}: unused or empty: {sorted(set(given) - used)}")


def _holds(text: str, arguments: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    return _Condition(text, arguments, item).holds()


class _Condition:
    """A condition expression, judged while it is read: or, and, not, brackets, comparisons, IN, BETWEEN, functions."""

    def __init__(self, text: str, arguments: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        self._tokens = _tokens(text)
        self._names = arguments.get("ExpressionAttributeNames") or {}
        self._values = arguments.get("ExpressionAttributeValues") or {}
        self._item = item

    def holds(self) -> bool:
        answer = self._or()
        if self._tokens:
            raise refusal("ValidationException", f"Invalid expression: {self._tokens[0]!r} was not expected")
        return answer

    def _or(self) -> bool:
        answer = self._and()
        while self._accept("OR"):
            answer = self._and() or answer  # both sides are read, whatever the first one said
        return answer

    def _and(self) -> bool:
        answer = self._not()
        while self._accept("AND"):
            answer = self._not() and answer
        return answer

    def _not(self) -> bool:
        if self._accept("NOT"):
            return not self._not()
        if self._accept("("):
            answer = self._or()
            self._expect(")")
            return answer
        return self._judgement()

    def _judgement(self) -> bool:
        if self._peek() in _FUNCTIONS - {"size"}:
            return self._function(self._next())
        left = self._operand()
        sign = self._next().upper()
        if sign == "IN":
            self._expect("(")
            among = [self._operand()]
            while self._accept(","):
                among.append(self._operand())
            self._expect(")")
            return any(_compare(left, "=", each) for each in among)
        if sign == "BETWEEN":
            low = self._operand()
            self._expect("AND")
            high = self._operand()
            return _compare(left, ">=", low) and _compare(left, "<=", high)
        return _compare(left, sign, self._operand())

    def _function(self, name: str) -> bool:
        self._expect("(")
        attribute = self._operand()
        if name in {"attribute_exists", "attribute_not_exists"}:
            self._expect(")")
            return (attribute is not None) == (name == "attribute_exists")
        self._expect(",")
        argument = self._operand()
        self._expect(")")
        if attribute is None or argument is None:
            return False
        ((_, whole),), ((_, part),) = attribute.items(), argument.items()
        return bool(whole.startswith(part)) if name == "begins_with" else part in whole

    def _operand(self) -> Mapping[str, Any] | None:
        token = self._next()
        if token == "size":
            self._expect("(")
            attribute = self._operand()
            self._expect(")")
            return None if attribute is None else {"N": str(len(next(iter(attribute.values()))))}
        if token.startswith(":"):
            if token not in self._values:
                raise refusal("ValidationException", f"An expression attribute value is not defined: {token}")
            value: Mapping[str, Any] = self._values[token]
            return value
        return self._item.get(_attribute(token, self._names))

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _next(self) -> str:
        if not self._tokens:
            raise refusal("ValidationException", "Invalid expression: it ends too early")
        return self._tokens.pop(0)

    def _accept(self, word: str) -> bool:
        if self._peek().upper() == word:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise refusal("ValidationException", f"Invalid expression: {word!r} expected")


def _attribute(token: str, names: Mapping[str, str]) -> str:
    if token.startswith("#"):
        if token not in names:
            raise refusal("ValidationException", f"An expression attribute name is not defined: {token}")
        return names[token]
    if token.lower() in RESERVED:
        raise refusal("ValidationException", f"Attribute name is a reserved keyword: {token}")
    return token


def _compare(left: Mapping[str, Any] | None, sign: str, right: Mapping[str, Any] | None) -> bool:
    if left is None or right is None:
        return sign == "<>" and left is not right  # an absent attribute differs from every value
    ((left_kind, one),), ((right_kind, other),) = left.items(), right.items()
    if left_kind != right_kind:
        return sign == "<>"
    if left_kind == "N":
        one, other = Decimal(one), Decimal(other)
    elif left_kind == "S":
        one, other = one.encode(), other.encode()
    elif left_kind == "B":
        one, other = bytes(one), bytes(other)
    if sign not in _SIGNS:
        raise refusal("ValidationException", f"Invalid expression: operator {sign!r}")
    return bool(_SIGNS[sign](one, other))


_CLAUSE = re.compile(r"\b(SET|REMOVE|ADD|DELETE)\b", re.IGNORECASE)


def _changed(item: Item, arguments: Mapping[str, Any]) -> Item:
    """`item` after an update expression of SET (values, paths, if_not_exists) and REMOVE clauses."""
    names = arguments.get("ExpressionAttributeNames") or {}
    values = arguments.get("ExpressionAttributeValues") or {}
    parts = _CLAUSE.split(arguments["UpdateExpression"])
    old = copy.deepcopy(item)
    for word, body in zip(parts[1::2], parts[2::2], strict=True):
        if word.upper() == "SET":
            for target, token in re.findall(r"(#?\w+)\s*=\s*(if_not_exists\(.*?\)|[:#]?\w+)", body):
                name = _attribute(target, names)
                if name in {"pk", "kind"}:
                    raise refusal("ValidationException", f"Cannot update attribute {name}: part of the key")
                item[name] = copy.deepcopy(_assigned(token, names, values, old))
        elif word.upper() == "REMOVE":
            for target in body.split(","):
                item.pop(_attribute(target.strip(), names), None)
        else:
            raise refusal("ValidationException", f"{word} is not understood by this double")
    return item


def _assigned(token: str, names: Mapping[str, str], values: Mapping[str, Any], old: Item) -> Any:
    unless = re.fullmatch(r"if_not_exists\(\s*(#?\w+)\s*,\s*(\S+?)\s*\)", token)
    if unless is not None:
        present = old.get(_attribute(unless[1], names))
        return present if present is not None else _assigned(unless[2], names, values, old)
    if token.startswith(":"):
        if token not in values:
            raise refusal("ValidationException", f"An expression attribute value is not defined: {token}")
        return values[token]
    return old[_attribute(token, names)]
