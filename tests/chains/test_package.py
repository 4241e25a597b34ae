"""Who a backend in this very process is: what changes its identity, what does not, and what it costs (P40)."""

import functools
import importlib
import os
import py_compile
import shutil
import sys

import pytest

from hookcache import package
from hookcache.errors import ConfigurationError
from hookcache.package import identity_of_package

ENVIRON = {"AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-x", "_HANDLER": "app.lambda_handler", "MODEL": "a", "AWS_REGION": "r"}


def handler(event, context):
    return event


@pytest.fixture
def root(tmp_path):
    """A task root with code, data and a package in a folder."""
    root = tmp_path / "task"
    (root / "lib").mkdir(parents=True)
    (root / "app.py").write_text("import lib\n")
    (root / "lib" / "__init__.py").write_text("PROMPT = 'read'\n")
    (root / "prompt.txt").write_text("Read the page.")
    return root


@pytest.fixture
def identity(root, tmp_path):
    def of(name="", layers=tmp_path / "opt", **environ):
        variables = {**ENVIRON, "LAMBDA_TASK_ROOT": str(root), **environ}
        kept = {variable: value for variable, value in variables.items() if value is not None}
        return identity_of_package(handler, kept, name, layers).digest

    return of


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "app.py").write_text("import lib \n"),
        lambda root: (root / "prompt.txt").write_text("Read the page!"),
        lambda root: (root / "new.py").touch(),
        lambda root: (root / "lib" / "__init__.py").rename(root / "lib" / "lib.py"),
        lambda root: (root / "prompt.txt").unlink(),
        lambda root: (root / "only.pyc").write_bytes(b"byte code without a source"),
    ],
    ids=["code", "data", "added", "renamed", "removed", "sourceless"],
)
def test_whatever_is_deployed_counts(root, identity, change):
    """P40, S13: every file by name and content; putting it back restores the identity."""
    before = identity()
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    change(root)

    assert before != identity()
    shutil.rmtree(root)
    shutil.copytree(copy, root)
    assert before == identity()


def test_a_file_moved_between_folders_or_content_moved_between_files_counts(root, identity):
    """S9: names and contents are framed, so their borders count."""
    (root / "a").write_text("one")
    (root / "b").write_text("two")
    before = identity()
    (root / "a").write_text("onetwo")
    (root / "b").write_text("")

    assert before != identity()


@pytest.mark.parametrize(
    "environ",
    [
        {"MODEL": "b"},
        {"MODEL": None},
        {"AWS_REGION": "s"},
        {"AWS_BEDROCK_MODEL": "nova"},
        {"PYTHONHASHSEED": "1"},
        {"LAMBDA_HOOK_MODEL": "b"},
        {"PYTHONPATH": "/var/task/other"},
        {"_HANDLER": "app.other"},
        {"HOOKCACHE_HANDLER": "app.other"},
        {"AWS_LAMBDA_FUNCTION_NAME": "GENAIIDP-y"},
    ],
)
def test_the_backends_own_variables_and_its_name_count(identity, environ):
    """P40: a variable that chooses the model changes the answers."""
    assert identity() != identity(**environ)


@pytest.mark.parametrize(
    "variable",
    [
        *("AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "_X_AMZN_TRACE_ID", "HOSTNAME"),
        *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "HOOKCACHE_MODE", "PWD"),
        "LAMBDA_RUNTIME_DIR",
    ],
)
def test_what_differs_between_environments_of_one_deployment_does_not_count(identity, variable):
    """P40: two cold starts of one deployment share their answers; our own settings change none."""
    assert identity() == identity(**{variable: "one"}) == identity(**{variable: "two"})


def test_an_environments_own_name_does_not_count_wherever_a_tracer_has_written_it(identity):
    """P40: as OpenTelemetry's layers do; what stands beside it counts, and so does the name of another environment."""

    def traced(instance, within="{}", **more):
        told = f"faas.name=x,faas.instance={within.format(instance)}"
        own = {"AWS_LAMBDA_LOG_STREAM_NAME": instance, "OTEL_RESOURCE_ATTRIBUTES": told}
        return identity(**own, LAMBDA_RESOURCE_ATTRIBUTES=told, **more)

    one, two = "2026/11/30/[$LATEST]0a1b", "2026/11/30/[$LATEST]2c3d"

    assert traced(one) == traced(two)
    assert 4 == len({traced(one), traced(one, "{}-b"), traced(one, MODEL="b"), traced(one, two)})


def test_byte_code_that_python_checks_is_left_out_and_byte_code_that_it_trusts_counts(root, identity):
    """P40: importing writes byte code, which must not make a second start miss; a trusted one runs in place of its source."""
    source = root / "lib" / "__init__.py"
    before = identity()
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    after_import = identity()
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)

    assert before == after_import
    assert before != identity()


def test_folders_behind_links_count_and_circles_end(root, tmp_path, identity):
    """P40: Python imports through links, so the digest follows them, also where one leads back up."""
    (root / "circle").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    shared = tmp_path / "shared"
    shared.mkdir()
    (root / "shared").symlink_to(shared)
    before = identity()
    (shared / "rules.json").write_text("{}")

    assert before != identity()


def test_a_folder_under_two_names_counts_by_both(root, identity):
    """P40, S13: a release is often switched by a link beside it; which of the names is met first is the file system's affair."""
    for release in ("aa", "zz"):
        (root / release).mkdir()
        (root / release / "prompt.txt").write_text(release)
    identities = []
    for release in ("aa", "zz", "aa"):
        (root / "current").unlink(missing_ok=True)
        (root / "current").symlink_to(release)
        identities.append(identity())

    assert identities[0] == identities[2]
    assert identities[0] != identities[1]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_a_file_system_does_not_count(root, identity, monkeypatch, backwards):
    """P40: a folder under two names is read under the same one wherever it is deployed."""
    (root / "link").symlink_to("lib")
    before, walk = identity(), os.walk

    def walked(top, **how):
        for folder, below, files in walk(top, **how):
            below.sort(reverse=backwards)
            yield folder, below, files

    monkeypatch.setattr(os, "walk", walked)

    assert before == identity()


@pytest.mark.parametrize(("path", "counts"), [("{}/shared", True), ("/mnt:{}", True), ("{}-b", False), ("", False)])
def test_layers_count_where_the_operators_own_path_names_them(tmp_path, identity, path, counts):
    """P40: with a PYTHONPATH of one's own Lambda puts no layer on the module path by itself."""
    layers = tmp_path / "opt"
    (layers / "shared").mkdir(parents=True)
    before = identity(layers=layers, PYTHONPATH=path.format(layers))
    (layers / "shared" / "prompts.py").write_text("PROMPT = 'read more'")

    assert counts == (before != identity(layers=layers, PYTHONPATH=path.format(layers)))


@pytest.mark.parametrize("started_by_lambda", [True, False], ids=["lambda", "another machine"])
def test_an_opt_of_another_machine_is_left_alone_whoever_names_it(tmp_path, identity, monkeypatch, started_by_lambda):
    """P18, P40: Homebrew or ROS lie there, have a path of theirs in PYTHONPATH, and hold more than any function may."""
    monkeypatch.setattr(package, "MAX_BYTES", 1_000)
    monkeypatch.setattr(
        sys.modules[__name__], "__file__", None
    )  # else this very file's folder is read where no root is
    layers = tmp_path / "opt"
    (layers / "homebrew").mkdir(parents=True)
    (layers / "homebrew" / "library.so").write_bytes(bytes(1_001))
    told = {"layers": layers, "PYTHONPATH": str(layers / "homebrew" / "site-packages")}

    if started_by_lambda:
        with pytest.raises(ConfigurationError, match="HOOKCACHE_IDENTITY=pinned"):
            identity(**told)
    else:
        assert identity(**told, LAMBDA_TASK_ROOT=None)


@pytest.mark.parametrize("listed", [True, False], ids=["lambda", "another machine"])
def test_layers_count_where_lambda_has_unpacked_them(tmp_path, identity, monkeypatch, listed):
    """P40: /opt is read whole, data too, but only where Lambda's own module path shows that it is Lambda's."""
    layers = tmp_path / "opt"
    layers.mkdir()
    if listed:
        monkeypatch.syspath_prepend(layers / "python")
    before = identity(layers=layers)
    (layers / "prompts.txt").write_text("Read more.")

    assert listed == (before != identity(layers=layers))


def test_our_own_code_does_not_count(root, identity, monkeypatch):
    """P43 guards our own forms: an upgrade of hookcache must not start every cache cold."""
    ours = root / "hookcache"
    ours.mkdir()
    monkeypatch.setattr(package, "_OWN", ours.resolve())
    before = identity()
    (ours / "hook.py").write_text("")

    assert before == identity()


def test_a_file_that_nobody_may_read_stops_nothing(root, identity, monkeypatch):
    """P18: the backend runs as the same user, so it cannot read it either."""
    readable = identity()
    real = open

    def refusing(path, *args, **kwargs):
        if str(path).endswith("prompt.txt"):
            raise PermissionError(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refusing)

    assert readable != identity()


def test_a_package_too_large_to_read_is_refused_with_its_remedy_and_may_be_pinned(root, identity, monkeypatch):
    """P52, P40: pinned reads no file; then the operator's generation tells deployments apart."""
    monkeypatch.setattr(package, "MAX_BYTES", 20)
    with pytest.raises(ConfigurationError, match="HOOKCACHE_IDENTITY=pinned"):
        identity()
    pinned = identity(HOOKCACHE_IDENTITY="pinned")
    (root / "app.py").write_text("other code")

    assert pinned == identity(HOOKCACHE_IDENTITY="pinned")
    assert pinned != identity(HOOKCACHE_IDENTITY="pinned", AWS_LAMBDA_FUNCTION_NAME="GENAIIDP-y")


def test_a_handler_below_a_decorator_of_its_own_is_known_by_its_own_name(root, identity):
    """Powertools' decorators and others that use functools.wraps do not hide the handler."""

    @functools.wraps(handler)
    def logged(event, context):
        return handler(event, context)

    environ = {**ENVIRON, "LAMBDA_TASK_ROOT": str(root)}

    assert identity_of_package(handler, environ) == identity_of_package(logged, environ)


def test_decorators_that_wrap_one_another_in_a_circle_are_refused(root):
    """P52: at cold start and with a remedy, not by never ending."""

    def circle(event, context):
        return handler(event, context)

    circle.__wrapped__ = circle

    with pytest.raises(ConfigurationError, match="in a circle"):
        identity_of_package(circle, {**ENVIRON, "LAMBDA_TASK_ROOT": str(root)})


def test_without_a_task_root_the_handlers_own_folder_counts(tmp_path, monkeypatch):
    """Outside of Lambda, as in a container of one's own, the folder of the handler's module stands for the package."""
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "reader_of_pages.py").write_text("def lambda_handler(event, context):\n    return 1\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import reader_of_pages

    before = identity_of_package(reader_of_pages.lambda_handler, {})
    (folder / "prompt.txt").write_text("new")

    assert before != identity_of_package(reader_of_pages.lambda_handler, {})


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A handler in a package of a package, outside of the task root, as in a container image."""
    folder = tmp_path / "function"
    (folder / "pages_hook" / "handlers").mkdir(parents=True)
    (folder / "pages_hook" / "handlers" / "ocr.py").write_text("def lambda_handler(event, context):\n    return 1\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield folder, importlib.import_module("pages_hook.handlers.ocr").lambda_handler
    for module in [name for name in sys.modules if name.partition(".")[0] == "pages_hook"]:
        del sys.modules[module]


@pytest.mark.parametrize(("place", "counts"), [("pages_hook/prompts.py", True), ("beside.py", False)])
def test_without_a_task_root_the_whole_package_of_the_handler_counts(packaged, place, counts):
    """P40: what its modules import from one another; what lies beside the package the docs leave to the operator."""
    folder, handler = packaged
    before = identity_of_package(handler, {"LAMBDA_TASK_ROOT": str(folder / "elsewhere")})
    (folder / place).write_text("PROMPT = 'read more'")

    assert counts == (before != identity_of_package(handler, {"LAMBDA_TASK_ROOT": str(folder / "elsewhere")}))


@pytest.mark.parametrize("module", ["handlers.ocr", "handlers"], ids=["module", "package"])
@pytest.mark.parametrize(("place", "counts"), [("pages_hook/prompts.py", True), (".git", False), ("beside.py", False)])
def test_a_project_that_bears_its_packages_name_is_not_the_package(tmp_path, monkeypatch, module, place, counts):
    """P40: `pages_hook/pages_hook` is usual; what else lies in the project, its history above all, deploys no other code."""
    project = tmp_path / "pages_hook"
    package_in_it = project / "pages_hook"
    (package_in_it / "handlers").mkdir(parents=True)
    for file in ("__init__.py", "ocr.py"):
        (package_in_it / "handlers" / file).write_text("def lambda_handler(event, context):\n    return 1\n")
    monkeypatch.syspath_prepend(project)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    try:
        handler = importlib.import_module(f"pages_hook.{module}").lambda_handler
        before = identity_of_package(handler, {})
        (project / place).write_text("new")

        assert counts == (before != identity_of_package(handler, {}))
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pages_hook"]:
            del sys.modules[name]


def test_a_partial_is_found_where_its_function_is(packaged):
    """G13: not where Python keeps `functools`: its library is no part of the package, and takes seconds to read."""
    _, handler = packaged
    partial = functools.partial(handler)

    assert identity_of_package(partial, {}, "reader") == identity_of_package(handler, {}, "reader")


def test_a_package_of_the_usual_size_costs_little_at_cold_start(tmp_path):
    """G13: 15 MB in 400 files, about what a hook with its libraries weighs; a generous bound for a busy machine."""
    root = tmp_path / "task"
    for number in range(20):
        folder = root / f"package{number}"
        folder.mkdir(parents=True)
        for file in range(20):
            (folder / f"module{file}.py").write_bytes(os.urandom(40_000))
    began = os.times()
    identity_of_package(handler, {"LAMBDA_TASK_ROOT": str(root)})
    spent = os.times()

    assert 0.25 > spent.user - began.user + spent.system - began.system
