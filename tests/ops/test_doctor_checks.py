"""`hookcache doctor`, check by check: each boundary and each spelling, against replies of AWS that are told here."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hookcache.prices import PriceTable
from hookcache_ops import doctor
from hookcache_ops.cli import main
from hookcache_ops.doctor import chain, images, price_rows, storage
from hookcache_ops.doctor.finding import Finding, Severity, error, note, warning
from hookcache_ops.doctor.patient import Asker, NotExamined, Patient
from hookcache_ops.doctor.rights import needs

WRAPPER = "GENAIIDP-cache-ocr"
PLACE = "us-east-1:123456789012"
ARN = f"arn:aws:lambda:{PLACE}:function:{WRAPPER}"
KEY = f"arn:aws:kms:{PLACE}:key/{{}}"
BLOCKED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
DAY = 86_400
GOOD = {
    "HOOKCACHE_BACKEND": "GENAIIDP-ocr",
    "HOOKCACHE_TABLE": "cache",
    "HOOKCACHE_SECRET_ARN": "secret",
    "HOOKCACHE_IMAGE_PREFIXES": "s3://pages/temp/lambdahook/",
}
NOT_THERE = ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "any")


class Account:
    """Every client at once: `operation=reply`, or what gives one for the parameters; all else is not there."""

    def __init__(self, **replies: Any) -> None:
        self._replies = replies

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def ask(**parameters: Any) -> Any:
            reply = self._replies.get(operation, NOT_THERE)
            reply = reply(**parameters) if callable(reply) else reply
            if isinstance(reply, Exception):
                raise reply
            return reply

        return ask


def patient(changes: dict[str, str] | None = None, *, bucket: str = "", **replies: Any) -> Patient:
    """A wrapper whose settings are good but for `changes`, in an account that answers so."""
    variables = {name: value for name, value in {**GOOD, **(changes or {})}.items() if value}
    described = {
        "FunctionName": WRAPPER,
        "FunctionArn": ARN,
        "Timeout": 330,
        "MemorySize": 1024,
        "Role": "arn:aws:iam::123456789012:role/path/wrapper",
        "Environment": {"Variables": variables},
    }

    def describe(**asked: str) -> dict[str, Any]:
        is_backend = asked["FunctionName"] == variables.get("HOOKCACHE_BACKEND")
        return described | replies.get("backend", {}) if is_backend else described

    account = Account(**{"get_function_configuration": describe, **replies})
    return Patient(Asker(lambda _: account), WRAPPER, bucket)


def ids(findings: Iterator[Finding]) -> list[str]:
    return [finding.id for finding in findings]


# --------------------------------------------------------------------------------------------------------- the chain


@pytest.mark.parametrize(("size_bytes", "found"), [(824 * 2**20, []), (824 * 2**20 + 1, ["memory_outgrows_function"])])
def test_a_tier_has_what_the_runtime_leaves(size_bytes: int, found: list[str]) -> None:
    """1,024 MB are 1,024 MiB, as Lambda counts them."""
    assert found == ids(chain.memory(patient({"HOOKCACHE_MEMORY_BYTES": str(size_bytes)})))


@pytest.mark.parametrize(("wait", "found"), [("58", []), ("59", ["wait_outlasts_old_hosts"])])
def test_an_answer_needs_time_to_reach_an_old_host(wait: str, found: list[str]) -> None:
    """P52: the wait and the margin behind it fit into 60 s."""
    assert found == ids(chain.times(patient({"HOOKCACHE_WAIT_SECONDS": wait})))


@pytest.mark.parametrize("state", ["Active", "Inactive", None])
def test_a_backend_that_was_idle_for_long_is_no_fault(state: str | None) -> None:
    """Lambda wakes it with its next call."""
    told = {"Timeout": 40, "CodeSha256": "c", "Version": "1", "RevisionId": "r"} | ({"State": state} if state else {})

    assert [] == ids(chain.backend(patient(backend=told)))


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("GENAIIDP-ocr", []),
        (f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr:live", []),
        (f"arn:aws:lambda:{PLACE}:function:ocr", ["backend_prefix"]),
    ],
)
def test_a_backend_is_known_by_its_name_however_it_is_spelt(named: str, found: list[str]) -> None:
    """Contract 2: what the host could call without the wrapper."""
    told = {"Timeout": 40, "CodeSha256": "c", "Version": "1", "RevisionId": "r"}

    assert found == ids(chain.backend(patient({"HOOKCACHE_BACKEND": named}, backend=told)))


@pytest.mark.parametrize(("identity", "found"), [(None, ["identity"]), ("", ["identity"]), ("pinned", [])])
def test_an_identity_that_is_set_to_nothing_is_found_out_as_well(identity: str | None, found: list[str]) -> None:
    """P40, P52: CloudFormation spells "not set" as an empty text."""
    checked = patient(backend={"Timeout": 40, "LastUpdateStatus": "InProgress", "CodeSha256": "c", "Version": "1"})
    if identity is not None:
        checked.configuration["Environment"]["Variables"]["HOOKCACHE_IDENTITY"] = identity

    assert found == ids(chain.backend(checked))


def test_an_environment_that_may_not_be_read_is_no_empty_one() -> None:
    """A key that the caller may not use hides it: that is said, and not that there is no cache."""
    hidden = {"FunctionName": WRAPPER, "FunctionArn": ARN, "Environment": {"Error": {"ErrorCode": "AccessDenied"}}}

    with pytest.raises(NotExamined, match="kms:Decrypt"):
        doctor.examine(patient(get_function_configuration=hidden))


def test_what_weighs_most_stands_first() -> None:
    """Issue C: errors, then warnings, then notes; one that two checks find stands once."""
    found = [note("c", "", ""), error("a", "", ""), warning("b", "", ""), error("a", "", "")]
    examination = doctor.examine(patient(), [lambda _: iter(found)])

    assert ["a", "b", "c"] == [finding.id for finding in examination.findings]
    assert not examination.sound
    assert doctor.examine(patient(), [lambda _: iter(found[:1])]).sound


# ------------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("status", "found"), [("ENABLED", []), ("ENABLING", []), ("DISABLING", ["ttl_off"]), ("DISABLED", ["ttl_off"])]
)
def test_expiry_that_is_being_turned_on_is_on(status: str, found: list[str]) -> None:
    described = {
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "B"},
            {"AttributeName": "kind", "AttributeType": "S"},
        ],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "kind", "KeyType": "RANGE"}],
    }
    expiry = {"TimeToLiveDescription": {"TimeToLiveStatus": status, "AttributeName": "ttl"}}

    assert found == ids(storage.table(patient(describe_table={"Table": described}, describe_time_to_live=expiry)))


def rule(days: int | None, status: str = "Enabled", **members: Any) -> dict[str, Any]:
    return {"Status": status, **({} if days is None else {"Expiration": {"Days": days}}), **members}


@pytest.mark.parametrize(
    ("blocked", "rules", "found"),
    [
        (BLOCKED, [rule(31)], []),
        (BLOCKED[1:], [rule(31)], ["overflow_public"]),
        (BLOCKED[:3], [rule(31)], ["overflow_public"]),
        (BLOCKED, [rule(30)], ["overflow_too_short"]),  # the longest of all steps, and a day
        (BLOCKED, [rule(31), rule(3)], ["overflow_too_short"]),
        (BLOCKED, [rule(31), rule(3, "Disabled")], []),
        (BLOCKED, [rule(31, "Disabled")], ["overflow_kept_for_ever"]),
        (BLOCKED, [rule(31), rule(3, Filter={"Prefix": "logs/"})], []),
        (BLOCKED, [rule(31), rule(3, Prefix="logs/")], []),
        (BLOCKED, [rule(31), rule(3, Filter={"Prefix": "entries/ab"})], ["overflow_too_short"]),
        (BLOCKED, [rule(31, Filter={"And": {"Prefix": "ent", "ObjectSizeGreaterThan": 1}})], []),
        (BLOCKED, [rule(None, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})], ["overflow_kept_for_ever"]),
    ],
)
def test_large_answers_are_private_and_live_as_long_as_their_entries(
    blocked: tuple[str, ...], rules: list[dict[str, Any]], found: list[str]
) -> None:
    """P49, 8.2: all four settings; every rule that reaches an entry, and none that does not."""
    checked = patient(
        {"HOOKCACHE_OVERFLOW_BUCKET": "large", "HOOKCACHE_POLICY": f'{{"OCR": {{"fresh_seconds": {30 * DAY}}}}}'},
        head_bucket={},
        get_public_access_block={"PublicAccessBlockConfiguration": dict.fromkeys(blocked, True)},
        get_bucket_versioning={},
        get_bucket_lifecycle_configuration={"Rules": rules},
    )

    findings = list(storage.overflow(checked))
    assert found == [finding.id for finding in findings]
    advised = [int(days) for finding in findings for days in re.findall(r"after (\d+) days", finding.remedy)]
    assert [days for days in advised if days < 31] == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"SecretString": "x" * 32}, []),
        ({"SecretString": "x" * 31 + "\n"}, ["secret_short"]),
        ({"SecretBinary": b"x" * 16}, []),  # 32 digits, as the function spells it
        ({"SecretBinary": b"x" * 15}, ["secret_short"]),
    ],
)
def test_a_secret_is_measured_as_the_function_reads_it(value: dict[str, Any], found: list[str]) -> None:
    """P37: text or bytes, without the line end that an editor left."""
    assert found == ids(storage.secret(patient(describe_secret={}, get_secret_value=value)))


# ------------------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize(
    ("bucket", "prefixes", "found"),
    [
        ("", "s3://pages/temp/", []),
        ("", "s3://pages/other/", ["images_not_covered"]),
        ("pages", "s3://pages/other/,s3://pages/temp/lambdahook", []),
        ("pages", "s3://others/temp/lambdahook/", ["images_not_covered"]),
        ("pages", "s3://pages/temp/lambda", ["images_not_covered"]),  # a folder is named whole
    ],
)
def test_the_allow_list_reaches_what_the_host_uploads(bucket: str, prefixes: str, found: list[str]) -> None:
    """P42: in its working bucket where that is known, in any otherwise."""
    assert found == ids(images.prefixes(patient({"HOOKCACHE_IMAGE_PREFIXES": prefixes}, bucket=bucket)))


def encrypted(algorithm: str, key: str) -> dict[str, Any]:
    default = {"SSEAlgorithm": algorithm, "KMSMasterKeyID": key}
    return {"ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}}


@pytest.mark.parametrize(
    ("algorithm", "key", "state", "manager", "found"),
    [
        ("aws:kms", "k", "Enabled", "CUSTOMER", []),
        ("aws:kms", "k", "Disabled", "CUSTOMER", ["image_key_unusable"]),
        ("aws:kms:dsse", "k", "PendingDeletion", "CUSTOMER", ["image_key_unusable"]),
        ("aws:kms", "k", "Disabled", "AWS", []),
        ("aws:kms", "alias/aws/s3", "Disabled", "CUSTOMER", []),
        ("aws:kms", f"arn:aws:kms:{PLACE}:alias/aws/s3", "Disabled", "CUSTOMER", []),
        ("AES256", "k", "Disabled", "CUSTOMER", []),
    ],
)
def test_a_key_that_cannot_be_used_hides_every_image(
    algorithm: str, key: str, state: str, manager: str, found: list[str]
) -> None:
    """P42: the customer's own alone; AWS looks after its own."""
    metadata = {"Arn": KEY.format("k"), "KeyState": state, "KeyManager": manager}
    checked = patient(
        head_bucket={}, get_bucket_encryption=encrypted(algorithm, key), describe_key={"KeyMetadata": metadata}
    )

    assert found == ids(images.buckets(checked))


def test_a_working_bucket_that_is_given_goes_before_the_stacks() -> None:
    """Issue C: whose images are looked for."""
    stack = {
        "Outputs": [{"OutputKey": "FunctionName", "OutputValue": WRAPPER}],
        "Parameters": [{"ParameterKey": "IDPWorkingBucket", "ParameterValue": "of-the-stack"}],
    }
    ask = Asker(lambda _: Account(describe_stacks={"Stacks": [stack]}))
    given: dict[str, Any] = {"stack": "hookcache-ocr", "function": None, "prices": None, "host_timeout": 840.0}

    assert ["of-the-stack", "given"] == [
        doctor._patient(argparse.Namespace(**given, working_bucket=bucket), ask).working_bucket
        for bucket in (None, "given")
    ]


# ------------------------------------------------------------------------------------------------------------ rights


def test_every_right_is_looked_for_on_the_thing_that_the_settings_name() -> None:
    """8.2: each by its ARN, however the settings spell it, and each key through the service that uses it."""
    keys = {"pages": "k-pages", "large": "k-large", "config": "k-pages"}

    def described(**asked: str) -> dict[str, Any]:
        return {"KeyMetadata": {"Arn": KEY.format(asked["KeyId"].rpartition("/")[2])}}

    checked = patient(
        {
            "HOOKCACHE_OVERFLOW_BUCKET": "large",
            "HOOKCACHE_IMAGE_PREFIXES": "s3://pages/a/,s3://pages/b",
            "HOOKCACHE_PRICES": "s3://config/prices.yaml",
        },
        get_bucket_encryption=lambda **asked: encrypted("aws:kms", keys[asked["Bucket"]]),
        describe_key=described,
        describe_table={"Table": {"SSEDescription": {"SSEType": "KMS", "KMSMasterKeyArn": KEY.format("k-table")}}},
        describe_secret={"KmsKeyId": "k-secret"},
    )
    assert checked.settings is not None
    found = {(need.resource, need.via): need.actions for need in needs(checked, checked.settings)}

    assert {
        (f"arn:aws:dynamodb:{PLACE}:table/cache", ""): tuple(
            f"dynamodb:{verb}" for verb in ("GetItem", "PutItem", "UpdateItem", "BatchWriteItem")
        ),
        ("arn:aws:s3:::large/entries/x", ""): ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
        ("arn:aws:s3:::pages/a/x", ""): ("s3:GetObject",),
        ("arn:aws:s3:::pages/b/x", ""): ("s3:GetObject",),
        ("secret", ""): ("secretsmanager:GetSecretValue",),
        # The second of two with one resource: each has an id of its own.
        (f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr", ""): ("lambda:GetFunctionConfiguration",),
        (f"arn:aws:logs:{PLACE}:log-group:/aws/lambda/{WRAPPER}:log-stream:x", ""): (
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ),
        ("arn:aws:s3:::config/prices.yaml", ""): ("s3:GetObject",),
        (KEY.format("k-pages"), "s3.us-east-1.amazonaws.com"): ("kms:Decrypt",),
        (KEY.format("k-large"), "s3.us-east-1.amazonaws.com"): ("kms:Decrypt", "kms:GenerateDataKey"),
        (KEY.format("k-table"), "dynamodb.us-east-1.amazonaws.com"): ("kms:Decrypt",),
        (KEY.format("k-secret"), "secretsmanager.us-east-1.amazonaws.com"): ("kms:Decrypt",),
    } == found


@pytest.mark.parametrize(
    ("setting", "value", "need", "resource"),
    [
        ("BACKEND", "GENAIIDP-ocr", "rights_backend", f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr"),
        ("BACKEND", "GENAIIDP-ocr:live", "rights_backend", f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr:live"),
        (
            "BACKEND",
            "123456789012:function:GENAIIDP-ocr:7",
            "rights_backend",
            f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr:7",
        ),
        (
            "BACKEND",
            f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr:live",
            "rights_backend",
            f"arn:aws:lambda:{PLACE}:function:GENAIIDP-ocr:live",
        ),
        ("TABLE", f"arn:aws:dynamodb:{PLACE}:table/shared", "rights_table", f"arn:aws:dynamodb:{PLACE}:table/shared"),
        ("PRICES", "ssm:/idp/prices", "rights_prices", f"arn:aws:ssm:{PLACE}:parameter/idp/prices"),
        ("PRICES", "ssm:prices", "rights_prices", f"arn:aws:ssm:{PLACE}:parameter/prices"),
    ],
)
def test_a_name_is_spelt_out_as_iam_knows_it(setting: str, value: str, need: str, resource: str) -> None:
    """8.2: names, qualified names and ARNs."""
    checked = patient({f"HOOKCACHE_{setting}": value})
    assert checked.settings is not None

    assert [resource] == [each.resource for each in needs(checked, checked.settings) if each.id == need]


@pytest.mark.parametrize(
    ("decision", "found"),
    [("allowed", ["may_call_itself"]), ("implicitDeny", ["rights_backend"]), ("explicitDeny", ["rights_backend"])],
)
def test_what_iam_denies_is_not_held(decision: str, found: list[str]) -> None:
    """P39, T9: denied outright or by silence; the right to call oneself is the one that must not be there."""

    def simulate(**asked: Any) -> dict[str, Any]:
        told = decision if asked["ActionNames"] == ["lambda:InvokeFunction"] else "allowed"
        return {"EvaluationResults": [{"EvalDecision": told}]}

    assert found == ids(doctor.rights(patient(simulate_principal_policy=simulate)))


@pytest.mark.parametrize(
    ("named", "arn"),
    [
        ("alias/pages", "alias/pages"),
        (KEY.format("k"), KEY.format("k")),
        ("k", KEY.format("k")),
        ("", ""),
        ("alias/aws/s3", ""),
    ],
)
def test_a_key_that_may_not_be_looked_at_goes_by_its_name(named: str, arn: str) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeKey")

    assert arn == patient(describe_key=denied).key_arn(named)


# ------------------------------------------------------------------------------------------------------------ prices

TABLE = """
pricing:
  - {name: vendor/ocr, units: [{name: pages, price: "0.004"}, {name: free, price: "0"}, {name: requests, price: "1"}]}
  - {name: lambda_hook/GENAIIDP-cache-ocr, units: [{name: pages, price: "0.004"}]}
  - {name: GENAIIDP-cache-ocr, units: [{name: pages, price: "0.004"}]}
"""


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("", ""), []),
        (('"0.004"}]}\n  - {name: G', '"0.04"}]}\n  - {name: G'), [("price_units", Severity.WARNING)]),
        (('"0.004"}]}\n  - {name: G', '"0.0040"}]}\n  - {name: G'), []),
        (("lambda_hook/GENAIIDP", "lambda_hook/other"), [("price_row", Severity.ERROR)]),
    ],
)
def test_the_hosts_rows_charge_what_the_backends_row_charges(change: tuple[str, str], found: list[Any]) -> None:
    """Contract 4.4: units that cost something, at their price; what the host declares free is not asked for."""
    rows = PriceTable.parse(TABLE.replace(*change) if change[0] else TABLE).rows
    settings = SimpleNamespace(prices="packaged.yaml", price_as="vendor/ocr")
    checked: Any = SimpleNamespace(name=WRAPPER, price_rows=rows, price_file="", settings=settings)

    assert found == [(finding.id, finding.severity) for finding in price_rows.prices(checked)]


def test_the_hosts_table_is_judged_by_what_the_function_charges() -> None:
    """Contract 4.4: the wrapper's rows of the one against the backend's row of the other."""
    own = TABLE.replace('"0.004"', '"0.005"')
    body = SimpleNamespace(read=lambda *_: own.encode())
    reply = {"Body": body, "ContentLength": len(own)}
    checked = patient(
        {"HOOKCACHE_PRICES": "s3://config/prices.yaml", "HOOKCACHE_PRICE_AS": "vendor/ocr"}, get_object=reply
    )
    alone = ids(price_rows.prices(checked))
    checked.price_rows = PriceTable.parse(TABLE).rows

    assert ([], ["price_units", "price_units"]) == (alone, ids(price_rows.prices(checked)))


@pytest.mark.parametrize(("charged_as", "row"), [("vendor/ocr", "vendor/ocr"), ("", "ROW")])
def test_the_remedy_for_a_missing_row_reads_the_table_that_was_given(
    charged_as: str, row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue C: it can be pasted where the function's own table lies in its package; without a row one has to be chosen."""
    table = tmp_path / "the host's prices.yaml"
    table.write_text(TABLE.replace("lambda_hook/GENAIIDP", "lambda_hook/other"))
    settings = SimpleNamespace(prices="packaged.yaml", price_as=charged_as)
    rows = PriceTable.parse(table.read_text()).rows
    checked: Any = SimpleNamespace(name=WRAPPER, price_rows=rows, price_file=str(table), settings=settings)
    (missing, *_) = price_rows.prices(checked)
    command = shlex.split(missing.remedy.removeprefix("add it: hookcache ").removesuffix(" prints it"))

    assert ["--price-as", row, "--prices", str(table)] == command[-4:]
    assert (0 if charged_as else 2) == main(command)
    assert (f"lambda_hook/{WRAPPER}" in capsys.readouterr().out) == bool(charged_as)
