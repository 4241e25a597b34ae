"""What an error of the SDK says: its code word, and whether a later attempt may do better."""

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError


def code_of(error: ClientError | BotoCoreError) -> str:
    """The service's own word for it, or the SDK's; its prose may quote the request and stays there."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


def may_pass(error: ClientError | BotoCoreError) -> bool:
    """Whether the service, or a key's KMS behind it, may answer a later attempt."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status == 429 or status >= 500 or "Throttling" in error.response["Error"]["Code"]
    return not isinstance(error, ParamValidationError)
