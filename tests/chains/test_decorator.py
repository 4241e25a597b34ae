"""The decorator by itself: with arguments, without settings, and with handlers that are no plain functions."""

import asyncio
import functools
import importlib
import json
import logging
import os
import subprocess
import sys

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_marshaller import to_json
from ways import Chain

import hookcache
from fakes import FakeClock, FakeContext
from hookcache import decorator, redirect
from hookcache.errors import ConfigurationError

SETTINGS = {"HOOKCACHE_TABLE": "no-such-table", "HOOKCACHE_SECRET": "local", "HOOKCACHE_MODE": "off"}
REPLY = {"output": {"message": {"role": "assistant", "content": [{"text": "read"}]}}, "usage": {"pages": 1}}


def plain_handler(event, context):
    """What the hook says of itself."""
    return REPLY


@pytest.fixture
def context():
    return FakeContext(FakeClock())


def test_the_decorator_called_with_arguments_caches_alike(aws, tmp_path):
    """Both spellings: `@hookcache.cached` is run by the suite, `@hookcache.cached()` here."""
    chain = Chain(aws, "arguments", tmp_path)
    first, second = (chain.ask(chain.event(page=1)) for _ in range(2))

    assert first.text == second.text
    assert ["miss", "hit_memory"] == chain.outcomes


def test_without_settings_the_handler_stays_what_it_is(caplog):
    """A unit test of the handler needs neither AWS nor settings; one warning says that nothing is cached."""
    with caplog.at_level(logging.WARNING, "hookcache"):
        decorated = hookcache.cached(environ={"HOOKCACHE_REQUIRE_ENGINES": "1"})(plain_handler)

    assert plain_handler is decorated
    assert ["without a cache" in record.message for record in caplog.records] == [True]


def test_a_setting_that_is_missing_stops_the_function_at_its_start():
    """P52: half a configuration is a mistake, not a wish to run uncached."""
    with pytest.raises(ConfigurationError, match="HOOKCACHE_TABLE is not set"):
        hookcache.cached(environ={"HOOKCACHE_MODE": "on"})(plain_handler)


def test_the_decorated_handler_keeps_its_name_and_its_original(context, capsys):
    """Unit tests reach the undecorated handler through `__wrapped__`; tools see its name and docstring."""
    decorated = hookcache.cached(environ=SETTINGS)(plain_handler)

    assert ("plain_handler", plain_handler.__doc__) == (decorated.__name__, decorated.__doc__)
    assert plain_handler is decorated.__wrapped__
    assert REPLY == decorated({"any": "event"}, context)
    assert "mode_off" == json.loads(capsys.readouterr().out)["reason"]


FORKED = """
import os
import hookcache

@hookcache.cached(environ={"HOOKCACHE_TABLE": "no-such-table", "HOOKCACHE_SECRET": "local", "HOOKCACHE_MODE": "off"})
def handler(event, context):
    return {"process": os.getpid()}

handler({}, None)
child = os.fork()
if child:
    os.waitpid(child, 0)
handler({}, None)
"""


def test_a_forked_process_has_a_hook_of_its_own():
    """P6, P28: over shared connections either might read the other's reply, and flights and locks of the parent never end."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=True)
    parent, child, again = map(json.loads, ran.stdout.splitlines())

    assert parent["environment"] == again["environment"] != child["environment"]
    assert [True, True, False] == [receipt["cold_start"] for receipt in (parent, child, again)]


@pytest.mark.parametrize("settings", [SETTINGS, None], ids=["given", "control: the process's own"])
def test_the_processs_variables_tell_backends_apart_wherever_settings_come_from(settings, monkeypatch):
    """P40: two functions of one package and two models share no answers."""
    identities = []
    monkeypatch.setattr(decorator, "in_process", lambda handler, identity, *_: identities.append(identity.digest))
    for setting, value in SETTINGS.items():
        monkeypatch.setenv(setting, value)
    for model in ("a", "b", "a"):
        monkeypatch.setenv("MODEL", model)
        hookcache.cached(environ=settings)(plain_handler)

    assert identities[0] == identities[2]
    assert identities[0] != identities[1]


def test_settings_that_are_given_are_the_only_ones(monkeypatch):
    """P52: none of the process's own is mixed in."""
    monkeypatch.setenv("HOOKCACHE_LEASE_SECONDS", "never")
    hookcache.cached(environ=SETTINGS)(plain_handler)

    with pytest.raises(ConfigurationError, match="HOOKCACHE_LEASE_SECONDS"):
        hookcache.cached(environ={**SETTINGS, "HOOKCACHE_LEASE_SECONDS": "never"})(plain_handler)


def above(handler):
    """Another decorator, as Powertools makes them, over a handler that is cached already."""

    @functools.wraps(handler)
    def logged(event, context):
        return handler(event, context)

    return logged


def test_a_handler_that_takes_more_is_asked_itself_whenever_more_is_said(context, capsys):
    """P1: what only its own code says is in no key, so neither a hit nor an entry may come of it; the type promises such calls."""

    @hookcache.cached(name="reader", environ=SETTINGS)
    def handler(event, context, tone="dry", *, pages=1):
        return {"tone": tone, "pages": pages}

    answers = [handler({}, context, "warm"), handler({}, context, pages=2), handler({}, context=context)]

    assert [("warm", 1), ("dry", 2), ("dry", 1)] == [(answer["tone"], answer["pages"]) for answer in answers]
    assert 1 == len(capsys.readouterr().out.splitlines())


class Reader:
    """A handler that keeps something, decorated where it stands."""

    def __init__(self, tone):
        self.tone = tone

    @hookcache.cached(name="reader", environ=SETTINGS)
    def handle(self, event, context):
        return {"tone": self.tone}


def test_a_method_that_was_decorated_in_its_class_is_told_of_once(context, caplog, capsys):
    """P1, P52: its object is in no key, so it never hits; nothing else would say so."""
    handlers = Reader("dry").handle, Reader("warm").handle

    with caplog.at_level(logging.WARNING, "hookcache"):
        assert [{"tone": "dry"}, {"tone": "warm"}] == [handler({}, context) for handler in handlers]

    assert ["go past the cache" in record.getMessage() for record in caplog.records] == [True]
    assert "" == capsys.readouterr().out


def test_what_the_warning_advises_is_answered_from_the_cache(context, caplog, capsys):
    """Control: the method of an object, named."""
    cached = hookcache.cached(name="another reader", environ=SETTINGS)(Instance().handle)

    assert REPLY == cached({"any": "event"}, context)
    assert "mode_off" == json.loads(capsys.readouterr().out)["reason"]
    assert [] == caplog.records


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """The layer over a function whose handler is decorated."""
    (tmp_path / "decorated_index.py").write_text(
        "import hookcache\n"
        f"@hookcache.cached(environ={SETTINGS})\n"
        "def lambda_handler(event, context):\n"
        f"    return {REPLY}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield SETTINGS | {"HOOKCACHE_HANDLER": "decorated_index.lambda_handler"}
    sys.modules.pop("decorated_index", None)


def test_the_layer_over_a_decorated_handler_caches_once(twice, context, caplog, capsys):
    """P28, P31: two caches of one handler have one key: the inner waits in vain for the lease that the outer holds."""
    handler = redirect.redirected(twice)

    assert REPLY == handler({"any": "event"}, context)
    assert 1 == len(capsys.readouterr().out.splitlines())
    assert ["already" in message for message in caplog.messages] == [True]


def test_control_without_the_mark_both_cache(twice, context, capsys, monkeypatch):
    """P28, P31, Control."""
    redirect.handler_named(twice["HOOKCACHE_HANDLER"])
    monkeypatch.setattr("hookcache.decorator.CACHED", "another_mark")
    redirect.redirected(twice)({"any": "event"}, context)

    assert 2 == len(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("between", [lambda handler: handler, above], ids=["directly", "another decorator between"])
def test_a_handler_decorated_twice_caches_once(between):
    """P28, P31: a decorator between the two hands the mark on; the handler below them all can be cached anew."""
    decorated = between(hookcache.cached(environ=SETTINGS)(plain_handler))

    assert decorated is hookcache.cached(environ=SETTINGS)(decorated)
    assert plain_handler is not hookcache.cached(environ=SETTINGS)(plain_handler)


def closure(model):
    def handler(event, context):
        return REPLY | {"model": model}

    return handler


class Instance:
    def __call__(self, event, context):
        return REPLY

    def handle(self, event, context):
        return REPLY


@pytest.mark.parametrize(
    "handler",
    [
        closure("a"),
        functools.partial(plain_handler),
        functools.update_wrapper(functools.partial(plain_handler), plain_handler),
        lambda event, context: REPLY,
        Instance(),
        Instance().handle,
    ],
    ids=["closure", "partial", "partial under a name", "lambda", "instance", "method"],
)
def test_a_handler_that_shares_its_name_with_others_must_be_named(handler, context, capsys):
    """P1, P40: two closures of one function are two backends; without a name they would share answers."""
    with pytest.raises(ConfigurationError, match="name="):
        hookcache.cached(environ=SETTINGS)(handler)

    assert "read" in json.dumps(hookcache.cached(environ=SETTINGS, name="reader")(handler)({}, context))


async def later(event, context):
    return REPLY


def one_by_one(event, context):
    yield REPLY


async def one_by_one_later(event, context):
    yield REPLY


class Later:
    async def __call__(self, event, context):
        return REPLY

    async def handle(self, event, context):
        return REPLY


@functools.wraps(later)
def at_once(event, context):
    return asyncio.run(later(event, context))


@pytest.mark.parametrize(
    "handler",
    [later, one_by_one, one_by_one_later, functools.partial(later), Later(), Later().handle],
    ids=["async", "generator", "async generator", "partial", "instance", "method"],
)
def test_a_handler_that_is_not_run_by_its_call_is_refused(handler, context):
    """P52: Lambda's runtime cannot post what it gives, and no answer was ever kept; the control runs it within its call."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_json(given := handler({}, context))
    getattr(given, "close", lambda: None)()

    with pytest.raises(ConfigurationError, match=r"asyncio\.run"):
        hookcache.cached(environ=SETTINGS, name="reader")(handler)

    assert REPLY == hookcache.cached(environ=SETTINGS)(at_once)({}, context)


class Proxy:
    """As a decorator of the wrapt library: what it is asked for it takes from the handler, which it runs to the end."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def __call__(self, event, context):
        return asyncio.run(self.__wrapped__(event, context))


def test_a_decorator_that_shows_the_code_below_it_may_run_that_within_its_call(context, capsys):
    """P18: it gives the answer; that the code it shows is an async def's says nothing."""
    assert REPLY == hookcache.cached(environ=SETTINGS)(Proxy(later))({}, context)


def with_model(model, handler):
    """As a decorator of somebody's that chooses a model."""

    @functools.wraps(handler)
    def handled(event, context):
        return handler(event, context) | {"model": model}

    return handled


def under_one_name(name):
    one, other = Instance(), Instance()
    return {
        "made of one function": (with_model("a", plain_handler), with_model("b", plain_handler), ""),
        "named alike": (plain_handler, Instance().handle, name),
        "one name, two closures": (closure("a"), closure("b"), name),
        "one name, two objects": (one, other, name),
        "one name, two methods": (one.handle, other.handle, name),
        "one name, two partials": (functools.partial(plain_handler), functools.partial(plain_handler), name),
    }


@pytest.mark.parametrize("pair", under_one_name(""))
def test_two_handlers_under_one_name_are_refused(pair, context, capsys):
    """P1, P2: they would share answers; named apart, or once the first is gone, both are taken."""
    one, other, name = under_one_name(f"reader of {pair}")[pair]
    first = hookcache.cached(environ=SETTINGS, name=name)(one)
    with pytest.raises(ConfigurationError, match="another handler is cached under the same name"):
        hookcache.cached(environ=SETTINGS, name=name)(other)

    second = hookcache.cached(environ=SETTINGS, name="a name of its own")(other)
    assert [one({}, context), other({}, context)] == [first({}, context), second({}, context)]

    del first
    assert hookcache.cached(environ=SETTINGS, name=name)(other)


def test_two_handlers_of_one_name_that_cannot_share_answers_are_both_taken(context, capsys):
    """P7: of one factory, each in a namespace or table of its own; the control is in the test above."""
    apart = [{}, {"HOOKCACHE_NAMESPACE": "tenant"}, {"HOOKCACHE_TABLE": "another-table"}]
    handlers = [hookcache.cached(environ=SETTINGS | more, name="tenants")(closure(str(more))) for more in apart]

    assert [str(more) for more in apart] == [handler({}, context)["model"] for handler in handlers]
    with pytest.raises(ConfigurationError, match="another handler"):  # what is the default may be said
        hookcache.cached(environ=SETTINGS | {"HOOKCACHE_NAMESPACE": "default"}, name="tenants")(closure("one more"))


class Application:
    """As in many a project: the object holds its decorated handler, which holds the object."""

    def __init__(self):
        self.handler = hookcache.cached(environ=SETTINGS, name="application")(self.handle)

    def handle(self, event, context):
        return REPLY


def test_an_object_that_nobody_has_any_more_is_in_nobodys_way():
    """P18: a circle is not gone at once; tests that each make an object of their own failed by chance."""
    Application()
    kept = Application()
    with pytest.raises(ConfigurationError, match="another handler"):
        Application()

    assert kept


def test_a_method_of_one_object_may_be_decorated_twice(context, capsys):
    """P2: Python makes a bound method anew at each access, and it is the same handler."""
    reader = Instance()
    handlers = [hookcache.cached(environ=SETTINGS, name="reader of one object")(reader.handle) for _ in range(2)]

    assert [REPLY, REPLY] == [handler({}, context) for handler in handlers]


def test_a_handler_is_decorated_again_whenever_its_module_is_imported_again(tmp_path, monkeypatch):
    """It is the same one: a reload under development, with or without a change, stops nothing; nor does the same handler twice."""
    (tmp_path / "reloaded_handlers.py").write_text(
        "import functools, hookcache\n"
        "def named(handler):\n"
        "    return functools.wraps(handler)(lambda event, context: handler(event, context))\n"
        "@hookcache.cached\n@named\n"
        "def first(event, context): return {}\n"
        '@hookcache.cached(name="other")\n'
        "def second(event, context): return {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("reloaded_handlers")
    before = module.first, module.second
    again = importlib.reload(module)

    assert before != (again.first, again.second)
    assert hookcache.cached(before[0].__wrapped__)
    del sys.modules["reloaded_handlers"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "must name the function's old handler"),
        ("lambda_handler", "must name the function's old handler"),
        ("./index.lambda_handler", "must name the function's old handler"),
        ("/index.lambda_handler", "must name the function's old handler"),
        ("hookcache.redirect.handler", "names hookcache's own handler"),
        ("no_such_module.lambda_handler", "there is no module no_such_module"),
        ("no_such_folder/index.lambda_handler", r"there is no module no_such_folder\.index"),
        ("ways.no_such_handler", "has no no_such_handler"),
        ("ways.HERE", "cannot be called"),
    ],
)
def test_a_wrong_handler_setting_is_named_with_its_remedy(name, complaint):
    """P52: the layer refuses at cold start what it cannot redirect to."""
    with pytest.raises(ConfigurationError, match=complaint):
        redirect.handler_named(name)


def test_the_redirected_functions_own_import_error_is_not_ours(tmp_path, monkeypatch):
    """An import that fails inside the old handler says so itself; it is not mistaken for a wrong setting."""
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        redirect.handler_named("needs_more.lambda_handler")


def test_an_attribute_that_the_redirected_function_lacks_itself_is_not_ours(tmp_path, monkeypatch):
    """P52: a bug in the old handler's module is not told as a wrong setting, which would send its owner astray."""
    (tmp_path / "has_a_bug.py").write_text("import os\nos.no_such_name\ndef lambda_handler(event, context): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    with pytest.raises(AttributeError, match="no_such_name"):
        redirect.handler_named("has_a_bug.lambda_handler")


@pytest.fixture
def buggy(tmp_path, monkeypatch):
    """The layer over a module that has a bug: what Lambda's own runtime client says of it, and where that happened."""
    (tmp_path / "names_no_model.py").write_text("MODEL = None\nNAME = MODEL.lower()\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for name, value in (SETTINGS | {"HOOKCACHE_HANDLER": "names_no_model.lambda_handler"}).items():
        monkeypatch.setenv(name, value)

    def complaint():
        with pytest.raises(Exception) as caught:
            bootstrap._get_handler("hookcache.redirect.handler")
        return caught.value, [entry.name for entry in caught.traceback]

    return complaint


def test_the_runtime_hears_of_a_bug_in_the_old_handlers_module(buggy):
    """P52: with its words and its place; an AttributeError alone the runtime reports as a handler that is missing."""
    error, places = buggy()

    assert "HOOKCACHE_HANDLER: AttributeError: 'NoneType' object has no attribute 'lower'" == str(error)
    assert "<module>" == places[-1]


def test_control_an_attribute_error_is_taken_for_a_missing_handler(buggy, monkeypatch):
    """P52, Control: the bug as it is."""
    monkeypatch.setattr(redirect, "__getattr__", lambda name: redirect.redirected(os.environ))
    error, _ = buggy()

    assert "Handler 'handler' missing on module 'hookcache.redirect'" == error.msg


def test_a_handler_in_a_folder_is_found_as_lambda_finds_it(tmp_path, monkeypatch):
    """Lambda's handler setting allows `folder/module.function`."""
    folder = tmp_path / "hooks_in_a_folder"
    folder.mkdir()
    (folder / "reader.py").write_text("def lambda_handler(event, context):\n    return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    assert 7 == redirect.handler_named("hooks_in_a_folder/reader.lambda_handler")({}, None)


def test_the_layers_handler_is_made_once(tmp_path, monkeypatch):
    """Whoever asks for it again gets the same one, with the same memory tier; the control is a module that made none."""
    (tmp_path / "asked_for_twice.py").write_text(f"def lambda_handler(event, context):\n    return {REPLY}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for name, value in (SETTINGS | {"HOOKCACHE_HANDLER": "asked_for_twice.lambda_handler"}).items():
        monkeypatch.setenv(name, value)
    assert "handler" not in vars(redirect)
    try:
        assert redirect.handler is redirect.handler
    finally:
        vars(redirect).pop("handler", None)
