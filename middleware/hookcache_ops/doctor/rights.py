"""
Checks of the role: it may do what the settings need, and may not call itself (8.2, P39, T9).

IAM's simulation is asked first, since it knows boundaries and organisation policies too; where that may not be run, the
role's policies are read instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.loaders import create_loader

from hookcache.settings import Settings
from hookcache_ops.doctor.finding import Finding, Unseen, error, warning
from hookcache_ops.doctor.patient import Patient, bare_name
from hookcache_ops.doctor.policies import Policies, Verdict

ENTRIES = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem")
LARGE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
SIMULATION = "need iam:SimulatePrincipalPolicy"


@dataclass(frozen=True, slots=True)
class Need:
    """Actions on one resource that the role must hold, through which service (for a key), and what fails without them."""

    id: str
    actions: tuple[str, ...]
    resource: str
    without: str
    via: str = ""


def rights(patient: Patient) -> Iterator[Finding]:
    """Every right that the settings need is there; the one to call itself is not."""
    if patient.settings is None:
        return
    role = Role(patient)
    if patient.wraps_another and role.judge("lambda:InvokeFunction", patient.arn, "") is Verdict.ALLOWED:
        yield warning(
            "may_call_itself",
            f"the role of {patient.name} may invoke {patient.name} itself",
            "deny lambda:InvokeFunction on its own ARN, with and without qualifier",
        )
    for need in needs(patient, patient.settings):
        missing = [action for action in need.actions if role.judge(action, need.resource, need.via) != Verdict.ALLOWED]
        if missing:
            yield error(
                need.id,
                f"the role of {patient.name} lacks {', '.join(missing)} on {need.resource}: {need.without}",
                f"allow it in the policy of role {role.name}, and look for a Deny (docs/permissions.md lists each right)",
            )
    if role.hidden_boundary:
        raise Unseen(f"what the permissions boundary of role {role.name} leaves of its rights", SIMULATION)


def needs(patient: Patient, settings: Settings) -> Iterator[Need]:
    """What the function's own settings make it do."""
    partition, place = patient.partition, f"{patient.region}:{patient.account}"
    table = settings.table if ":" in settings.table else f"arn:{partition}:dynamodb:{place}:table/{settings.table}"
    yield Need("rights_table", ENTRIES, table, "nothing is kept or found")
    if settings.overflow_bucket:
        objects = f"arn:{partition}:s3:::{settings.overflow_bucket}/entries/x"
        yield Need("rights_overflow", LARGE, objects, "large answers are paid each time")
    for prefix in settings.image_prefixes:
        images = f"arn:{partition}:s3:::{prefix.removeprefix('s3://').rstrip('/')}/x"
        yield Need("rights_images", ("s3:GetObject",), images, "requests with images go past the cache")
    if settings.secret_arn:
        yield Need(
            "rights_secret",
            ("secretsmanager:GetSecretValue",),
            settings.secret_arn,
            "every request goes past the cache",
        )
    if settings.backend:
        named = _backend_arn(patient, settings.backend)
        yield Need("rights_backend", ("lambda:InvokeFunction",), named, "every request fails")
        if settings.identity == "auto":
            yield Need(
                "rights_identity", ("lambda:GetFunctionConfiguration",), named, "every request goes past the cache"
            )
    log = f"arn:{partition}:logs:{place}:log-group:{patient.log_group}:log-stream:x"
    yield Need("rights_log", LOG, log, "there are no receipts")
    if settings.prices.startswith("s3://"):
        table = f"arn:{partition}:s3:::{settings.prices.removeprefix('s3://')}"
        yield Need("rights_prices", ("s3:GetObject",), table, "nothing is priced")
    if settings.prices.startswith("ssm:"):
        named = settings.prices.removeprefix("ssm:").lstrip("/")
        table = f"arn:{partition}:ssm:{place}:parameter/{named}"
        yield Need("rights_prices", ("ssm:GetParameter",), table, "nothing is priced")
    yield from _keys(patient, settings)


def _backend_arn(patient: Patient, named: str) -> str:
    if named.startswith("arn:"):
        return named
    name = bare_name(named)
    qualifier = named.rpartition(":")[2] if ":" in named and named.rpartition(":")[2] != name else ""
    tail = f":{qualifier}" if qualifier else ""
    return f"arn:{patient.partition}:lambda:{patient.region}:{patient.account}:function:{name}{tail}"


def _keys(patient: Patient, settings: Settings) -> Iterator[Need]:
    """One need per customer's key and service; what AWS's own keys encrypt needs no right."""
    used: dict[tuple[str, str], tuple[str, ...]] = {}
    for bucket in patient.image_buckets:
        used.setdefault((patient.bucket_key(bucket), "s3"), ("kms:Decrypt",))
    if settings.overflow_bucket:
        used[patient.bucket_key(settings.overflow_bucket), "s3"] = ("kms:Decrypt", "kms:GenerateDataKey")
    sse = (patient.table or {}).get("SSEDescription") or {}
    if sse.get("SSEType") == "KMS":
        used[patient.key_arn(str(sse.get("KMSMasterKeyArn", ""))), "dynamodb"] = ("kms:Decrypt",)
    if settings.secret_arn:
        described = patient.ask("the secret", "secretsmanager", "describe_secret", SecretId=settings.secret_arn) or {}
        used[patient.key_arn(str(described.get("KmsKeyId", ""))), "secretsmanager"] = ("kms:Decrypt",)
    if settings.prices.startswith("s3://"):
        used.setdefault((patient.bucket_key(settings.prices.split("/")[2]), "s3"), ("kms:Decrypt",))
    for (key, service), actions in used.items():
        if key:
            via = f"{service}.{patient.region}.{_suffix(patient.partition)}"
            yield Need("rights_key", actions, key, f"what {service} encrypts with it cannot be read", via)


def _suffix(partition: str) -> str:
    """What the names of services end in, as CloudFormation's AWS::URLSuffix: `amazonaws.com`, in China with `.cn`."""
    known = {each["id"]: each["outputs"]["dnsSuffix"] for each in create_loader().load_data("partitions")["partitions"]}
    return str(known.get(partition, "amazonaws.com"))


class Role:
    """The function's execution role: asked by simulation, else by its policies."""

    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self.arn = str(patient.configuration.get("Role", ""))
        self.name = self.arn.rpartition("/")[2]
        self._simulates = True

    def judge(self, action: str, resource: str, via: str) -> Verdict:
        """
        Raises:
            Unseen: neither way is open.
        """
        if self._simulates:
            try:
                return self._simulated(action, resource, via)
            except Unseen:
                self._simulates = False
        return self._policies.judge(action, resource)

    @property
    def hidden_boundary(self) -> bool:
        """True where a boundary bounds the role and only its policies, which do not tell, could be read."""
        if self._simulates:
            return False
        found = self._patient.ask(f"the boundary of role {self.name}", "iam", "get_role", RoleName=self.name)
        return bool((found or {}).get("Role", {}).get("PermissionsBoundary"))

    @cached_property
    def _policies(self) -> Policies:
        try:
            return Policies.of(self._patient.ask, self.name)
        except Unseen as unseen:
            raise Unseen(unseen.what, f"{SIMULATION}, or {unseen.needed.removeprefix('need ')}") from None

    def _simulated(self, action: str, resource: str, via: str) -> Verdict:
        context: list[dict[str, Any]] = []
        if via:
            context.append({"ContextKeyName": "kms:ViaService", "ContextKeyValues": [via], "ContextKeyType": "string"})
        reply = self._patient.ask(
            "the rights of the role",
            "iam",
            "simulate_principal_policy",
            PolicySourceArn=self.arn,
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=context,
        )
        if reply is None:
            raise Unseen(f"the rights of role {self.name}", "there is no such role in IAM")
        decision = reply["EvaluationResults"][0]["EvalDecision"]
        return {"allowed": Verdict.ALLOWED, "explicitDeny": Verdict.DENIED}.get(decision, Verdict.UNMENTIONED)
