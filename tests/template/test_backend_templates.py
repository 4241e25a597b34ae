"""functions/<backend>/template.yaml: each a stack of its own, linted, built, and held to the rules of a safe stack."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
import stack_rules as rules
from paper_stack import Stack
from project import ROOT
from running import output_of
from stack_rights import granted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Template = dict[str, Any]
# The stream function is a cache and a backend in one: test_stream_template.py.
TEMPLATES = {
    path.parent.name: path
    for path in sorted((ROOT / "functions").glob("*/template.yaml"))
    if path.parent.name != "stream"
}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:vendor-key-abc123"
AS_THE_HOSTS_SAMPLES = {"IDPWorkingBucket", "CustomerManagedEncryptionKeyArn", "LogRetentionDays"}
WRAPPER_SECONDS = 330  # the wrapper's default timeout: a backend's default must lie below it


@pytest.fixture(scope="session")
def backend_templates(transform: Callable[..., list[Template]]) -> dict[str, Template]:
    """Each backend's template as CloudFormation gets it. Shared: copy before spoiling."""
    return dict(zip(TEMPLATES, transform(*TEMPLATES.values()), strict=True))


def stacks(template: Template) -> Iterator[Stack]:
    """The stack with its defaults, and with every key and secret given."""
    given = {"IDPWorkingBucket": "WORKING-BUCKET"}
    required = {
        name: "GIVEN"
        for name, parameter in template["Parameters"].items()
        if "Default" not in parameter and name not in given
    }
    optional = {
        name: SECRET if "Secret" in name and "KeyArn" not in name.removeprefix("ApiKey") else KEY
        for name, parameter in template["Parameters"].items()
        if name.endswith("Arn") and parameter.get("Default") == ""
    }
    yield Stack(template, {**required, **given})
    yield Stack(template, {**required, **given, **optional})


def only_page_images_are_read(stack: Stack) -> Iterator[str]:
    """P39: no object but the host's page images."""
    for right in granted(stack):
        if right.action.startswith("s3:") and right[2:4] != (
            "s3:GetObject",
            "arn:aws:s3:::WORKING-BUCKET/temp/lambdahook/*",
        ):
            yield f"{right.action} on {right.resource}"


def the_host_may_call_it_and_waits_for_it(stack: Stack) -> Iterator[str]:
    """Contract 2, 6: the name's prefix, the runtime, a timeout below the wrapper's."""
    for _, function in stack.of_type("AWS::Lambda::Function"):
        if not function["FunctionName"].startswith("GENAIIDP-"):
            yield f"named {function['FunctionName']}"
        if (function["Runtime"], function["Architectures"]) != ("python3.13", ["arm64"]):
            yield f"runs on {function['Runtime']} {function['Architectures']}"
        if int(function["Timeout"]) >= WRAPPER_SECONDS:
            yield f"timeout {function['Timeout']} s"


def no_secret_stands_in_it(stack: Stack) -> Iterator[str]:
    """P38: a key comes by the ARN of its secret, and no parameter takes one."""
    for name in stack.template["Parameters"]:
        if re.search(r"(?i)key|token|secret", name) and not name.endswith("Arn"):
            yield f"{name} takes a secret"


RULES: tuple[Callable[[Stack], Iterator[str]], ...] = (
    rules.rights_are_named,
    rules.key_is_used_through_services_only,
    rules.services_are_those_of_the_partition,
    rules.every_role_has_the_boundary,
    rules.nothing_is_public,
    rules.logs_have_an_end,
    rules.parameters_are_bounded,
    only_page_images_are_read,
    the_host_may_call_it_and_waits_for_it,
    no_secret_stands_in_it,
)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_backend_keeps_every_rule(name, rule, backend_templates):
    """8.2, P38, P39: whatever the parameters are, the rule named in this test's id has no finding."""
    for stack in stacks(backend_templates[name]):
        assert list(rule(stack)) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_is_called_after_its_folder_and_set_up_as_the_hosts_samples_are(name, backend_templates):
    """Contract 6: the same parameters and outputs, so that an operator of the samples finds the way."""
    template = backend_templates[name]
    [(_, function)] = next(stacks(template)).of_type("AWS::Lambda::Function")
    assert function["FunctionName"] == f"GENAIIDP-{name}"
    assert set(template["Parameters"]) >= AS_THE_HOSTS_SAMPLES
    assert set(template["Outputs"]) >= {"FunctionArn", "FunctionName", "Usage"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_variable_that_it_sets_is_one_that_the_function_reads(name, backend_templates):
    """P52: and is told of at the head of its code."""
    code = "\n".join(path.read_text() for path in TEMPLATES[name].parent.glob("*.py"))
    told = (TEMPLATES[name].parent / "app.py").read_text().split('"""')[1]
    for stack in stacks(backend_templates[name]):
        [(_, function)] = stack.of_type("AWS::Lambda::Function")
        for variable in function["Environment"]["Variables"]:
            assert f'"{variable}"' in code or f"'{variable}'" in code, f"{variable} is read by nobody"
            assert variable in told


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, False),
        ({"GuardrailId": "abc123", "GuardrailVersion": "1"}, False),
        ({"GuardrailId": "abc123"}, True),
        ({"GuardrailVersion": "1"}, True),
    ],
)
def test_half_a_guardrail_is_refused_before_anything_is_created(given, refused, backend_templates):
    """B22: the function would not start (test_bedrock.py), and every page fail."""
    assert bool(Stack(backend_templates["bedrock"], given).refusals) is refused


def test_what_functions_share_is_written_once():
    """A module of functions/parts stands in a function's folder as a link, never as a copy that could fall behind."""
    parts = ROOT / "functions" / "parts"
    shared = {path.name for path in parts.glob("*.py")}
    copies = [
        path.relative_to(ROOT)
        for path in sorted((ROOT / "functions").glob("*/*.py"))
        if path.parent != parts and path.name in shared and path.resolve() != parts / path.name
    ]
    assert copies == []


VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b|\bSAMPLING\b")


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_setting_of_a_backend_is_on_its_page(name):
    """docs/backends.md: what the head of the code lists as its environment stands in the backend's own section."""
    told = (TEMPLATES[name].parent / "app.py").read_text().split('"""')[1].partition("Environment:")[2]
    page = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    section = re.split(r"(?m)^## ", page.partition(f"\n## {name}\n")[2])[0]
    listed = {variable for line in section.splitlines() if line.startswith("|") for variable in VARIABLE.findall(line)}
    assert sorted(set(VARIABLE.findall(told)) - listed) == []


SPOILT: list[tuple[Callable[[Stack], Iterator[str]], Callable[[Template], Any]]] = [
    (rules.logs_have_an_end, lambda t: t["Resources"]["BackendLogGroup"]["Properties"].pop("RetentionInDays")),
    (only_page_images_are_read, lambda t: statement(t, "PageImages").update(Resource="arn:aws:s3:::WORKING-BUCKET/*")),
    (rules.rights_are_named, lambda t: statement(t, "PageImages").update(Action="s3:*")),
    (
        rules.every_role_has_the_boundary,
        lambda t: t["Resources"]["BackendRole"]["Properties"].pop("PermissionsBoundary"),
    ),
    (the_host_may_call_it_and_waits_for_it, lambda t: function_of(t).update(FunctionName="openai")),
    (the_host_may_call_it_and_waits_for_it, lambda t: function_of(t).update(Timeout=400)),
    (no_secret_stands_in_it, lambda t: t["Parameters"].update(ApiKey={"Type": "String"})),
]


def statement(template: Template, sid: str) -> dict[str, Any]:
    policy = template["Resources"]["BackendRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    return next(each for each in policy["Statement"] if each.get("Sid") == sid)


def function_of(template: Template) -> dict[str, Any]:
    return template["Resources"]["BackendFunction"]["Properties"]


@pytest.mark.parametrize(("rule", "spoil"), SPOILT)
def test_a_spoilt_template_is_found_out(rule, spoil, backend_templates):
    """Negative control: the rules look at what they are named for."""
    template = copy.deepcopy(backend_templates["openai"])
    spoil(template)
    assert [finding for stack in stacks(template) for finding in rule(stack)] != []


@pytest.mark.prove
@pytest.mark.parametrize("name", TEMPLATES)
def test_it_validates_and_builds_with_real_files(name, sam_environment, quiet_environment, tmp_path):
    """`sam validate --lint` and `sam build`: modules shared between functions are links here and files in the artifact."""
    sam = sam_environment / "sam"
    for command in (
        ["validate", "--lint", "--template", TEMPLATES[name]],
        ["build", "--template", TEMPLATES[name], "--build-dir", tmp_path, "--no-cached"],
    ):
        output_of(sam, *command, cwd=ROOT, env=quiet_environment)
    built = tmp_path / "BackendFunction"
    expected = {path.name: path.read_bytes() for path in TEMPLATES[name].parent.glob("*.py")}
    assert {path.name: path.read_bytes() for path in built.glob("*.py") if path.name in expected} == expected
    assert [path for path in built.rglob("*") if path.is_symlink()] == []
