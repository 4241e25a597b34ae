"""The fault proxy does what it says, to each service in that service's own words, and leaves nothing behind."""

from __future__ import annotations

import threading

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fault_proxy import AwsError, FaultProxy, Faults
from sockets import client

from hookcache_ops.local.lambda_service import Function, LambdaService
from ops.local_rig import write_code

ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=5, connect_timeout=5)


class TestErrors:
    def test_dynamodb_s3_and_lambda_each_say_it_their_way(self, proxy, object_engine, tmp_path):
        """The SDK reads the code that was asked for, whichever protocol the service speaks."""
        with (
            LambdaService() as service,
            FaultProxy(object_engine) as objects,
            FaultProxy(service.endpoint) as functions,
        ):
            service.add(Function("echo", write_code(tmp_path / "echo", "def lambda_handler(e, c):\n    return e\n")))
            calls = {
                "ThrottlingException": (proxy, lambda: client("dynamodb", proxy.url, config=ONCE).list_tables()),
                "SlowDown": (objects, lambda: client("s3", objects.url, config=ONCE).list_buckets()),
                "TooManyRequestsException": (
                    functions,
                    lambda: client("lambda", functions.url, config=ONCE).invoke(FunctionName="echo", Payload=b"1"),
                ),
            }
            for code, (at, invoke) in calls.items():
                at.behave(Faults(errors=(AwsError("", code, 429, times=1),)))
                with pytest.raises(ClientError) as refused:
                    invoke()
                assert code == refused.value.response["Error"]["Code"]
                assert invoke()["ResponseMetadata"]["HTTPStatusCode"] in {200, 201}
                assert 2 == at.seen.total()

    def test_only_the_named_operation_is_refused(self, proxy):
        proxy.behave(Faults(errors=(AwsError("PutItem", "ThrottlingException"),)))

        assert "TableNames" in client("dynamodb", proxy.url, config=ONCE).list_tables()


class TestDamage:
    @pytest.mark.parametrize("faults", [Faults(refuse=True), Faults(hang=True), Faults(reset=1.0), Faults(lose=1.0)])
    def test_the_sdk_gets_no_reply_and_the_next_one_when_all_is_well(self, proxy, faults):
        dynamodb = client("dynamodb", proxy.url, config=ONCE)
        proxy.behave(faults)
        with pytest.raises(BotoCoreError):
            dynamodb.list_tables()
        proxy.behave()

        assert "TableNames" in dynamodb.list_tables()

    @pytest.mark.parametrize("faults", [Faults(shorten=1.0), Faults(cut=1.0)], ids=["shortened", "cut"])
    def test_half_a_reply_looks_whole(self, proxy, faults):
        """The SDK makes an empty answer of it, even where its length is wrong: the product never trusts an empty one."""
        proxy.behave(faults)

        assert "TableNames" not in client("dynamodb", proxy.url, config=ONCE).list_tables()


def test_nothing_is_left_when_it_ends(dynoxide):
    """Neither its thread nor a port that still answers, hung connections included."""
    before = set(threading.enumerate())
    with FaultProxy(dynoxide) as proxy:
        proxy.behave(Faults(hang=True))
        dynamodb = client("dynamodb", proxy.url, config=ONCE)
        with pytest.raises(BotoCoreError):
            dynamodb.list_tables()

    assert set() == set(threading.enumerate()) - before
    with pytest.raises(BotoCoreError):
        dynamodb.list_tables()
