"""
The mutation score of a module: which of its mutants its quick tests notice.

    python tests/mutation/score.py key policy --sample 100 --report build/prove/mutation.json

Each mutant lives in the memory of a forked process: no file changes, and what all of them import was imported before the
fork. The first failing test ends a mutant, so that a noticed one is cheap and a survivor costs all tests of its module.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "middleware"), str(ROOT / "tests")]

from mutation.mutants import Mutant, mutants_of  # noqa: E402

RUNTIME = ROOT / "middleware" / "hookcache"
SEED = 18
EXAMPLES = 10
"""Of each property: the same ones for every mutant."""

TESTS: dict[str, tuple[str, ...]] = {
    "key": ("tests/unit/test_key.py",),
    "canonical": (
        "tests/unit/test_key.py::test_golden_keys",
        "tests/unit/test_canonical.py",
        "tests/property/test_identity.py",
        "tests/property/test_plain_form.py",
    ),
    "frames": (  # the spelling that canonical forms are made of
        "tests/unit/test_key.py::test_golden_keys",
        "tests/unit/test_canonical.py",
        "tests/property/test_identity.py",
        "tests/property/test_plain_form.py",
    ),
    "policy": ("tests/unit/test_policy.py",),
    "lease": (
        "tests/unit/test_lease.py",
        "tests/contract/test_leases.py",
        "-k",
        "not dynoxide and not dynamodb_local and not moto",
    ),
    "entry": ("tests/unit/test_entry.py", "tests/unit/test_memory.py"),
    "sealer": ("tests/unit/test_entry.py", "tests/unit/test_cipher.py"),
    "codec": ("tests/unit/test_entry.py", "tests/unit/test_memory.py", "tests/property/test_codec.py"),
}
"""The quick tests of each module; one that is not there, or has moved into another, is passed over. A mutant that only a test elsewhere would notice counts as a survivor."""

_WARM = ("pytest", "_pytest.assertion.rewrite", "hypothesis.extra", "hypothesis.stateful", "xdist", "pytest_timeout",
         "boto3", "botocore.session", "botocore.stub", "pydantic", "cachetools", "yaml", "aws_lambda_powertools.metrics",
         "cryptography.hazmat.primitives.ciphers.aead", "http.server", "concurrent.futures", "multiprocessing")  # fmt: skip


@dataclass(slots=True)
class Score:
    """Of one module: how many mutants there are, how many were tried, and which nothing noticed."""

    module: str
    made: int
    tried: int
    survivors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def percent(self) -> float:
        return 100.0 * (self.tried - len(self.survivors)) / self.tried if self.tried else 0.0


class Planted:
    """Finds one module of hookcache with a source of ours in place of the file's."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = f"hookcache.{mutant.module}"
        self._file = str(RUNTIME / f"{mutant.module}.py")
        self._source = mutant.source

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        source, file = self._source, self._file

        class Loader(SourceFileLoader):
            def get_code(self, _fullname: str) -> CodeType:
                return compile(source, file, "exec", dont_inherit=True)  # else with annotations as in this module

        return importlib.util.spec_from_file_location(name, file, loader=Loader(name, file))


def warm_up() -> None:
    """Import what every fork needs and no mutant changes, and set the examples of the properties."""
    for name in _WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile("mutation", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
                              phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    os.environ["HOOKCACHE_PROFILE"] = "mutation"
    sys.dont_write_bytecode = True
    gc.freeze()


def start(mutant: Mutant, tests: Sequence[str]) -> int:
    """Run `tests` against a mutant in a process of its own; its exit status is pytest's. Returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        os.setsid()
        silence = os.open(os.environ.get("MUTATION_OUTPUT", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.chdir(ROOT)
        sys.meta_path.insert(0, Planted(mutant))  # type: ignore[arg-type]
        import pytest

        status = int(pytest.main(["-x", "--no-header", "-m", "not prove", "-p", "no:xdist", *tests]))
    finally:
        os._exit(status)


def run(mutants: Sequence[Mutant], tests: Sequence[str], jobs: int, limit_seconds: float,
        progress: Callable[[], object] = lambda: None) -> list[Mutant]:  # fmt: skip
    """The mutants that no test noticed. One that takes longer than `limit_seconds` never ends, which was noticed."""
    waiting, running, survivors = list(reversed(mutants)), {}, []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running[start(mutant, tests)] = (mutant, time.monotonic() + limit_seconds)
        for pid, (mutant, end) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done and time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
                done, status = os.waitpid(pid, 0)
            if done:
                del running[pid]
                progress()
                if status == 0:
                    survivors.append(mutant)
        time.sleep(0.005)
    return survivors


def score(module: str, sample: int | None = None, jobs: int = 2, tests: Sequence[str] | None = None,
          say: Callable[[str], object] = lambda _: None) -> Score:  # fmt: skip
    """
    The score of one module.

    Args:
        sample: try only so many mutants, the same ones each time; None tries all.
        tests: arguments for pytest in place of `TESTS[module]`.

    Raises:
        RuntimeError: the tests fail on the unchanged module, so that no failure would tell anything.
    """
    tests = [part for part in tests or TESTS[module] if not part.endswith(".py") or (ROOT / part).exists()]
    source = (RUNTIME / f"{module}.py").read_text()
    began = time.monotonic()
    if run([Mutant(module, 0, "unchanged", source)], tests, 1, 120) == []:
        raise RuntimeError(f"the tests of {module} fail before any change: pytest {' '.join(tests)}")
    one = time.monotonic() - began
    mutants = mutants_of(module, source)
    tried = mutants if sample is None or sample >= len(mutants) else random.Random(SEED).sample(mutants, sample)
    seen = iter(range(1, len(tried) + 1))

    def progress() -> None:
        if (number := next(seen)) % 50 == 0:
            say(f"{module}: {number} of {len(tried)} mutants")

    survivors = run(tried, tests, jobs, max(15.0, 8 * one), progress)
    names = [mutant.name for mutant in sorted(survivors, key=lambda mutant: mutant.line)]
    return Score(module, len(mutants), len(tried), names, time.monotonic() - began)


def there() -> list[str]:
    """The modules of `TESTS` that the product has."""
    return [module for module in TESTS if (RUNTIME / f"{module}.py").exists()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=there(), metavar="MODULE", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--sample", type=int, help="try so many mutants of each module, the same ones each time")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--report", type=Path, help="also write the scores as JSON")
    given = parser.parse_args(arguments)
    if unknown := set(given.modules) - TESTS.keys():
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}; known are {', '.join(TESTS)}")
    warm_up()
    scores: list[dict[str, Any]] = []
    for module in given.modules:
        try:
            one = score(module, given.sample, given.jobs, say=lambda text: print(text, file=sys.stderr, flush=True))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 2
        scores.append(asdict(one) | {"percent": one.percent})
        print(
            f"{module}: {one.percent:.1f} % of {one.tried} mutants noticed (of {one.made}), {one.seconds:.0f} s",
            flush=True,
        )
        for survivor in one.survivors:
            print(f"  survived: {survivor}", flush=True)
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(json.dumps(scores, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
