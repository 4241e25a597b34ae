"""
Run one example on this machine, without an AWS account: `python examples/run.py decorator`.

    wrapper     functions/hook as a Lambda of its own in front of examples/wrapper
    decorator   examples/decorator, whose handler is decorated
    layer       examples/layer, untouched, behind the layer's handler
    samples     each request of examples/samples through a wrapper in front of a stand-in that gives the answer beside it

Each request is sent three times: for the first time, again, and again after the environment is gone. Lambda's own runtime
client runs the code, in processes of their own; DynamoDB, S3 and Secrets Manager are moto's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent
WRAPPER = EXAMPLES.parent / "functions" / "hook"
NAMES = ("wrapper", "decorator", "layer", "samples")
PASSES = ("first", "again", "new environment")
# What each sample hook needs, as docs/chaining.md explains.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "mistral-ocr-hook": {"OCR": {"blank_pages": True, "fresh_seconds": 604800}},
    "cohere-parse-hook": {"OCR": {"blank_pages": True}},
    "w2-copy-consistency": {"*": {"mode": "off"}},
}


def main(argv: list[str] | None = None) -> int:
    """0 done, 1 an answer from the cache is not the backend's, 2 the example cannot be run here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="examples/run.py"
    )
    parser.add_argument("example", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print one JSON object per request and nothing else")
    args = parser.parse_args(argv)
    if any(importlib.util.find_spec(needed) is None for needed in ("hookcache_ops", "moto", "flask", "awslambdaric")):
        print("examples/run.py: run `make setup` once, then .venv/bin/python examples/run.py ...", file=sys.stderr)
        return 2
    from hookcache_ops.local.aws import LocalAws

    good = True
    with LocalAws() as aws:
        for function, request in requests_of(args.example, aws):
            for number, name in enumerate(PASSES):
                if number == 2:
                    aws.functions.kill_environments(function)
                row = ask(aws, function, request)
                good &= row.pop("as_before")
                row = {"function": function, "pass": name, **row}
                print(json.dumps(row) if args.json else shown(row), flush=True)
    return 0 if good else 1


def requests_of(example: str, aws: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Deploy the example; the function that the host would name, and what it would send."""
    from hookcache_ops.local.lambda_service import Function

    settings = {**aws.environment(), **aws.settings()}
    name = f"GENAIIDP-example-{example}"
    folder = EXAMPLES / example

    def wrapped(backend: str, policy: Mapping[str, Any]) -> str:
        own = {**settings, "HOOKCACHE_BACKEND": backend, "HOOKCACHE_POLICY": json.dumps(policy)}
        wrapper = backend.replace("GENAIIDP-", "GENAIIDP-cache-")
        aws.functions.add(Function(wrapper, WRAPPER, "app.lambda_handler", own, 60, 512))
        return wrapper

    match example:
        case "samples":
            for file in sorted(folder.glob("*.request.json")):
                sample = file.name.removesuffix(".request.json")
                backend = f"GENAIIDP-{sample}"
                variables = {"SAMPLE": sample}
                aws.functions.add(Function(backend, folder, "index.lambda_handler", variables, 30, 256))
                yield wrapped(backend, POLICIES.get(sample, {})), json.loads(file.read_text())
        case "wrapper":
            aws.functions.add(Function(name, folder, "index.lambda_handler", aws.environment(), 30, 256))
            yield wrapped(name, {}), page_request()
        case "decorator":
            aws.functions.add(Function(name, folder, "app.lambda_handler", settings, 30, 512))
            yield name, page_request()
        case "layer":
            redirected = {**settings, "HOOKCACHE_HANDLER": "index.lambda_handler"}
            aws.functions.add(Function(name, folder, "hookcache.redirect.handler", redirected, 30, 512))
            yield name, page_request()


def page_request() -> dict[str, Any]:
    request: dict[str, Any] = json.loads((EXAMPLES / "samples" / "mistral-ocr-hook.request.json").read_text())
    return request


_answers: dict[str, Any] = {}


def ask(aws: Any, function: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send `request` as the host does, its images uploaded under new names; what the receipt says of it."""
    from hookcache_ops.local.aws import WORKING_BUCKET

    request = json.loads(json.dumps(request))
    for block in request["messages"][0]["content"]:
        if "image" in block:
            key = f"temp/lambdahook/{uuid.uuid4().hex}.{block['image']['format']}"
            aws.client("s3").put_object(Bucket=WORKING_BUCKET, Key=key, Body=b"the bytes of a page")
            block["image"]["source"]["s3Location"]["uri"] = f"s3://{WORKING_BUCKET}/{key}"
    client = aws.client("lambda")  # made before the clock starts: making one takes longer than a hit
    began = time.perf_counter()
    reply = client.invoke(FunctionName=function, Payload=json.dumps(request))
    answer = json.loads(reply["Payload"].read())
    taken_ms = round((time.perf_counter() - began) * 1000, 1)
    receipts = [json.loads(line) for line in aws.functions.logs(function) if '"MeteringKey"' in line]
    told = receipts[-1]
    content = {name: value for name, value in answer.items() if name != "usage"}
    return {
        "outcome": told["outcome"],
        "reason": told["reason"],
        "milliseconds": taken_ms,
        "usage": answer.get("usage"),
        "units_saved": told["units_saved"],
        "as_before": "FunctionError" not in reply and content == _answers.setdefault(function, content),
    }


def shown(row: Mapping[str, Any]) -> str:
    outcome = f"{row['outcome']} ({row['reason']})" if row["reason"] else row["outcome"]
    charged = {unit: count for unit, count in (row["usage"] or {}).items() if count} or "nothing"
    return f"{row['function']:<38} {row['pass']:<16} {outcome:<24} {row['milliseconds']:>9,.1f} ms   charged: {charged}"


if __name__ == "__main__":
    sys.exit(main())
