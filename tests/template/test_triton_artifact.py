"""The artifact of functions/triton: by the rule that SAM follows, for the Python that runs the tests, with its own wheels only."""

from __future__ import annotations

import subprocess
import sys

import pytest
from project import NATIVE

IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import app, numpy, tritonclient
print(numpy.__file__.startswith(sys.argv[1]), tritonclient.__file__.startswith(sys.argv[1]), callable(app.lambda_handler))
"""


@pytest.mark.prove
def test_the_artifact_of_triton_starts_with_its_own_codec_and_without_hookcache(artifact):
    """P39: linked modules are files in it, its wheels come from its own lock, and nothing of the cache is in it."""
    folder = artifact("BackendFunction", **NATIVE)
    told = subprocess.run(
        [sys.executable, "-c", IMPORT, folder],
        cwd=folder,
        env={"SAGEMAKER_ENDPOINT_NAME": "pages", "AWS_DEFAULT_REGION": "eu-west-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.split() == ["True", "True", "True"], told.stderr
    assert not (folder / "hookcache").exists()
    assert [path for path in folder.rglob("*") if path.is_symlink()] == []
