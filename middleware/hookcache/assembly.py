"""Builds whole hooks from an environment: the one place that knows all parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from hookcache.backend import Backend, CallableBackend, LambdaBackend
from hookcache.breaker import Breaker
from hookcache.cache import Cache
from hookcache.cipher import BodyCipher
from hookcache.clients import Clients
from hookcache.clock import Clock, Deadline, SystemClock
from hookcache.control import BackendIdentity, Control
from hookcache.errors import ConfigurationError
from hookcache.flight import Flights
from hookcache.hints import Any
from hookcache.hook import CachingHook
from hookcache.images import ImageReader
from hookcache.items import Items
from hookcache.key import Keyer, Secrets
from hookcache.lease import LeaseBook
from hookcache.limits import TimeLimits
from hookcache.memo import ReplayMemo
from hookcache.memory import MemoryTier
from hookcache.metering import Meter
from hookcache.overflow import Overflow
from hookcache.policy import Rules
from hookcache.prices import Prices, PriceTable, table_from
from hookcache.request import METERED_CONTEXTS
from hookcache.sealer import Sealer
from hookcache.secret import SecretSource, from_secrets_manager
from hookcache.settings import Settings
from hookcache.spending import Spending
from hookcache.table import TableTier
from hookcache.truth import TruthCheck

UNLIMITED = Deadline(None)
"""Of whoever asks outside an invocation."""


class Assembly:
    """
    The parts of one function, shared by the hooks built from it.

    Args:
        settings: the function's own.
        clients: boto3 clients; tests give their own.
    """

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], clients: Any = None, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self._environ = environ
        self.clients = clients if clients is not None else Clients(slim=settings.client == "slim")
        self.clock = clock if clock is not None else SystemClock()
        self.spending = Spending()
        self.items = Items(self.clients.dynamodb, settings.table, Breaker(self.clock), self.spending)
        self.prices = Prices(settings.price_as, self._load_prices, self.clock)
        self.secrets = SecretSource(self._secret_reader(), self.clock)
        self.limits = TimeLimits(environ, settings.wait_seconds)
        self._lock = threading.Lock()
        self._cache: Cache | None = None

    def hook(self, backend: Backend, pinned: BackendIdentity | None = None) -> CachingHook:
        """A hook in front of `backend`. `pinned` is its identity where Lambda is not to be asked for one."""
        meter = Meter(self.clock, self.spending, self.prices, self._environ)
        own_name = self._environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        mark = own_name if isinstance(backend, LambdaBackend) else ""
        truth = TruthCheck(self.clock)
        return CachingHook(
            backend, partial(self.cache, pinned), self.rules(), self.prices, meter, truth, self.clock, mark
        )

    def rules(self) -> dict[str, Rules]:
        """The operator's rules, by context."""
        return {context: self.settings.rules(context) for context in METERED_CONTEXTS}

    def lambda_backend(self) -> LambdaBackend:
        """The function named by `HOOKCACHE_BACKEND`."""
        return LambdaBackend(
            self.clients.lambda_by_timeout,
            self.settings.backend,
            self._backend_timeout,
            self._environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            self.clock,
            self.spending,
        )

    def cache(self, pinned: BackendIdentity | None = None, deadline: Deadline = UNLIMITED) -> Cache | None:
        """The cache, made when the secret is first known; None until then. `deadline` is that of the invocation which asks."""
        if self._cache is not None:
            return self._cache
        with self._lock:
            if self._cache is None:
                self.limits.began(deadline)
                secrets = self.secrets.get()
                if secrets is not None:
                    self._cache = self._make_cache(secrets, pinned)
            return self._cache

    def _make_cache(self, secrets: Secrets, pinned: BackendIdentity | None) -> Cache:
        settings, clock, spending = self.settings, self.clock, self.spending
        keyer = Keyer(secrets, settings.namespace)
        bucket = settings.overflow_bucket
        overflow = Overflow(self.clients.s3, bucket, spending) if bucket else None
        book = LeaseBook(self.items, clock, settings.lease_seconds)
        return Cache(
            keyer,
            settings.generation,
            self.control(keyer, secrets, pinned),
            ImageReader(self.clients.s3, settings.image_prefixes, clock, spending),
            ReplayMemo(clock),
            MemoryTier(settings.memory_bytes, settings.memory_seconds, clock),
            TableTier(
                self.items,
                Sealer(secrets.tags, keyer.namespace, BodyCipher(secrets.bodies), encrypts=settings.encrypt),
                overflow,
            ),
            self.items,
            Flights(book, clock, settings.wait_seconds),
            self.prices,
            clock,
        )

    def control(self, keyer: Keyer, secrets: Secrets, pinned: BackendIdentity | None = None) -> Control:
        """The CONTROL item of this namespace and backend."""
        backend = self.settings.backend
        if pinned is None and self.settings.identity == "pinned":
            pinned = BackendIdentity(b"pinned\0" + backend.encode())
        return Control(
            self.items,
            keyer.control_key(self.settings.backend_name),
            secrets.tags,
            self._describe if pinned is None else None,
            pinned if pinned is not None else BackendIdentity(b""),
            self.clock,
        )

    def _describe(self) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = self.clients.lambda_control().get_function_configuration(
            FunctionName=self.settings.backend
        )
        return reply

    def _backend_timeout(self) -> float | None:
        """The backend's own timeout as last known, which is wanted whenever it is asked; None if unknown."""
        cache = self._cache
        identity = cache.control.last().identity if cache is not None else None
        seconds = identity.timeout_seconds if identity is not None else None
        self.limits.before(seconds)
        return seconds

    def _load_prices(self) -> PriceTable:
        reference = self.settings.prices
        return table_from(reference, self.clients.s3, self.clients.ssm) if reference else PriceTable()

    def _secret_reader(self) -> Callable[[], str]:
        settings = self.settings
        if settings.secret_arn:
            read = from_secrets_manager(self.clients.secrets_manager, settings.secret_arn)

            def counted() -> str:
                self.spending.add("secret_requests", 1)
                return read()

            return counted
        return lambda: settings.secret


def wrapper(environ: Mapping[str, str], clients: Any = None, clock: Clock | None = None) -> CachingHook:
    """
    The wrapper Lambda: a hook in front of the function named by `HOOKCACHE_BACKEND`.

    Raises:
        ConfigurationError: a setting is wrong; its message names the setting and the remedy (P52).
    """
    settings = Settings.of(environ)
    if not settings.backend:
        raise ConfigurationError("HOOKCACHE_BACKEND is not set; name the hook to stand in front of")
    assembly = Assembly(settings, environ, clients, clock)
    return assembly.hook(assembly.lambda_backend())


def in_process(
    handler: Callable[[Any, Any], Any], identity: BackendIdentity, settings: Settings, environ: Mapping[str, str]
) -> CachingHook:
    """A hook in front of a handler in this very process, whose code and configuration `identity` names."""
    return Assembly(settings, environ).hook(CallableBackend(handler), identity)
