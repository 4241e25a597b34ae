"""The transformed template before AWS's own judge of templates, CloudFormation Guard; each rule with a stack that breaks it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paper_stack import Stack
from project import ROOT
from running import output_of

from missing import missing

Resources = dict[str, Any]
RULES = Path(__file__).with_name("stack.guard")
GIVEN = {
    "Name": "NAME",
    "BackendFunction": "BACKEND",
    "IDPWorkingBucket": "WORKING-BUCKET",
    "CustomerManagedEncryptionKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "AlarmEmail": "ops@example.com",
}


@pytest.fixture(scope="module")
def judge(sam_environment: Path) -> Callable[[dict[str, Resources]], dict[str, dict[str, str]]]:
    """Name -> resources in, name -> rule -> verdict out."""
    python = sam_environment / "python"
    probe = "import sys; print(sys.platform == 'linux' and sys.version_info < (3, 13)); import cfn_guard_rs"
    found = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        if found.stdout.strip() == "True":
            missing("cfn-guard-rs is not installed: run `make setup` once")
        pytest.skip("cfn-guard-rs is released for Linux and Python 3.11 and 3.12 only")

    def ask(stacks: dict[str, Resources]) -> dict[str, dict[str, str]]:
        templates = {name: {"Resources": resources} for name, resources in stacks.items()}
        command = [python, Path(__file__).with_name("guard_check.py"), RULES]
        judged: dict[str, dict[str, str]] = json.loads(output_of(*command, input=json.dumps(templates)))
        return judged

    return ask


def rule_names() -> set[str]:
    return set(re.findall(r"^rule (\w+)", RULES.read_text(encoding="utf-8"), re.MULTILINE))


def at(path: str, value: Any) -> Callable[[Resources], None]:
    """Put `value` at `resource/member/...`, or take the member away if it is None."""

    def spoil(resources: Resources) -> None:
        node: Any = resources
        *folders, last = path.split("/")
        for folder in folders:
            node = node[int(folder) if isinstance(node, list) else folder]
        if value is None:
            del node[last]
        else:
            node[last] = value

    return spoil


def with_right(action: str, resource: str) -> Callable[[Resources], None]:
    """One more statement in the hook's policy."""

    def spoil(resources: Resources) -> None:
        policy = resources["HookRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        policy["Statement"].append({"Effect": "Allow", "Action": action, "Resource": resource})

    return spoil


SPOILT: dict[str, tuple[str, Callable[[Resources], None]]] = {
    "table without the customer's key": (
        "table_is_encrypted_with_a_customer_key",
        at("CacheTable/Properties/SSESpecification/KMSMasterKeyId", None),
    ),
    "table that keeps items": ("table_forgets", at("CacheTable/Properties/TimeToLiveSpecification/Enabled", False)),
    "table that can be restored": (
        "table_forgets",
        at("CacheTable/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", True),
    ),
    "table that goes": ("table_is_protected", at("CacheTable/DeletionPolicy", "Delete")),
    "bucket under another key": (
        "bucket_is_encrypted_with_a_customer_key",
        at(
            "OverflowBucket/Properties/BucketEncryption/ServerSideEncryptionConfiguration",
            [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
        ),
    ),
    "public bucket": (
        "bucket_is_not_public",
        at("OverflowBucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy", False),
    ),
    "bucket without an end": ("bucket_forgets", at("OverflowBucket/Properties/LifecycleConfiguration/Rules", [])),
    "log without an end": ("logs_have_an_end", at("EraseLogGroup/Properties/RetentionInDays", None)),
    "function with a log of Lambda's": ("logs_have_an_end", at("HookFunction/Properties/LoggingConfig", None)),
    "every action": ("roles_name_what_they_may_do", with_right("s3:*", "arn:aws:s3:::bucket/key")),
    "every resource": ("roles_name_what_they_may_do", with_right("s3:GetObject", "*")),
    "every account": (
        "roles_name_what_they_may_do",
        with_right("ssm:GetParameter", "arn:aws:ssm:REGION:*:parameter/x"),
    ),
    "managed policy": ("roles_name_what_they_may_do", at("HookRole/Properties/ManagedPolicyArns", ["arn:aws:x"])),
    "written secret": ("secret_is_encrypted_and_generated", at("KeySecret/Properties/SecretString", "letmein")),
    "plain topic": ("topic_is_encrypted", at("AlertsTopic/Properties/KmsMasterKeyId", None)),
}


def test_guard_finds_nothing_in_the_stack_and_everything_that_was_planted(
    transformed: dict[str, Any], judge: Callable[[dict[str, Resources]], dict[str, dict[str, str]]]
) -> None:
    """
    8.2, P38, P39, T12: encryption, retention, expiry, public access and rights, as Guard sees them.

    Controls: fifteen stacks, each spoilt in one way, each failing just the rule meant for it.
    """
    whole = Stack(transformed, GIVEN).resources
    stacks = {"good": whole}
    for name, (_, spoil) in SPOILT.items():
        stacks[name] = copy.deepcopy(whole)
        spoil(stacks[name])

    judged = judge(stacks)

    assert judged["good"] == dict.fromkeys(rule_names(), "PASS")
    assert {name: [rule] for name, (rule, _) in SPOILT.items()} == {
        name: [rule for rule, verdict in judged[name].items() if verdict != "PASS"] for name in SPOILT
    }


def test_every_rule_of_guard_has_a_control() -> None:
    """A rule that nothing can break proves nothing."""
    assert rule_names() == {rule for rule, _ in SPOILT.values()}
    assert RULES.is_relative_to(ROOT)
