"""A whole local AWS with what hookcache is deployed with: table, buckets, secret and a Lambda service."""

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from hookcache_ops.local.engines import MOTO, MotoServer, engine
from hookcache_ops.local.lambda_service import REGION, LambdaService
from hookcache_ops.local.pool import CREDENTIALS

TABLE = "hookcache"
WORKING_BUCKET = "idp-working-bucket"
OVERFLOW_BUCKET = "hookcache-overflow"
SECRET = "hookcache-hmac"  # noqa: S105 - the name of the secret
IMAGES = f"s3://{WORKING_BUCKET}/temp/lambdahook/"
SERVED_BY_MOTO = ("S3", "SECRETS_MANAGER", "CLOUDWATCH")


class LocalAws:
    """
    Local AWS for as long as its `with` block.

    Args:
        table_engine: which engine of `engines.NAMES` holds the table; the rest is moto's.
        log_folder: where functions' logs are appended to, one file each.

    Attributes, inside the block:
        functions: the Lambda service, to add functions to.
        secret_arn: of the secret that keys are made with.
    """

    def __init__(
        self,
        table_engine: str = MOTO,
        log_folder: Path | None = None,
    ) -> None:
        self.table_engine, self.log_folder = table_engine, log_folder
        self.functions: LambdaService
        self.secret_arn = ""
        self._endpoints: dict[str, str] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            moto = stack.enter_context(MotoServer()).url
            table = moto if self.table_engine == MOTO else stack.enter_context(engine(self.table_engine)).url
            # The general endpoint catches what has none of its own: no call may ever reach the real AWS.
            self._endpoints = {"AWS_ENDPOINT_URL": moto, "AWS_ENDPOINT_URL_DYNAMODB": table}
            self._endpoints |= {f"AWS_ENDPOINT_URL_{service}": moto for service in SERVED_BY_MOTO}
            service = LambdaService(log_folder=self.log_folder, environment=self.environment())
            self.functions = stack.enter_context(service)
            self._endpoints["AWS_ENDPOINT_URL_LAMBDA"] = self.functions.endpoint
            self._create()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def environment(self) -> dict[str, str]:
        """Endpoints, region and credentials for a process that is to talk to this AWS through any SDK."""
        chosen = {name: os.environ[name] for name in ("HOOKCACHE_CLIENT",) if name in os.environ}
        return {
            **self._endpoints,
            **CREDENTIALS,
            **chosen,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def settings(self) -> dict[str, str]:
        """The variables of a hookcache function that name what was created here."""
        return {
            "HOOKCACHE_TABLE": TABLE,
            "HOOKCACHE_OVERFLOW_BUCKET": OVERFLOW_BUCKET,
            "HOOKCACHE_SECRET_ARN": self.secret_arn,
            "HOOKCACHE_IMAGE_PREFIXES": IMAGES,
        }

    def client(self, service: str, config: Config | None = None) -> Any:
        """A boto3 client of this AWS; `service` as boto3 names it."""
        variable = f"AWS_ENDPOINT_URL_{service.replace('secretsmanager', 'secrets_manager').upper()}"
        session = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        endpoint = self._endpoints.get(variable, self._endpoints["AWS_ENDPOINT_URL"])
        make: Any = session.client  # the service's name is not known before run time
        return make(service, endpoint_url=endpoint, config=config)

    def _create(self) -> None:
        dynamodb = self.client("dynamodb")
        create_table(dynamodb, TABLE)
        dynamodb.get_waiter("table_exists").wait(TableName=TABLE, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        dynamodb.update_time_to_live(TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"})
        s3 = self.client("s3")
        for bucket in (WORKING_BUCKET, OVERFLOW_BUCKET):
            s3.create_bucket(Bucket=bucket)
        # The host's own bucket keeps versions; ours must not, since erased bytes would stay.
        s3.put_bucket_versioning(Bucket=WORKING_BUCKET, VersioningConfiguration={"Status": "Enabled"})
        secret = self.client("secretsmanager").create_secret(Name=SECRET, SecretString=secrets.token_hex(32))
        self.secret_arn = secret["ARN"]


def create_table(dynamodb: Any, name: str) -> None:
    """A table as the stack makes it, but for its time to live."""
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "B"},
            {"AttributeName": "kind", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "kind", "KeyType": "RANGE"}],
    )
