"""
One event against a deployed cache: which tier would answer it and how old the entry is, or why it would miss.

The hook's own code makes the key and looks, with the settings of the deployed function and the caller's rights; nothing is
written. What only an execution environment knows, its memory, cannot be seen from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.assembly import Assembly
from hookcache.clock import SystemClock
from hookcache.commands import OperatorClients
from hookcache.erasable import ErasableItems
from hookcache.errors import ConfigurationError, HookCacheError, Unkeyable
from hookcache.index import indexed_key
from hookcache.key import Keyer
from hookcache.policy import Bypass, Mode
from hookcache.receipt import Receipt
from hookcache.request import metered_context
from hookcache.settings import Settings
from hookcache.spending import Spending
from hookcache.value import replace
from hookcache_ops.bad_input import BadInput
from hookcache_ops.cures import cure, told_by
from hookcache_ops.reach import patient_assembly


class DeployedError(BadInput):
    """The deployed cache cannot be asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What would become of the event now: `outcome` is `hit_table`, `miss` or `bypass`.

    `others` counts keys of the same request under another backend identity or generation; None if that cannot be seen.
    `components` is its trace, for a look through receipts.
    """

    outcome: str
    reason: str
    step: str
    mode: str
    key_id: str = ""
    age_seconds: float | None = None
    entry_bytes: int = 0
    fresh_seconds_left: float | None = None
    others: int | None = None
    components: Mapping[str, Any] | None = None
    memory_seconds: float = 0.0


def look_up(
    event: Mapping[str, Any], variables: Mapping[str, str], whence: str, clients: Any = None, clock: Any = None
) -> Verdict:
    """
    The verdict on `event` under a function's environment `variables`.

    Raises:
        DeployedError: a setting is wrong or missing, or AWS cannot be asked.
    """
    if "HOOKCACHE_TABLE" not in variables:
        raise DeployedError(f"{whence} name no table; give --function with the wrapper's name, or set HOOKCACHE_TABLE")
    if not variables.get("HOOKCACHE_BACKEND"):
        raise DeployedError(
            f"{whence} name no HOOKCACHE_BACKEND: which code answers inside a decorator or layer cannot be seen from"
            " outside; compare receipts instead"
        )
    try:
        settings = Settings.of({name: value for name, value in variables.items() if name.startswith("HOOKCACHE_")})
        clients = clients if clients is not None else OperatorClients()
        assembly = patient_assembly(settings, variables, clients, clock if clock is not None else SystemClock())
        return _verdict(event, assembly, settings)
    except ConfigurationError as error:
        raise DeployedError(str(error)) from None
    except HookCacheError as error:
        remedy = cure(str(error), "check the region and your rights on its table")
        raise DeployedError(f"the cache cannot be asked ({error}); {remedy}") from None
    except (ClientError, BotoCoreError) as error:
        told = told_by(error)
        remedy = cure(told, "you need lambda:GetFunctionConfiguration on it")
        raise DeployedError(f"the backend cannot be looked up: {told}; {remedy}") from None


def _verdict(event: Mapping[str, Any], assembly: Assembly, settings: Settings) -> Verdict:
    cache = assembly.cache()
    if cache is None:
        raise DeployedError(
            "the secret cannot be read; log in again if your login has expired, or ask for secretsmanager:GetSecretValue "
            "on HOOKCACHE_SECRET_ARN"
        )
    step = metered_context(event)
    wanted = settings.rules(step)
    # Read only: a look from outside must not write who the backend is, nor obey a mode that serves nothing.
    rules = replace(wanted, mode=Mode.READ_ONLY, trace=True)
    if wanted.mode is Mode.OFF:  # no order is read (P50)
        return Verdict("bypass", "mode_off", step, wanted.mode.value)
    # The hook's own code goes on without a table or a backend; here it would pass the caller's login off as the function's.
    cache.control.sealed_orders()
    standing = cache.control.now(share=False)
    mode = standing.orders.mode(step) or wanted.mode.value
    if mode == Mode.OFF.value:
        return Verdict("bypass", "mode_off", step, mode)
    if standing.identity is None:
        _look_up_backend(assembly)
    receipt = Receipt(step, "", "")
    try:
        lookup = cache.prepare(event, None, rules, receipt)
    except Unkeyable as unkeyable:
        return Verdict("bypass", unkeyable.reason.value, step, mode)
    if isinstance(lookup, Bypass):
        return Verdict("bypass", lookup.reason.value, step, mode, components=receipt.components)
    lookup.mode = Mode.READ_ONLY
    entry = cache.recall(lookup, receipt)
    told: dict[str, Any] = {"step": step, "mode": mode, "key_id": receipt.key_id, "components": receipt.components}
    if entry is None:
        others = _others(assembly, settings, lookup.origin[0], bytes(lookup.key))
        return Verdict("miss", lookup.miss.value, others=others, **told)
    now = assembly.clock.now_ms()
    return Verdict(
        "hit_table",
        "",
        age_seconds=round((now - entry.created_ms) / 1000, 3),
        entry_bytes=len(entry.body),
        fresh_seconds_left=round((entry.fresh_until_ms - now) / 1000, 3),
        memory_seconds=settings.memory_seconds,
        **told,
    )


def _look_up_backend(assembly: Assembly) -> None:
    """Raises what keeps the caller from it; what would keep anybody from it is left to the verdict."""
    try:
        assembly.clients.lambda_control().get_function_configuration(FunctionName=assembly.settings.backend)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise


def _others(assembly: Assembly, settings: Settings, form_sha256: bytes, key: bytes) -> int | None:
    """How many other keys the same request has: under another backend identity or generation."""
    secrets = assembly.secrets.get()
    if secrets is None:
        return None
    items = ErasableItems(assembly.clients.dynamodb, settings.table, assembly.clock, Spending())
    index = Keyer(secrets, settings.namespace).form_index(form_sha256)
    try:
        found = {indexed_key(item) for item in items.indexed(index)}
        return len({bytes(each) for each in found if each is not None} - {key})
    except HookCacheError:
        return None  # the right to query is the erase function's; without it there is simply less to say
    finally:
        items.close()
