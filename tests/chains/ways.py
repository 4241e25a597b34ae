"""
The three ways to chain, each as it is deployed, so that one suite can be run over all of them.

    wrapper     host -> GENAIIDP-cache-x (functions/hook) -> GENAIIDP-x (obedient.py)
    decorator   host -> GENAIIDP-x, whose handler is decorated
    layer       host -> GENAIIDP-x, whose handler setting is hookcache.redirect.handler
"""

from __future__ import annotations

import base64
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obedient import CALLED

from hookcache_ops.local.aws import TABLE, WORKING_BUCKET, LocalAws
from hookcache_ops.local.lambda_service import Function

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
DECORATED = """
import hookcache
import obedient

@hookcache.cached{arguments}
def lambda_handler(event, context):
    return obedient.lambda_handler(event, context)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What came back from one invocation: the parsed reply, its raw bytes, and the kind of error, if one was raised."""

    answer: Any
    body: bytes
    error: str | None

    @property
    def text(self) -> Any:
        return json.loads(self.answer["output"]["message"]["content"][0]["text"])


class Chain:
    """
    One deployed hook with the cache in front of it.

    Args:
        way: `wrapper`, `decorator`, `arguments` (the decorator called with none) or `layer`.
        settings: variables of hookcache that differ from the local AWS's own.
    """

    def __init__(self, aws: LocalAws, way: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.way, self._aws = way, aws
        mark = uuid.uuid4().hex[:8]
        self.backend = f"GENAIIDP-{way}-{mark}"
        self.function = f"GENAIIDP-cache-{mark}" if way == "wrapper" else self.backend
        self.folder = folder / mark
        self.folder.mkdir(parents=True)
        shutil.copy(HERE / "obedient.py", self.folder)
        ours = {**aws.environment(), **aws.settings(), **(settings or {})}
        self._own: dict[str, str] = {}
        if way == "wrapper":
            self._add(self.backend, self.folder, "obedient.lambda_handler", 20)
            ours["HOOKCACHE_BACKEND"] = self.backend
            aws.functions.add(Function(self.function, PROJECT / "functions/hook", "app.lambda_handler", ours, 30, 512))
            return
        self._own = ours
        handler = "app.lambda_handler"
        if way == "layer":
            handler, self._own["HOOKCACHE_HANDLER"] = "hookcache.redirect.handler", "obedient.lambda_handler"
        else:
            source = DECORATED.format(arguments="()" if way == "arguments" else "")
            (self.folder / "app.py").write_text(source)
        self._add(self.backend, self.folder, handler, 30)

    def _add(self, name: str, folder: Path, handler: str, timeout_seconds: float) -> None:
        self._aws.functions.add(
            Function(name, folder, handler, {**self._own, "FLAVOUR": "plain"}, timeout_seconds, 512)
        )

    # ---------------------------------------------------------------- calling

    def event(self, context: str = "OCR", image: bytes | None = b"a page", **told: Any) -> dict[str, Any]:
        """A request as the host sends it; its image is uploaded under a new random name each time."""
        content: list[Any] = [{"text": json.dumps(told)}]
        if image is not None:
            key = f"temp/lambdahook/{uuid.uuid4().hex}.jpeg"
            self._aws.client("s3").put_object(Bucket=WORKING_BUCKET, Key=key, Body=image)
            location = {"uri": f"s3://{WORKING_BUCKET}/{key}"}
            content.append({"image": {"format": "jpeg", "source": {"s3Location": location}}})
        return {
            "modelId": "LambdaHook",
            "messages": [{"role": "user", "content": content}],
            "system": [{"text": "You read pages. <<CACHEPOINT>>"}],
            "inferenceConfig": {"temperature": 0.0, "topP": 0.1, "topK": 5},
            "context": context,
        }

    def ask(self, event: Any, *, qualifier: str = "", **wishes: Any) -> Told:
        """Invoke once; `wishes` go into the client context (P51)."""
        custom = base64.b64encode(json.dumps({"custom": {"hookcache": wishes}}).encode()).decode()
        more = ({"ClientContext": custom} if wishes else {}) | ({"Qualifier": qualifier} if qualifier else {})
        reply = self._aws.client("lambda").invoke(FunctionName=self.function, Payload=json.dumps(event), **more)
        body = reply["Payload"].read()
        return Told(json.loads(body), body, reply.get("FunctionError"))

    # ---------------------------------------------------------------- what came of it

    @property
    def backend_calls(self) -> int:
        return sum(line == CALLED for line in self._aws.functions.logs(self.backend))

    @property
    def receipts(self) -> list[dict[str, Any]]:
        lines = self._aws.functions.logs(self.function)
        return [json.loads(line) for line in lines if line.startswith("{") and '"MeteringKey"' in line]

    @property
    def last(self) -> dict[str, Any]:
        return self.receipts[-1]

    @property
    def outcomes(self) -> list[str]:
        return [receipt["outcome"] for receipt in self.receipts]

    # ---------------------------------------------------------------- deployments

    def forget_memory(self) -> None:
        """End every environment in which the cache runs: the next call starts with an empty memory."""
        self._aws.functions.kill_environments(self.function)

    def deploy(self, code: str) -> None:
        """Deploy other code of the backend: `code` is what its answers say of themselves."""
        source = (HERE / "obedient.py").read_text()
        (self.folder / "obedient.py").write_text(source.replace('DEPLOYED = "first"', f'DEPLOYED = "{code}"'))
        self._aws.functions.update_code(self.backend)
        self.a_minute_passes()

    def configure(self, **environment: str) -> None:
        """Give the backend other variables of its own."""
        self._aws.functions.update_environment(self.backend, {**self._own, **environment})
        self.a_minute_passes()

    def a_minute_passes(self) -> None:
        """The wrappers' shared knowledge of who answers ends: what they do by themselves a minute after a deployment."""
        dynamodb = self._aws.client("dynamodb")
        for item in dynamodb.scan(TableName=TABLE)["Items"]:
            if item["kind"]["S"] == "CONTROL":
                dynamodb.delete_item(TableName=TABLE, Key={"pk": item["pk"], "kind": item["kind"]})
        self.forget_memory()
