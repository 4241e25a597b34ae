"""functions/stream/template.yaml: linted, held to the rules of a safe stack, its rights those that docs/streaming.md lists."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stack_rules as rules
from paper_stack import Stack
from project import ROOT
from running import output_of
from stack_rights import as_list, granted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Template = dict[str, Any]
TEMPLATE = ROOT / "functions" / "stream" / "template.yaml"
PAGE = ROOT / "docs" / "streaming.md"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
GIVEN = {
    "Name": "NAME",
    "TargetModelId": "amazon.nova-pro-v1:0",
    "IDPWorkingBucket": "WORKING-BUCKET",
    "TableName": "TABLE",
    "OverflowBucketName": "OVERFLOW",
    "SecretArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hookcache-abc123",
}
ALL = {
    **GIVEN,
    "TargetModelId": "eu.amazon.nova-pro-v1:0",
    "FoundationModelId": "amazon.nova-pro-v1:0",
    "CustomerManagedEncryptionKeyArn": KEY,
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/IDPBoundary",
    "GuardrailId": "abc123",
    "GuardrailVersion": "1",
    "PriceAs": "row",
    "PricesObject": "idp-config/prices.yaml",
}


@pytest.fixture(scope="module")
def stream_template(transform: Callable[..., list[Template]]) -> Template:
    """The template as CloudFormation gets it. Shared: copy before spoiling."""
    (template,) = transform(TEMPLATE)
    return template


ANY_REGION = "arn:aws:bedrock:*::foundation-model/amazon.nova-pro-v1:0"


def rights_are_named(stack: Stack) -> Iterator[str]:
    """P39: as everywhere, but for the regions of a profile, which chooses one itself: then through this profile only."""
    yield from (finding for finding in rules.rights_are_named(stack) if not finding.endswith(ANY_REGION))
    for right in granted(stack):
        if right.resource == ANY_REGION and not right.condition.startswith("bedrock:InferenceProfileArn: arn:"):
            yield f"{right.action} on {right.resource} by any way"


def the_url_asks_for_iam_and_streams(stack: Stack) -> Iterator[str]:
    """Issue D: the one URL; nobody is let in by a resource policy."""
    urls = [url for _, url in stack.of_type("AWS::Lambda::Url")]
    for url in urls:
        if (url["AuthType"], url["InvokeMode"]) != ("AWS_IAM", "RESPONSE_STREAM"):
            yield f"{url['AuthType']}, {url['InvokeMode']}"
    if len(urls) != 1:
        yield f"{len(urls)} URLs"
    yield from (f"a permission: {name}" for name, _ in stack.of_type("AWS::Lambda::Permission"))


def the_runtime_is_started(stack: Stack) -> Iterator[str]:
    """ADR 20: the script that is in the folder, by the path that it has in Lambda."""
    for _, function in stack.of_type("AWS::Lambda::Function"):
        path = function["Environment"]["Variables"].get("AWS_LAMBDA_EXEC_WRAPPER", "")
        if not (TEMPLATE.parent / Path(path).relative_to("/var/task")).is_file():
            yield f"no file for {path}"


def the_host_waits_for_it(stack: Stack) -> Iterator[str]:
    """Contract 2: named for hosts, and below the 840 s that they wait."""
    for _, function in stack.of_type("AWS::Lambda::Function"):
        if not function["FunctionName"].startswith("GENAIIDP-") or int(function["Timeout"]) >= 840:
            yield f"{function['FunctionName']}, {function['Timeout']} s"


RULES: tuple[Callable[[Stack], Iterator[str]], ...] = (
    rights_are_named,
    rules.key_is_used_through_services_only,
    rules.services_are_those_of_the_partition,
    rules.every_role_has_the_boundary,
    rules.logs_have_an_end,
    rules.parameters_are_bounded,
    the_url_asks_for_iam_and_streams,
    the_runtime_is_started,
    the_host_waits_for_it,
)


@pytest.mark.parametrize("given", [GIVEN, ALL], ids=["least", "all"])
@pytest.mark.parametrize("rule", RULES)
def test_the_stack_keeps_every_rule(
    rule: Callable[[Stack], Iterator[str]], given: dict[str, str], stream_template: Template
) -> None:
    """8.2, P38, P39: the rule named in this test's id has no finding."""
    assert [] == list(rule(Stack(stream_template, given)))


def function_of(template: Template) -> dict[str, Any]:
    function: dict[str, Any] = template["Resources"]["StreamFunction"]["Properties"]
    return function


def statement(template: Template, sid: str) -> dict[str, Any]:
    """A statement of the role, out of the condition that it may stand under."""
    [policy] = template["Resources"]["StreamRole"]["Properties"]["Policies"]
    every = (each.get("Fn::If", [None, each])[1] for each in policy["PolicyDocument"]["Statement"])
    found: dict[str, Any] = next(each for each in every if each["Sid"] == sid)
    return found


SPOILT: list[tuple[Callable[[Stack], Iterator[str]], Callable[[Template], Any]]] = [
    (
        the_url_asks_for_iam_and_streams,
        lambda t: t["Resources"]["StreamFunctionUrl"]["Properties"].update(AuthType="NONE"),
    ),
    (
        the_url_asks_for_iam_and_streams,
        lambda t: t["Resources"]["StreamFunctionUrl"]["Properties"].update(InvokeMode="BUFFERED"),
    ),
    (
        the_url_asks_for_iam_and_streams,
        lambda t: t["Resources"].update(Open={"Type": "AWS::Lambda::Permission", "Properties": {"Principal": "*"}}),
    ),
    (
        the_runtime_is_started,
        lambda t: function_of(t)["Environment"]["Variables"].update(AWS_LAMBDA_EXEC_WRAPPER="/var/task/wrapper"),
    ),
    (rights_are_named, lambda t: statement(t, "Entries").update(Action="dynamodb:*")),
    (rights_are_named, lambda t: statement(t, "ModelBehindTheProfile").pop("Condition")),
    (the_host_waits_for_it, lambda t: function_of(t).update(Timeout=900)),
    (rules.logs_have_an_end, lambda t: t["Resources"]["StreamLogGroup"]["Properties"].pop("RetentionInDays")),
]


@pytest.mark.parametrize(("rule", "spoil"), SPOILT)
def test_a_spoilt_template_is_found_out(
    rule: Callable[[Stack], Iterator[str]], spoil: Callable[[Template], Any], stream_template: Template
) -> None:
    """Control: the rules look at what they are named for."""
    template = copy.deepcopy(stream_template)
    spoil(template)

    assert [] != list(rule(Stack(template, ALL)))


def test_the_page_lists_the_rights_of_the_role_and_no_other(stream_template: Template) -> None:
    """P39: actions in docs/streaming.md and in the stack, compared both ways."""
    rows = re.findall(r"^\| ((?:`[a-z0-9-]+:[A-Za-z]+`(?:, )?)+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {action for row in rows for action in re.findall(r"`([^`]+)`", row)}
    held = {right.action for right in granted(Stack(stream_template, ALL)) if right.role == "StreamRole"}

    assert told == held


def test_callers_get_both_actions_on_this_function_and_by_its_url_only(stream_template: Template) -> None:
    """8.2: what new URLs ask for, each under the condition that binds it to the URL."""
    [(_, policy)] = Stack(stream_template, GIVEN).of_type("AWS::IAM::ManagedPolicy")
    told = {
        action: (statement["Resource"], statement["Condition"])
        for statement in as_list(policy["PolicyDocument"]["Statement"])
        for action in as_list(statement["Action"])
    }

    assert {
        "lambda:InvokeFunctionUrl": ("StreamFunction.Arn", {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}),
        "lambda:InvokeFunction": ("StreamFunction.Arn", {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
    } == told


def test_every_variable_that_it_sets_is_one_that_the_function_reads(stream_template: Template) -> None:
    """P52: hookcache's own, Powertools', or one that the head of `app.py` lists."""
    told = (TEMPLATE.parent / "app.py").read_text(encoding="utf-8").split('"""')[1]
    [(_, function)] = Stack(stream_template, ALL).of_type("AWS::Lambda::Function")
    unknown = [
        name for name in function["Environment"]["Variables"] if name not in rules.ENVIRONMENT and name not in told
    ]

    assert [] == unknown


@pytest.mark.parametrize("half", ["GuardrailId", "GuardrailVersion"])
def test_half_a_guardrail_is_refused_before_anything_is_created(stream_template: Template, half: str) -> None:
    """B22: the function would not start. Control: both are taken, and neither."""
    assert [] != Stack(stream_template, {**GIVEN, half: ALL[half]}).refusals
    assert [] == Stack(stream_template, GIVEN).refusals + Stack(stream_template, ALL).refusals


@pytest.mark.prove
def test_it_validates(sam_environment: Path, quiet_environment: dict[str, str]) -> None:
    """Issue D: `sam validate --lint`."""
    output_of(sam_environment / "sam", "validate", "--lint", "--template", TEMPLATE, env=quiet_environment)


@pytest.mark.prove
def test_sam_builds_it_by_the_rule_of_all_functions(sam_build: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    """T15: links followed, the script executable, the locked packages; the template itself stays out."""
    built = sam_build(TEMPLATE, tmp_path) / "StreamFunction"
    own = [path for path in TEMPLATE.parent.iterdir() if path.suffix == ".py" or path.name == "stream_wrapper"]

    assert {path.name: path.read_bytes() for path in own} == {
        path.name: (built / path.name).read_bytes() for path in own
    }
    assert (built / "stream_wrapper").stat().st_mode & 0o111
    assert [] == [path for path in built.rglob("*") if path.is_symlink()]
    assert not (built / "template.yaml").exists()
    assert (built / "hookcache" / "hook.py").is_file()
