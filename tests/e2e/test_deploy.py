"""
The template deployed: `sam build` and `sam deploy` as a person types them, then the wrapper driven over boto3.

The file is the project's own, byte for byte; two of its parameters leave out what that account does not have (see
`Account.deploy`). The account is ministack: one process, no container. Known to be lost there, and looked at elsewhere: a table's TTL, a
bucket's lifecycle and reserved concurrency (tests/template), a function's own error type (the local Lambda service and its referee).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from cloud_account import ACCOUNT, BACKEND, NAME, REGION, ROOT, STACK, WORKING_BUCKET

from hookcache_ops.doctor import CHECKS, Patient, examine
from hookcache_ops.doctor.orders import orders
from hookcache_ops.doctor.patient import Asker

if TYPE_CHECKING:
    from cloud_account import Account

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]
WRAPPER = f"GENAIIDP-cache-{NAME}"


@pytest.fixture(scope="module")
def stack(account: Account) -> dict[str, str]:
    """The outputs of the deployed stack."""
    run = account.deploy(STACK)
    assert run.returncode == 0, account.trouble(STACK) or run.stderr
    return account.outputs(STACK)


def text_of(answer: dict[str, Any]) -> str:
    text: str = answer["output"]["message"]["content"][0]["text"]
    return text


def test_the_stack_tells_the_host_what_it_needs(stack: dict[str, str]) -> None:
    """Issue C: name, ARN and price rows, as they are to be copied."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{WRAPPER}"

    assert (stack["FunctionName"], stack["FunctionArn"]) == (WRAPPER, arn)
    assert (stack["PriceRow"], stack["PriceRowOfOlderHosts"]) == (f"lambda_hook/{WRAPPER}", WRAPPER)
    assert stack["Usage"] == f"model: LambdaHook, model_lambda_hook_arn: {arn}"
    assert stack["EraseFunctionName"] == f"hookcache-erase-{NAME}"


def test_what_was_created_is_what_the_template_says(account: Account, stack: dict[str, str]) -> None:
    """3.1, 8.2: keys of the table, end of the log, private bucket, generated secret, alarms."""
    table = account.client("dynamodb").describe_table(TableName=stack["TableName"])["Table"]
    groups = account.client("logs").describe_log_groups()["logGroups"]
    bucket = stack["OverflowBucketName"]
    blocked = account.client("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    secret = account.client("secretsmanager").get_secret_value(SecretId=stack["SecretArn"])["SecretString"]
    alarms = account.client("cloudwatch").describe_alarms()["MetricAlarms"]

    assert [("pk", "HASH"), ("kind", "RANGE")] == [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]]
    assert table["DeletionProtectionEnabled"] is True
    assert {f"/{STACK}/lambda/HookFunction": 30, f"/{STACK}/lambda/EraseFunction": 30} == {
        group["logGroupName"]: group.get("retentionInDays") for group in groups if STACK in group["logGroupName"]
    }
    assert blocked == dict.fromkeys(blocked, True)
    assert len(secret) == 64
    assert len(alarms) >= 10


def test_what_was_deployed_is_the_template_of_the_project(account: Account, stack: dict[str, str]) -> None:
    """Issue C: nothing was cut out of it: every resource of template.yaml is in what `sam deploy` sent."""
    resource = re.compile(r"(?m)^  (\w+):\n    Type: (AWS::[\w:]+)$")
    ours = resource.findall((ROOT / "template.yaml").read_text(encoding="utf-8"))
    sent = resource.findall((account.folder / "build/template.yaml").read_text(encoding="utf-8"))

    assert len(ours) > 30
    assert ours == sent


def test_a_page_is_read_once_and_answered_again(account: Account, stack: dict[str, str]) -> None:
    """P1, P9, P31, P32: miss, hit in memory under another image name, hit in the table by a new environment."""
    first, error = account.invoke(WRAPPER, account.event("page"))
    second, _ = account.invoke(WRAPPER, account.event("page"))
    account.restart(WRAPPER)
    third, _ = account.invoke(WRAPPER, account.event("page"))
    other, _ = account.invoke(WRAPPER, account.event("page", b"\xff\xd8 page two"))

    assert error is None
    assert first["usage"] == {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10, "pages": 1}
    assert [text_of(first)] * 2 == [text_of(second), text_of(third)]
    assert [dict.fromkeys(first["usage"], 0)] * 2 == [second["usage"], third["usage"]]
    assert text_of(other) != text_of(first)
    outcomes = [receipt["outcome"] for receipt in account.receipts(stack["LogGroupName"])]
    assert outcomes == ["miss", "hit_memory", "hit_table", "miss"]


def test_each_invocation_left_one_receipt(account: Account, stack: dict[str, str]) -> None:
    """P31: the log of the deployed function holds them, in the order of what happened above."""
    before = len(account.receipts(stack["LogGroupName"]))
    account.invoke(WRAPPER, account.event("receipt"))
    account.invoke(WRAPPER, account.event("receipt"))

    receipts = account.receipts(stack["LogGroupName"])[before:]
    assert [(receipt["outcome"], receipt["function"]) for receipt in receipts] == [
        ("miss", WRAPPER),
        ("hit_memory", WRAPPER),
    ]


def test_the_backends_error_stays_an_error(account: Account, stack: dict[str, str]) -> None:
    """P17, F20: raised to the host with the backend's message, twice, and never answered from cache."""
    for _ in range(2):
        answer, error = account.invoke(WRAPPER, account.event("broken"))
        assert error == "Unhandled"
        assert "the model is gone" in answer["errorMessage"]


def test_an_erased_page_is_read_again(account: Account, stack: dict[str, str]) -> None:
    """P13, P46: through the erase function, by the image's digest; environments with a copy in memory lose it too."""
    image = b"\xff\xd8 personal page"
    first, _ = account.invoke(WRAPPER, account.event("erase", image))
    order = {"command": "erase", "images": [hashlib.sha256(image).hexdigest()]}
    report, error = account.invoke(stack["EraseFunctionName"], order)
    account.restart(WRAPPER)  # instead of waiting until its memory forgets
    second, _ = account.invoke(WRAPPER, account.event("erase", image))
    third, _ = account.invoke(WRAPPER, account.event("erase", image))

    assert (error, report["finished"], report["entries"]) == (None, True, 1)
    assert text_of(second) != text_of(first)
    assert text_of(third) == text_of(second)


def test_a_large_answer_and_a_second_backend_share_the_table(account: Account, stack: dict[str, str]) -> None:
    """Issue C: a second stack takes the first one's table; both answer from it, neither the other's answers."""
    account.hook("GENAIIDP-second-hook")
    run = account.deploy(
        "hookcache-second", Name="second", BackendFunction="GENAIIDP-second-hook", ExistingTable=stack["TableName"]
    )
    assert run.returncode == 0, account.trouble("hookcache-second") or run.stderr
    second = account.outputs("hookcache-second")

    ours = [text_of(account.invoke(WRAPPER, account.event("shared"))[0]) for _ in range(2)]
    theirs = [text_of(account.invoke(second["FunctionName"], account.event("shared"))[0]) for _ in range(2)]

    assert second["TableName"] == stack["TableName"]
    assert (ours[0], theirs[0]) == (ours[1], theirs[1])
    assert ours[0] != theirs[0]


def test_parameters_that_contradict_each_other_create_nothing(account: Account, stack: dict[str, str]) -> None:
    """P52: the template's rules are CloudFormation's to keep, and it says which one."""
    run = account.deploy("hookcache-refused", Name="refused", SnapStart="on", ProvisionedConcurrency="1")

    assert run.returncode == 1
    assert "either SnapStart or provisioned concurrency" in run.stdout + run.stderr


def test_the_doctor_finds_what_this_account_loses_and_nothing_else(account: Account, stack: dict[str, str]) -> None:
    """Issue C: `hookcache doctor` on the deployed stack. Table and bucket keep everything there, and it says so."""
    checks = [check for check in CHECKS if check is not orders]  # which reads the table by this process's own endpoints
    examination = examine(Patient(Asker(account.client), WRAPPER, WORKING_BUCKET), checks)

    assert [finding.id for finding in examination.findings] == ["ttl_off", "overflow_kept_for_ever", "prices_not_set"]
    assert examination.unseen == ()
    assert examination.facts["backend"] == BACKEND
