"""The shape of the code: which module may import which, what the runtime never imports, and how large things are."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "middleware" / "hookcache"
MODULES = sorted(RUNTIME.rglob("*.py"))
TOP_LEVEL = sorted(RUNTIME.glob("*.py"))

# From the leaves up: a module imports only from rows above its own, or from its own row where no circle arises.
LAYERS = (
    ("hints",),
    ("value", "outcome", "clock", "refusals", "readers", "emf", "log", "lru", "chance", "mac"),
    ("errors",),
    ("spending", "request", "percall", "bounded", "slim", "postable", "embedded", "runtime_json"),
    ("references", "frames"),
    ("cipher", "codec", "canonical", "images", "memo", "prices", "usage", "breaker"),
    ("key",),
    ("entry", "secret"),
    ("sealer",),
    ("memory", "items", "overflow", "trace"),
    ("lease", "table", "orders", "index"),
    ("leader",),
    ("policy", "flight", "control", "backend", "erasable"),
    ("truth",),
    ("package", "limits"),
    ("receipt",),
    ("record",),
    ("metering", "settings"),
    ("lookup",),
    ("cache", "clients", "eraser"),
    ("fallback", "serving"),
    ("hook", "commands"),
    ("assembly",),
    ("decorator",),
    ("redirect",),
)
TOP = ("__init__",)  # the public names, of whatever module

# Below the border with AWS nobody sees botocore: errors are translated where they arise (style: translate at the edge).
EDGE = {
    "backend.py",
    "clients.py",
    "commands.py",
    "slim/asking.py",
    "slim/connection.py",
    "slim/place.py",
    "slim/services.py",
}
LONGER = {
    "lease.py": (420, "the whole protocol: its model is checked against this one module"),
}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, but for type checking only."""
    found: set[str] = set()
    tree = ast.parse(file.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "hookcache":
                found |= {f"hookcache.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(RUNTIME)))
def test_the_runtime_never_imports_the_operators_side(file):
    """P39: the operator's side is not shipped with a function."""
    assert [] == [name for name in imports(file) if name.split(".")[0] == "hookcache_ops"]


@pytest.mark.parametrize("file", TOP_LEVEL, ids=lambda file: str(file.relative_to(RUNTIME)))
def test_imports_go_one_way(file):
    """P5: from the path down to the values; a new arrow is drawn in `LAYERS` or is not made."""
    rows = {name: row for row, names in enumerate(LAYERS) for name in names}
    if file.stem in TOP:
        return
    assert file.stem in rows, f"{file.stem} is not drawn in LAYERS"
    used = {name.split(".")[1] for name in imports(file) if name.startswith("hookcache.")}

    assert [] == sorted(name for name in used if rows.get(name, 99) > rows[file.stem])


def test_there_is_no_circle():
    """P5: within a row as well."""
    arrows = {
        file.stem: {name.split(".")[1] for name in imports(file) if name.startswith("hookcache.")} for file in TOP_LEVEL
    }
    done: set[str] = set()

    def visit(name, path):
        assert name not in path, f"circle: {[*path, name]}"
        if name not in done:
            for used in arrows.get(name, ()):
                visit(used, [*path, name])
            done.add(name)

    for name in arrows:
        visit(name, [])


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(RUNTIME)))
def test_botocore_is_seen_at_the_edge_only(file):
    """P18: further in, nobody sees a `ClientError`; and nobody is named as the edge who is not."""
    uses = {name.split(".")[0] for name in imports(file)} & {"boto3", "botocore", "urllib3"}

    assert (str(file.relative_to(RUNTIME)) in EDGE) == bool(uses), uses


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(RUNTIME)))
def test_a_module_is_one_idea(file):
    """Style: comfortably 60 to 200 lines; past 300 it holds two ideas, unless `LONGER` says why not."""
    ceiling, _ = LONGER.get(str(file.relative_to(RUNTIME)), (300, ""))

    assert len(file.read_text().splitlines()) <= ceiling


def exported(tree: ast.Module) -> ast.expr | None:
    """The value of `__all__`, a list by custom."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return node.value
    return None


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(RUNTIME)))
def test_no_mutable_state_at_module_level(file):
    """P8: what one invocation leaves behind lives in objects that somebody built."""
    tree = ast.parse(file.read_text())
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
    ]
    values = [value for value in values if value is not exported(tree)]
    named = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    changed = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and isinstance(node.value, ast.Name)
    }
    globals_said = [node for node in ast.walk(tree) if isinstance(node, ast.Global)]

    assert [] == [value for value in values if isinstance(value, ast.List | ast.Set)]
    assert set() == named & changed
    assert [] == globals_said


def test_no_digest_is_cut():
    """B17, S9, P2: full length everywhere; nobody takes a slice of a digest, not even for display."""
    cut = []
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
                said = ast.unparse(node.value)
                if any(word in said for word in ("digest", "sha256", "hexdigest", "mac", "hmac", "key.hex", ".hex()")):
                    cut.append(f"{file.stem}: {ast.unparse(node)}")

    assert [] == cut


def test_time_comes_from_the_clock_only():
    """P11: nothing else asks what time it is or waits, so tests need not sleep; but for sockets and signatures of the slim clients."""
    asked = set()
    for file in MODULES:
        tree = ast.parse(file.read_text())
        if {"time", "datetime"} & set(imports(file)) or "utcnow" in {
            getattr(node, "attr", "") for node in ast.walk(tree)
        }:
            asked.add(str(file.relative_to(RUNTIME)))

    assert {"clock.py", "slim/asking.py", "slim/connection.py", "slim/signing.py"} == asked


LOADED = """
import os, sys
os.environ.update({'AWS_REGION': 'us-east-1', 'AWS_LAMBDA_FUNCTION_NAME': 'GENAIIDP-cache-x', 'HOOKCACHE_BACKEND': 'GENAIIDP-x',
                   'HOOKCACHE_TABLE': 'table', 'HOOKCACHE_SECRET': 'secret'})
from hookcache.assembly import wrapper
wrapper(os.environ)
print('\\n'.join(sys.modules))
"""


# With keys in the environment, as Lambda has them: without, the keys are boto3's to find.
LOADED_FOR_HITS = (
    """
import os
os.environ.update({'AWS_ACCESS_KEY_ID': 'x', 'AWS_SECRET_ACCESS_KEY': 'x'})
"""
    + LOADED
)
LOADED_BY_STREAM = f"""
import sys
sys.path[:0] = [{str(ROOT / "functions" / "stream")!r}]
import stream_runtime, stream_function
print('\\n'.join(sys.modules))
"""
HEAVY = {"dataclasses", "inspect", "ast", "dis", "tokenize"}
"""They come together: `dataclasses` loads `inspect`, and that the others (docs/adr/0021)."""


def modules_after(program: str) -> set[str]:
    """What a process of its own has loaded; no variable of ours is in its way, for one that is no setting is warned of."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HOOKCACHE_"))}
    told = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    return set(told.stdout.split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return modules_after(LOADED)


@pytest.mark.parametrize(
    ("program", "budget"),
    [(LOADED_FOR_HITS, 175), (LOADED_BY_STREAM, 230), (LOADED, 490)],
    ids=["as-lambda-starts", "stream", "keys-left-to-boto3"],
)
def test_a_cold_start_imports_no_more_than_its_budget(program, budget):
    """G13: counted in modules, Python's own included, and not in time, so that no busy machine decides."""
    assert len(modules_after(program)) <= budget


@pytest.mark.parametrize(
    "name",
    [
        "hookcache_ops",
        "aws_xray_sdk",
        "aws_lambda_powertools.utilities.parser",
        "moto",
        "yaml",
        "numpy",
        "PIL",
        "pytest",
    ],
)
def test_a_cold_start_does_not_import_what_it_does_not_need(loaded, name):
    """G13, P39: the tracer's SDK costs a third of a second even when switched off; yaml waits for the first miss."""
    assert [] == sorted(module for module in loaded if module == name or module.startswith(name + "."))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (LOADED_FOR_HITS, set()),
        ("import hookcache.decorator" + LOADED_FOR_HITS, set()),
        (LOADED_BY_STREAM, set()),
        ("import dataclasses" + LOADED_FOR_HITS, HEAVY),
    ],
    ids=["wrapper", "decorator", "stream", "control"],
)
def test_no_start_loads_dataclasses_or_what_they_load(program, expected):
    """G13: values are made by `value`, since `dataclasses` and 40 classes of its making took a quarter of a cold start."""
    assert expected == HEAVY & modules_after(program)


UNUSED_BY_HITS = {"typing", "cachetools", "random", "unicodedata"}
"""What a hit can do without, and why it does: docs/cold-start.md, "Where the memory is"."""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (LOADED_FOR_HITS, set()),
        ("import hookcache.decorator" + LOADED_FOR_HITS, set()),
        ("".join(f"import {name}\n" for name in sorted(UNUSED_BY_HITS)) + LOADED_FOR_HITS, UNUSED_BY_HITS),
    ],
    ids=["wrapper", "decorator", "control"],
)
def test_no_start_loads_what_a_hit_can_do_without(program, expected):
    """G13: counted in modules and not in megabytes, which depend on how Python was built."""
    assert expected == UNUSED_BY_HITS & modules_after(program)
