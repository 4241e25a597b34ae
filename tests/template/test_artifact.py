"""The built artifacts: the one for Lambda is looked at, the same one for this machine is imported."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from project import NATIVE, ROOT

from loaded import loaded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.xdist_group("artifact")  # one worker builds, and builds once

AARCH64, X86_64 = 183, 62  # e_machine of the ELF header
LAYERS = ("LayerArm64", "LayerX86")
LAYER_PYTHONS = {"312", "313"}
PROBE = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
import app, hookcache
import boto3, yaml, hookcache.commands  # what a miss, prices and an erase load later
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
    """G13, T15: one artifact per function: its handler, the runtime package, the locked wheels, nothing else of ours."""
    functions = {name for name, it in transformed["Resources"].items() if it["Type"] == "AWS::Lambda::Function"}
    runtime = {path.relative_to(ROOT / "middleware") for path in (ROOT / "middleware/hookcache").rglob("*.py")}

    assert (deployable / "template.yaml").exists()
    assert functions | set(LAYERS) == {path.name for path in deployable.iterdir() if path.is_dir()}
    for function in functions:
        artifact = deployable / function
        handlers = ROOT / "functions" / function.removesuffix("Function").lower()
        ours = {path.relative_to(handlers) for path in handlers.rglob("*.py")} | runtime
        wheels = {path.name.removesuffix(".dist-info") for path in artifact.glob("*.dist-info")}

        assert wheels == locked_distributions()
        assert [path for path in sorted(ours) if not (artifact / path).exists()] == []
        assert [name for name in ("hookcache_ops", "bin", "tests") if (artifact / name).exists()] == []


def test_a_layer_holds_the_same_packages_and_no_handler(deployable: Path) -> None:
    """Issue C: everything lies below `python`, where Lambda's Python looks for a layer; handlers are the function's own."""
    runtime = {path.relative_to(ROOT / "middleware") for path in (ROOT / "middleware/hookcache").rglob("*.py")}
    for layer in LAYERS:
        packages = deployable / layer / "python"
        wheels = {path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")}

        assert [path.name for path in (deployable / layer).iterdir()] == ["python"]
        assert wheels == locked_distributions()
        assert [path for path in sorted(runtime) if not (packages / path).exists()] == []
        assert [name for name in ("hookcache_ops", "bin", "app.py") if (packages / name).exists()] == []


@pytest.mark.parametrize(
    ("artifact_name", "processor", "tags"),
    [
        ("HookFunction", AARCH64, {".cpython-313-aarch64-linux-gnu.so"}),
        ("EraseFunction", AARCH64, {".cpython-313-aarch64-linux-gnu.so"}),
        ("LayerArm64", AARCH64, {f".cpython-{python}-aarch64-linux-gnu.so" for python in LAYER_PYTHONS}),
        ("LayerX86", X86_64, {f".cpython-{python}-x86_64-linux-gnu.so" for python in LAYER_PYTHONS}),
    ],
)
def test_compiled_parts_are_for_lambda(artifact_name: str, processor: int, tags: set[str], deployable: Path) -> None:
    """Our functions run python3.13, those with the layer 3.12 as well: each library is there for each, for its processor."""
    libraries = sorted((deployable / artifact_name).rglob("*.so"))
    of_each: dict[str, set[str]] = {}
    for library in libraries:
        name, _, tag = library.name.partition(".")
        of_each.setdefault(f"{library.parent.name}/{name}", set()).add(f".{tag}")

    assert {processor} == {machine(library) for library in libraries}
    assert {"pydantic_core/_pydantic_core", "yaml/_yaml"} == set(of_each)
    assert [tags] * len(of_each) == list(of_each.values())


def test_the_functions_can_be_built_for_the_other_processor(artifact: Callable[..., Path]) -> None:
    """Issue C: hosts that run x86_64 get the same function for it."""
    built = artifact("HookFunction", HOOKCACHE_BUILD_PLATFORM="x86_64-manylinux_2_28")
    libraries = sorted(built.rglob("*.so"))

    assert (built / "app.py").exists()
    assert {X86_64} == {machine(library) for library in libraries}


def test_a_folder_that_holds_a_build_is_no_place_for_another(tmp_path: Path) -> None:
    """The runtime of the build before would have stayed in its place, and the new one have lain below it."""
    (tmp_path / "hookcache").mkdir()
    run = subprocess.run(
        ["make", "--makefile", "functions/Makefile", "build-EraseFunction", f"ARTIFACTS_DIR={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode != 0
    assert f"{tmp_path} is not empty: empty it first\n" in run.stderr
    assert [tmp_path / "hookcache"] == list(tmp_path.rglob("*"))


def materials_of(folder: Path) -> list[str]:
    """The packages in the bill of materials that `make build` writes beside a zip."""
    bill = loaded(ROOT / "functions" / "pack.py", "pack").materials(folder, "artifact.zip", "0" * 64)
    assert ("CycloneDX", "1.5") == (bill["bomFormat"], bill["specVersion"])
    return [each["purl"] for each in bill["components"]]


def test_the_bill_of_materials_is_what_lies_in_the_artifact(deployable: Path) -> None:
    """T15: each artifact's own packages, which are those of the lock, once each; a layer's lie below `python`."""
    locked = sorted(
        "pkg:pypi/{}@{}".format(*each.lower().replace("_", "-").rsplit("-", 1)) for each in locked_distributions()
    )
    for name in ("HookFunction", "EraseFunction", *LAYERS):
        assert locked == sorted(materials_of(deployable / name))


def test_a_package_that_no_lock_lists_is_in_the_bill_beside_the_zip(tmp_path: Path) -> None:
    """T15: the bill is read from the artifact. Control: without the package it is not named."""
    folder, target = tmp_path / "artifact", tmp_path / "dist" / "artifact.zip"
    info = folder / "Sneaked_In-1.2.3.dist-info"
    info.mkdir(parents=True)
    (folder / "app.py").write_text("")
    bills = []
    for _ in range(2):
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Sneaked_In\nVersion: 1.2.3\n")
        digest = digest_of_zip(folder, target)
        bills.append(json.loads((tmp_path / "dist" / "artifact.cdx.json").read_text()))
    (info / "METADATA").unlink()
    info.rmdir()

    assert bills[0] == bills[1]
    assert [{"alg": "SHA-256", "content": digest}] == bills[0]["metadata"]["component"]["hashes"]
    assert ["pkg:pypi/sneaked-in@1.2.3"] == [each["purl"] for each in bills[0]["components"]]
    assert [] == materials_of(folder)


def digest_of_zip(folder: Path, target: Path) -> str:
    subprocess.run([sys.executable, ROOT / "functions/pack.py", folder, target], check=True, capture_output=True)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def test_the_same_sources_make_the_same_zip(deployable: Path, artifact: Callable[..., Path], tmp_path: Path) -> None:
    """T15: built twice, in two folders at two times, the zips are equal to the byte, byte code included."""
    again = artifact("LayerX86")

    assert digest_of_zip(deployable / "LayerX86", tmp_path / "a.zip") == digest_of_zip(again, tmp_path / "b.zip")


def test_a_zip_that_differs_in_one_byte_has_another_digest(tmp_path: Path) -> None:
    """Control of the test above: time does not matter, content, name and execute bit do."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "app.py"
    digests = []
    for content, seconds, mode in (("a", 1e9, 0o644), ("a", 1.5e9, 0o600), ("b", 1e9, 0o644), ("a", 1e9, 0o755)):
        file.write_text(content)
        file.chmod(mode)
        os.utime(file, (seconds, seconds))
        digests.append(digest_of_zip(folder, tmp_path / "zip"))

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("name", "pythons"),
    [("HookFunction", {"313"}), ("LayerArm64/python", LAYER_PYTHONS), ("LayerX86/python", LAYER_PYTHONS)],
)
def test_byte_code_is_for_the_runtime_or_absent(name: str, pythons: set[str], deployable: Path) -> None:
    """No byte code of another Python ships; where that Python was at hand, every module of ours has its own."""
    function = deployable / name
    modules = {path.stem for path in (function / "hookcache").glob("*.py")}
    compiled: dict[str, set[str]] = {}
    for path in function.rglob("*.pyc"):
        module, _, tag = path.name.removesuffix(".pyc").partition(".cpython-")
        compiled.setdefault(tag, set()).update({module} if path.parent.parent.name == "hookcache" else ())

    assert set(compiled) <= pythons
    assert list(compiled.values()) == [modules] * len(compiled)


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
    """It works where it was built. Here only the artifact and the standard library exist."""
    run = probe(native)

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "handler": True,
        "hookcache": str(native / "hookcache/__init__.py"),
        "operator side": False,
        "elsewhere": [],
        "tracer": False,
    }


def test_the_artifact_can_be_built_to_encrypt(artifact: Callable[..., Path], native: Path) -> None:
    """ADR 8: HOOKCACHE_BUILD_ENCRYPT=1 adds the package that Encrypt=on needs and moves no other; without it, none comes."""
    sealed = artifact("EraseFunction", HOOKCACHE_BUILD_ENCRYPT="1", **NATIVE)
    have, plain = ({path.name for path in folder.glob("*.dist-info")} for folder in (sealed, native))

    assert plain < have
    assert {"cryptography", "cffi", "pycparser"} == {name.partition("-")[0] for name in have - plain}


@pytest.mark.parametrize(
    ("word", "lock"),
    [
        *((word, "encrypt") for word in ("1", "on", "true", "True", "YES", "y")),
        *((word, "runtime") for word in ("", "0", "off", "false", "No", "n")),
        *((word, None) for word in ("maybe", "2", "on off", "'; exit 0 #")),
    ],
)
def test_every_usual_word_says_whether_an_artifact_is_to_encrypt(word: str, lock: str | None, tmp_path: Path) -> None:
    """ADR 8: `true` built without the package, in silence, and the function stopped at its start; no word is guessed at."""
    run = subprocess.run(
        ["make", "--dry-run", "--makefile", "functions/Makefile", "build-HookFunction", f"ARTIFACTS_DIR={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "HOOKCACHE_BUILD_ENCRYPT": word},
        capture_output=True,
        text=True,
        check=False,
    )
    if lock is None:
        assert 2 == run.returncode
        assert "HOOKCACHE_BUILD_ENCRYPT is neither yes nor no: say on or off" in run.stderr
        assert 1 == run.stderr.count("\n")
    else:
        assert (0, [f"requirements/{lock}.lock"]) == (run.returncode, re.findall(r"requirements/\w+\.lock", run.stdout))


@pytest.mark.parametrize("part", ["hookcache", "boto3", "pydantic"])
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
