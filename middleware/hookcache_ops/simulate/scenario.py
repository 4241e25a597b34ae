"""
A scenario: the settings of a wrapper, and what a key is made of, under which a log is replayed.

Settings are hookcache's own (`hookcache.settings`), so that a value is refused here for the reason, and in the words, for
which a wrapper would refuse it. What no setting can do, other keys, stands beside them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hookcache.errors import ConfigurationError
from hookcache.frames import utf8
from hookcache.policy import Mode
from hookcache.request import METERED_CONTEXTS
from hookcache.settings import ANY_CONTEXT, PREFIX, Settings
from hookcache_ops.receipts import SourceError
from hookcache_ops.simulate.trace import short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcache.key import CacheKey
    from hookcache.policy import Rules
    from hookcache_ops.simulate.trace import Request

_NEEDED = {"HOOKCACHE_TABLE": "replay", "HOOKCACHE_SECRET": "replay"}
SIMULATED = ("mode", "fresh_seconds", "memory_bytes", "memory_seconds", "policy")
SPLITS = ("function", "context")


@dataclass(frozen=True)
class Scenario:
    """
    One way to run the cache.

    Attributes:
        settings: as an environment would give them.
        advice: how to get there.
        environments: spread the requests evenly over so many; None leaves each where the log has it.
        images_only: steps whose key is made of the page images alone.
        merge_namespaces: requests of all functions in the log share answers where all but the namespace agrees.
        split: `function` or `context`: these share no answers with one another.
        sets_freshness: it says something about freshness of its own.
        said: the settings that it, or what it is based on, names; the others are hookcache's defaults.
    """

    name: str
    settings: Settings
    advice: str = ""
    environments: int | None = None
    images_only: frozenset[str] = frozenset()
    merge_namespaces: bool = False
    split: str = ""
    sets_freshness: bool = False
    said: frozenset[str] = frozenset()
    _rules: dict[str, Rules] = field(default_factory=dict, repr=False, compare=False)
    _modes: dict[tuple[str, str], Mode] = field(default_factory=dict, repr=False, compare=False)

    def rules(self, context: str) -> Rules:
        rules = self._rules.get(context)
        if rules is None:
            rules = self._rules[context] = self.settings.rules(context)
        return rules

    def mode(self, request: Request) -> Mode:
        """The mode that this scenario says, else the one in which the request was made."""
        mode = self._modes.get((request.context, request.mode))
        if mode is None:
            mode = self._said_mode(request.context) or (Mode(request.mode) if request.mode in set(Mode) else Mode.ON)
            self._modes[request.context, request.mode] = mode
        return mode

    def _said_mode(self, context: str) -> Mode | None:
        told = [self.settings.policy[name] for name in (context, ANY_CONTEXT) if name in self.settings.policy]
        for each in told:
            if "mode" in each:
                return Mode(each["mode"])
        return self.settings.mode if "mode" in self.said else None

    def key_of(self, request: Request) -> CacheKey | None:
        """What the request is looked up by."""
        key = request.key
        if request.context in self.images_only and request.images is not None:
            key = request.images
        elif self.merge_namespaces and request.whole is not None:
            key = request.whole
        if key is None or not self.split:
            return key
        return short(key, utf8(request.function if self.split == "function" else request.context))

    def environment_of(self, request: Request) -> int:
        if self.environments is None:
            return request.environment
        return (request.place // 7 + request.start_ms) % self.environments

    def but(self, name: str, advice: str = "", **changes: Any) -> Scenario:
        """This one with other settings or keys; `changes` are members of a scenario file's entry."""
        return scenario_of({"name": name, **changes}, self, advice)


_OWN = ("environments", "images_only", "merge_namespaces", "split")


def scenario_of(told: Mapping[str, Any], base: Scenario | None = None, advice: str = "") -> Scenario:
    """
    The scenario in one entry of a scenario file: settings by the names in SIMULATED, and `environments`,
    `images_only`, `merge_namespaces`, `split`. What it does not say is as in `base`.

    Raises:
        SourceError: a member is unknown, or a value is none that hookcache takes.
    """
    name = str(told.get("name") or "unnamed")
    unknown = sorted(map(str, told.keys() - {"name", "advice", *SIMULATED, *_OWN}))
    if unknown:
        raise SourceError(
            f"scenario {name!r}: {', '.join(unknown)} is unknown; use {', '.join((*SIMULATED, *_OWN))}, and name"
        )
    settings = _settings(name, told, base)
    scenario = (
        replace(
            base, name=name, settings=settings, advice=advice or str(told.get("advice") or ""), _rules={}, _modes={}
        )
        if (base is not None)
        else Scenario(name, settings, advice)
    )
    freshness = "fresh_seconds" in told or "fresh_seconds" in json.dumps(told.get("policy"))
    said = (told.keys() & set(SIMULATED)) | (base.said if base is not None else frozenset())
    return replace(scenario, **_keying(name, told), sets_freshness=freshness, said=frozenset(said))


def _settings(name: str, told: Mapping[str, Any], base: Scenario | None) -> Settings:
    environ = dict(_NEEDED)
    for member in SIMULATED:
        value = told[member] if member in told else _said(base, member)
        if member == "policy":
            value = _merged_policy(name, told, base)
        if value is not None:
            environ[PREFIX + member.upper()] = value if isinstance(value, str) else json.dumps(value)
    try:
        return Settings.of(environ)
    except ConfigurationError as error:
        raise SourceError(f"scenario {name!r}: {error}") from None


def _said(base: Scenario | None, member: str) -> Any:
    if base is None or member not in base.said or member == "policy":
        return None
    return _plain(getattr(base.settings, member))


def _plain(value: Any) -> Any:
    """A setting's value as JSON spells it."""
    if isinstance(value, Mode):
        return value.value
    return sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value


def _merged_policy(name: str, told: Mapping[str, Any], base: Scenario | None) -> Any:
    """Members of `policy` replace those of the base step by step; `fresh_seconds` said for all takes theirs away."""
    policy = (
        {}
        if base is None
        else {
            context: {rule: _plain(value) for rule, value in rules.items()}
            for context, rules in base.settings.policy.items()
        }
    )
    if "fresh_seconds" in told:
        for members in policy.values():
            members.pop("fresh_seconds", None)
            members.pop("hard_seconds", None)
    if "mode" in told:
        for members in policy.values():
            members.pop("mode", None)
    given = told.get("policy") or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise SourceError(
                f"scenario {name!r}: policy is no JSON; write it as HOOKCACHE_POLICY is written"
            ) from None
    if not isinstance(given, dict) or not all(isinstance(members, dict) for members in given.values()):
        raise SourceError(f"scenario {name!r}: policy names steps, each with its members, as HOOKCACHE_POLICY does")
    for context, members in given.items():
        policy[context] = policy.get(context, {}) | members
    return policy or None


def _keying(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "environments" in told:
        count = told["environments"]
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 10_000:
            raise SourceError(f"scenario {name!r}: environments is a number from 1 to 10,000")
        found["environments"] = count
    if "images_only" in told:
        steps = told["images_only"]
        steps = [steps] if isinstance(steps, str) else steps
        if not isinstance(steps, list) or not steps or not all(step in METERED_CONTEXTS for step in map(str, steps)):
            known = ", ".join(sorted(METERED_CONTEXTS))
            raise SourceError(f"scenario {name!r}: images_only is a list of steps, such as [OCR], of {known}")
        found["images_only"] = frozenset(steps)
    if "merge_namespaces" in told:
        found["merge_namespaces"] = told["merge_namespaces"] is True
    if "split" in told:
        if told["split"] not in SPLITS:
            raise SourceError(f"scenario {name!r}: split is one of {', '.join(SPLITS)}")
        found["split"] = told["split"]
    return found


def of_file(text: str, where: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """
    The `deployed` settings and the `scenarios` of a scenario file, YAML or JSON.

    Raises:
        SourceError: it is not in that form.
    """
    import yaml

    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SourceError(f"{where}: no YAML: {' '.join(str(error).split())}") from None
    told = {"scenarios": told} if isinstance(told, list) else told
    if not isinstance(told, dict) or told.keys() - {"deployed", "scenarios"}:
        raise SourceError(f"{where}: write `deployed:` with the wrapper's settings and `scenarios:` with a list")
    deployed, scenarios = told.get("deployed") or {}, told.get("scenarios") or []
    if not isinstance(deployed, dict) or not isinstance(scenarios, list):
        raise SourceError(f"{where}: `deployed` holds settings by name, `scenarios` is a list")
    if not all(isinstance(each, dict) for each in scenarios):
        raise SourceError(f"{where}: each scenario holds a name and settings, such as fresh_seconds: 2592000")
    return deployed, scenarios
