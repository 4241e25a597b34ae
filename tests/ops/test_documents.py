"""What the pages name exists: commands and their options, settings, make targets, files, links, words of receipts and template."""

import argparse
import functools
import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

from hookcache.outcome import Reason
from hookcache.policy import Rules
from hookcache.settings import PREFIX, Settings
from hookcache.value import members
from hookcache_ops.cli import COMMANDS
from hookcache_ops.explain.causes import CAUSES

ROOT = Path(__file__).parents[2]
MADE = {"build", "node_modules"}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - MADE
PAGES = sorted(
    str(page.relative_to(ROOT))
    for place in (ROOT.glob("*.md"), *((ROOT / name).rglob("*.md") for name in FOLDERS))
    for page in place
)
PRODUCT = ("middleware", "functions", "dashboards", "workflows")
FOREIGN = {
    *("service_api", "model_id", "max_completion_tokens", "model_context_window_exceeded", "malformed_model_output"),
    *("aws_xray_sdk", "invoke_with_response_stream", "examples/fastapi-response-streaming-zip"),
    *(f"lambda_hook_{step}" for step in ("ocr", "classification", "extraction", "assessment", "summarization")),
}
"""Words of the host and of services, which stand in no file of ours."""
TELLS_OF_THE_PAST = {"CHANGELOG.md"}

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}.*$", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_CALL = re.compile(r"(?:^|[\s/$])hookcache ([a-z]+)\b([^|#`]*)")
_LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_in(text: str) -> list[str]:
    """Code spans, and the lines of code blocks; a line that ends in a backslash goes on."""
    text = text.replace("\\\n", " ")
    lines = [line for block in _FENCED.findall(text) for line in block.splitlines()]
    prose = _FENCED.sub("", text)
    lines += _INDENTED.findall(prose)
    spans = [" ".join(span.split()) for span in _SPAN.findall(_INDENTED.sub("", prose))]
    return lines + spans


@functools.cache
def options(command: str) -> frozenset[str]:
    parser = argparse.ArgumentParser()
    module = next(each.module for each in COMMANDS if each.name == command)
    importlib.import_module(module).add_arguments(parser)
    return frozenset(option for action in parser._actions for option in action.option_strings)


@functools.cache
def product_words() -> frozenset[str]:
    files = [ROOT / name for name in ("template.yaml", "Makefile", "pyproject.toml")]
    files += [
        path
        for name in PRODUCT
        for kind in ("*.py", "*.yaml", "*.json", "Makefile")
        for path in (ROOT / name).rglob(kind)
    ]
    return frozenset(
        word for path in files for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", path.read_text(encoding="utf-8"))
    )


def wrong_calls(text: str) -> list[str]:
    """`hookcache WORD --option` whose command or option there is none of."""
    names = {command.name for command in COMMANDS}
    found = []
    for line in code_in(text):
        for name, rest in _CALL.findall(line):
            if name not in names:
                found.append(f"hookcache {name}")
                continue
            given = re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", rest)
            found += [f"hookcache {name} {option}" for option in given if option not in options(name)]
    return found


def wrong_targets(text: str) -> list[str]:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    said = (re.match(r"\s*(?:[A-Z_]+=\S+ )*make (?:[A-Z_]+=\S+ )*([a-z]+)", line) for line in code_in(text))
    return [match[1] for match in said if match and match[1] not in targets]


def wrong_settings(text: str) -> list[str]:
    known = {word for word in product_words() if word.startswith(PREFIX)}
    known |= {f"{PREFIX}{word.upper()}" for word in product_words()}
    return [word for word in re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", text) if word not in known]


def wrong_files(text: str) -> list[str]:
    """Paths that begin with a folder of this project and lead nowhere."""
    found = (path for line in code_in(text) for path in re.findall(r"(?<![\w/:.-])((?:[\w.-]+/)+[\w.*-]*)", line))
    ours = (path for path in found if path.split("/")[0] in FOLDERS and path not in FOREIGN)
    return [path for path in ours if not list(ROOT.glob(path.rstrip("/.")))]


def wrong_words(text: str) -> list[str]:
    """Words like `backend_unknown` that stand in no file of the product: reasons, members, policies, resources."""
    spans = _SPAN.findall(_FENCED.sub("", text))
    words = (word for span in spans for word in [span.strip()] if re.fullmatch(r"[a-z]+(_[a-z]+)+", word))
    return [word for word in words if word not in product_words() | FOREIGN and not word.startswith("test_")]


def wrong_alarms(text: str) -> list[str]:
    return [word for word in re.findall(r"\b[A-Z][a-zA-Z]+Alarm\b", text) if word not in product_words()]


CHECKS = (wrong_calls, wrong_targets, wrong_settings, wrong_files, wrong_words, wrong_alarms)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("page", [page for page in PAGES if page not in TELLS_OF_THE_PAST])
def test_what_a_page_names_exists(page, check):
    assert [] == check(text_of(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    assert [] == dead_links(page, text_of(page))


def dead_links(page: str, text: str) -> list[str]:
    dead = []
    for path, anchor in _LINK.findall(_FENCED.sub("", text)):
        if path.startswith(("http:", "https:")):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor[1:] not in headings(target.read_text(encoding="utf-8"))):
            dead.append(path + anchor)
    return dead


def headings(text: str) -> set[str]:
    """The names under which a page's headings are linked to, as GitHub forms them."""
    plain = (re.sub(r"[^\w\s-]", "", title.lower()) for title in _HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in plain}


def rows_of(page: str) -> dict[str, str]:
    """The tables that begin with a name and its default: name to default."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text_of(page), re.MULTILINE))


def test_the_readme_lists_every_setting_with_its_default():
    """`-` is what has no default, `none` what is empty by default."""
    defaults = {PREFIX + name.upper(): default for name, default in members(Settings(table="")).items()}
    told = {name: default for name, default in rows_of("README.md").items() if name.startswith(PREFIX)}
    assert defaults.keys() - {"HOOKCACHE_SECRET"} == told.keys()  # told beside HOOKCACHE_SECRET_ARN
    for name, default in told.items():
        if default in {"-", "none"}:
            assert defaults[name] in {"", ()}, name
        elif name != "HOOKCACHE_POLICY":
            assert spelt(defaults[name]) == default.strip("`"), name


def spelt(default: object) -> str:
    text = str(getattr(default, "value", default))
    return text.removesuffix(".0").replace("False", "false")


def test_the_settings_page_lists_every_rule_with_its_default():
    derived = {
        "mode": "`HOOKCACHE_MODE`",
        "fresh_seconds": "`HOOKCACHE_FRESH_SECONDS`",
        "hard_seconds": "as `fresh_seconds`",
    }
    defaults = members(Rules())
    plain = {name: list(value) if isinstance(value, tuple | frozenset) else value for name, value in defaults.items()}
    spelt = {name: f"`{json.dumps(value)}`".replace("0.0`", "0`") for name, value in plain.items()}
    assert spelt | derived == {name: told for name, told in rows_of("docs/settings.md").items() if name.islower()}


class Template(yaml.SafeLoader):
    """Reads a template; what a tag such as !Ref stands for is left out."""


Template.add_multi_constructor("!", lambda loader, suffix, node: None)


def template() -> dict[str, dict]:
    return yaml.load(text_of("template.yaml"), Template)


def parameters() -> dict[str, tuple[str, str]]:
    """Each parameter of the stack: its default and what it takes, as docs/settings.md spells them."""
    declared = template()["Parameters"]
    return {name: (default_spelt(each), bounds_spelt(each)) for name, each in declared.items()}


def default_spelt(parameter: dict[str, object]) -> str:
    if "Default" not in parameter:
        return "-"
    default = parameter["Default"]
    return (f"`{default}`" if default else "none") if parameter["Type"] == "String" else str(default)


def bounds_spelt(parameter: dict[str, object]) -> str:
    values = parameter.get("AllowedValues", [])
    if parameter["Type"] == "String":
        return ", ".join(f"`{value}`" for value in values)
    return f"{parameter.get('MinValue', min(values, default=0))} to {parameter.get('MaxValue', max(values, default=0))}"


def parameters_told(page: str) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.+?) \| (.*?) ?\| .+ \|$", page, re.MULTILINE)
    return {name: (default, takes) for name, default, takes in rows}


def test_the_settings_page_lists_every_parameter_with_default_and_bounds():
    """Both ways: the guided deployment shows no description."""
    assert parameters() == parameters_told(text_of("docs/settings.md"))


@pytest.mark.parametrize(
    ("told", "instead"),
    [
        ("| `WaitSeconds` | 45 | 1 to 600 |", "| `WaitSeconds` | 40 | 1 to 600 |"),
        ("| `WaitSeconds` | 45 | 1 to 600 |", "| `WaitSeconds` | 45 | 1 to 840 |"),
        ("| `WaitSeconds` | 45 |", "| `PatienceSeconds` | 45 |"),
    ],
)
def test_control_a_parameter_told_otherwise_is_noticed(told, instead):
    page = text_of("docs/settings.md")

    assert told in page
    assert parameters() != parameters_told(page.replace(told, instead))


def unexplained(text: str) -> list[str]:
    return [reason.value for reason in Reason if f"`{reason.value}`" not in text]


def test_every_reason_of_a_receipt_is_explained():
    """P31, P58: `explain` and the alarms send an operator to this page."""
    assert [] == unexplained(text_of("docs/operations.md"))


def test_control_a_reason_that_is_not_explained_is_found():
    assert ["refused_text"] == unexplained(text_of("docs/operations.md").replace("`refused_text`", "`refused_texts`"))


def unexplained_causes(text: str) -> list[str]:
    return [cause.title for cause in CAUSES.values() if cause.title not in text]


def test_every_cause_of_a_miss_is_explained():
    """P58: what `hookcache explain` names stands in the table of its page."""
    assert [] == unexplained_causes(text_of("docs/analysis.md"))


def test_control_a_cause_that_is_not_explained_is_found():
    assert ["sampling requests"] == unexplained_causes(text_of("docs/analysis.md").replace("sampling requests", ""))


def test_every_page_can_be_reached_from_the_readme():
    """By following links, folders standing for the pages in them."""
    reached, ahead = set(), ["README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for path, _ in _LINK.findall(text_of(page)):
            if path.startswith("http") or not path:
                continue
            target = ((ROOT / page).parent / path).resolve()
            inside = sorted(target.glob("*.md")) if target.is_dir() else [target]
            ahead += [str(each.relative_to(ROOT)) for each in inside if each.suffix == ".md"]
    assert {page for page in PAGES if page.startswith("docs/")} <= reached


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (wrong_calls, "`hookcache nonsense x`"),
        (wrong_calls, "    hookcache report FILE --nonsense"),
        (wrong_targets, "    make nonsense"),
        (wrong_settings, "`HOOKCACHE_NONSENSE`"),
        (wrong_files, "`docs/nonsense.md`"),
        (wrong_words, "`such_nonsense`"),
        (wrong_alarms, "| NonsenseAlarm |"),
        (functools.partial(dead_links, "README.md"), "[x](docs/nonsense.md)"),
        (functools.partial(dead_links, "README.md"), "[x](docs/operations.md#nonsense)"),
    ],
)
def test_control_what_does_not_exist_is_found(check, text):
    assert 1 == len(check(text))


def made_by_hand(page: str) -> dict[str, list[str]]:
    """What docs/chaining.md says of each artifact to whoever deploys without SAM."""
    return {name: rest.split(", ") for name, rest in re.findall(r"`(\w+Function)-arm64\.zip`, (.+?)(?:;| \|)", page)}


def due_by_hand() -> dict[str, list[str]]:
    """The same of the stack: Python, handler, memory and timeout, by their number or by their parameter's default."""
    stack = template()
    due = {}
    for name in ("HookFunction", "EraseFunction"):
        function = stack["Resources"][name]["Properties"]
        memory = function["MemorySize"] or stack["Parameters"]["MemorySize"]["Default"]
        timeout = function["Timeout"] or stack["Parameters"]["TimeoutSeconds"]["Default"]
        due[name] = [f"`{function['Runtime']}`", f"handler `{function['Handler']}`", f"{memory} MB", f"{timeout} s"]
    return due


def test_a_deployment_without_sam_is_told_what_the_stack_does():
    told = made_by_hand(text_of("docs/chaining.md"))

    assert due_by_hand() == {name: told[name][:4] for name in told}


def test_control_another_timeout_is_noticed():
    page = text_of("docs/chaining.md").replace("512 MB, 60 s", "512 MB, 30 s")

    assert due_by_hand()["EraseFunction"] != made_by_hand(page)["EraseFunction"][:4]
