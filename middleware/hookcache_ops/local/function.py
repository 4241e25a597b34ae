"""A Lambda function as it is deployed: what its owner sets, its versions and aliases, and how callers name it."""

import base64
import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

LATEST = "$LATEST"

# Partial and full ARNs, `name:qualifier` and the bare name, as the FunctionName parameter of the Lambda API takes them.
_REFERENCE = re.compile(
    r"(?:arn:(?P<partition>aws[a-z-]*):lambda:(?P<region>[a-z0-9-]+):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_]{1,140})(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]{1,128}))?"
)


@dataclass(frozen=True, slots=True)
class Function:
    """
    What the owner of a function sets.

    Args:
        name: without qualifier, as in `GENAIIDP-cache-ocr`.
        folder: the code, unpacked; the process runs in it.
        handler: `module.attribute`.
        environment: the function's own variables; those that AWS adds come from the service.
        timeout_seconds: of one invocation; its start (imports) is not counted, as on AWS.
        memory_mb: told to the function, not enforced.
        concurrency: invocations at a time; one more is throttled with 429.
        command: the runtime to start; empty for AWS's own Python runtime client.
    """

    name: str
    folder: Path
    handler: str = "app.lambda_handler"
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 3
    memory_mb: int = 256
    concurrency: int = 10
    command: tuple[str, ...] = ()

    @property
    def runtime_command(self) -> tuple[str, ...]:
        return self.command or (sys.executable, "-m", "awslambdaric", self.handler)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def code_digest(folder: Path) -> tuple[str, int]:
    """SHA-256 in base64 over names and contents of all files below `folder`, and their size in bytes."""
    digest, size = hashlib.sha256(), 0
    for path in _files(folder):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix().encode()
        digest.update(b"%d:%s%d:" % (len(name), name, len(content)) + content)
        size += len(content)
    return base64.b64encode(digest.digest()).decode(), size


def config_digest(function: Function) -> str:
    """SHA-256 in base64 over what AWS calls the configuration; reserved concurrency is no part of it."""
    members = {
        "handler": function.handler,
        "environment": dict(function.environment),
        "timeout": function.timeout_seconds,
        "memory": function.memory_mb,
        "command": function.command,
    }
    return base64.b64encode(hashlib.sha256(json.dumps(members, sort_keys=True).encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a function: `$LATEST` as it is now, or a published version for good."""

    function: Function
    version: str
    code_sha256: str
    code_size: int
    config_sha256: str
    revision_id: str
    modified: str

    @classmethod
    def of(cls, function: Function, version: str = LATEST) -> "Revision":
        code_sha256, code_size = code_digest(function.folder)
        modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        config_sha256, revision_id = config_digest(function), str(uuid.uuid4())
        return cls(function, version, code_sha256, code_size, config_sha256, revision_id, modified)

    def configuration(self, arn: str) -> dict[str, Any]:
        """The answer of GetFunctionConfiguration, under the ARN that was asked for."""
        return {
            "FunctionName": self.function.name,
            "FunctionArn": arn,
            "Runtime": "provided.al2023" if self.function.command else "python3.13",
            "Role": f"arn:aws:iam::{arn.split(':')[4]}:role/{self.function.name}",
            "Handler": self.function.handler,
            "CodeSize": self.code_size,
            "Description": "",
            "Timeout": ceil(self.function.timeout_seconds),  # AWS knows whole seconds only
            "MemorySize": self.function.memory_mb,
            "LastModified": self.modified,
            "CodeSha256": self.code_sha256,
            "ConfigSha256": self.config_sha256,
            "Version": self.version,
            "RevisionId": self.revision_id,
            "Environment": {"Variables": dict(self.function.environment)},
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": ["arm64"],
            "EphemeralStorage": {"Size": 512},
            "TracingConfig": {"Mode": "PassThrough"},
        }


@dataclass(frozen=True, slots=True)
class Reference:
    """A function as a caller names it; region and account only where the caller gave them."""

    name: str
    qualifier: str | None
    region: str | None
    account: str | None

    @classmethod
    def parse(cls, text: str, qualifier: str | None = None) -> "Reference":
        """
        `text` in any form that the FunctionName parameter takes, `qualifier` from the parameter of that name.

        Raises:
            ValueError: no such form, or two different qualifiers; the message is what AWS answers.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint"
            )
        own = match["qualifier"]
        if own and qualifier and own != qualifier:
            raise ValueError("The derived qualifier from the function name does not match the specified qualifier.")
        return cls(match["name"], own or qualifier or None, match["region"], match["account"])


@dataclass(slots=True)
class Deployment:
    """A function over its life: what `$LATEST` is, which versions were published, where aliases point."""

    latest: Revision
    published: dict[str, Revision] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def find(self, qualifier: str | None) -> Revision | None:
        """The revision behind a version number, alias or `$LATEST`; None where there is no such."""
        if qualifier in (None, LATEST):
            return self.latest
        assert qualifier is not None  # noqa: S101 - for the type checker: it is in the tuple above
        return self.published.get(self.aliases.get(qualifier, qualifier))
