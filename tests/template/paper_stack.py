"""A stack on paper: a transformed template and its parameters, with CloudFormation's functions worked out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "REGION",
    "AWS::AccountId": "ACCOUNT",
    "AWS::StackName": "STACK",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


@dataclass(frozen=True)
class Stack:
    """
    What CloudFormation would create of `template` under `parameters`; those left out have their defaults.

    A reference to a resource reads as its logical id, an attribute of it as `Id.Attribute`: tests compare texts.
    """

    template: dict[str, Any]
    parameters: dict[str, str] = field(default_factory=dict)
    pseudo: dict[str, str] = field(default_factory=PSEUDO.copy)

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Logical id -> resource, without those whose condition is false."""
        created = {}
        for logical_id, resource in self.template["Resources"].items():
            if "Condition" not in resource or self.holds(resource["Condition"]):
                created[logical_id] = {**resource, "Properties": self.resolve(resource.get("Properties", {}))}
        return created

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Logical id and resolved properties of each resource of a type."""
        for logical_id, resource in self.resources.items():
            if kind == resource["Type"]:
                yield logical_id, resource["Properties"]

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Resolved properties of one resource."""
        properties: dict[str, Any] = self.resources[logical_id]["Properties"]
        return properties

    @property
    def outputs(self) -> dict[str, Any]:
        """Output name -> resolved value, without those whose condition is false."""
        return {
            name: self.resolve(output["Value"])
            for name, output in self.template["Outputs"].items()
            if "Condition" not in output or self.holds(output["Condition"])
        }

    @property
    def refusals(self) -> list[str]:
        """What the `Rules` of the template say against these parameters; CloudFormation creates nothing where one does."""
        return [
            assertion["AssertDescription"]
            for rule in self.template["Rules"].values()
            if self.resolve(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.resolve(assertion["Assert"])
        ]

    def holds(self, condition: str) -> bool:
        """Whether a named condition is true."""
        return bool(self.resolve(self.template["Conditions"][condition]))

    def resolve(self, node: Any) -> Any:
        """`node` with every intrinsic function replaced by its value, and `AWS::NoValue` left out."""
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in {"Ref", "Condition"} and isinstance(argument, str):
                return self._reference(argument) if name == "Ref" else self.holds(argument)
            if name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NO_VALUE}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.template["Parameters"]:
            return str(self.parameters.get(name, self.template["Parameters"][name].get("Default", name)))
        if name not in self.template["Resources"]:
            raise KeyError(name)
        return name

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "If":
                condition, yes, no = argument
                return self.resolve(yes if self.holds(condition) else no)
            case "Sub":
                text, names = argument if isinstance(argument, list) else (argument, {})
                return re.sub(r"\$\{([^!}][^}]*)\}", lambda hit: self._substitute(hit[1], names), text)
            case "GetAtt":
                return argument if isinstance(argument, str) else ".".join(argument)
            case "Select":
                index, values = argument
                return self.resolve(values)[int(index)]
            case "Split":
                separator, text = argument
                return self.resolve(text).split(separator)
            case "Equals":
                left, right = self.resolve(argument)
                return str(left) == str(right)
            case "Not":
                return not self.resolve(argument)[0]
            case "And":
                return all(self.resolve(argument))
            case "Or":
                return any(self.resolve(argument))
        raise NotImplementedError(f"Fn::{function}")

    def _substitute(self, name: str, names: dict[str, Any]) -> str:
        if name in names:
            return str(self.resolve(names[name]))
        if "." in name:
            return name
        return str(self._reference(name))
