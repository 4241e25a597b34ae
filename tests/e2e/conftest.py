"""The account that the deployment tests share: ministack with the host's bucket, a hook, and the built template."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cloud_account import ACCOUNT, ARTIFACTS, BACKEND, REGION, ROOT, TRUST, WORKING_BUCKET, Account, build

from hookcache_ops.local.server_process import ServerProcess
from missing import required


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """ministack, with the host's working bucket, a hook, and the template built for the Python that runs functions there."""
    binary = required(ROOT / ".venv-ministack/bin/ministack", "ministack is not installed: run `make prove`")
    required(ROOT / ".venv-sam/bin/sam", "the SAM command line is not installed: run `make setup` once")
    folder = tmp_path_factory.mktemp("account")

    def command(port: int) -> list[str]:
        url = f"http://127.0.0.1:{port}"
        settings = {
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "GATEWAY_PORT": str(port),
            "EDGE_PORT": str(port),
            "AWS_ENDPOINT_URL": url,  # what functions there inherit: their own calls come back to the same account
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "HOME": str(folder),
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), str(binary)]

    with ServerProcess("ministack", command, patience_seconds=60) as server:
        account = Account(server.url, folder)
        build(account)
        for bucket in (WORKING_BUCKET, ARTIFACTS):
            account.client("s3").create_bucket(Bucket=bucket)
        account.client("iam").create_role(RoleName="sample-hook", AssumeRolePolicyDocument=json.dumps(TRUST))
        account.hook(BACKEND)
        yield account
