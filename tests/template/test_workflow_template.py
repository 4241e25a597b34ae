"""workflows/template.yaml: its role holds what it needs and nothing else, under the key and the boundary that are given."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stack_rules as rules
from paper_stack import Stack
from project import ROOT
from stack_rights import Right, granted

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
NAMES = {"OcrFunction": "GENAIIDP-cache-ocr", "PromptFunction": "GENAIIDP-cache-bedrock"}
GIVEN = [NAMES, {**NAMES, "CustomerManagedEncryptionKeyArn": KEY, "PermissionsBoundaryArn": BOUNDARY}]
DELIVERY = {
    *("CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery", "ListLogDeliveries"),
    *("PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups"),
}
Template = dict[str, Any]


@pytest.fixture(scope="module")
def template(sam_environment: Path, quiet_environment: dict[str, str]) -> Template:
    """As CloudFormation gets it. Shared: copy before spoiling."""
    run = subprocess.run(
        [
            sam_environment / "python",
            Path(__file__).with_name("sam_transform.py"),
            ROOT / "workflows" / "template.yaml",
        ],
        env=quiet_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told: Template = json.loads(run.stdout)
    return told


def rights_are_these(stack: Stack) -> Iterator[str]:
    """P39: the two wrappers and the table of notes; what delivers logs takes no resource but "*"."""
    expected = {
        *(("lambda:InvokeFunction", f"arn:aws:lambda:REGION:ACCOUNT:function:{name}", "") for name in NAMES.values()),
        ("dynamodb:PutItem", "FailuresTable.Arn", ""),
        *((f"logs:{action}", "*", "") for action in DELIVERY),
    }
    if key := stack.parameters.get("CustomerManagedEncryptionKeyArn"):
        through = "kms:ViaService: dynamodb.REGION.amazonaws.com"
        expected |= {(action, key, through) for action in ("kms:Decrypt", "kms:GenerateDataKey")}
    held = granted(stack)
    for right in sorted(held ^ {Right("WorkflowRole", "Allow", *each) for each in expected}):
        yield f"{'granted' if right in held else 'missing'}: {right}"


def only_states_in_this_account_takes_the_role(stack: Stack) -> Iterator[str]:
    """T8: no other account's state machine may borrow it."""
    (trusted,) = stack.properties("WorkflowRole")["AssumeRolePolicyDocument"]["Statement"]
    if trusted["Principal"] != {"Service": "states.amazonaws.com"}:
        yield f"taken by {trusted['Principal']}"
    if trusted["Condition"] != {"StringEquals": {"aws:SourceAccount": "ACCOUNT"}}:
        yield f"taken under {trusted['Condition']}"


def logs_hold_no_content(stack: Stack) -> Iterator[str]:
    """P36, P38: errors and states alone, of every machine, into the group of the stack, under the key that is given."""
    key = stack.parameters.get("CustomerManagedEncryptionKeyArn", "")
    machines = dict(stack.of_type("AWS::StepFunctions::StateMachine"))
    if len(machines) != 4:
        yield f"{len(machines)} state machines"
    for name, machine in machines.items():
        (to,) = machine["LoggingConfiguration"].pop("Destinations")
        if to != {"CloudWatchLogsLogGroup": {"LogGroupArn": "ExecutionLogs.Arn"}}:
            yield f"{name}: logs into {to}"
        if machine["LoggingConfiguration"] != {"Level": "ERROR", "IncludeExecutionData": False}:
            yield f"{name}: logs {machine['LoggingConfiguration']}"
        if machine["RoleArn"] != "WorkflowRole.Arn":
            yield f"{name}: runs as {machine['RoleArn']}"
    if stack.properties("ExecutionLogs").get("KmsKeyId", "") != key:
        yield "the log group is not under the key"


RULES = (
    rights_are_these,
    only_states_in_this_account_takes_the_role,
    logs_hold_no_content,
    rules.key_is_used_through_services_only,
    rules.services_are_those_of_the_partition,
    rules.every_role_has_the_boundary,
    rules.customer_key_encrypts_everything,
    rules.nothing_is_public,
    rules.logs_have_an_end,
    rules.parameters_are_bounded,
)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("given", GIVEN, ids=["defaults", "key and boundary"])
def test_the_template_keeps_every_rule(rule, given, template):
    """8.2, P36, P38, P39: the rule named in this test's id has no finding."""
    assert list(rule(Stack(template, given))) == []


def properties(template: Template, name: str) -> Any:
    return template["Resources"][name]["Properties"]


def policy(template: Template, number: int) -> Any:
    return properties(template, "WorkflowRole")["Policies"][number]["PolicyDocument"]["Statement"][0]


SPOILT: list[tuple[Callable[[Stack], Iterator[str]], Callable[[Template], Any]]] = [
    (rights_are_these, lambda t: policy(t, 0).update(Resource="*")),
    (rights_are_these, lambda t: policy(t, 1)["Action"].append("logs:DeleteLogGroup")),
    (
        only_states_in_this_account_takes_the_role,
        lambda t: properties(t, "WorkflowRole")["AssumeRolePolicyDocument"]["Statement"][0].update(Condition={}),
    ),
    (
        logs_hold_no_content,
        lambda t: properties(t, "MapPages")["LoggingConfiguration"].update(IncludeExecutionData=True),
    ),
    (logs_hold_no_content, lambda t: properties(t, "ExecutionLogs").pop("KmsKeyId")),
    (rules.customer_key_encrypts_everything, lambda t: properties(t, "FailuresTable").pop("SSESpecification")),
]


@pytest.mark.parametrize(("rule", "spoil"), SPOILT)
def test_a_spoilt_template_is_found_out(rule, spoil, template):
    """Negative control: the rules look at what they are named for."""
    spoilt = copy.deepcopy(template)
    spoil(spoilt)
    assert [finding for given in GIVEN for finding in rule(Stack(spoilt, given))] != []
