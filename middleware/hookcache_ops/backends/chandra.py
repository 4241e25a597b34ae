"""functions/chandra, and a server behind it that takes pages as forms, reads them as jobs, and is asked for the results."""

from __future__ import annotations

import html
import io
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from hookcache_ops.backends import Backend
from hookcache_ops.backends.reading import BLANK, UnreadableError, tell
from hookcache_ops.backends.serving import Reply, Request, WireServer
from hookcache_ops.local.aws import LocalAws

SUBMIT = ("api", "v1", "marker")
FORMATS = ("markdown", "html", "json")
MODES = ("accurate", "balanced", "fast")
POLL_SECONDS = 0.1


@dataclass(slots=True)
class Job:
    """A page that is being read; `fate` is how it ends, `result` what it ends with once `done`."""

    output_format: str
    fate: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class ChandraServer(WireServer):
    """
    POST /api/v1/marker with a form starts a job, GET /api/v1/marker/{id} looks at it.

    Adds the misfortunes `job_failed`, `never_ends`, `elsewhere` (the place to look at lies on another host),
    `not_taken` and `blank`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key = f"local-{secrets.token_hex(8)}"
        self.tell = tell
        self._jobs: dict[str, Job] = {}

    def answer(self, request: Request) -> Reply:
        return self._submitted(request, "") if request.method == "POST" else self._looked_at(request)

    def misfortune(self, how: str, request: Request) -> Reply:
        match how:
            case "throttle":
                return Reply.of_json({"detail": "rate limit"}, 429, {"Retry-After": "1"})
            case "server_error":
                return Reply.of_json({"detail": "failed"}, 500)
            case "not_taken":
                return Reply.of_json({"success": False, "error": "the page is not taken"})
            case "elsewhere":
                return Reply.of_json(
                    {"success": True, "request_check_url": "https://elsewhere.example/api/v1/marker/1"}
                )
            case "empty" | "max_tokens" | "job_failed" | "never_ends" | "blank":
                return self._submitted(request, how)
        raise ValueError(how)

    def _submitted(self, request: Request, fate: str) -> Reply:
        if request.headers.get("x-api-key") != self.key:
            return Reply.of_json({"detail": "invalid key"}, 401)
        kind, options = parse_options_header(request.headers.get("content-type"))
        _, form, files = FormDataParser().parse(io.BytesIO(request.body), kind, len(request.body), options)
        page, output_format = files.get("file"), form.get("output_format", "markdown")
        if request.parts != SUBMIT or page is None or output_format not in FORMATS or form.get("mode") not in MODES:
            return Reply.of_json({"detail": "not a form that is understood here"}, 422)
        number, job = secrets.token_hex(8), Job(output_format, fate)
        self._jobs[number] = job
        threading.Thread(target=self._read, args=(job, page.read()), name="chandra-job", daemon=True).start()
        place = f"{self.url}/{'/'.join(SUBMIT)}/{number}"
        return Reply.of_json({"success": True, "error": None, "request_id": number, "request_check_url": place})

    def _looked_at(self, request: Request) -> Reply:
        if request.headers.get("x-api-key") != self.key:
            return Reply.of_json({"detail": "invalid key"}, 401)
        job = self._jobs.get(request.parts[-1])
        if job is None:
            return Reply.of_json({"detail": "no such job"}, 404)
        if not job.done.is_set():
            return Reply.of_json({"status": "processing", "success": None, "error": None})
        return Reply.of_json(job.result)

    def _read(self, job: Job, image: bytes) -> None:
        if job.fate == "never_ends":
            return
        try:
            text = BLANK if job.fate == "blank" else self.tell((), [image]).text
            failed = job.fate == "job_failed"
        except UnreadableError:
            text, failed = "", True
        if failed:
            job.result = {"status": "failed", "success": False, "error": "the page could not be read"}
        else:
            told = dict.fromkeys(FORMATS) | {job.output_format: _written(text, job.output_format)}
            if job.fate in {"empty", "max_tokens"}:  # no limit of tokens here: what is cut is missing
                told[job.output_format] = None
            job.result = {"status": "complete", "success": True, "error": None, "page_count": 1, **told}
        job.done.set()


def _written(text: str, output_format: str) -> Any:
    """A page's text in one of the formats, a paragraph or block to a line."""
    lines = [] if text == BLANK else text.splitlines()
    if output_format == "html":
        return "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    if output_format == "json":
        return {"block_type": "Page", "children": [{"block_type": "Text", "html": html.escape(line)} for line in lines]}
    return "\n\n".join(lines)


def _environment(server: Any, aws: LocalAws) -> Mapping[str, str]:
    """The function's settings; its key lies in the local Secrets Manager, as it would in yours."""
    secret = aws.client("secretsmanager").create_secret(Name="chandra-api-key", SecretString=server.key)
    return {
        "CHANDRA_API_URL": f"{server.url}/{'/'.join(SUBMIT)}",
        "CHANDRA_API_KEY_SECRET_ARN": secret["ARN"],
        "POLL_INTERVAL": f"{POLL_SECONDS:g}",
        "MAX_POLL_ATTEMPTS": "900",
    }


BACKEND = Backend(
    name="chandra",
    environment=_environment,
    serve=ChandraServer,
    units=("inputTokens", "outputTokens", "pages"),
)
