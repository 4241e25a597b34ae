"""
A role's rights read from its policies: what stands in for IAM's own simulation where nobody may run it.

    Deny of a matching statement  >  Allow of one  >  nothing

A statement with a condition is taken as it reads without it if it allows, and as absent if it denies: so a missing right
is surely missing, and a right that hangs on a condition is not examined.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hookcache_ops.doctor.finding import Unseen
from hookcache_ops.doctor.patient import Asker


class Verdict(Enum):
    ALLOWED = "allowed"
    DENIED = "denied"
    UNMENTIONED = "unmentioned"


@dataclass(frozen=True, slots=True)
class Policies:
    """The statements of all policies of one role."""

    statements: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, ask: Asker, role: str) -> Policies:
        """
        Raises:
            Unseen: the role is not there, or its policies may not be read.
        """
        return cls(tuple(_statements(ask, role)))

    def judge(self, action: str, resource: str) -> Verdict:
        """Whether the role may do `action` on `resource`."""
        said = {
            statement["Effect"]
            for statement in self.statements
            if _covers(statement, "Action", action.lower(), fold=True)
            and _covers(statement, "Resource", resource, fold=False)
            and not (statement["Effect"] == "Deny" and statement.get("Condition"))
        }
        if "Deny" in said:
            return Verdict.DENIED
        return Verdict.ALLOWED if "Allow" in said else Verdict.UNMENTIONED


def _statements(ask: Asker, role: str) -> Iterator[Mapping[str, Any]]:
    listed = ask(f"the rights of role {role}", "iam", "list_role_policies", RoleName=role)
    if listed is None:
        raise Unseen(f"the rights of role {role}", "there is no such role in IAM")
    for name in listed["PolicyNames"]:
        inline = ask(f"the rights of role {role}", "iam", "get_role_policy", RoleName=role, PolicyName=name)
        yield from _of_document((inline or {}).get("PolicyDocument"))
    attached = ask(f"the rights of role {role}", "iam", "list_attached_role_policies", RoleName=role) or {}
    for policy in attached.get("AttachedPolicies", []):
        arn = policy["PolicyArn"]
        found = ask(f"policy {arn}", "iam", "get_policy", PolicyArn=arn)
        if found is None:
            continue
        version = ask(
            f"policy {arn}", "iam", "get_policy_version", PolicyArn=arn, VersionId=found["Policy"]["DefaultVersionId"]
        )
        yield from _of_document((version or {}).get("PolicyVersion", {}).get("Document"))


def _of_document(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, str):
        document = json.loads(document)
    yield from _as_list((document or {}).get("Statement", []))


def _covers(statement: Mapping[str, Any], member: str, value: str, *, fold: bool) -> bool:
    """Whether a statement's Action or Resource, or its Not- form, reaches `value`."""
    negative = f"Not{member}"
    patterns = _as_list(statement.get(negative, statement.get(member, [])))
    # IAM knows * and ? only; brackets are plain characters to it.
    told = [str(pattern).lower() if fold else str(pattern) for pattern in patterns]
    hit = any(fnmatch.fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in told)
    return hit != (negative in statement)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
