"""The transformed template and the two built artifacts: each made once per run, by the tools that deploy them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project import NATIVE, ROOT
from running import output_of

from missing import required


@pytest.fixture(scope="session")
def sam_environment() -> Path:
    """Folder of the SAM command line's own environment, which `make test` sets up."""
    return required(ROOT / ".venv-sam/bin/sam", "the SAM command line is not installed: run `make setup` once").parent


@pytest.fixture(scope="session")
def quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without account, profile or telemetry: nothing here may ask AWS."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "HOOKCACHE_", "MAKE", "MFLAGS"))
    }
    nowhere = str(tmp_path_factory.mktemp("no-account") / "none")
    return kept | {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
    }


@pytest.fixture(scope="session")
def transform(sam_environment: Path, quiet_environment: dict[str, str]) -> Callable[..., list[dict[str, Any]]]:
    """Templates as CloudFormation gets them, by SAM's own transformation."""
    command = [sam_environment / "python", Path(__file__).with_name("sam_transform.py")]

    def ask(*templates: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in output_of(*command, *templates, env=quiet_environment).splitlines()]

    return ask


@pytest.fixture(scope="session")
def transformed(transform: Callable[..., list[dict[str, Any]]]) -> dict[str, Any]:
    """template.yaml as CloudFormation gets it. Shared: copy before spoiling."""
    (template,) = transform(ROOT / "template.yaml")
    return template


@pytest.fixture(scope="session")
def uv() -> str:
    """The installer that `make` uses: on PATH, else in .uv."""
    found = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    return str(required(Path(found), "uv is not installed: run `make setup` once"))


@pytest.fixture(scope="session")
def sam_build(sam_environment: Path, quiet_environment: dict[str, str], uv: str) -> Callable[[Path, Path], Path]:
    """`sam build` of a template, below a folder; returns where the artifacts lie."""

    def build(template: Path, folder: Path) -> Path:
        output_of(
            *(sam_environment / "sam", "build", "--template", template, "--no-cached"),
            *("--build-dir", folder / "build", "--cache-dir", folder / "cache"),
            cwd=folder,
            env=quiet_environment | {"UV": uv},
        )
        return folder / "build"

    return build


@pytest.fixture(scope="session")
def deployable(sam_build: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes for Lambda: a folder per function."""
    return sam_build(ROOT / "template.yaml", tmp_path_factory.mktemp("sam-build"))


@pytest.fixture(scope="session")
def artifact(
    quiet_environment: dict[str, str], uv: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Builds one artifact by the rule that SAM follows; `variables` choose its processor and Python."""

    def build(logical_id: str, **variables: str) -> Path:
        folder = tmp_path_factory.mktemp(logical_id)
        output_of(
            *("make", "--makefile", "functions/Makefile", f"build-{logical_id}"),
            cwd=ROOT,
            env=quiet_environment | {"UV": uv, "ARTIFACTS_DIR": str(folder)} | variables,
        )
        return folder

    return build


@pytest.fixture(scope="session")
def native(artifact: Callable[..., Path]) -> Path:
    """The hook's artifact by the same rule, but for the Python that runs the tests."""
    return artifact("HookFunction", **NATIVE)


@pytest.fixture(scope="session")
def native_layer(artifact: Callable[..., Path]) -> Path:
    """What is unpacked at /opt where the layer is used, for the Python that runs the tests."""
    return artifact("LayerArm64", **NATIVE)
