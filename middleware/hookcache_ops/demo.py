"""
`hookcache demo`: the whole path on this machine, with real pages and real OCR, and no AWS account.

    pass 1   each page as the host sends it           the backend reads it
    pass 2   the same pages under new random names    the wrapper's memory answers
    pass 3   the same from a fresh environment        its memory is empty, the table answers

Calls go one after the other, so that latencies are those of a single call.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hookcache.clock import SystemClock
from hookcache_ops.backends import NAMES
from hookcache_ops.bad_input import BadInput
from hookcache_ops.dashboard import draw
from hookcache_ops.demo_screen import PassResult, Screen, table_of
from hookcache_ops.demo_stage import PROJECT, LocalStage, Stage, backend_named, check_stage
from hookcache_ops.host import HostClient, Response, raw_text, text_of
from hookcache_ops.host_requests import InlineImage, ocr
from hookcache_ops.pages import PageImage, page_count, render
from hookcache_ops.receipts import Reading, Receipt, read_receipts

SAMPLES = ("statement.pdf", "invoice.pdf", "letter.pdf")
PASSES = ("first sight", "seen before", "new environment")
EXAMPLE = """examples:
  hookcache demo
  hookcache demo my-document.pdf
  hookcache demo --document my-document.pdf --json
  hookcache demo --backend bedrock
"""


class PatientClock(SystemClock):
    """A clock that cuts the host's sleeps between attempts, minutes in all, short: nobody waits for them in a demo."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("pdf", nargs="?", metavar="PDF", help="your own document (default: three samples, 7 pages)")
    parser.add_argument("--document", metavar="PDF", help="the same, as an option")
    parser.add_argument(
        "--backend",
        metavar="NAME",
        default=NAMES[0],
        help=f"what reads the pages: {', '.join(NAMES)} (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        default="build/demo",
        help="for summary, receipts, logs (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """0 done; 1 a repeated page reached the backend, an answer differs, a call failed or Ctrl-C."""
    given = args.document or args.pdf
    if args.document and args.pdf:
        raise BadInput("two documents are named; give one, as PDF or as --document PDF")
    documents = [Path(given)] if given else [PROJECT / "documents" / name for name in SAMPLES]
    output = Path(args.output)
    screen = Screen(quiet=args.json)
    try:
        backend = backend_named(args.backend)
        counts = [page_count(document) for document in documents]
        check_stage(backend)
        output.mkdir(parents=True, exist_ok=True)
        pages = list(_rendered(screen, documents, sum(counts)))
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror or error}; name another folder with --output") from None
    with ExitStack() as stack:
        with screen.waiting(f"Starting a local AWS with two Lambda functions, backend {backend.name}"):
            stage = stack.enter_context(LocalStage(output, backend))
        return play(stage, pages, output, screen, as_json=args.json)


def play(stage: Stage, pages: Sequence[PageImage], output: Path, screen: Screen, *, as_json: bool) -> int:
    """Send the pages three times over `stage`, show and write what happened; the exit status."""
    demo = Demo(stage, pages, output / "receipts.jsonl")
    trouble = ""
    try:
        for number, name in enumerate(PASSES, start=1):
            if number == 3:
                stage.forget_memory()
            demo.play(name, partial(screen.walk, f"Pass {number}, {name}"))
    except KeyboardInterrupt:
        trouble = "interrupted; these are the figures until then"
    except (RuntimeError, KeyError, ClientError, BotoCoreError) as error:
        trouble = f"a call failed: {error}; see {output / stage.wrapper}.log"
    trouble = trouble or _finding(demo.results)
    _write_summary(output / "summary.json", demo)
    page = _drawn(demo.receipts, output / "dashboard.html")
    if as_json:
        print(
            json.dumps({**demo.summary(), "details": [asdict(result) for result in demo.results], "trouble": trouble})
        )
    else:
        _show(screen, demo, output, page)
    if trouble:
        print(f"hookcache demo: {trouble}", file=sys.stderr)
    return 1 if trouble else 0


class Demo:
    """The passes so far: their results, their answers, and the file of their receipts, which starts empty."""

    def __init__(self, stage: Stage, pages: Sequence[PageImage], receipts: Path) -> None:
        self.pages = pages
        self.receipts = receipts
        self.results: list[PassResult] = []
        self.wrapper = stage.wrapper
        self._stage = stage
        self._host = HostClient(stage.invoke, stage.wrapper, stage.s3, stage.bucket, clock=PatientClock())
        self._first: list[Response] = []
        self._lines_read = 0
        receipts.write_bytes(b"")

    def play(self, name: str, walk: Callable[[Sequence[PageImage]], Iterator[PageImage]]) -> None:
        """
        Send every page once. The result is kept also where a call fails or Ctrl-C ends the pass.

        Raises:
            what `HostClient.call` raises.
        """
        calls_before = self._stage.backend_calls()
        answers: list[Response] = []
        latencies: list[float] = []
        try:
            for page in walk(self.pages):
                reply = self._host.call(ocr(InlineImage(page.jpeg)))
                text_of(reply.response)
                answers.append(reply.response)
                latencies.append(reply.latency_ms)
        finally:
            self._close(name, answers, latencies, self._stage.backend_calls() - calls_before)

    def _close(self, name: str, answers: list[Response], latencies: list[float], backend_calls: int) -> None:
        receipts = self._new_receipts()
        first = not self.results
        if first:
            self._first = answers
        self.results.append(
            PassResult(
                name=name,
                requests=len(answers),
                backend_calls=backend_calls,
                memory_hits=_sum(receipts, "MemoryHits"),
                table_hits=_sum(receipts, "TableHits"),
                p50_ms=round(statistics.median(latencies), 3) if latencies else 0.0,
                answers_equal=self._all_read(answers) if first else same_answers(self._first, answers),
                spent=_units(receipts, "units_spent"),
                saved=_units(receipts, "units_saved"),
            )
        )

    def _all_read(self, answers: Sequence[Response]) -> bool:
        return len(answers) == len(self.pages) and all(map(was_read, answers))

    def _new_receipts(self) -> list[Receipt]:
        """The receipts that the wrapper wrote since the last pass; they are appended to the file as they came."""
        lines = self._stage.wrapper_lines()
        new = [line for line in lines[self._lines_read :] if line.startswith('{"_aws"')]
        self._lines_read = len(lines)
        text = "".join(f"{line}\n" for line in new).encode()
        with self.receipts.open("ab") as file:
            file.write(text)
        return list(read_receipts(["-"], Reading(), stdin=io.BytesIO(text)))

    def summary(self) -> dict[str, Any]:
        """What goes into summary.json."""
        shown = ("requests", "backend_calls", "memory_hits", "table_hits", "p50_ms", "answers_equal")
        return {
            "pages": len(self.pages),
            "passes": [{member: getattr(result, member) for member in shown} for result in self.results],
            "receipts": str(self.receipts),
            "wrapper": self.wrapper,
        }


def was_read(answer: Response) -> bool:
    """True for an answer with text, and for a page whose blocks say that it is blank."""
    blocks = raw_text(answer).get("Blocks") or ()
    return bool(text_of(answer).strip()) or [block.get("BlockType") for block in blocks] == ["PAGE"]


def same_answers(first: Sequence[Response], again: Sequence[Response]) -> bool:
    """True if both hold the same answers in the same order: text, blocks, member order, all but numbers in `usage`."""
    return [_without_amounts(answer) for answer in first] == [_without_amounts(answer) for answer in again]


def _without_amounts(answer: Response) -> str:
    usage = answer.get("usage")
    if isinstance(usage, dict):
        answer = {**answer, "usage": {unit: type(amount).__name__ for unit, amount in usage.items()}}
    return json.dumps(answer)


def _finding(results: Sequence[PassResult]) -> str:
    """What is wrong with a finished demo; empty where nothing is."""
    again = sum(result.backend_calls for result in results[1:])
    if again:
        return f"{again} repeated pages reached the backend; their receipts say why (members outcome, reason, refusal)"
    for number, result in enumerate(results, start=1):
        if not result.answers_equal:
            return "not every page was read" if number == 1 else f"an answer of pass {number} differs from pass 1"
    return ""


def _rendered(screen: Screen, documents: Sequence[Path], total: int) -> Iterator[PageImage]:
    """The pages of all documents; the bar counts pages, and pages come as they are rendered."""
    pages = (page for document in documents for page in render(document))
    for _ in screen.walk("Rendering", range(total)):
        with suppress(StopIteration):
            yield next(pages)


def _drawn(receipts: Path, page: Path) -> Path | None:
    """The dashboard of these receipts as a page; None where there are none to draw."""
    if not receipts.stat().st_size:
        return None
    draw([str(receipts)], page)
    return page


def _show(screen: Screen, demo: Demo, output: Path, page: Path | None) -> None:
    out = screen.result
    if demo.results:
        out.print(table_of(demo.results, demo.wrapper))
    if len(demo.results) == len(PASSES) and all(result.p50_ms for result in demo.results):
        one, two, three = (result.p50_ms for result in demo.results)
        out.print(
            f"Answered {one / two:,.0f} times faster from memory, {one / three:,.0f} times faster from the table."
        )
    out.print(f"Receipts:  {demo.receipts}\nSummary:   {output / 'summary.json'}", markup=False)
    if page is not None:
        out.print(f"Dashboard: {page} (opens in a browser, offline)", markup=False)


def _write_summary(path: Path, demo: Demo) -> None:
    path.write_text(json.dumps(demo.summary(), indent=2) + "\n", encoding="utf-8")


def _sum(receipts: Sequence[Receipt], metric: str) -> int:
    return int(sum(receipt.metrics.get(metric, 0) for receipt in receipts))


def _units(receipts: Sequence[Receipt], member: str) -> dict[str, float]:
    total: Counter[str] = Counter()
    for receipt in receipts:
        total.update(receipt.members.get(member) or {})
    return dict(total)
