"""The key of a service: from Secrets Manager, read once per execution environment, never logged."""

import json
from collections.abc import Callable
from typing import Any

from aws_errors import code_of, may_pass
from backend_errors import OutOfTimeError, ServiceFailedError, SettingsError
from botocore.exceptions import BotoCoreError, ClientError
from deadline import Deadline, within

SECRET_SECONDS = 10  # longest wait for the secret, and for a second try of it


class ApiKey:
    """
    A key that is read when it is first needed.

    The secret is the key itself, or a JSON object with the key as its only member.

    Args:
        client: gives a boto3 Secrets Manager client.
        secret_arn: of the secret; empty for a service that takes no key.
        setting: the environment variable that names the secret, for messages.
    """

    def __init__(self, client: Callable[[], Any], secret_arn: str, setting: str) -> None:
        self._client, self._secret_arn, self._setting = client, secret_arn, setting
        self._key: str | None = None

    def get(self, deadline: Deadline) -> str:
        """
        The key; empty for a service that takes none.

        Raises:
            SettingsError: the secret cannot be read, or holds no key; the message names the remedy.
            ServiceFailedError: Secrets Manager is busy, failing or out of reach: a later attempt may get the key.
            OutOfTimeError: Secrets Manager did not answer in time.
        """
        if not self._secret_arn:
            return ""
        if self._key is None:
            left = deadline.left()
            try:
                self._key = _key_in(within(left, self._read), self._setting)
            except TimeoutError:
                raise OutOfTimeError(
                    f"Secrets Manager did not give the secret that {self._setting} names in the {left:.0f} s that were left: "
                    "raise the function's timeout, or check that this function reaches Secrets Manager"
                ) from None
        return self._key

    def forget(self) -> None:
        """Read the secret again next time: the service refused this key, and it may have been rotated."""
        self._key = None

    def _read(self) -> str:
        try:
            return str(self._client().get_secret_value(SecretId=self._secret_arn).get("SecretString", ""))
        except (ClientError, BotoCoreError) as error:
            if may_pass(error):
                raise ServiceFailedError(
                    f"Secrets Manager is busy, failing or out of reach ({code_of(error)}): try again later, or check this "
                    "function's network"
                ) from None
            raise SettingsError(
                f"the secret that {self._setting} names cannot be read ({code_of(error)}): check that it exists; this function "
                "needs secretsmanager:GetSecretValue on it, and kms:Decrypt on its key"
            ) from None


def _key_in(text: str, setting: str) -> str:
    try:  # a key of digits keeps its spelling
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except ValueError:
        found = text
    if isinstance(found, dict):
        found = next(iter(found.values())) if len(found) == 1 else None
    key = found.strip() if isinstance(found, str) else ""
    if not key or not key.isascii() or not key.isprintable():
        raise SettingsError(
            f"the secret that {setting} names holds no key: store the key alone, or a JSON object with it as its only member"
        )
    return key
