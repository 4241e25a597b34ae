"""Checks of what is kept: table, overflow bucket, secret, log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hookcache.emf import is_disabled
from hookcache.policy import DAY_SECONDS
from hookcache.request import CONTEXTS
from hookcache.sealer import INLINE_BYTES
from hookcache.settings import PREFIX
from hookcache_ops.doctor.finding import Finding, error, note, warning
from hookcache_ops.doctor.patient import Patient

KEYS = {"pk": ("HASH", "B"), "kind": ("RANGE", "S")}
SECRET_CHARACTERS = 32
SPARE_DAYS = 1
"""An object is deleted within a day after its time; an entry must not point at it any more by then."""


def table(patient: Patient) -> Iterator[Finding]:
    """3.1: the table is there, has the right keys, and forgets."""
    if patient.settings is None:
        return
    named = patient.settings.table
    found = patient.table
    if found is None:
        yield error(
            "table_missing",
            f"there is no table {named}: every page is paid",
            f"correct {PREFIX}TABLE, or create the table (pk binary, kind text, TTL on ttl)",
        )
        return
    types = {each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]}
    keys = {
        each["AttributeName"]: (each["KeyType"], types.get(each["AttributeName"], "")) for each in found["KeySchema"]
    }
    if keys != KEYS:
        yield error(
            "table_keys",
            f"the keys of table {named} are not pk (binary) and kind (text): nothing can be stored in it",
            "create a table with these keys; keys cannot be changed later",
        )
    ttl = patient.ask("the expiry of the table", "dynamodb", "describe_time_to_live", TableName=named) or {}
    state = ttl.get("TimeToLiveDescription", {})
    if state.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
        yield error(
            "ttl_off", f"table {named} keeps everything for ever: TTL is off", "enable TTL on the attribute ttl"
        )
    elif state.get("AttributeName") != "ttl":
        yield error(
            "ttl_attribute",
            f"table {named} expires items by {state.get('AttributeName')}, which no item has",
            "disable TTL, wait an hour, then enable it on the attribute ttl",
        )


def restore(patient: Patient) -> Iterator[Finding]:
    """T12: a restored table brings erased answers back."""
    if patient.settings is None or patient.table is None:
        return
    found = patient.ask(
        "point-in-time recovery", "dynamodb", "describe_continuous_backups", TableName=patient.settings.table
    )
    recovery = (found or {}).get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") == "ENABLED":
        yield warning(
            "erased_can_return",
            "point-in-time recovery is on: a restore brings erased answers back for up to 35 days",
            "turn it off; a lost cache is only a cold one",
        )


def overflow(patient: Patient) -> Iterator[Finding]:
    """P49, 8.2: large answers have a place, which is private, unversioned and forgets."""
    if patient.settings is None:
        return
    bucket = patient.settings.overflow_bucket
    if not bucket:
        yield note(
            "no_overflow",
            f"{PREFIX}OVERFLOW_BUCKET is not set: answers over {INLINE_BYTES // 1024} KB stored are not kept",
            "name a bucket if the backend returns such answers (textractBlocks of dense pages)",
        )
        return
    if patient.ask(f"the bucket {bucket}", "s3", "head_bucket", Bucket=bucket) is None:
        yield error(
            "overflow_missing",
            f"there is no bucket {bucket}: large answers are not kept",
            "create it, private, or unset it",
        )
        return
    blocked = (patient.ask("its public access", "s3", "get_public_access_block", Bucket=bucket) or {}).get(
        "PublicAccessBlockConfiguration", {}
    )
    wanted = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    if not all(blocked.get(each) for each in wanted):
        yield error(
            "overflow_public",
            f"bucket {bucket} with answers may become public: its public access is not blocked",
            "turn on all four settings of Block Public Access",
        )
    versioning = patient.ask("its versions", "s3", "get_bucket_versioning", Bucket=bucket) or {}
    if versioning.get("Status") == "Enabled":
        yield warning(
            "overflow_versioned",
            f"bucket {bucket} keeps versions: erased answers stay in it",
            "suspend versioning and delete the old versions",
        )
    yield from _lifecycle(patient, bucket)


def _lifecycle(patient: Patient, bucket: str) -> Iterator[Finding]:
    assert patient.settings is not None  # noqa: S101 - the caller's own check, for the type checker
    longest = max(patient.settings.rules(context).hard_seconds for context in CONTEXTS)
    needed_days = -(-longest // DAY_SECONDS) + SPARE_DAYS
    found = patient.ask("its lifecycle", "s3", "get_bucket_lifecycle_configuration", Bucket=bucket) or {}
    days = [_days(rule) for rule in found.get("Rules", []) if rule.get("Status") == "Enabled"]
    known = [each for each in days if each is not None]
    if not known:
        yield warning(
            "overflow_kept_for_ever",
            f"bucket {bucket} never forgets: what expires in the table stays there",
            f"add a lifecycle rule that expires objects after {needed_days + 7} days",
        )
    elif min(known) < needed_days:
        yield warning(
            "overflow_too_short",
            f"bucket {bucket} deletes after {min(known)} days, and answers live {longest / DAY_SECONDS:g} days",
            f"expire objects after {needed_days} days or later",
        )


def _days(rule: dict[str, Any]) -> int | None:
    """Days to expiry of a rule that reaches entries, None for any other."""
    chosen = rule.get("Filter", {})
    chosen = chosen.get("And", chosen)
    if "Tag" in chosen or "Tags" in chosen:
        return None  # entries have none
    prefix = rule.get("Prefix") or chosen.get("Prefix") or ""
    reaches = "entries/".startswith(prefix) or prefix.startswith("entries/")
    days = rule.get("Expiration", {}).get("Days")
    return int(days) if reaches and days is not None else None


def secret(patient: Patient) -> Iterator[Finding]:
    """P37, F30: the secret is there and cannot be guessed. Its text is measured here and kept nowhere."""
    if patient.settings is None:
        return
    arn = patient.settings.secret_arn
    if not arn:
        length = len(patient.settings.secret.strip())
    else:
        described = patient.ask("the secret", "secretsmanager", "describe_secret", SecretId=arn)
        if described is None or described.get("DeletedDate"):
            yield error(
                "secret_missing",
                "the secret that keys are made with is not there: every page is paid",
                f"restore it, or name another in {PREFIX}SECRET_ARN (a new one means an empty cache)",
            )
            return
        value = patient.ask("the length of the secret", "secretsmanager", "get_secret_value", SecretId=arn) or {}
        length = len(str(value.get("SecretString") or value.get("SecretBinary", b"").hex()).strip())
    if length < SECRET_CHARACTERS:
        yield error(
            "secret_short",
            f"the secret has {length} characters: whoever reads the table can find it, and test guessed prompts",
            "let Secrets Manager generate one of 64 characters (a new one means an empty cache)",
        )


def log(patient: Patient) -> Iterator[Finding]:
    """8.2: receipts are written, and have an end."""
    if is_disabled(patient.environment):
        yield note(
            "no_receipts",
            "POWERTOOLS_METRICS_DISABLED or POWERTOOLS_DEV is set: no receipt is written, so there are no metrics, no alarms "
            "on them and nothing to report",
            "remove it, unless you meant it",
        )
    group = patient.log_group
    found = patient.ask("the log group", "logs", "describe_log_groups", logGroupNamePrefix=group) or {}
    groups = {each["logGroupName"]: each for each in found.get("logGroups", [])}
    if group not in groups:
        yield warning(
            "log_missing",
            f"there is no log group {group}: Lambda will make one that keeps receipts for ever, if it may",
            "create it with a retention",
        )
    elif not groups[group].get("retentionInDays"):
        yield warning(
            "log_retention", f"log group {group} keeps receipts for ever", "set its retention, such as 30 days"
        )
