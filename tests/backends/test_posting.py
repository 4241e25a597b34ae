"""
What the backends return, posted by Lambda's own runtime client as it does from Python 3.12 on. The codec of triton refuses half
a character by itself.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from aws_backends import ENVIRONMENT, Left, Recorder, event, image
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from scripted_service import Says, load_function, scripted

ENDPOINT = {"SAGEMAKER_ENDPOINT_NAME": "page-reader"}
MODEL = {"TARGET_MODEL_ID": "us.amazon.nova-pro-v1:0"}
TEXTS = {"half a character": "Straße \ud83d", "control: a whole one": "Straße 😀"}


def bedrock(text: str) -> Any:
    message = {"role": "assistant", "content": [{"text": text}]}
    client = Recorder({"output": {"message": message}, "stopReason": "max_tokens"})
    return load_function("bedrock", **ENVIRONMENT, **MODEL).BedrockFunction(MODEL, client)(event("Read."), Left())


def sagemaker(text: str) -> Any:
    told = {"choices": [{"message": {"content": text}, "finish_reason": "length"}]}
    client = Recorder({"Body": io.BytesIO(json.dumps(told).encode())})
    made = load_function("sagemaker", **ENVIRONMENT, **ENDPOINT).SageMakerFunction(ENDPOINT, client)
    return made(event("Read."), Left())


def openai(text: str) -> Any:
    with scripted(Says({"choices": [{"message": {"content": text}, "finish_reason": "length"}]})) as service:
        settings = {"OPENAI_BASE_URL": f"{service.url}/v1", "OPENAI_MODEL": "m"}
        made = load_function("openai", **ENVIRONMENT, **settings).OpenAiFunction(settings, Recorder({}))
        return made(event("Read."), Left())


def chandra(text: str) -> Any:
    with scripted(Says({"request_check_url": "/job-1"}), Says({"status": "complete", "markdown": text})) as service:
        settings = {"CHANDRA_API_URL": f"{service.url}/submit", "POLL_INTERVAL": "0.05"}
        made = load_function("chandra", **ENVIRONMENT).ChandraFunction(settings, Recorder({}))
        return made(event(image()), Left())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("answered", [bedrock, sagemaker, openai, chandra])
def test_an_answer_with_half_a_character_reaches_its_caller(answered, text, monkeypatch):
    """The runtime's own spelling of it has no form in UTF-8: posting it ends the process, and the host asks seven times more."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    posted, _kind = LambdaMarshaller().marshal_response(answered(text))
    sent = posted if isinstance(posted, bytes) else posted.encode()
    assert json.loads(sent)["output"]["message"]["content"] == [{"text": text}]


def test_the_runtime_alone_cannot_post_it(monkeypatch):
    """Negative control."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    posted, _kind = LambdaMarshaller().marshal_response({"text": TEXTS["half a character"]})
    with pytest.raises(UnicodeEncodeError):
        posted.encode()
