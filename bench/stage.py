"""What the contenders run against: a DynamoDB engine, plain and behind TLS, and an object store with a slow first byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import boto3

from bench import cores
from bench.tls_front import make_authority
from hookcache_ops.local import engines

PROJECT = Path(__file__).resolve().parents[1]
TABLE, IDEMPOTENCY_TABLE = "bench-entries", "bench-idempotency"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchbench",
    "AWS_SECRET_ACCESS_KEY": "benchbench",
    "AWS_SESSION_TOKEN": "",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "",
    "HOME": "/nonexistent",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PYTHONPATH": os.pathsep.join(
        [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(PROJECT / "middleware"), str(PROJECT)]
    ),
}


class Stage:
    """Everything started, for as long as a `with` block; `environ` is what a contender's process needs to find it."""

    def __enter__(self) -> Stage:
        self._open = ExitStack()
        try:
            self._open.enter_context(cores.given_back())
            with cores.for_servers():
                self.engine = engines.DYNOXIDE if engines.available(engines.DYNOXIDE) else engines.MOTO
                url = self._open.enter_context(engines.engine(self.engine)).url
                folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
                self.bundle, self.few_roots, server_pem = make_authority(folder)
                # Spelt out: the interpreter that runs the bench runs its servers, and nothing here comes from outside.
                command = [sys.executable, "-m", "bench.servers", str(urlsplit(url).port), str(server_pem)]
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=self._inherit()
                )
                self._open.callback(process.wait)
                self._open.callback(process.communicate)  # ends its input, which ends it
                ports = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            self.plain_url, self.tls_url = (
                f"http://127.0.0.1:{ports['plain']}",
                f"https://127.0.0.1:{ports['front']}",
            )
            self.environ: Mapping[str, str] = {
                **CREDENTIALS,
                "AWS_ENDPOINT_URL_DYNAMODB": self.plain_url,
                "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['objects']}",
                "AWS_CA_BUNDLE": str(self.bundle),
            }
            os.environ.update(self.environ)
            self._make_tables()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def tls_environ(self) -> dict[str, str]:
        return {**self.environ, "AWS_ENDPOINT_URL_DYNAMODB": self.tls_url}

    def _inherit(self) -> dict[str, str]:
        return {**os.environ, **CREDENTIALS}

    def _make_tables(self) -> None:
        dynamodb = boto3.client("dynamodb")
        for table, key in (
            (TABLE, [("pk", "B", "HASH"), ("kind", "S", "RANGE")]),
            (IDEMPOTENCY_TABLE, [("id", "S", "HASH")]),
        ):
            dynamodb.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in key],
                KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in key],
            )
