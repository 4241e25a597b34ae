"""A backend that does what the first text of a request says, as JSON; its answers differ from call to call."""

import json
import os
import uuid

CALLED = "the backend was called"


def lambda_handler(event, context):
    print(CALLED)
    told = json.loads(event["messages"][0]["content"][0]["text"])
    match told.get("do", "answer"):
        case "raise":
            raise LookupError(told["message"])
        case "reply":
            return told["reply"]
        case "echo":
            text = json.dumps(event)
        case _:
            flavour = os.environ.get("FLAVOUR", "plain")
            text = json.dumps({"answer": uuid.uuid4().hex, "flavour": flavour, "deployed": DEPLOYED})
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 12, "outputTokens": 3, "totalTokens": 15, "pages": 1},
        "textractBlocks": {"Blocks": [{"BlockType": "PAGE", "Id": "0"}]},
    }


DEPLOYED = "first"
