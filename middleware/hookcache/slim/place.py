"""
Where this process runs, as far as a request to AWS needs to know: endpoints, region, credentials, trusted roots.

Read from the environment variables that Lambda and its users set. Everything else that boto3 understands (profiles,
configuration files, proxies, FIPS, other partitions) makes the place unusual, and boto3 is used.
"""

from __future__ import annotations

import os.path
import re
import ssl
import threading
from collections.abc import Callable, Mapping

from hookcache.hints import Any
from hookcache.slim.signing import Credentials

_COMMERCIAL = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d")
_ROOT_OF_AWS = re.compile(
    r'# Label: "(?:Amazon Root CA|Starfield )[^\n]*\n(?:#[^\n]*\n)*(-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----)',
    re.DOTALL,
)
_UNUSUAL = (
    "AWS_ACCOUNT_ID",
    "AWS_CONFIG_FILE",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_S3_USE_ARN_REGION",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
_PROXIES = frozenset({"http_proxy", "https_proxy"})
"""In capitals or not, and mixed, as Python's own reading of the environment takes them."""


class Place:
    """Endpoints, credentials and trust of one process. `of` gives None where boto3 must be used."""

    def __init__(
        self,
        environ: Mapping[str, str],
        region: str,
        credentials: Callable[[], Credentials],
        must_fetch: Callable[[], bool] = lambda: False,
    ) -> None:
        self.region = region
        self.credentials = credentials
        self.must_fetch = must_fetch
        """Will `credentials` go and fetch them, which may take seconds?"""
        self._environ = environ
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place | None:
        """The place that an environment describes; None where it says anything that only boto3 understands."""
        region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION", "")
        usual = (
            environ.get("HOOKCACHE_CLIENT", "slim") == "slim"
            and _COMMERCIAL.fullmatch(region) is not None
            and environ.get("AWS_REGION", region) == region
            and not any(environ.get(name) for name in _UNUSUAL)
            and _PROXIES.isdisjoint(name.lower() for name, told in environ.items() if told)
            and not _has_configuration(environ)
        )
        credentials = _credentials(environ) if usual else None
        return None if credentials is None else cls(environ, region, *credentials)

    def endpoint(self, name: str, host: str) -> tuple[str, bool]:
        """The address of a service, and whether it is an operator's own (`AWS_ENDPOINT_URL`, or that of the service `name`)."""
        own = self._environ.get(f"AWS_ENDPOINT_URL_{name}") or self._environ.get("AWS_ENDPOINT_URL")
        return (own.rstrip("/"), True) if own else (f"https://{host}.{self.region}.amazonaws.com", False)

    def tls(self) -> ssl.SSLContext:
        """
        One context for all connections: boto3 reads the file of trusted roots again for each of them.

        Without an operator's own bundle only the roots under which AWS has its certificates are trusted, 7 of more than a hundred: a
        server of any other is left to boto3, which knows them all.
        """
        with self._lock:
            if self._context is None:
                bundle = self._environ.get("AWS_CA_BUNDLE") or self._environ.get("REQUESTS_CA_BUNDLE")
                if bundle:
                    self._context = ssl.create_default_context(cafile=bundle)
                    self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as boto3; Python's own default since 3.13
                else:
                    self._context = ssl.create_default_context(cadata=_roots_of_aws())
            return self._context


def _has_configuration(environ: Mapping[str, str]) -> bool:
    folder = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".aws")
    return any(os.path.exists(os.path.join(folder, name)) for name in ("config", "credentials"))


def _credentials(environ: Mapping[str, str]) -> tuple[Callable[[], Credentials], Callable[[], bool]] | None:
    """
    The keys in the environment, which hold as long as it does; else those that botocore's chain finds and renews. And
    whether the next use of them will fetch new ones first.

    Under SnapStart Lambda gives no keys but the address to fetch them from; the chain is then loaded before the snapshot.
    """
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        fixed = Credentials(access, secret, environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN", ""))
        return lambda: fixed, lambda: False
    if not environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return None
    from botocore.session import get_session

    try:
        found: Any = get_session().get_credentials()
    except Exception:  # whatever it is: boto3 asks again with each call, and no start fails for it (P18)
        return None
    if found is None:
        return None

    def renewed() -> Credentials:
        now = found.get_frozen_credentials()
        return Credentials(now.access_key, now.secret_key, now.token or "")

    return renewed, getattr(found, "refresh_needed", lambda: False)


def _roots_of_aws() -> str:
    """
    The roots of Amazon Trust Services in botocore's own bundle, which is found without importing botocore.

    Source: Amazon Trust Services, "Certification Authorities".
    """
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("botocore")
    if spec is None or spec.origin is None:
        raise OSError("botocore is not installed: there are no trusted roots")
    with open(spec.origin.removesuffix("__init__.py") + "cacert.pem", encoding="utf-8") as bundle:
        whole = bundle.read()
    return "\n".join(_ROOT_OF_AWS.findall(whole)) or whole
