"""The built artifacts: the one for Lambda is looked at, the same one for this machine is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("artifact")  # one worker builds, and builds once

AARCH64 = 183  # e_machine of the ELF header
PROBE = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
import app, hookcache
from hookcache.hook import CachingHook
print(json.dumps({
    "handler": isinstance(app.lambda_handler, CachingHook),
    "hookcache": hookcache.__file__,
    "operator side": importlib.util.find_spec("hookcache_ops") is not None,
    "elsewhere": sorted({
        module.__name__.partition(".")[0] for module in list(sys.modules.values())
        if "site-packages" in (getattr(module, "__file__", None) or "")}),
    "tracer": "aws_xray_sdk" in sys.modules,
}))
"""


def machine(library: Path) -> int:
    """Processor that an ELF file is for."""
    header = library.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    return int.from_bytes(header[18:20], "little")


def locked_distributions() -> set[str]:
    """`name-version` of every line of the runtime's lock, as wheels spell it."""
    lines = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split()[0].split("==") for line in lines if "==" in line and not line.startswith(" ")]
    return {f"{name.replace('-', '_')}-{version}" for name, version in pins}


def test_sam_build_makes_an_artifact_for_each_function(deployable: Path, transformed: dict[str, Any]) -> None:
    """G13, T15: one artifact per function: its handler, the runtime package, the locked wheels and nothing else of ours."""
    functions = {name for name, it in transformed["Resources"].items() if it["Type"] == "AWS::Lambda::Function"}
    runtime = {path.relative_to(ROOT / "middleware") for path in (ROOT / "middleware/hookcache").rglob("*.py")}

    assert (deployable / "template.yaml").exists()
    assert functions == {path.name for path in deployable.iterdir() if path.is_dir()}
    for function in functions:
        artifact = deployable / function
        handlers = ROOT / "functions" / function.removesuffix("Function").lower()
        ours = {path.relative_to(handlers) for path in handlers.rglob("*.py")} | runtime
        wheels = {path.name.removesuffix(".dist-info") for path in artifact.glob("*.dist-info")}

        assert wheels == locked_distributions()
        assert [path for path in sorted(ours) if not (artifact / path).exists()] == []
        assert [name for name in ("hookcache_ops", "bin", "tests") if (artifact / name).exists()] == []


def test_compiled_parts_are_for_lambda(deployable: Path) -> None:
    """Lambdas run python3.13 on arm64: each library is aarch64 ELF and built for that Python, whoever built it."""
    libraries = sorted((deployable / "HookFunction").rglob("*.so"))

    assert libraries != []
    assert {AARCH64} == {machine(library) for library in libraries}
    assert [library.name for library in libraries if ".cpython-313-aarch64-" not in library.name] == []


def test_byte_code_is_for_the_runtime_or_absent(deployable: Path) -> None:
    """Design 7: no byte code of another Python ships; where a python3.13 was at hand, every module of ours has its own."""
    function = deployable / "HookFunction"
    names = [path.name for path in function.rglob("*.pyc")]
    modules = {path.stem for path in (function / "hookcache").glob("*.py")}
    compiled = {path.name.partition(".")[0] for path in (function / "hookcache/__pycache__").glob("*.pyc")}

    assert [name for name in names if not name.endswith(".cpython-313.pyc")] == []
    assert compiled == (modules if names else set())


def test_artifact_fits_lambda(deployable: Path) -> None:
    """Lambda takes 250 MB unzipped; ours stays well below."""
    size_bytes = sum(path.stat().st_size for path in (deployable / "HookFunction").rglob("*") if path.is_file())

    assert size_bytes < 100 * 2**20


def probe(artifact: Path) -> subprocess.CompletedProcess[str]:
    """Import the artifact in an interpreter that sees the standard library and nothing else."""
    environment = {
        "PATH": os.defpath,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody listens: building the hook must not need the network
        "AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-cache-chandra",
        "HOOKCACHE_BACKEND": "GENAIIDP-chandra",
        "HOOKCACHE_TABLE": "table",
        "HOOKCACHE_OVERFLOW_BUCKET": "overflow",
        "HOOKCACHE_IMAGE_PREFIXES": "s3://working/temp/lambdahook/",
        "HOOKCACHE_SECRET": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    }
    return subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-c", PROBE, artifact],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_built_artifact_imports_alone(native: Path) -> None:
    """Issue of every packaging: it works where it was built. Here only the artifact and the standard library exist."""
    run = probe(native)

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "handler": True,
        "hookcache": str(native / "hookcache/__init__.py"),
        "operator side": False,
        "elsewhere": [],
        "tracer": False,
    }


@pytest.mark.parametrize("part", ["hookcache", "pydantic", "cachetools"])
def test_a_part_that_is_missing_is_noticed(part: str, native: Path, tmp_path: Path) -> None:
    """Control: nothing outside the artifact fills a gap in it."""
    gap = tmp_path / "artifact"
    gap.mkdir()
    for path in native.iterdir():
        if path.name != part:
            (gap / path.name).symlink_to(path)

    run = probe(gap)

    assert run.returncode == 1
    assert f"No module named '{part}'" in run.stderr
