"""A whole AWS account on this machine, to which the unmodified SAM command line deploys the template."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
REGION, ACCOUNT = "us-east-1", "123456789012"
WORKING_BUCKET, ARTIFACTS = "idp-working-bucket", "artifacts"
NAME, BACKEND, STACK = "sample", "GENAIIDP-sample-hook", "hookcache-sample"
HOOK = """
import uuid

def lambda_handler(event, context):
    text = event["messages"][0]["content"][0]["text"]
    if "broken" in text:
        raise LookupError("the model is gone")
    return {"output": {"message": {"role": "assistant", "content": [{"text": f"{text}, read as {uuid.uuid4().hex}"}]}},
            "stopReason": "end_turn", "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10, "pages": 1}}
"""
TRUST = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}}


@dataclass
class Account:
    """An AWS account on this machine; `environment` is what a tool needs to be talking to it."""

    url: str
    folder: Path
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "HOOKCACHE_", "POWERTOOLS_", "MAKE", "MFLAGS"))
        }
        return kept | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
        }

    def client(self, service: str) -> Any:
        if service not in self.clients:
            make: Any = boto3.client
            self.clients[service] = make(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=ACCOUNT,
                aws_secret_access_key="local",
                config=Config(read_timeout=120, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return self.clients[service]

    def deploy(self, stack: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        """`sam deploy` of what `sam build` made, as a person does it."""
        given = {"Name": NAME, "BackendFunction": BACKEND, "IDPWorkingBucket": WORKING_BUCKET} | parameters
        # Two parts that ministack's CloudFormation does not have: saved queries, and an alarm that divides two metrics.
        given = {"SavedQueries": "off", "WatchBackendCalls": "off"} | given
        return subprocess.run(
            [
                *(ROOT / ".venv-sam/bin/sam", "deploy", "--template", self.folder / "build/template.yaml"),
                *("--stack-name", stack, "--s3-bucket", ARTIFACTS, "--capabilities", "CAPABILITY_IAM"),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--disable-rollback"),
                *("--parameter-overrides", *(f"{name}={value}" for name, value in given.items())),
            ],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def trouble(self, stack: str) -> str:
        """What CloudFormation says of resources that it could not create."""
        events = self.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        failed = [event for event in events if "FAILED" in event["ResourceStatus"]]
        return "; ".join(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed)

    def outputs(self, stack: str) -> dict[str, str]:
        (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}

    def hook(self, name: str) -> None:
        """A small function of the host's kind: reads a page, differently each time."""
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("index.py", HOOK)
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="index.lambda_handler",
            Role=f"arn:aws:iam::{ACCOUNT}:role/sample-hook",
            Code={"ZipFile": body.getvalue()},
            Timeout=30,
            MemorySize=256,
        )

    def event(self, text: str, image: bytes | None = b"\xff\xd8 page one") -> dict[str, Any]:
        """A request as the host sends it; the image is uploaded anew, under a new name, each time."""
        content: list[dict[str, Any]] = [{"text": text}]
        if image is not None:
            key = f"temp/lambdahook/{uuid.uuid4().hex}.jpeg"
            self.client("s3").put_object(Bucket=WORKING_BUCKET, Key=key, Body=image)
            source = {"s3Location": {"uri": f"s3://{WORKING_BUCKET}/{key}"}}
            content.append({"image": {"format": "jpeg", "source": source}})
        return {
            "modelId": "LambdaHook",
            "messages": [{"role": "user", "content": content}],
            "system": [{"text": "You are an expert OCR system."}],
            "inferenceConfig": {"temperature": 0.0, "topP": 0.1, "topK": 5},
            "context": "OCR",
        }

    def invoke(self, function: str, event: Any) -> tuple[dict[str, Any], str | None]:
        """Answer and function error."""
        reply = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        answer: dict[str, Any] = json.loads(reply["Payload"].read())
        return answer, reply.get("FunctionError")

    def restart(self, function: str) -> None:
        """New environments, with nothing in memory: ministack makes them where a variable has changed."""
        client = self.client("lambda")
        variables = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        environment = {"Variables": variables | {"RESTARTED": uuid.uuid4().hex}}
        client.update_function_configuration(FunctionName=function, Environment=environment)
        client.get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1})

    def receipts(self, group: str) -> list[Mapping[str, Any]]:
        """The receipts in a log group, oldest first."""
        events = self.client("logs").filter_log_events(logGroupName=group)["events"]
        lines = [
            line for event in sorted(events, key=lambda it: it["timestamp"]) for line in event["message"].splitlines()
        ]
        return [json.loads(line) for line in lines if line.startswith('{"_aws"')]


def build(account: Account) -> None:
    """`sam build` of the template as it is, which nobody edits; only the wheels are those of this machine's processor."""
    found = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    run = subprocess.run(
        [
            *(ROOT / ".venv-sam/bin/sam", "build", "--template", ROOT / "template.yaml", "--no-cached"),
            *("--build-dir", account.folder / "build", "--cache-dir", account.folder / "cache"),
        ],
        cwd=account.folder,
        env=account.environment
        | {
            "UV": os.environ.get("UV", found),
            "HOOKCACHE_BUILD_PLATFORM": "native",
            "HOOKCACHE_BUILD_PYTHON": str(ROOT / ".venv-ministack/bin/python"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
