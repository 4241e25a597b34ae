"""`hookcache doctor`: silent on a good stack; each planted mistake is found, alone, with its remedy."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.exceptions import ClientError

from hookcache.settings import Settings
from hookcache_ops import doctor
from hookcache_ops.cli import main
from hookcache_ops.doctor.finding import Finding, Severity, Unseen
from hookcache_ops.doctor.orders import orders
from hookcache_ops.doctor.patient import Asker, Clients
from hookcache_ops.doctor.policies import Policies, Verdict
from hookcache_ops.doctor.rights import needs
from hookcache_ops.doctor.stack import alarms, behind_alias
from hookcache_ops.local.aws import OVERFLOW_BUCKET, TABLE, WORKING_BUCKET, LocalAws
from hookcache_ops.local.function import Function

WRAPPER, BACKEND = "GENAIIDP-cache-ocr", "GENAIIDP-ocr"
REGION, ACCOUNT = "us-east-1", "123456789012"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function"
OF_OTHERS = (
    {"Tag": {"Key": "short", "Value": "yes"}},
    {"And": {"Prefix": "", "Tags": [{"Key": "short", "Value": "yes"}]}},
    {"And": {"Prefix": "logs/", "ObjectSizeGreaterThan": 1}},
    {"Prefix": "logs/"},
)
"""What reaches no entry: those have no tags, and lie under entries/."""
PRIVATE = {
    "BlockPublicAcls": True,
    "BlockPublicPolicy": True,
    "IgnorePublicAcls": True,
    "RestrictPublicBuckets": True,
}
GOOD_PRICES = """
pricing:
  - name: vendor/ocr
    units: [{name: pages, price: "0.004"}, {name: requests, price: "0.1"}]
  - name: lambda_hook/GENAIIDP-cache-ocr
    units: [{name: pages, price: "0.004"}]
  - name: GENAIIDP-cache-ocr
    units: [{name: pages, price: "0.004"}]
"""
STACK = f"""<DescribeStacksResponse><DescribeStacksResult><Stacks><member>
  <StackName>hookcache-ocr</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime>
  <Parameters><member><ParameterKey>IDPWorkingBucket</ParameterKey><ParameterValue>{WORKING_BUCKET}</ParameterValue></member></Parameters>
  <Outputs><member><OutputKey>FunctionName</OutputKey><OutputValue>{WRAPPER}</OutputValue></member></Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
PRICED = {"HOOKCACHE_PRICE_AS": "vendor/ocr", "HOOKCACHE_PRICES": "s3://idp-config/prices.yaml"}
NO_STACK = """<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
  <Message>Stack does not exist</Message></Error></ErrorResponse>"""


class Stacks(BaseHTTPRequestHandler):
    """A CloudFormation of one stack: moto's own asks for more packages than the project has."""

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = asked["StackName"] == ["hookcache-ocr"]
        body = (STACK if known else NO_STACK).encode()
        self.send_response(200 if known else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests' output is not its log."""


@contextmanager
def cloudformation() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stacks) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def statements(key: str) -> dict[str, dict[str, Any]]:
    """The rights of a good wrapper, by what they are for; names end in * so that planted tables and buckets are reached."""
    allow = {
        "table": (["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem"],
                  f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/hookcache*"),
        "overflow": (["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "arn:aws:s3:::hookcache-overflow*/entries/*"),
        "images": ("s3:GetObject", f"arn:aws:s3:::{WORKING_BUCKET}/temp/lambdahook/*"),
        "secret": ("secretsmanager:GetSecretValue", "*"),
        "backend": (["lambda:InvokeFunction", "lambda:GetFunctionConfiguration"], [f"{ARN}:*"]),
        "log": (["logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:*"),
        "key": (["kms:Decrypt", "kms:GenerateDataKey"], key),
        "prices": ("s3:GetObject", "arn:aws:s3:::idp-config*"),
    }  # fmt: skip
    made = {name: {"Effect": "Allow", "Action": action, "Resource": on} for name, (action, on) in allow.items()}
    own = [f"{ARN}:GENAIIDP-cache-*", f"{ARN}:cache-*"]
    return made | {"self": {"Effect": "Deny", "Action": "lambda:InvokeFunction", "Resource": own}}


@dataclass
class Stage:
    """A good stack on the local AWS, and ways to spoil it; `repair` undoes them."""

    aws: LocalAws
    key: str
    folder: Path
    stacks: str
    made: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Any] = field(default_factory=dict)
    doctors: Clients | None = None

    def client(self, service: str) -> Any:
        """One client per service for the whole module: making one takes longer than a test."""
        if service not in self.clients:
            self.clients[service] = self.aws.client(service)
        return self.clients[service]

    @property
    def good(self) -> dict[str, str]:
        return self.unpriced | PRICED

    @property
    def unpriced(self) -> dict[str, str]:
        return self.aws.settings() | {"HOOKCACHE_BACKEND": BACKEND}

    def examined(self) -> doctor.Examination:
        """What the doctor finds, by clients that all tests share; the command itself makes its own."""
        if self.doctors is None:
            self.doctors = Clients()
        return doctor.examine(doctor.Patient(Asker(self.doctors), WRAPPER, WORKING_BUCKET))

    def repair(self) -> None:
        self.environment({})
        self.rights()
        self.aws.functions.update_limits(WRAPPER, timeout_seconds=50)
        self.aws.functions.update_limits(BACKEND, timeout_seconds=40)
        logs = self.client("logs")
        logs.put_retention_policy(logGroupName=f"/aws/lambda/{WRAPPER}", retentionInDays=30)

    def environment(self, changes: Mapping[str, str | None]) -> None:
        """The wrapper's variables with some changed, or taken away where None."""
        variables = {name: value for name, value in (self.good | dict(changes)).items() if value is not None}
        self.aws.functions.update_environment(WRAPPER, variables)

    def rights(self, without: str = "", role: str = WRAPPER) -> None:
        """The role's policy, without one of its statements."""
        kept = [each for name, each in statements(self.key).items() if name != without]
        document = json.dumps({"Version": "2012-10-17", "Statement": kept})
        self.client("iam").put_role_policy(RoleName=role, PolicyName="hookcache", PolicyDocument=document)

    def function(self, name: str, environment: Mapping[str, str], handler: str = "app.lambda_handler") -> str:
        """One more function with a good role and log."""
        if name not in self.made:
            self.made[name] = name
            self.aws.functions.add(Function(name, self.folder, handler, dict(environment), 60, 512))
            role(self.aws, name)
            log(self.aws, name)
        self.rights(role=name)
        return name


def role(aws: LocalAws, name: str) -> None:
    trust = {
        "Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    }
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))


def log(aws: LocalAws, name: str) -> None:
    logs = aws.client("logs")
    logs.create_log_group(logGroupName=f"/aws/lambda/{name}")
    logs.put_retention_policy(logGroupName=f"/aws/lambda/{name}", retentionInDays=30)


def table(aws: LocalAws, name: str, *, keys: tuple[str, str] = ("pk", "kind"), ttl: str = "ttl") -> None:
    dynamodb = aws.client("dynamodb")
    first, second = keys
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": first, "AttributeType": "B"},
            {"AttributeName": second, "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": first, "KeyType": "HASH"}, {"AttributeName": second, "KeyType": "RANGE"}],
    )
    if ttl:
        specification = {"Enabled": True, "AttributeName": ttl}
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)


def bucket(aws: LocalAws, name: str, *, days: int = 37, private: bool = True, create: bool = True) -> str:
    s3 = aws.client("s3")
    if create:
        s3.create_bucket(Bucket=name)
    if private:
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=PRIVATE)
    if days:
        rules = [{"ID": "end", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}]
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    return name


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("code")
    (folder / "app.py").write_text("def lambda_handler(event, context): return {}")
    with LocalAws() as aws, cloudformation() as stacks:
        kms, s3, dynamodb = aws.client("kms"), aws.client("s3"), aws.client("dynamodb")
        key = kms.create_key()["KeyMetadata"]["Arn"]
        gone = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-000000000000"
        s3.create_bucket(Bucket="idp-working-locked")
        s3.create_bucket(Bucket="idp-config")
        s3.put_object(Bucket="idp-config", Key="prices.yaml", Body=GOOD_PRICES.encode())
        s3.put_object(Bucket="idp-config", Key="no-table.yaml", Body=b"pricing: 5")
        own = kms.create_key()["KeyMetadata"]["Arn"]
        s3.create_bucket(Bucket="idp-config-locked")
        s3.put_object(Bucket="idp-config-locked", Key="prices.yaml", Body=GOOD_PRICES.encode())
        for name, used in ((WORKING_BUCKET, key), ("idp-working-locked", gone), ("idp-config-locked", own)):
            default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": used}
            rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=rules)
        bucket(aws, OVERFLOW_BUCKET, create=False)
        bucket(aws, "hookcache-overflow-open", private=False)
        bucket(aws, "hookcache-overflow-endless", days=0)
        bucket(aws, "hookcache-overflow-short", days=3)
        some = [{"ID": "some", "Status": "Enabled", "Filter": only, "Expiration": {"Days": 3}} for only in OF_OTHERS]
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket(aws, "hookcache-overflow-tagged", days=0), LifecycleConfiguration={"Rules": some}
        )
        s3.put_bucket_versioning(
            Bucket=bucket(aws, "hookcache-overflow-versioned"), VersioningConfiguration={"Status": "Enabled"}
        )
        table(aws, "hookcache-other-keys", keys=("id", "sort"))
        table(aws, "hookcache-endless", ttl="")
        table(aws, "hookcache-other-ttl", ttl="expires")
        table(aws, "hookcache-restorable")
        dynamodb.update_continuous_backups(
            TableName="hookcache-restorable",
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
        for name, timeout in ((WRAPPER, 50), (BACKEND, 40)):
            aws.functions.add(Function(name, folder, "app.lambda_handler", {}, timeout, 512))
        role(aws, WRAPPER)
        log(aws, WRAPPER)
        yield Stage(aws, key, folder, stacks)


@pytest.fixture
def stage(built: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A good stack, which the tools of this process reach through the environment."""
    for name, value in built.aws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", built.stacks)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # moto has no simulation of rights, and need not say so three times
    built.repair()
    return built


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def found(report: dict[str, Any]) -> list[str]:
    return [finding["id"] for finding in report["findings"]]


# ---------------------------------------------------------------------------------------------------- a good stack


def test_nothing_is_found_on_a_good_stack(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Issue C: silent where all is well, prices included, and nothing was left unchecked; with the host's table or without."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(GOOD_PRICES)
    stage.environment(PRICED)

    alone = examined(capsys, "hookcache-ocr")
    status, report = examined(capsys, "hookcache-ocr", "--prices", str(prices))

    assert (0, report) == alone
    assert (report["findings"], report["unchecked"], report["ok"], status) == ([], [], True, 0)
    assert report["function"] == WRAPPER
    assert (report["mode"], report["generation"], report["backend"]) == ("on", "0", BACKEND)


def test_the_text_says_that_nothing_has_to_be_done(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue C: the same for people, two lines."""
    assert main(["doctor", "--function", WRAPPER]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{WRAPPER}: backend {BACKEND}, mode on, namespace default, generation 0, identity auto",
        "Nothing to correct.",
    ]


def test_a_terminal_gets_lines_of_its_width_and_a_file_whole_ones() -> None:
    """Issue C: what the terminal breaks itself starts at its edge, among the severities."""
    wrong = Finding("bucket", Severity.ERROR, "answers " * 20, "block " * 20)
    found = doctor.Examination(WRAPPER, {"mode": "on"}, (wrong,), ("could not check it: " + "need a right " * 10,))
    narrow, whole = doctor._text(found, 60).splitlines(), doctor._text(found).splitlines()

    assert max(map(len, narrow)) <= 60
    assert [line[:8].strip() for line in narrow if line[:8].strip()] == [WRAPPER[:8], "error", "1 to cor"]
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(whole).split())
    assert len(whole) == 5


# ------------------------------------------------------------------------------------------------ planted mistakes


def variable(name: str, value: str | None) -> Callable[[Stage], None]:
    return lambda stage: stage.environment({f"HOOKCACHE_{name}": value})


def limit(function: str, seconds: float) -> Callable[[Stage], None]:
    return lambda stage: stage.aws.functions.update_limits(function, timeout_seconds=seconds)


def right(name: str) -> Callable[[Stage], None]:
    return lambda stage: stage.rights(without=name)


def secret(text: str) -> Callable[[Stage], None]:
    def plant(stage: Stage) -> None:
        made = stage.client("secretsmanager").create_secret(Name=f"planted-{len(text)}", SecretString=text)
        stage.environment({"HOOKCACHE_SECRET_ARN": made["ARN"]})

    return plant


def endless_log(stage: Stage) -> None:
    stage.client("logs").delete_retention_policy(logGroupName=f"/aws/lambda/{WRAPPER}")


def deleted_secret(stage: Stage) -> None:
    client = stage.client("secretsmanager")
    arn = client.create_secret(Name="planted-deleted", SecretString="x" * 64)["ARN"]
    client.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    stage.environment({"HOOKCACHE_SECRET_ARN": arn})


PLANTED: dict[str, tuple[Callable[[Stage], Any], list[str]]] = {
    "wrapper as slow as the host": (limit(WRAPPER, 840), ["wrapper_timeout"]),
    "backend as slow as the wrapper": (limit(BACKEND, 50), ["timeout_chain"]),
    "waits longer than it lives": (variable("WAIT_SECONDS", "49"), ["wait_outlasts_wrapper"]),
    "memory beyond the function's": (variable("MEMORY_BYTES", str(400 * 2**20)), ["memory_outgrows_function"]),
    "prices without a row": (variable("PRICE_AS", None), ["price_as_not_set"]),
    "a row without prices": (variable("PRICES", None), ["prices_not_set"]),
    "wraps itself": (variable("BACKEND", WRAPPER), ["backend_is_itself"]),
    "wraps itself by alias": (variable("BACKEND", f"{ARN}:{WRAPPER}:live"), ["backend_is_itself"]),
    "backend is gone": (variable("BACKEND", "GENAIIDP-gone"), ["backend_missing"]),
    "backend not set": (variable("BACKEND", None), ["backend_not_set"]),
    "backend set to nothing": (variable("BACKEND", ""), ["backend_not_set"]),
    "memory outlives the answer": (variable("MEMORY_SECONDS", "700000"), ["settings_refused"]),
    "fresh beyond hard": (variable("POLICY", '{"OCR": {"hard_seconds": 10}}'), ["settings_refused"]),
    "not a namespace": (variable("NAMESPACE", "a/b"), ["settings_refused"]),
    "misspelt variable": (variable("FRESH_SECOND", "60"), ["unknown_setting"]),
    "secret in the environment": (variable("SECRET", "0123456789abcdef" * 4), ["secret_in_environment"]),
    "switched off": (variable("MODE", "off"), ["mode"]),
    "table is gone": (variable("TABLE", "hookcache-gone"), ["table_missing"]),
    "table with other keys": (variable("TABLE", "hookcache-other-keys"), ["table_keys"]),
    "table without expiry": (variable("TABLE", "hookcache-endless"), ["ttl_off"]),
    "table with another expiry": (variable("TABLE", "hookcache-other-ttl"), ["ttl_attribute"]),
    "table that can be restored": (variable("TABLE", "hookcache-restorable"), ["erased_can_return"]),
    "overflow is gone": (variable("OVERFLOW_BUCKET", "hookcache-overflow-gone"), ["overflow_missing"]),
    "overflow may be public": (variable("OVERFLOW_BUCKET", "hookcache-overflow-open"), ["overflow_public"]),
    "overflow never forgets": (variable("OVERFLOW_BUCKET", "hookcache-overflow-endless"), ["overflow_kept_for_ever"]),
    "overflow forgets others only": (variable("OVERFLOW_BUCKET", "hookcache-overflow-tagged"), ["overflow_kept_for_ever"]),
    "overflow forgets too soon": (variable("OVERFLOW_BUCKET", "hookcache-overflow-short"), ["overflow_too_short"]),
    "overflow keeps versions": (variable("OVERFLOW_BUCKET", "hookcache-overflow-versioned"), ["overflow_versioned"]),
    "short secret": (secret("letmein"), ["secret_short"]),
    "deleted secret": (deleted_secret, ["secret_missing"]),
    "log without an end": (endless_log, ["log_retention"]),
    "no image prefix": (variable("IMAGE_PREFIXES", None), ["no_image_prefix"]),
    "other bucket's images": (
        variable("IMAGE_PREFIXES", f"s3://{OVERFLOW_BUCKET}/temp/lambdahook/"),
        ["rights_images", "images_not_covered"],
    ),
    "whole bucket": (variable("IMAGE_PREFIXES", f"s3://{WORKING_BUCKET}"), ["rights_images", "image_prefix_wide"]),
    "image bucket is gone": (
        variable("IMAGE_PREFIXES", f"s3://{WORKING_BUCKET}/temp/lambdahook/,s3://idp-working-gone/temp/lambdahook/"),
        ["rights_images", "image_bucket_missing"],
    ),
    "key of the images gone": (
        variable("IMAGE_PREFIXES", f"s3://{WORKING_BUCKET}/temp/lambdahook/,s3://idp-working-locked/temp/lambdahook/"),
        ["rights_images", "rights_key", "image_key_unusable"],
    ),
    "no right on the table": (right("table"), ["rights_table"]),
    "no right on large entries": (right("overflow"), ["rights_overflow"]),
    "no right on images": (right("images"), ["rights_images"]),
    "no right on the secret": (right("secret"), ["rights_secret"]),
    "no right on the backend": (right("backend"), ["rights_backend", "rights_identity"]),
    "no right on the log": (right("log"), ["rights_log"]),
    "no right on the key": (right("key"), ["rights_key"]),
    "no right on the key of the prices": (variable("PRICES", "s3://idp-config-locked/prices.yaml"), ["rights_key"]),
    "may call itself": (right("self"), ["may_call_itself"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_each_planted_mistake_is_found_and_nothing_else(mistake: str, stage: Stage) -> None:
    """Issue C: 45 misconfigurations, one at a time; each finding with what is wrong and a remedy."""
    plant, expected = PLANTED[mistake]
    plant(stage)

    examination = stage.examined()

    assert sorted(expected) == sorted(finding.id for finding in examination.findings)
    assert examination.sound is False
    assert all(finding.wrong and finding.remedy for finding in examination.findings)


def test_a_wrapper_for_which_nobody_asked_for_prices_yet_is_sound(stage: Stage) -> None:
    """P55, issue C: as a stack is by default; a note says what the report then cannot say, and to see to it first."""
    stage.environment(dict.fromkeys(PRICED))
    examination = stage.examined()
    (finding,) = examination.findings

    assert ("prices_not_set", Severity.NOTE, True) == (finding.id, finding.severity, examination.sound)
    assert all(word in finding.remedy for word in ("PriceAs", "PricesObject", "first"))


def test_the_command_tells_a_finding_and_its_remedy(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue C: exit status 1, and for people a line that says what is wrong and one that says what to do."""
    stage.aws.functions.update_limits(WRAPPER, timeout_seconds=840)

    assert main(["doctor", "hookcache-ocr"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"error   wrapper_timeout: {WRAPPER} may run 840 s, and the host stops waiting after 840 s",
        "        -> set its timeout below 840 s",
        "1 to correct.",
    ]


def off_but_for_a_step(stage: Stage) -> None:
    stage.environment({"HOOKCACHE_MODE": "off", "HOOKCACHE_POLICY": '{"OCR": {"mode": "on"}}'})


NOTES: dict[str, tuple[Callable[[Stage], Any], list[str]]] = {
    "observing": (variable("MODE", "observe"), ["mode"]),
    "a step observing": (variable("POLICY", '{"OCR": {"mode": "observe"}}'), ["mode_of_a_step"]),
    "fresh for less than a fetch": (variable("FRESH_SECONDS", "40"), ["fresh_within_fetch"]),
    "no overflow": (variable("OVERFLOW_BUCKET", None), ["no_overflow"]),
    "no receipts": (lambda stage: stage.environment({"POWERTOOLS_METRICS_DISABLED": "true"}), ["no_receipts"]),
    "off but for a step": (off_but_for_a_step, ["mode", "mode_of_a_step"]),
    "observing but for a step": (
        lambda stage: stage.environment({"HOOKCACHE_MODE": "observe", "HOOKCACHE_POLICY": '{"OCR": {"mode": "on"}}'}),
        ["mode", "mode_of_a_step"],
    ),
}


@pytest.mark.parametrize("choice", NOTES)
def test_what_may_be_meant_is_a_note_and_no_fault(choice: str, stage: Stage) -> None:
    """Issue C: what some choose on purpose is told, and leaves the exit status 0."""
    plant, expected = NOTES[choice]
    plant(stage)

    examination = stage.examined()

    assert [(each, "note") for each in expected] == [(it.id, it.severity) for it in examination.findings]
    assert examination.sound is True


def seen(**parameters: str) -> Callable[..., SimpleNamespace]:
    """A function with this configuration in a stack of these parameters."""
    return lambda **configuration: SimpleNamespace(configuration=configuration, parameters=parameters)


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        (seen()(SnapStart={"ApplyOn": "PublishedVersions"}, Version="$LATEST"), ["SnapStart"]),
        (seen()(SnapStart={"ApplyOn": "PublishedVersions"}, Version="7"), []),
        (seen()(SnapStart={"ApplyOn": "None"}), []),
        (seen(ProvisionedConcurrency="2")(), ["provisioned concurrency"]),
        (seen(ProvisionedConcurrency="0")(), []),
    ],
)
def test_what_serves_an_alias_alone_is_noted(patient: Any, expected: list[str]) -> None:
    """Contract 2: hosts are given no alias, so what is warm behind one is paid for nothing."""
    findings = list(behind_alias(patient))

    assert expected == [finding.wrong.split(" is on")[0] for finding in findings]
    assert {("behind_alias", Severity.NOTE)} >= {(finding.id, finding.severity) for finding in findings}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"AlertsTopicArn": "", "AlarmEmail": ""}, ["alarms_reach_nobody"]),
        ({"AlertsTopicArn": "arn:aws:sns:us-east-1:123456789012:alerts", "AlarmEmail": ""}, []),
        ({"AlertsTopicArn": "", "AlarmEmail": "ops@example.com"}, []),
        ({}, []),
    ],
)
def test_alarms_that_reach_nobody_are_noted(parameters: dict[str, str], expected: list[str]) -> None:
    """Of a stack that was named; a function alone does not tell."""
    findings = list(alarms(seen(**parameters)()))

    assert [(each, Severity.NOTE) for each in expected] == [(finding.id, finding.severity) for finding in findings]


def test_the_stacks_parameters_are_those_that_are_looked_at(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both notes on a stack that is named, and the exit status stays 0."""
    more = {"ProvisionedConcurrency": "2", "AlertsTopicArn": "", "AlarmEmail": ""}
    members = (
        f"<member><ParameterKey>{name}</ParameterKey><ParameterValue>{value}</ParameterValue></member>"
        for name, value in more.items()
    )
    monkeypatch.setitem(globals(), "STACK", STACK.replace("<Parameters>", "<Parameters>" + "".join(members)))

    status, report = examined(capsys, "hookcache-ocr")

    assert (0, ["behind_alias", "alarms_reach_nobody"]) == (status, found(report))


@pytest.mark.parametrize(
    ("backend", "standing", "expected"),
    [
        (f"{BACKEND}:live", {}, ["mode observe, generation 2: ordered"]),
        (f"{ARN}:{BACKEND}:live", {"generation": "3"}, ["mode observe: ordered"]),
        (f"{BACKEND}:live", {"modes": {"*": "on"}, "generation": "2"}, []),
        (BACKEND, {}, []),
    ],
)
def test_orders_under_the_name_without_the_qualifier_are_noted(
    backend: str, standing: dict[str, Any], expected: list[str]
) -> None:
    """P44, P50: a qualifier that is added starts without orders; a mode or generation that was in force is no longer."""
    none: dict[str, Any] = {"tampered": False, "modes": {}, "generation": None}
    lying = {BACKEND: none | {"modes": {"*": "observe"}, "generation": "2"}, f"{BACKEND}:live": none | standing}
    settings = Settings.of({"HOOKCACHE_TABLE": TABLE, "HOOKCACHE_SECRET": "x" * 32, "HOOKCACHE_BACKEND": backend})
    patient: Any = SimpleNamespace(settings=settings, table={}, name=WRAPPER)
    findings = [each for each in orders(patient, lambda read: lying[read.backend_name]) if each.id != "mode_ordered"]

    assert [("orders_left_behind", Severity.NOTE)] * len(expected) == [(each.id, each.severity) for each in findings]
    assert expected == [each.wrong.split(" while")[0] for each in findings]


def test_a_name_that_the_host_may_not_invoke_is_found(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Contract 2: functions of hosts' choice begin with GENAIIDP-, case-sensitively."""
    status, report = examined(capsys, "--function", stage.function("cache-ocr", stage.unpriced))

    assert (found(report), status) == (["name_prefix", "prices_not_set"], 1)


def test_a_function_without_a_cache_is_found(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest slip: the backend's name instead of the wrapper's."""
    status, report = examined(capsys, "--function", stage.function("GENAIIDP-plain", {}))

    assert (found(report)[0], status) == ("not_configured", 1)


@pytest.mark.parametrize(
    ("handler", "variables", "expected"),
    [
        ("hookcache.redirect.handler", {"HOOKCACHE_HANDLER": "index.lambda_handler"}, []),
        ("hookcache.redirect.handler", {}, ["handler_not_set"]),
        ("index.lambda_handler", {"HOOKCACHE_HANDLER": "index.lambda_handler"}, ["handler_not_redirected"]),
        ("index.lambda_handler", {}, []),
    ],
    ids=["layer", "layer without the old handler", "layer not in use", "decorator"],
)
def test_a_layer_knows_the_handler_behind_it(
    handler: str, variables: dict[str, str], expected: list[str], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue C: the ways of chaining without a wrapper are examined as well; they need no backend. Here without prices."""
    name = f"GENAIIDP-hook-{handler.split('.')[0]}-{len(variables)}"
    _, report = examined(capsys, "--function", stage.function(name, stage.aws.settings() | variables, handler))

    assert [*expected, "prices_not_set"] == found(report)


def test_hosts_that_give_up_early_are_asked_for(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """P52, contract 2.1: a long wait is a note for today's hosts, and a finding for one that is said to wait 60 s."""
    stage.aws.functions.update_limits(WRAPPER, timeout_seconds=330)
    stage.environment({"HOOKCACHE_WAIT_SECONDS": "120"})

    today = examined(capsys, "--function", WRAPPER)
    early = examined(capsys, "--function", WRAPPER, "--host-timeout", "60")

    between = examined(capsys, "--function", WRAPPER, "--host-timeout", "120")
    longer = examined(capsys, "--function", WRAPPER, "--host-timeout", "130")

    assert (today[0], found(today[1])) == (0, ["wait_outlasts_old_hosts"])
    assert (early[0], found(early[1])) == (1, ["wait_outlasts_host"])
    assert (between[0], found(between[1])) == (1, ["wait_outlasts_host"])
    assert (longer[0], found(longer[1])) == (0, ["wait_outlasts_old_hosts"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("  - name: lambda_hook/GENAIIDP-cache-ocr\n", "  - name: lambda_hook/other\n"), ["price_row"]),
        (("  - name: GENAIIDP-cache-ocr\n", "  - name: other\n"), ["price_row_older_hosts"]),
        (("  - name: vendor/ocr\n", "  - name: vendor/other\n"), ["price_as_unknown"]),
        (('ocr\n    units: [{name: pages, price: "0.004"}]\n  -', 'ocr\n    units: [{name: tokens, price: "1"}]\n  -'), ["price_units"]),
        (('{name: pages, price: "0.004"}]\n  -', '{name: pages, price: "0.004"}, {name: requests, price: "1"}]\n  -'), ["price_of_requests"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_price_table_without_the_wrapper_is_found(
    change: tuple[str, str], expected: list[str], stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Contract 4.4: rows in both spellings, every unit of the backend, requests free; in the host's table or the function's."""
    assert GOOD_PRICES.count(change[0]) == 1
    table = GOOD_PRICES.replace(*change)
    prices = tmp_path / "prices.yaml"
    prices.write_text(table)
    stage.client("s3").put_object(Bucket="idp-config", Key="changed.yaml", Body=table.encode())

    stage.environment(PRICED)
    of_host = examined(capsys, "hookcache-ocr", "--prices", str(prices))
    stage.environment(PRICED | {"HOOKCACHE_PRICES": "s3://idp-config/changed.yaml"})
    of_function = examined(capsys, "hookcache-ocr")

    # A row that the host's table has and the function's own has not is missing there, and only there.
    assert (1, [] if expected == ["price_as_unknown"] else expected) == (1, found(of_host[1]))
    assert (1, expected) == (of_function[0], found(of_function[1]))


def test_the_functions_own_price_table_is_read_where_it_names_one(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """P55: what leaves every unit unpriced is found; a table in the function's package cannot be seen from outside."""
    stage.client("ssm").put_parameter(Name="/idp/prices", Value=GOOD_PRICES, Type="String", Overwrite=True)
    told = {}
    for reference in ("ssm:/idp/prices", "ssm:/idp/gone", "s3://idp-config/gone.yaml", "s3://idp-gone/prices.yaml",
                      "s3://idp-config/no-table.yaml", "s3://idp-config"):  # fmt: skip
        stage.environment(PRICED | {"HOOKCACHE_PRICES": reference})
        told[reference] = found(examined(capsys, "--function", WRAPPER)[1])
    stage.environment({"HOOKCACHE_PRICES": None})
    told["none"] = found(examined(capsys, "--function", WRAPPER)[1])
    stage.environment(PRICED | {"HOOKCACHE_PRICES": "prices.yaml"})
    _, packaged = examined(capsys, "--function", WRAPPER)

    no_right = ["rights_prices"]
    assert {name: [each for each in ids if each not in no_right] for name, ids in told.items()} == {
        "ssm:/idp/prices": [],
        "ssm:/idp/gone": ["price_table_missing"],
        "s3://idp-config/gone.yaml": ["price_table_missing"],
        "s3://idp-gone/prices.yaml": ["price_table_missing"],
        "s3://idp-config/no-table.yaml": ["price_table_format"],
        "s3://idp-config": ["price_table_format"],
        "none": ["prices_not_set"],
    }
    assert [
        "could not check the price table prices.yaml: it lies in the function's package; give it with --prices"
    ] == [*packaged["unchecked"]]


def test_a_table_in_the_package_is_judged_by_the_one_that_is_given(
    stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Contract 4.4: what was asked for with --prices is not asked for again, and the row that is charged is looked for in it."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(GOOD_PRICES)
    told = []
    for row in ("vendor/ocr", "vendor/other"):
        stage.environment({"HOOKCACHE_PRICES": "prices.yaml", "HOOKCACHE_PRICE_AS": row})
        _, report = examined(capsys, "--function", WRAPPER, "--prices", str(prices))
        told.append((found(report), report["unchecked"]))

    assert [([], []), (["price_as_unknown"], [])] == told


COMMAND = re.compile(r"hookcache (\w+(?: (?:--[a-z-]+|[A-Za-z0-9_:/.-]+))+)")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"PRICES": "s3://idp-config/no-table.yaml"}, ["prices --check s3://idp-config/no-table.yaml"]),
        (
            {"PRICES": "s3://idp-config/others.yaml"},
            [f"prices --function {WRAPPER} --price-as vendor/ocr --prices s3://idp-config/others.yaml"],
        ),
    ],
)
def test_a_remedy_that_is_a_command_can_be_pasted(
    changes: dict[str, str], told: list[str], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue C: as it is printed, with this function's own names; what it prints is what was missing."""
    table = GOOD_PRICES.replace("lambda_hook/GENAIIDP-cache", "lambda_hook/x").replace("name: GENAIIDP", "name: x")
    stage.client("s3").put_object(Bucket="idp-config", Key="others.yaml", Body=table.encode())
    stage.environment({f"HOOKCACHE_{name}": value for name, value in changes.items()})
    remedies = [finding.remedy for finding in stage.examined().findings]
    commands = list(dict.fromkeys(match[1] for remedy in remedies if (match := COMMAND.search(remedy))))

    assert told == [command.removesuffix(" prints it") for command in commands]
    for command in told:
        main(command.split())
        printed = capsys.readouterr()
        assert "see hookcache" not in printed.err
        assert f"lambda_hook/{WRAPPER}" in printed.out or "is not in the host's format" in printed.err


def test_an_identity_that_is_pinned_needs_no_right_to_look_the_backend_up(stage: Stage) -> None:
    """P40: only where Lambda is asked which code answers; without that right requests pass, and none is cached."""
    iam = stage.client("iam")
    kept = statements(stage.key)
    kept["backend"] |= {"Action": "lambda:InvokeFunction"}
    document = {"Version": "2012-10-17", "Statement": list(kept.values())}
    iam.put_role_policy(RoleName=WRAPPER, PolicyName="hookcache", PolicyDocument=json.dumps(document))
    told = []
    for identity in ("auto", "pinned"):
        stage.environment({"HOOKCACHE_IDENTITY": identity})
        told.append([(finding.id, "every request fails" in finding.wrong) for finding in stage.examined().findings])

    assert [[("rights_identity", False)], []] == told


def test_orders_that_are_not_the_operators_are_found(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """T5: somebody who can write the table, and has no secret, left orders there. An operator's own are a note."""
    from hookcache.commands import Commands

    commands = Commands(Settings.of(stage.good))
    try:
        commands({"command": "mode", "context": "OCR", "mode": "observe"})
        ordered = examined(capsys, "--function", WRAPPER)
        dynamodb = stage.client("dynamodb")
        (item,) = dynamodb.scan(TableName=TABLE)["Items"]
        dynamodb.put_item(TableName=TABLE, Item=item | {"orders": {"S": item["orders"]["S"].replace("observe", "off")}})
        tampered = examined(capsys, "--function", WRAPPER)
        dynamodb.delete_item(TableName=TABLE, Key={"pk": item["pk"], "kind": item["kind"]})
    finally:
        commands.close()

    assert (ordered[0], found(ordered[1])) == (0, ["mode_ordered"])
    assert f"hookcache mode --clear --function {WRAPPER}" in ordered[1]["findings"][0]["remedy"]
    assert (tampered[0], found(tampered[1])) == (1, ["orders_tampered"])


# --------------------------------------------------------------------------------------------- what cannot be seen


class Replaced:
    """A client with some operations replaced; the others are the client's own."""

    def __init__(self, client: Any, operations: Mapping[str, Callable[..., Any]]) -> None:
        self._client, self._operations = client, operations

    def __getattr__(self, name: str) -> Any:
        return self._operations.get(name) or getattr(self._client, name)


def refuse(**_: Any) -> None:
    raise ClientError({"Error": {"Code": "AccessDenied"}}, "any")


def refused(*operations: str) -> Callable[[str], Any]:
    """Clients that may not do some operations."""
    clients = Clients()
    return lambda service: Replaced(clients(service), dict.fromkeys(operations, refuse))


@pytest.mark.parametrize(
    ("operations", "needed"),
    [
        (
            ["simulate_principal_policy", "list_role_policies"],
            "need iam:SimulatePrincipalPolicy, or iam:ListRolePolicies",
        ),
        (["head_bucket"], "need s3:ListBucket"),
        (["describe_log_groups"], "need logs:DescribeLogGroups"),
        (["get_public_access_block"], "need s3:GetBucketPublicAccessBlock"),
        (["describe_time_to_live"], "need dynamodb:DescribeTimeToLive"),
    ],
)
def test_what_may_not_be_looked_at_is_said_and_is_no_finding(operations: list[str], needed: str, stage: Stage) -> None:
    """Issue C: a check that the caller has no right for names the right; the others go on."""
    examination = doctor.examine(doctor.Patient(Asker(refused(*operations)), WRAPPER))

    assert (examination.findings, examination.sound) == ((), True)
    assert [each for each in examination.unseen if needed in each] != []
    assert all(each.startswith("could not check ") for each in examination.unseen)


def test_what_hides_a_key_hides_no_right_to_call_itself(stage: Stage) -> None:
    """T9: a bucket whose encryption may not be looked at ends the look at keys alone."""
    stage.rights(without="self")
    examination = doctor.examine(doctor.Patient(Asker(refused("get_bucket_encryption")), WRAPPER))

    assert ["may_call_itself"] == [finding.id for finding in examination.findings]
    assert [each for each in examination.unseen if "s3:GetEncryptionConfiguration" in each] != []


def test_simulation_is_believed_where_it_may_be_run(stage: Stage) -> None:
    """IAM knows boundaries that no policy of the role shows: its word is taken before the policies are read."""

    def simulate(**asked: Any) -> dict[str, Any]:
        denied = asked["ActionNames"][0].startswith(("dynamodb:Put", "lambda:Invoke"))
        return {"EvaluationResults": [{"EvalDecision": "implicitDeny" if denied else "allowed"}]}

    clients = Clients()
    ask = Asker(lambda service: Replaced(clients(service), {"simulate_principal_policy": simulate}))
    examination = doctor.examine(doctor.Patient(ask, WRAPPER))

    assert [finding.id for finding in examination.findings] == ["rights_table", "rights_backend"]


def test_a_boundary_that_was_not_looked_at_is_said(stage: Stage) -> None:
    """P39: a role's own policies do not tell what a boundary takes from them; where nothing bounds it, nothing is said."""
    name = stage.client("lambda").get_function_configuration(FunctionName=WRAPPER)["Role"].rpartition("/")[2]
    free = doctor.examine(doctor.Patient(Asker(stage.client), WRAPPER))
    stage.client("iam").put_role_permissions_boundary(
        RoleName=name, PermissionsBoundary=f"arn:aws:iam::{ACCOUNT}:policy/IDPBoundary"
    )
    bounded = doctor.examine(doctor.Patient(Asker(stage.client), WRAPPER))
    stage.client("iam").delete_role_permissions_boundary(RoleName=name)

    assert ((), ()) == (free.findings, free.unseen)
    assert () == bounded.findings
    assert [
        f"could not check what the permissions boundary of role {name} leaves of its rights: need iam:SimulatePrincipalPolicy"
    ] == list(bounded.unseen)


@pytest.mark.parametrize(
    ("partition", "suffix"), [("aws", "amazonaws.com"), ("aws-us-gov", "amazonaws.com"), ("aws-cn", "amazonaws.com.cn")]
)
def test_services_are_asked_for_by_their_names_in_the_partition(partition: str, suffix: str, stage: Stage) -> None:
    """P39: a key's rights are looked for under the names that the template writes there (AWS::URLSuffix)."""
    patient = doctor.Patient(Asker(Clients()), WRAPPER)
    patient.arn = ARN.replace("aws", partition, 1) + f":{WRAPPER}"
    settings = patient.settings
    assert settings is not None
    via = {need.via for need in needs(patient, settings) if need.id == "rights_key"}

    assert via == {f"s3.{REGION}.{suffix}"}  # the stage has one key, the working bucket's


@pytest.mark.parametrize(
    ("status", "said"), [("InProgress", ["identity"]), ("Failed", ["identity"]), ("Successful", [])]
)
def test_a_backend_in_the_middle_of_an_update_is_found(status: str, said: list[str], stage: Stage) -> None:
    """P40: the control plane names the new code while the old one answers, so nothing new is cached until it is done."""
    clients = Clients()
    described = clients("lambda").get_function_configuration

    def describe(**asked: Any) -> dict[str, Any]:
        return {**described(**asked), "LastUpdateStatus": status}

    ask = Asker(lambda service: Replaced(clients(service), {"get_function_configuration": describe}))
    examination = doctor.examine(doctor.Patient(ask, WRAPPER))

    assert said == [finding.id for finding in examination.findings]


@pytest.mark.parametrize(("state", "word"), [("Failed", "deploy it anew"), ("Pending", "wait until it is Active")])
def test_a_backend_that_is_still_being_made_is_waited_for(state: str, word: str, stage: Stage) -> None:
    """Issue C: the remedy is that of the cause."""
    clients = Clients()
    described = clients("lambda").get_function_configuration

    def describe(**asked: Any) -> dict[str, Any]:
        return {**described(**asked), "State": state}

    ask = Asker(lambda service: Replaced(clients(service), {"get_function_configuration": describe}))
    (finding,) = [each for each in doctor.chain.backend(doctor.Patient(ask, WRAPPER)) if each.id == "backend_not_ready"]

    assert word in finding.remedy


@pytest.mark.parametrize(("given", "words"), [(512, ["HOOKCACHE_MEMORY_BYTES", "more memory"]), (128, ["more memory"])])
def test_no_setting_is_advised_that_would_be_found_again(given: int, words: list[str]) -> None:
    """A function that is too small for the runtime alone needs more memory, whatever its tier may hold."""
    settings = Settings.of(
        {"HOOKCACHE_TABLE": TABLE, "HOOKCACHE_SECRET": "x" * 32, "HOOKCACHE_MEMORY_BYTES": str(2**30)}
    )
    patient: Any = SimpleNamespace(settings=settings, configuration={"MemorySize": given}, name=WRAPPER)
    (finding,) = doctor.chain.memory(patient)

    assert words == [word for word in ("HOOKCACHE_MEMORY_BYTES", "more memory") if word in finding.remedy]


@pytest.mark.parametrize("level", ["DEBUG", "WARNING", "ERROR"])
@pytest.mark.parametrize(("name", "said"), [("FRESH_SECOND", ["unknown_setting"]), ("FRESH_SECONDS", [])])
def test_a_misspelt_variable_is_found_however_little_its_function_logs(name: str, said: list[str], level: str) -> None:
    """P52: the stack's LogLevel is for the function's own log; the doctor listens to what that would not hold."""
    variables = {"HOOKCACHE_TABLE": TABLE, "HOOKCACHE_SECRET_ARN": "secret", "HOOKCACHE_BACKEND": BACKEND}
    variables |= {f"HOOKCACHE_{name}": "6000", "POWERTOOLS_LOG_LEVEL": level}
    described = {"FunctionName": WRAPPER, "FunctionArn": f"{ARN}:{WRAPPER}", "Environment": {"Variables": variables}}
    ask = Asker(lambda _: Replaced(None, {"get_function_configuration": lambda **_: described}))

    assert said == [finding.id for finding in doctor.chain.settings(doctor.Patient(ask, WRAPPER))]


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ([], "name either the stack or, with --function, the function"),
        (["stack", "--function", WRAPPER], "name either the stack or"),
        (["no-such-stack"], "check the name and AWS_REGION"),
        (["--function", "GENAIIDP-gone"], "check the name and AWS_REGION"),
        (["--function", WRAPPER, "--prices", "no-such-file"], "give a price table in the host's format"),
        (["--function", WRAPPER, "--host-timeout", "0"], "--host-timeout must be"),
        (["--function", WRAPPER, "--host-timeout", "nan"], "--host-timeout must be"),
        (["--function", WRAPPER, "--host-timeout", "inf"], "--host-timeout must be"),
    ],
)
def test_what_cannot_be_examined_is_status_2_and_one_line(
    arguments: list[str], remedy: str, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input is one line that names the remedy, and no traceback."""
    assert main(["doctor", *arguments]) == 2

    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert remedy in line
    assert captured.out == ""


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--help"])
    assert ended.value.code == 0
    assert "hookcache doctor --function GENAIIDP-cache-chandra --host-timeout 60 --json" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ reading policies


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        ({"Effect": "Allow", "Action": "s3:getobject", "Resource": "arn:aws:s3:::b/*"}, Verdict.ALLOWED),
        ({"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}, Verdict.ALLOWED),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, Verdict.ALLOWED),
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, Verdict.UNMENTIONED),
        ({"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"}, Verdict.UNMENTIONED),
        ({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::B/*"}, Verdict.UNMENTIONED),
        ({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/[k]"}, Verdict.UNMENTIONED),
        ({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/?"}, Verdict.ALLOWED),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, Verdict.DENIED),
        ({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"x": "y"}}}, Verdict.UNMENTIONED),
    ],
)
def test_a_statement_is_read_as_iam_reads_it(statement: dict[str, Any], verdict: Verdict) -> None:
    """P39: wildcards, letter case, the Not- forms, and conditions."""
    assert verdict is Policies((statement,)).judge("s3:GetObject", "arn:aws:s3:::b/k")


def test_a_deny_wins_over_every_allow() -> None:
    """P39: whatever stands first."""
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    for order in ((allow, deny), (deny, allow)):
        assert Policies(order).judge("s3:GetObject", "arn:aws:s3:::b/k") is Verdict.DENIED


def test_rights_in_attached_policies_count(stage: Stage) -> None:
    """P39: inline or attached, a right is a right; a role that is not there is not examined."""
    iam = stage.client("iam")
    role(stage.aws, "attached")
    document = json.dumps({"Version": "2012-10-17", "Statement": statements(stage.key)["secret"]})
    arn = iam.create_policy(PolicyName="attached", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="attached", PolicyArn=arn)
    ask = Asker(stage.client)

    assert Policies.of(ask, "attached").judge("secretsmanager:GetSecretValue", "arn:x") is Verdict.ALLOWED
    with pytest.raises(Unseen, match="there is no such role"):
        Policies.of(ask, "nobody")


def test_the_secret_is_nowhere_in_what_is_printed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """P36, P37: its length is all that is looked at."""
    text = stage.client("secretsmanager").get_secret_value(SecretId=stage.aws.secret_arn)["SecretString"]

    main(["doctor", "--function", WRAPPER])
    main(["doctor", "--function", WRAPPER, "--json"])
    captured = capsys.readouterr()

    assert len(text) == 64
    assert text not in captured.out + captured.err
