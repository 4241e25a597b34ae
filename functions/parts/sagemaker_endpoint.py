"""A SageMaker real-time endpoint: which it is, which model of it is meant, and what to do about its errors."""

from collections.abc import Callable, Mapping
from typing import Any

from aws_service import AwsService
from backend_settings import text
from deadline import Deadline

REMEDIES = {
    "AccessDeniedException": "this function needs sagemaker:InvokeEndpoint on the endpoint, and on its inference component",
    # Also what it answers where an endpoint made of components is asked without one (langchain-ai/langchain#16150).
    "ValidationError": "check SAGEMAKER_ENDPOINT_NAME, that the endpoint is in service, INFERENCE_COMPONENT or TARGET_MODEL "
    "where it is made of such, and the size of the images (25 MB for a request); ERROR_DETAIL=full says what it says",
    "ModelNotReadyException": "the model is loading: ask again in a while",
    "ThrottlingException": "the endpoint or its container is asked too often: add instances, or send fewer at a time",
}


class Endpoint:
    """
    The endpoint that SAGEMAKER_ENDPOINT_NAME names, with the settings of `AwsService.of`.

    Args:
        targets: the parameters of InvokeEndpoint that choose one of its models, by the variable that sets each.
        model_error: what to do where the container refused or failed.

    Raises:
        SettingsError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clients: Callable[..., Any],
        targets: Mapping[str, str],
        model_error: str,
    ) -> None:
        self._target = {"EndpointName": text(environment, "SAGEMAKER_ENDPOINT_NAME")}
        self._target |= {
            name: environment[key].strip() for key, name in targets.items() if environment.get(key, "").strip()
        }
        remedies = {**REMEDIES, "ModelError": model_error}
        self._service = AwsService.of("The endpoint", environment, clients, "sagemaker-runtime", 70, remedies)

    def ask(self, deadline: Deadline, body: bytes, content_type: str, accept: str) -> dict[str, Any]:
        """
        The reply of InvokeEndpoint, its `Body` read whole.

        Raises:
            BackendError: see `AwsService.call`.
        """
        return self._service.call(
            "invoke_endpoint",
            deadline,
            stream="Body",
            Body=body,
            ContentType=content_type,
            Accept=accept,
            **self._target,
        )
