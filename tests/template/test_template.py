"""template.yaml after the SAM transform: rules of a safe stack, each with copies that were spoilt to prove that it looks."""

from __future__ import annotations

import copy
import operator
import re
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import stack_rules as rules
from paper_stack import Stack
from project import ROOT
from stack_rights import documented, granted

from fakes import ocr_event
from hookcache import __version__
from hookcache.outcome import Reason
from hookcache.settings import Settings
from hookcache_ops.dashboard.metric_math import evaluate, parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Template = dict[str, Any]
GIVEN = {"Name": "NAME", "BackendFunction": "BACKEND", "IDPWorkingBucket": "WORKING-BUCKET"}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:host-alerts"
BOUNDARY = "arn:aws:iam::123456789012:policy/team/IDPBoundary"
VARIANTS = {
    "defaults": {},
    "customer key, mail": {
        "CustomerManagedEncryptionKeyArn": KEY,
        "PermissionsBoundaryArn": BOUNDARY,
        "AlarmEmail": "ops@example.com",
    },
    "host's topic, backend shared": {
        "WatchBackendCalls": "off",
        "AlertsTopicArn": TOPIC,
        "AlarmEmail": "ops@example.com",
    },
    "shared table, warm": {"ExistingTable": "shared", "ProvisionedConcurrency": "2", "ReservedConcurrency": "20"},
    "snapshot, priced": {
        "SnapStart": "on",
        "PriceAs": "bedrock/us.amazon.nova-pro-v1:0",
        "PricesObject": "idp-config/prices.yaml",
        "Policy": '{"OCR": {}}',
    },
    "prices in a parameter, layers": {"PriceAs": "row", "PricesParameter": "/idp/prices", "Layers": "on"},
    "pages by reference, every setting": {
        "ReferencedPages": "idp-output/pages/",
        "LeaseSeconds": "60",
        "MemoryBytes": "1048576",
        "MemorySeconds": "60",
        "Client": "slim",
        "SavedQueries": "off",
    },
}


@pytest.fixture
def page() -> str:
    return (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", rules.RULES)
def test_every_stack_keeps_every_rule(rule: rules.Rule, variant: str, transformed: Template) -> None:
    """8.2, P37, P38, P39, P52: whatever the parameters are, the rule named in this test's id has no finding."""
    assert list(rule(Stack(transformed, GIVEN | VARIANTS[variant]))) == []


@pytest.mark.parametrize(
    ("file", "resources"),
    [
        ("template.yaml", ["HookFunction", "EraseFunction", "LayerArm64", "LayerX86"]),
        ("functions/stream/template.yaml", ["StreamFunction"]),
    ],
)
def test_what_is_deployed_says_which_release_it_is(file: str, resources: list[str]) -> None:
    """In the description of each function and layer that holds the runtime, and nowhere another release."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name in resources:
        resource = re.search(rf"^  {name}:\n(?:    .*\n|\n)*", text, re.MULTILINE)
        assert resource is not None
        assert re.search(
            rf"^      Description: (!Sub )?hookcache {re.escape(__version__)}\b", resource[0], re.MULTILINE
        )
    assert {__version__} == set(re.findall(r"hookcache (\d+\.\d+\.\d+)", text))


# ----------------------------------------------------------------------------------------------- negative controls


def at(path: str, value: Any) -> Callable[[Template], None]:
    """A way to spoil a template: put `value` at `Section/name/...`, or nothing there if it is None. Numbers index lists."""

    def spoil(template: Template) -> None:
        *folders, last = path.split("/")
        node = template
        for folder in folders:
            node = node[int(folder) if isinstance(node, list) else folder]
        if value is None:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value

    return spoil


def with_statement(**statement: Any) -> Callable[[Template], None]:
    """One more statement in the hook's policy."""

    def spoil(template: Template) -> None:
        policy = template["Resources"]["HookRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        policy["Statement"].append({"Effect": "Allow", **statement})

    return spoil


def without_statement(sid: str) -> Callable[[Template], None]:
    """The hook's policy without one of its statements."""

    def spoil(template: Template) -> None:
        policy = template["Resources"]["HookRole"]["Properties"]["Policies"][0]["PolicyDocument"]
        kept = [statement for statement in policy["Statement"] if statement.get("Sid") != sid]
        assert len(kept) == len(policy["Statement"]) - 1
        policy["Statement"] = kept

    return spoil


def with_resource(kind: str, **properties: Any) -> Callable[[Template], None]:
    """One more resource."""
    return at("Resources/Planted", {"Type": kind, "Properties": properties})


TABLE = "Resources/CacheTable/Properties"
BUCKET = "Resources/OverflowBucket/Properties"
FUNCTION = "Resources/HookFunction/Properties"
SPOILT = {
    rules.rights_are_named: [
        with_statement(Action="s3:*", Resource="arn:aws:s3:::WORKING-BUCKET/temp/lambdahook/*"),
        with_statement(Action="dynamodb:Scan", Resource="*"),
        with_statement(Action="s3:GetObject", Resource="arn:aws:s3:::*/entries/*"),
        with_statement(Action="lambda:InvokeFunction", Resource="arn:aws:lambda:REGION:ACCOUNT:function:GENAIIDP-*"),
        with_statement(Action="s3:GetObject", Resource="arn:aws:s3:::idp-output/*"),
        with_statement(NotAction="iam:PassRole", Resource="KeySecret"),
        at("Resources/HookRole/Properties/ManagedPolicyArns", ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]),
        with_resource(
            "AWS::IAM::ManagedPolicy",
            PolicyDocument={"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}},
        ),
    ],
    rules.key_is_used_through_services_only: [with_statement(Action="kms:Decrypt", Resource="KEY-ARN")],
    rules.services_are_those_of_the_partition: [
        with_statement(
            Action="kms:Decrypt",
            Resource="KEY-ARN",
            Condition={"StringEquals": {"kms:ViaService": {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com"}}},
        )
    ],
    rules.every_role_has_the_boundary: [
        at("Resources/HookRole/Properties/PermissionsBoundary", None),
        at("Resources/EraseRole/Properties/PermissionsBoundary", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
    ],
    rules.wrapper_never_calls_itself: [
        without_statement("NeverItself"),
        at(f"{FUNCTION}/FunctionName", "GENAIIDP-cache-other"),
    ],
    rules.nothing_is_public: [
        with_resource("AWS::Lambda::Url", AuthType="NONE"),
        with_resource("AWS::Lambda::Permission", Principal="*"),
        at("Resources/OverflowBucketPolicy/Properties/PolicyDocument/Statement/0/Effect", "Allow"),
    ],
    rules.logs_have_an_end: [
        at("Resources/HookLogGroup/Properties/RetentionInDays", None),
        at(f"{FUNCTION}/LoggingConfig", None),
    ],
    rules.table_fits_its_items: [
        at(f"{TABLE}/TimeToLiveSpecification/AttributeName", "expires"),
        at(f"{TABLE}/TimeToLiveSpecification", None),
        at(f"{TABLE}/AttributeDefinitions/0/AttributeType", "S"),
        at(f"{TABLE}/KeySchema/1/AttributeName", "sk"),
        at(f"{TABLE}/DeletionProtectionEnabled", False),
        at(f"{TABLE}/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", True),
        at(f"{TABLE}/BillingMode", "PROVISIONED"),
    ],
    rules.bucket_is_private_and_forgets: [
        at(f"{BUCKET}/PublicAccessBlockConfiguration/BlockPublicPolicy", False),
        at(f"{BUCKET}/VersioningConfiguration", {"Status": "Enabled"}),
        at(f"{BUCKET}/LifecycleConfiguration/Rules/0/Status", "Disabled"),
        at(f"{BUCKET}/LifecycleConfiguration/Rules/0/ExpirationInDays", 30),
        at("Resources/OverflowBucketPolicy/Properties/PolicyDocument/Statement/0/Condition", None),
        at("Resources/OverflowBucketPolicy", None),
    ],
    rules.secret_is_generated: [
        at("Resources/KeySecret/Properties/SecretString", "letmein"),
        at("Resources/KeySecret/Properties/GenerateSecretString/PasswordLength", 32),
    ],
    rules.data_outlives_the_stack: [
        at("Resources/CacheTable/DeletionPolicy", None),
        at("Resources/OverflowBucket/UpdateReplacePolicy", "Delete"),
        at("Resources/KeySecret/DeletionPolicy", "Delete"),
    ],
    rules.customer_key_encrypts_everything: [
        at(f"{TABLE}/SSESpecification", None),
        at(f"{BUCKET}/BucketEncryption/ServerSideEncryptionConfiguration/0", {"ServerSideEncryptionByDefault": {}}),
        at("Resources/KeySecret/Properties/KmsKeyId", None),
        at("Resources/AlertsTopic/Properties/KmsMasterKeyId", "alias/aws/sns"),
    ],
    rules.function_suits_the_host: [
        at("Parameters/TimeoutSeconds/MaxValue", 840),
        at(f"{FUNCTION}/Timeout", 900),
        at(f"{FUNCTION}/FunctionName", "hookcache"),
        at(f"{FUNCTION}/Runtime", "python3.12"),
        at(f"{FUNCTION}/Architectures", ["x86_64"]),
    ],
    rules.environment_is_known: [
        at(f"{FUNCTION}/Environment/Variables/HOOKCACHE_TTL", "1"),
        at(f"{FUNCTION}/Environment/Variables/HOOKCACHE_SECRET_ARN", None),
    ],
    rules.alarms_watch_this_wrapper: [
        at("Resources/CorruptEntriesAlarm/Properties/TreatMissingData", "missing"),
        at("Resources/CorruptEntriesAlarm/Properties/Period", 60),
        at("Resources/CorruptEntriesAlarm/Properties/MetricName", "CorruptEntry"),
        at("Resources/CorruptEntriesAlarm/Properties/Dimensions/0/Value", "hookcache"),
        at("Resources/BackendCallsAlarm/Properties/Metrics/1/MetricStat/Metric/MetricName", "Invocations"),
        at("Resources/TableErrorsAlarm", None),
        at("Resources/BackendUnknownFilter", None),
        at("Resources/FollowerTimeoutsFilter/Properties/MetricTransformations/0/Dimensions/0/Key", "Function"),
    ],
    rules.alarms_reach_the_operator: [at("Resources/CorruptEntriesAlarm/Properties/AlarmActions", [])],
    rules.parameters_are_bounded: [
        at("Parameters/Namespace/AllowedPattern", None),
        at("Parameters/MemorySize/MaxValue", None),
        at("Parameters/Name/Description", None),
    ],
}


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        pytest.param(rule, spoil, id=f"{rule.__name__}-{i}")
        for rule, ways in SPOILT.items()
        for i, spoil in enumerate(ways)
    ],
)
def test_a_spoilt_template_is_noticed(
    rule: rules.Rule, spoil: Callable[[Template], None], transformed: Template
) -> None:
    """Control of every rule: take its subject away, or plant what it forbids, and it reports something."""
    parameters = GIVEN | VARIANTS["customer key, mail"]
    template = copy.deepcopy(transformed)
    spoil(template)

    assert list(rule(Stack(transformed, parameters))) == []
    assert list(rule(Stack(template, parameters))) != []


def test_every_rule_has_a_control() -> None:
    """A rule that nothing can break proves nothing."""
    assert set(rules.RULES) == set(SPOILT)


# ---------------------------------------------------------------------------------------------------------- rights


def rights_parameters() -> dict[str, str]:
    """With both places for prices, which no deployed stack has at once: each row of the page stands beside its parameter."""
    prices = {"PricesObject": "PRICES-OBJECT", "PricesParameter": "/PRICES-PARAMETER"}
    return GIVEN | {"CustomerManagedEncryptionKeyArn": "KEY-ARN", "ReferencedPages": "REFERENCED-PAGES/"} | prices


def test_roles_hold_what_the_permissions_page_lists_and_nothing_else(transformed: Template, page: str) -> None:
    """P39: the rights in docs/permissions.md and those of the transformed template are equal, both ways."""
    assert list(rules.differences(Stack(transformed, rights_parameters()), documented(page))) == []
    assert len(documented(page)) > 15


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "dynamodb:Scan", "Resource": "arn:aws:dynamodb:REGION:ACCOUNT:table/CacheTable"},
        {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::WORKING-BUCKET/output/*"},
        {"Action": "kms:Decrypt", "Resource": "KEY-ARN"},
    ],
    ids=["action", "resource", "condition"],
)
def test_a_right_too_many_is_noticed(statement: dict[str, str], transformed: Template, page: str) -> None:
    """Control of P39: one more action, one more resource, or a condition less."""
    template = copy.deepcopy(transformed)
    with_statement(**statement)(template)

    found = list(rules.differences(Stack(template, rights_parameters()), documented(page)))
    assert [finding.split(":")[0] for finding in found] == ["granted, not listed"]


@pytest.mark.parametrize("sid", ["Entries", "LargeEntries", "PageImages", "Secret", "Backend", "NeverItself", "Log"])
def test_a_right_too_few_is_noticed(sid: str, transformed: Template, page: str) -> None:
    """Control of P39: a statement less is a right that the page lists and nobody holds."""
    template = copy.deepcopy(transformed)
    without_statement(sid)(template)

    found = list(rules.differences(Stack(template, rights_parameters()), documented(page)))
    assert {"listed, not granted"} == {finding.split(":")[0] for finding in found}


def test_without_a_key_the_role_has_no_kms_right(transformed: Template, page: str) -> None:
    """P39: the kms rows go with the parameter, and no other row does."""
    parameters = rights_parameters() | {"CustomerManagedEncryptionKeyArn": ""}

    assert granted(Stack(transformed, parameters)) == {r for r in documented(page) if not r.action.startswith("kms:")}


@pytest.mark.parametrize(
    ("parameter", "action"), [("PricesObject", "s3:GetObject"), ("PricesParameter", "ssm:GetParameter")]
)
def test_without_a_price_table_the_role_cannot_read_one(
    parameter: str, action: str, transformed: Template, page: str
) -> None:
    """P39: the right to read prices comes with the parameter that says where they are."""
    with_table = granted(Stack(transformed, rights_parameters()))
    without = granted(Stack(transformed, rights_parameters() | {parameter: ""}))

    assert [action] == [right.action for right in with_table - without]
    assert without < with_table


def test_pages_by_reference_are_readable_only_where_the_operator_says(transformed: Template, page: str) -> None:
    """P41, P39: off by default; one read of one folder with the parameter, which the wrapper's settings name as well."""
    on, off = (
        Stack(transformed, rights_parameters() | {"ReferencedPages": value}) for value in ("idp-output/pages/", "")
    )
    readable = {
        name: stack.properties(name)["Environment"]["Variables"]["HOOKCACHE_IMAGE_PREFIXES"]
        for stack in (on,)
        for name in ("HookFunction", "EraseFunction")
    }

    assert {("hook", "Allow", "s3:GetObject", "arn:aws:s3:::idp-output/pages/*", "")} == granted(on) - granted(off)
    assert granted(off) < granted(on)
    assert granted(off) == {right for right in documented(page) if "REFERENCED-PAGES" not in right.resource}
    assert readable == {
        "HookFunction": "s3://WORKING-BUCKET/temp/lambdahook/,s3://idp-output/pages/",
        "EraseFunction": "s3://WORKING-BUCKET/temp/lambdahook/",
    }


@pytest.mark.parametrize(
    "backend",
    [
        "BACKEND",
        "BACKEND:live",
        "BACKEND:$LATEST",
        "arn:aws:lambda:eu-west-1:123456789012:function:BACKEND",
        "arn:aws:lambda:eu-west-1:123456789012:function:BACKEND:7",
    ],
)
def test_each_spelling_of_the_backend_gives_the_same_rights(backend: str, transformed: Template, page: str) -> None:
    """B19: name, alias, version and ARN mean one function; the alarm on its calls watches it by its bare name."""
    stack = Stack(transformed, rights_parameters() | {"BackendFunction": backend})
    calls = stack.properties("BackendCallsAlarm")["Metrics"][0]["MetricStat"]["Metric"]

    assert list(rules.differences(stack, documented(page))) == []
    assert calls["Dimensions"] == [{"Name": "FunctionName", "Value": "BACKEND"}]
    assert backend == stack.properties("HookFunction")["Environment"]["Variables"]["HOOKCACHE_BACKEND"]


# ------------------------------------------------------------------------------------------------------ parameters


def test_a_shared_table_is_used_and_none_is_made(transformed: Template) -> None:
    """ExistingTable: environment, rights and output name it, and the stack creates no table."""
    stack = Stack(transformed, GIVEN | {"ExistingTable": "shared"})
    tables = {right.resource for right in granted(stack) if right.action.startswith("dynamodb:")}

    assert list(stack.of_type("AWS::DynamoDB::Table")) == []
    assert stack.properties("HookFunction")["Environment"]["Variables"]["HOOKCACHE_TABLE"] == "shared"
    assert tables == {"arn:aws:dynamodb:REGION:ACCOUNT:table/shared"}
    assert stack.outputs["TableName"] == "shared"


def test_two_stacks_share_a_table_and_nothing_else(transformed: Template) -> None:
    """Issue C: one stack per backend. The second takes the first's table; their names, rights and secrets stay apart."""
    first = Stack(transformed, GIVEN | {"Name": "chandra", "BackendFunction": "GENAIIDP-chandra"})
    second = Stack(
        transformed,
        GIVEN | {"Name": "mistral", "BackendFunction": "GENAIIDP-mistral", "ExistingTable": first.outputs["TableName"]},
    )
    names = [
        {
            properties[name]
            for kind, name in (
                ("AWS::Lambda::Function", "FunctionName"),
                ("AWS::Lambda::LayerVersion", "LayerName"),
                ("AWS::IAM::Role", "RoleName"),
            )
            for _, properties in stack.of_type(kind)
            if name in properties
        }
        for stack in (first, second)
    ]
    tables = [
        {right.resource for right in granted(stack) if right.action.startswith("dynamodb:")}
        for stack in (first, second)
    ]

    assert tables[0] == tables[1]
    assert names[0] & names[1] == set()
    assert [{"AWS::DynamoDB::Table"}] == [
        {it["Type"] for it in first.resources.values()} - {it["Type"] for it in second.resources.values()}
    ]
    for rule in rules.RULES:
        assert list(rule(second)) == []


SNAP_AND_WARM = "Lambda has either SnapStart or provisioned concurrency, not both. Set one of them back."
TWO_TABLES = "Give the price table in PricesObject or in PricesParameter, not in both."
NO_ROW = "A price table is of no use without PriceAs, the name of the row that the backend is charged at."


@pytest.mark.parametrize(
    ("parameters", "refusals"),
    [
        *((variant, []) for variant in VARIANTS.values()),
        ({"SnapStart": "on", "ProvisionedConcurrency": "2"}, [SNAP_AND_WARM]),
        ({"PricesObject": "b/k", "PricesParameter": "/p", "PriceAs": "row"}, [TWO_TABLES]),
        ({"PricesObject": "b/k"}, [NO_ROW]),
        ({"PricesParameter": "/p"}, [NO_ROW]),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    parameters: dict[str, str], refusals: list[str], transformed: Template
) -> None:
    """P52: what Lambda or the settings would refuse later is refused before anything is created; the rest is not."""
    assert refusals == Stack(transformed, GIVEN | parameters).refusals


def breaches(alarm: Template, value: float | None) -> bool:
    """Does one period's value breach? Missing data does not."""
    judge = {"GreaterThanThreshold": operator.gt, "GreaterThanOrEqualToThreshold": operator.ge}
    return value is not None and judge[alarm["ComparisonOperator"]](value, alarm["Threshold"])


def rings(alarm: Template, periods: list[list[float]]) -> bool:
    """Is an alarm on after these periods of five minutes, each with the values that were written in it?"""
    statistic = {"Sum": sum, "Average": statistics.fmean}[alarm["Statistic"]]
    last = periods[-alarm["EvaluationPeriods"] :]
    return len(last) == alarm["EvaluationPeriods"] and all(breaches(alarm, statistic(v) if v else None) for v in last)


RINGS: dict[str, tuple[list[list[float]], list[list[float]]]] = {
    "CorruptEntriesAlarm": ([[1]], [[]]),
    "TableErrorsAlarm": ([[1], [1]], [[1, 1, 1], []]),
    "BackendUnknownAlarm": ([[1], [1]], [[1, 1, 1], []]),
    "SecretUnavailableAlarm": ([[1], [1]], [[1, 1, 1], []]),
    "LeaseLostAlarm": ([[1], [1]], [[1, 1, 1], []]),
    "ImageErrorsAlarm": ([[1] * 5] * 2, [[1] * 5, [1] * 4]),
    "FailuresAlarm": ([[0, 1] * 5], [[0, 1] * 4]),
    "ErrorsAlarm": ([[0, 1] * 5], [[0, 1] * 4]),
    "FollowerTimeoutsAlarm": ([[1] * 5], [[1] * 4]),
    "ThrottlesAlarm": ([[0, 1]], [[0, 0]]),
    "BypassesAlarm": ([[1, 0, 0, 0]] * 3, [[1, 0, 0, 0, 0]] * 3),
}
"""Of each alarm the least that rings it, and the most that does not, as docs/operations.md tells them."""


@pytest.mark.parametrize("name", RINGS)
def test_an_alarm_rings_when_it_is_due_and_not_before(name: str, transformed: Template) -> None:
    """8.2: integrity mismatch > 0, table down > 5 min, identity unresolved, bypass ratio, follower timeouts, throttles."""
    alarm, (due, quiet) = Stack(transformed, GIVEN).properties(name), RINGS[name]

    assert (True, False) == (rings(alarm, due), rings(alarm, quiet))
    assert not rings(alarm, due[1:])


def test_every_alarm_has_its_time(transformed: Template) -> None:
    """The one over metric math is looked at below."""
    alarms = {name for name, _ in Stack(transformed, GIVEN).of_type("AWS::CloudWatch::Alarm")}

    assert alarms == {*RINGS, "BackendCallsAlarm"}


def test_troubles_without_a_metric_are_counted_by_reasons_that_exist(transformed: Template) -> None:
    """8.2: unresolved identity, missing secret and follower timeouts are alarms; each pattern names a receipt's reason."""
    counted = dict(rules.counted_from_the_log(Stack(transformed, GIVEN)))

    assert counted == {
        "BackendUnknown": f'{{ $.reason = "{Reason.BACKEND_UNKNOWN}" }}',
        "SecretUnavailable": f'{{ $.reason = "{Reason.SECRET_UNAVAILABLE}" }}',
        "FollowerTimeouts": f'{{ $.reason = "{Reason.FOLLOWER_TIMED_OUT}" }}',
    }


def test_warmth_and_bounds_are_off_until_asked_for(transformed: Template) -> None:
    """SnapStart, provisioned and reserved concurrency cost or bound something: none by default, each by its parameter."""
    plain = Stack(transformed, GIVEN)
    warm = Stack(transformed, GIVEN | VARIANTS["shared table, warm"])
    snap = Stack(transformed, GIVEN | VARIANTS["snapshot, priced"])
    ((_, plain_alias),) = plain.of_type("AWS::Lambda::Alias")
    ((_, warm_alias),) = warm.of_type("AWS::Lambda::Alias")

    assert plain.properties("HookFunction")["SnapStart"] == {"ApplyOn": "None"}
    assert "ReservedConcurrentExecutions" not in plain.properties("HookFunction")
    assert "ProvisionedConcurrencyConfig" not in plain_alias
    assert warm.properties("HookFunction")["ReservedConcurrentExecutions"] == "20"
    assert warm_alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "2"}
    assert snap.properties("HookFunction")["SnapStart"] == {"ApplyOn": "PublishedVersions"}


def test_backend_calls_are_watched_unless_others_call_it_too(transformed: Template) -> None:
    """8.2: more than 1.1 calls per request that made one is an alarm, from 20 calls on; the operator may waive it."""
    alarm = Stack(transformed, GIVEN).properties("BackendCallsAlarm")

    assert alarm["Threshold"] == 1.1
    assert "BackendCallsAlarm" not in Stack(transformed, GIVEN | {"WatchBackendCalls": "off"}).resources


@pytest.mark.parametrize(
    ("calls", "asked", "alarms"),
    [(500, None, True), (500, 19, True), (500, 500, False), (24, 20, True), (19, None, False), (None, None, False)],
    ids=["past the cache alone", "while it hits", "none", "some", "few", "nobody"],
)
def test_calls_past_the_cache_are_seen_however_well_it_works(
    transformed: Template, calls: float | None, asked: float | None, alarms: bool
) -> None:
    """8.2: the fewer requests ask the backend, the more its other callers stand out; no receipt at all is no excuse."""
    alarm = Stack(transformed, GIVEN).properties("BackendCallsAlarm")
    [figure] = evaluate(parse(alarm["Metrics"][-1]["Expression"]), {"calls": [calls], "asked": [asked]}, 300)

    assert alarms == breaches(alarm, figure)
    assert alarm["EvaluationPeriods"] == 2


def test_a_truth_check_is_no_call_past_the_cache(transformed: Template, make_rig: Any) -> None:
    """8.2, P59: a checked hit asks the backend and is no miss. Control: by outcomes alone it would alarm."""
    alarm = Stack(transformed, GIVEN).properties("BackendCallsAlarm")
    [asked] = [query["MetricStat"] for query in alarm["Metrics"] if query["Id"] == "asked"]
    rig = make_rig(HOOKCACHE_POLICY='{"*": {"check_share": 1}}')
    for _ in range(5):
        rig.call(ocr_event())
    samples = sum(asked["Metric"]["MetricName"] in receipt for receipt in rig.receipts)
    misses = sum(receipt["Misses"][0] for receipt in rig.receipts)

    assert asked["Stat"] == "SampleCount"
    assert (5, 5, 1) == (len(rig.backend.calls), samples, misses)


def test_empty_parameters_leave_no_empty_variables(transformed: Template) -> None:
    """P52: an unset setting is absent, so that its default holds; a set one arrives as it was typed."""
    plain = Stack(transformed, GIVEN).properties("HookFunction")["Environment"]["Variables"]
    priced = Stack(transformed, GIVEN | VARIANTS["snapshot, priced"]).properties("HookFunction")["Environment"][
        "Variables"
    ]

    assert {"HOOKCACHE_POLICY", "HOOKCACHE_PRICE_AS", "HOOKCACHE_PRICES"} == set(priced) - set(plain)
    assert "" not in plain.values()
    assert priced["HOOKCACHE_POLICY"] == '{"OCR": {}}'
    assert plain["HOOKCACHE_IMAGE_PREFIXES"] == "s3://WORKING-BUCKET/temp/lambdahook/"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_settings_accept_what_the_stack_gives_them(
    variant: str, transformed: Template, caplog: pytest.LogCaptureFixture
) -> None:
    """P52: the environment of every stack passes the checks of a cold start, and no variable in it is ignored."""
    parameters = {"Name": "chandra", "BackendFunction": "GENAIIDP-chandra:live", "IDPWorkingBucket": "idp-working"}
    environ = Stack(transformed, parameters | VARIANTS[variant]).properties("HookFunction")["Environment"]["Variables"]
    # References read as logical ids here; the deployed bucket's name is in lower case.
    settings = Settings.of({**environ, "HOOKCACHE_OVERFLOW_BUCKET": environ["HOOKCACHE_OVERFLOW_BUCKET"].lower()})

    assert caplog.messages == []
    assert settings.backend == "GENAIIDP-chandra:live"
    assert settings.image_prefixes[0] == "s3://idp-working/temp/lambdahook/"
    assert len(settings.image_prefixes) == 1 + ("ReferencedPages" in VARIANTS[variant])
    assert settings.wait_seconds < int(transformed["Parameters"]["TimeoutSeconds"]["Default"])


def test_every_setting_is_a_parameter_of_the_stack(transformed: Template) -> None:
    """Issue C: nobody has to edit the template; one setting belongs to layers, one to local use."""
    environ = Stack(transformed, GIVEN | VARIANTS["snapshot, priced"] | {"MemorySeconds": "60"}).properties(
        "HookFunction"
    )
    given = {name.removeprefix("HOOKCACHE_").lower() for name in environ["Environment"]["Variables"]}

    assert {"handler", "secret"} == Settings.names() - given


def test_bounds_of_parameters_are_within_those_of_the_settings(transformed: Template) -> None:
    """P52, B22: both ends of every number that the stack takes start the function, alone or at the default of the rest."""
    for name in ("FreshSeconds", "WaitSeconds", "LeaseSeconds", "MemoryBytes", "MemorySeconds"):
        for end in ("MinValue", "MaxValue"):
            value = transformed["Parameters"][name][end]
            given = {"IDPWorkingBucket": "idp-working", name: str(value)}
            given |= {"FreshSeconds": "2592000"} if name == "MemorySeconds" else {}
            environ = Stack(transformed, GIVEN | given).properties("HookFunction")["Environment"]["Variables"]

            assert Settings.of({**environ, "HOOKCACHE_OVERFLOW_BUCKET": "overflow"}).backend == "BACKEND", (name, end)


def test_saved_queries_can_be_left_out(transformed: Template) -> None:
    """SavedQueries: the dashboard stays; only the list of saved queries does without."""
    kinds = [
        [resource["Type"] for resource in Stack(transformed, GIVEN | {"SavedQueries": value}).resources.values()]
        for value in ("on", "off")
    ]

    on, off = (kind.count("AWS::Logs::QueryDefinition") for kind in kinds)
    assert (on, off) == (len(list((ROOT / "dashboards/queries").glob("*.insights"))), 0)
    assert [1, 1] == [kind.count("AWS::CloudWatch::Dashboard") for kind in kinds]


def test_the_settings_notice_a_variable_that_is_none_of_theirs(
    transformed: Template, caplog: pytest.LogCaptureFixture
) -> None:
    """Control of the test above."""
    environ = Stack(transformed, GIVEN | {"IDPWorkingBucket": "idp-working"}).properties("HookFunction")["Environment"]
    Settings.of({**environ["Variables"], "HOOKCACHE_OVERFLOW_BUCKET": "overflow", "HOOKCACHE_TTL": "1"})

    assert [message for message in caplog.messages if message.startswith("HOOKCACHE_TTL ")] != []


def test_the_operator_is_told_what_the_host_needs(transformed: Template) -> None:
    """Function name, ARN and price row are outputs, under the names that the host's own samples use."""
    outputs = Stack(transformed, GIVEN).outputs

    assert outputs["FunctionName"] == "HookFunction"
    assert outputs["FunctionArn"] == "HookFunction.Arn"
    assert outputs["PriceRow"] == "lambda_hook/HookFunction"
    assert outputs["PriceRowOfOlderHosts"] == "HookFunction"
    assert outputs["EraseFunctionName"] == "EraseFunction"
    assert {"Usage", "TableName", "OverflowBucketName", "SecretArn", "LogGroupName", "LiveAliasArn"} < set(outputs)
    assert {"LayerArm64Arn", "LayerX86Arn"} == set(
        Stack(transformed, GIVEN | VARIANTS["prices in a parameter, layers"]).outputs
    ) - set(outputs)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Name", ["chandra-ocr-hook", "x" * 48], ["", "x" * 49, "a b", "a:b", "a/b", "a\n"]),
        (
            "BackendFunction",
            [
                "GENAIIDP-x",
                "GENAIIDP-x:live",
                "x:$LATEST",
                "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:x:7",
            ],
            [
                "",
                "x:",
                "GENAIIDP-x\n",
                "arn:aws:lambda:eu-west-1:123456789012:layer:x:1",
                "123456789012:function:x",
                "a b",
            ],
        ),
        ("IDPWorkingBucket", ["idp-working-bucket"], ["", "s3://bucket", "bucket/temp", "Bucket"]),
        ("CustomerManagedEncryptionKeyArn", ["", KEY], ["alias/idp", KEY.replace(":key/", ":alias/"), "*"]),
        (
            "PermissionsBoundaryArn",
            [
                "",
                BOUNDARY,
                "arn:aws-us-gov:iam::123456789012:policy/IDPBoundary",
                "arn:aws:iam::aws:policy/PowerUserAccess",
            ],
            ["IDPBoundary", "*", BOUNDARY.replace(":policy/", ":role/"), BOUNDARY + "*"],
        ),
        ("Namespace", ["default", "team_a-2"], ["", "a/b", "a:b", "a b"]),
        ("Generation", ["0", "2026-01"], ["", "a/b"]),
        (
            "ExistingTable",
            ["", "hookcache-CacheTable-1ABC"],
            ["ab", "*", "arn:aws:dynamodb:eu-west-1:123456789012:table/x"],
        ),
        ("PriceAs", ["", "bedrock/us.amazon.nova-pro-v1:0"], ["a b", "*"]),
        (
            "PricesObject",
            ["", "idp-config/prices.yaml", "idp-config/a/b.yaml"],
            ["s3://idp-config/prices.yaml", "idp-config", "idp-config/*", "idp-config/a?"],
        ),
        ("PricesParameter", ["", "/idp/prices"], ["idp", "/idp/*", "ssm:/idp"]),
        (
            "ReferencedPages",
            ["", "idp-output/", "idp-output/pages/2026/"],
            ["idp-output", "idp-output/pages", "s3://idp-output/", "idp-output/*/", "idp-output/a,b/", "*/"],
        ),
        ("AlertsTopicArn", ["", TOPIC], ["topic", "*"]),
        ("AlarmEmail", ["", "ops@example.com"], ["ops", "a b@example.com"]),
    ],
)
def test_a_parameter_takes_what_works_and_refuses_the_rest(
    name: str, good: list[str], bad: list[str], transformed: Template
) -> None:
    """B19, B22: a mistake is refused at the first step of a deployment, not at the first cold start."""
    pattern = transformed["Parameters"][name]["AllowedPattern"]

    assert good == [value for value in good if re.fullmatch(pattern, value)]
    assert [value for value in bad if re.fullmatch(pattern, value)] == []


@pytest.mark.parametrize(("letters", "longest"), [(48, 64), (49, 65)], ids=["the most", "control: one more"])
def test_the_longest_name_makes_functions_that_lambda_takes(letters: int, longest: int, transformed: Template) -> None:
    """B19: a function's name has 64 letters at most, and the erase function's is the longer one of the two."""
    stack = Stack(transformed, GIVEN | {"Name": "x" * letters})
    names = [function["FunctionName"] for _, function in stack.of_type("AWS::Lambda::Function")]

    assert longest == max(map(len, names))
    assert (longest <= 64) == bool(re.fullmatch(transformed["Parameters"]["Name"]["AllowedPattern"], "x" * letters))


def test_names_of_the_host_samples_are_kept(transformed: Template) -> None:
    """Contract 6: an operator finds the parameters that every sample hook has, with the same defaults."""
    parameters = transformed["Parameters"]

    assert "Default" not in parameters["IDPWorkingBucket"]
    assert parameters["CustomerManagedEncryptionKeyArn"]["Default"] == ""
    assert parameters["LogRetentionDays"]["Default"] == 30


# ------------------------------------------------------------------------------------------------------- the tools


def test_sam_accepts_the_template_and_notices_a_wrong_one(
    sam_environment: Path, quiet_environment: dict[str, str], tmp_path: Path
) -> None:
    """`sam validate --lint` passes without an account. Control: with a timeout that is no number it does not."""
    spoilt = tmp_path / "template.yaml"
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    spoilt.write_text(text.replace("Timeout: !Ref TimeoutSeconds", "Timeout: soon"), encoding="utf-8")

    runs = [
        subprocess.Popen(
            [sam_environment / "sam", "validate", "--lint", "--template", template],
            env=quiet_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for template in (ROOT / "template.yaml", spoilt)
    ]
    (accepted, _), (refused, _) = [run.communicate() for run in runs]

    assert runs[0].returncode == 0, accepted
    assert runs[1].returncode == 1, refused
    assert "E3012" in refused
