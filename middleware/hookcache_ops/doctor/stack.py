"""Checks of what is paid for and reaches nobody: the alias that no host calls, alarms without an address."""

from __future__ import annotations

from collections.abc import Iterator

from hookcache_ops.doctor.finding import Finding, note
from hookcache_ops.doctor.patient import Patient


def behind_alias(patient: Patient) -> Iterator[Finding]:
    """
    SnapStart and provisioned concurrency serve published versions alone, and hosts are given the name without an alias.

    Provisioned concurrency is known of a stack that was named: its parameter tells, without another right.
    """
    if patient.configuration.get("Version", "$LATEST") != "$LATEST":
        return  # examined as whoever calls the alias has it
    snap = (patient.configuration.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions"
    warm = patient.parameters.get("ProvisionedConcurrency", "0") != "0"
    for on, what, parameter in (
        (snap, "SnapStart", "SnapStart to off"),
        (warm, "provisioned concurrency", "ProvisionedConcurrency to 0"),
    ):
        if on:
            yield note(
                "behind_alias",
                f"{what} is on: it is paid for, and serves only who calls a published version or the alias :live",
                f"give the host the alias (output LiveAliasArn) where it takes one, else set {parameter}",
            )


def alarms(patient: Patient) -> Iterator[Finding]:
    """Alarms reach somebody. Known of a stack that was named: its parameters tell, without another right."""
    addresses = [patient.parameters.get(name) for name in ("AlertsTopicArn", "AlarmEmail")]
    if addresses == ["", ""]:
        yield note(
            "alarms_reach_nobody",
            "neither AlertsTopicArn nor AlarmEmail is set: alarms change their state and tell nobody",
            "set one of the two, such as AlertsTopicArn to the host's output SNSAlertsTopicARN",
        )
