"""Check of the operator's orders in the table: who put them there, and what they switch off (P44, P50, T5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.commands import Commands
from hookcache.policy import Mode
from hookcache.settings import Settings
from hookcache.value import replace
from hookcache_ops.doctor.finding import Finding, Unseen, error, note
from hookcache_ops.doctor.patient import Patient


def shown(settings: Settings) -> Mapping[str, Any]:
    """The orders that stand, as `hookcache mode --show` has them."""
    commands = Commands(settings)
    try:
        return commands({"command": "show"})
    finally:
        commands.close()


def orders(patient: Patient, read: Callable[[Settings], Mapping[str, Any]] = shown) -> Iterator[Finding]:
    """Orders are the operator's own, and none of them is forgotten."""
    if patient.settings is None or patient.table is None:
        return
    standing = _read(patient.settings, read)
    if standing["tampered"]:
        yield error(
            "orders_tampered",
            "somebody without the secret wrote orders into the table; they are ignored",
            "find out who may write to the table, then give the orders again with hookcache mode or invalidate",
        )
    off = {context: mode for context, mode in standing["modes"].items() if mode != Mode.ON}
    if off:
        told = ", ".join(
            f"{'every step' if context == '*' else context} {mode}" for context, mode in sorted(off.items())
        )
        yield note(
            "mode_ordered",
            f"an order stands before the settings: {told}",
            f"take it back with hookcache mode --clear --function {patient.name}",
        )
    yield from _left_behind(patient.settings, standing, read)


def _left_behind(
    settings: Settings, standing: Mapping[str, Any], read: Callable[[Settings], Mapping[str, Any]]
) -> Iterator[Finding]:
    """Orders lie under the backend's name with its qualifier: one that was added since has left those without it behind."""
    named = settings.backend_name
    bare = named.partition(":")[0]
    if named == bare:
        return
    before = _read(replace(settings, backend=bare), read)
    lost = [f"mode {mode}" for context, mode in sorted(before["modes"].items()) if context not in standing["modes"]]
    if before["generation"] is not None and standing["generation"] is None:
        lost.append(f"generation {before['generation']}")
    if lost:
        yield note(
            "orders_left_behind",
            f"{', '.join(lost)}: ordered while the backend was named {bare}, and not in force for {named}",
            "give the order again with hookcache mode or invalidate --generation, if it is still meant",
        )


def _read(settings: Settings, read: Callable[[Settings], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        standing = read(settings)
    except (ClientError, BotoCoreError) as trouble:
        raise Unseen("the orders in the table", f"it could not be read ({type(trouble).__name__})") from None
    if "error" in standing:
        raise Unseen("the orders in the table", str(standing["error"]))
    return standing
