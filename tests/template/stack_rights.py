"""Rights as flat values, read from a stack and from docs/permissions.md, so that the two can be compared as sets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paper_stack import Stack

ROLES = {"HookRole": "hook", "EraseRole": "erase"}
_ROW = re.compile(
    r"^\| (?P<role>\w+) \| (?P<effect>Allow|Deny) \|(?P<actions>[^|]*)\|(?P<resource>[^|]*)\|(?P<condition>[^|]*)\|"
)
_CODE = re.compile(r"`([^`]+)`")


class Right(NamedTuple):
    """One action on one resource. `condition` is empty or `operator-free key: sorted values`, as the page writes it."""

    role: str
    effect: str
    action: str
    resource: str
    condition: str = ""


def as_list(value: Any) -> list[Any]:
    """A policy's member, which may be one value or a list of them."""
    return value if isinstance(value, list) else [value]


def statements(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Role and statement of every policy of every role, wherever the template wrote it."""
    for logical_id, role in stack.of_type("AWS::IAM::Role"):
        for arn in role.get("ManagedPolicyArns", []):
            yield ROLES.get(logical_id, logical_id), {"Effect": "Allow", "Action": "*", "Resource": arn}
        for policy in role.get("Policies", []):
            for statement in as_list(policy["PolicyDocument"]["Statement"]):
                yield ROLES.get(logical_id, logical_id), statement
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"):
        for logical_id, policy in stack.of_type(kind):
            for statement in as_list(policy["PolicyDocument"]["Statement"]):
                yield logical_id, statement


def granted(stack: Stack) -> set[Right]:
    """Every right that the stack's roles hold or are denied."""
    return {
        Right(role, statement["Effect"], action, resource, _condition(statement.get("Condition", {})))
        for role, statement in statements(stack)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def documented(page: str) -> set[Right]:
    """Every right that the page's table lists."""
    rights = set()
    for row in map(_ROW.match, page.splitlines()):
        if row is None:
            continue
        key, *values = _CODE.findall(row["condition"]) or [""]
        condition = f"{key}: {', '.join(sorted(values))}" if key else ""
        for action in _CODE.findall(row["actions"]):
            for resource in _CODE.findall(row["resource"]):
                rights.add(Right(row["role"], row["effect"], action, resource, condition))
    return rights


def _condition(condition: dict[str, dict[str, Any]]) -> str:
    return "; ".join(
        f"{key}: {', '.join(sorted(as_list(values)))}" if operator == "StringEquals" else f"{operator} {key}: {values}"
        for operator, keys in condition.items()
        for key, values in keys.items()
    )
