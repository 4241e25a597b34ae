"""functions/pack.py as `make build` calls it: what it prints, and the status that a build goes on or stops by."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from project import ROOT


@pytest.fixture
def pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", ROOT / "functions" / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of three quarters of a megabyte each, one of them below."""
    made = tmp_path / "artifact"
    (made / "below").mkdir(parents=True)
    for name in ("app.py", "below/part.py"):
        (made / name).write_bytes(bytes(3 << 18))
    return made


def test_a_packed_artifact_is_told_with_its_sizes_and_digest(pack, folder, tmp_path, capsys):
    target = tmp_path / "dist" / "hook.zip"

    assert pack.main([str(folder), str(target)]) == 0
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"{target}  0.0 MB zipped, 1.5 MB unzipped, sha256 {digest[:16]}\n"
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["app.py", "below/part.py"]
    materials = target.with_suffix(".cdx.json").read_text()
    assert '"type": "application"' in materials
    assert '"name": "hook.zip"' in materials


@pytest.mark.parametrize(("limit_bytes", "status"), [(1_572_863, 1), (1_572_864, 0)], ids=["too large", "control"])
def test_what_lambda_does_not_take_stops_the_build(pack, folder, tmp_path, capsys, limit_bytes, status):
    """Here, and not after an upload."""
    pack.LIMIT_BYTES = limit_bytes

    assert pack.main([str(folder), str(tmp_path / "hook.zip")]) == status
    assert ("is larger than" in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "usage: "),
        (["{}/artifact"], "usage: "),
        (["{}/nowhere", "{}/hook.zip"], "usage: "),
        (["{}/artifact", "{}/artifact/app.py/hook.zip"], "a file that can be written"),
        (["{}/artifact", "{}/artifact"], "a file that can be written"),
    ],
    ids=["nothing", "no zip", "no folder", "below a file", "a folder"],
)
def test_bad_input_is_one_line_and_status_2(pack, folder, tmp_path, capsys, arguments, told):
    assert pack.main([each.format(tmp_path) for each in arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
