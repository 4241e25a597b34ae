"""
The operator's commands to a deployed cache, as JSON in and JSON out: the same for the erase function and the CLI.

    {"command": "erase", "images": [...], "forms": [...], "key_ids": [...], "dry_run": false}
    {"command": "invalidate", "context": "OCR", "before_ms": 1790000000000, "soft": false}
    {"command": "generation", "generation": "2"}
    {"command": "mode", "context": "*", "mode": "observe"}
    {"command": "show"}

`images` and `forms` are SHA-256 digests in hex of page images and of canonical forms. A digest from outside is believed
here, unlike anywhere else (P4): it can only remove. So no content travels to an erase, and none comes back. The report
has in `nothing_of` what was named and not found: a page counts by its bytes, and the file may be another.

Everything is done under the secret in force and under the one before it (docs/adr/0005). A command that cannot be done is
answered with `error`, one line that says what to do, and `fault`: `command` or `cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hookcache.clients import Clients
from hookcache.clock import Clock, Deadline, SystemClock
from hookcache.control import BackendIdentity, Control
from hookcache.erasable import ErasableItems
from hookcache.eraser import SETTLE_SECONDS, Eraser, Found, Tally
from hookcache.errors import HookCacheError, TierUnavailable
from hookcache.key import Keyer, Secrets
from hookcache.lease import SKEW_MS, LeaseBook
from hookcache.orders import ALL_CONTEXTS, Orders
from hookcache.overflow import Overflow
from hookcache.policy import Mode
from hookcache.request import METERED_CONTEXTS
from hookcache.sealer import Sealer
from hookcache.secret import every_version
from hookcache.settings import Settings
from hookcache.spending import Spending
from hookcache.value import value

RESERVE_SECONDS = 10.0 + SETTLE_SECONDS
"""An erase stops so long before its invocation ends, and says that it is not finished."""
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5.0, 10.0, 5

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Context = Literal["*"] | Annotated[str, Field(pattern="^(" + "|".join(sorted(METERED_CONTEXTS)) + ")$")]


class _Command(BaseModel):
    """`namespace`, where given, must be the cache's own: a guard against commands that went to the wrong one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str | None = None


class Erase(_Command):
    """Remove what was kept of images, requests and keys, fetches in flight included."""

    command: Literal["erase"]
    images: tuple[Sha256, ...] = ()
    forms: tuple[Sha256, ...] = ()
    key_ids: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")], ...] = ()
    dry_run: bool = False


class Invalidate(_Command):
    """Let no answer made before a time (now by this clock, if none is given) be served; `soft`: only in place of an error."""

    command: Literal["invalidate"]
    context: Context = ALL_CONTEXTS
    before_ms: Annotated[int, Field(ge=0)] | None = None
    soft: bool = False


class Generation(_Command):
    """Put a generation into every key, in place of the settings' own; null takes that back."""

    command: Literal["generation"]
    generation: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None


class SetMode(_Command):
    """Order a mode, in place of the settings' own; null takes that back."""

    command: Literal["mode"]
    context: Context = ALL_CONTEXTS
    mode: Mode | None


class Show(_Command):
    """Tell the orders that stand."""

    command: Literal["show"]


Command = Erase | Invalidate | Generation | SetMode | Show
_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


class CommandRefused(HookCacheError):
    """A command is malformed, or not meant for this cache."""


class OperatorClients(Clients):
    """Clients for work that nobody's request waits for: from far away, and through a spell of throttling."""

    def dynamodb(self) -> Any:
        return self._client("dynamodb", connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, attempts=ATTEMPTS)


@value
class _Reach:
    """What is kept under one secret."""

    keyer: Keyer
    eraser: Eraser
    control: Control


class Commands:
    """
    Does commands on the cache that `settings` name. An instance is a Lambda handler: event in, report out.

    Args:
        clients: boto3 clients; tests give their own.
    """

    def __init__(self, settings: Settings, clients: Any = None, clock: Clock | None = None) -> None:
        self.settings = settings
        self._clients = clients if clients is not None else OperatorClients(slim=False)
        self._clock = clock if clock is not None else SystemClock()
        self._spending = Spending()
        self._items = ErasableItems(self._clients.dynamodb, settings.table, self._clock, self._spending)
        bucket = settings.overflow_bucket
        self._overflow = Overflow(self._clients.s3, bucket, self._spending) if bucket else None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Commands:
        """
        Raises:
            ConfigurationError: a setting is wrong; its message names the setting and the remedy.
        """
        return cls(Settings.of(environ))

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """The report on the command in `event`. Never raises for a reason that an operator can act on."""
        try:
            return self._do(_parsed(event), Deadline(context))
        except CommandRefused as refused:
            return {"error": str(refused), "fault": "command"}
        except HookCacheError as trouble:
            return {"error": f"the cache could not be asked: {trouble}", "fault": "cache"}
        except (ClientError, BotoCoreError) as trouble:
            return {"error": f"the cache could not be asked: {_told(trouble)}", "fault": "cache"}

    def close(self) -> None:
        """Let the worker threads end."""
        self._items.close()

    def _do(self, command: Command, deadline: Deadline) -> dict[str, Any]:
        if command.namespace not in {None, self.settings.namespace}:
            raise CommandRefused(
                f"this cache keeps namespace {self.settings.namespace}; name the wrapper of the other one"
            )
        match command:
            case Erase():
                report = self._erase(command, deadline)
            case Invalidate(context=context, before_ms=named, soft=soft):
                now = self._clock.now_ms()
                before = now if named is None else named
                if before > now + SKEW_MS:
                    raise CommandRefused("the time lies in the future; answers made until then would be lost as well")
                report = self._amend(lambda orders: orders.invalidated(context, before, soft=soft))
            case Generation(generation=generation):
                report = self._amend(lambda orders: orders.with_generation(generation))
            case SetMode(context=context, mode=mode):
                report = self._amend(lambda orders: orders.with_mode(context, mode.value if mode else None))
            case Show():
                orders, tampered = next(self._reaches()).control.sealed_orders()
                report = _shown(orders) | {"tampered": tampered}
        return {"command": command.command, "namespace": self.settings.namespace, **report}

    def _erase(self, command: Erase, deadline: Deadline) -> dict[str, Any]:
        if not (command.images or command.forms or command.key_ids):
            raise CommandRefused("nothing to erase was named; give images, forms or key_ids")
        removed, missed = Tally(), dict.fromkeys((*command.images, *command.forms, *command.key_ids))
        finished = True
        # The secret before comes first, and each is looked through in its turn: what an import takes over meanwhile is found.
        for reach in reversed([*self._reaches()]):
            if not finished and removed.failed < removed.count:
                missed.clear()  # nobody looked everywhere yet: the next call goes on
                break
            # Where all failed it would meet the same again: what is served now comes in its turn.
            try:
                found = self._find(reach, command, missed)
            except TierUnavailable:
                if not removed.count:
                    raise
                finished = False  # and what was erased is told
                missed.clear()
            else:
                finished = self._erase_found(reach.eraser, found, command, deadline, removed) and finished
        if removed.count and not command.dry_run:
            self._clock.sleep(SETTLE_SECONDS)
        return {"dry_run": command.dry_run, "finished": finished, "nothing_of": list(missed), **removed.report()}

    def _find(self, reach: _Reach, command: Erase, missed: dict[str, None]) -> Found:
        """What is kept under one secret; what of it was named is struck from `missed`."""
        named = _indexes(reach.keyer, command)
        found = reach.eraser.find(index for _, index in named)
        seen = {index for indexes in found.values() for index in indexes}
        for name, index in named:
            if index in seen:
                missed.pop(name, None)
        return found

    def _erase_found(self, eraser: Eraser, found: Found, command: Erase, deadline: Deadline, removed: Tally) -> bool:
        """Erase what was found; False if time ran out first."""
        left = len(found)
        for some in eraser.erase(found, dry_run=command.dry_run):
            for each in some:
                removed.add(each)
            left -= len(some)
            if left and deadline.remaining_seconds() < RESERVE_SECONDS:
                return False
        return True

    def _amend(self, change: Callable[[Orders], Orders]) -> dict[str, Any]:
        """Under every secret: environments that started with the one before still read their orders under it."""
        amended = [reach.control.amend(change) for reach in self._reaches()]
        return _shown(amended[0])

    def _reaches(self) -> Iterator[_Reach]:
        """What is kept under the secret in force, then under the one before; read anew, for it may just have changed."""
        settings, clock = self.settings, self._clock
        arn = settings.secret_arn
        texts = every_version(self._clients.secrets_manager, arn) if arn else [settings.secret]
        book = LeaseBook(self._items, clock, settings.lease_seconds)
        for text in texts:
            secrets = Secrets.derive(text.encode())
            keyer = Keyer(secrets, settings.namespace)
            sealer = Sealer(secrets.tags, keyer.namespace)
            where = keyer.control_key(settings.backend_name)
            yield _Reach(
                keyer,
                Eraser(self._items, keyer, sealer, book, self._overflow, clock),
                Control(self._items, where, secrets.tags, None, BackendIdentity(b""), clock),
            )


def _parsed(event: Any) -> Command:
    try:
        return _COMMANDS.validate_python(event)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"][1:]) or "command"
        raise CommandRefused(f"{where}: {problem['msg']}") from None


def _indexes(keyer: Keyer, command: Erase) -> list[tuple[str, bytes]]:
    """What the command names, each with the index that it is found under."""
    return [
        *((digest, keyer.image_index(bytes.fromhex(digest))) for digest in command.images),
        *((digest, keyer.form_index(bytes.fromhex(digest))) for digest in command.forms),
        *((shown, keyer.shown_index(shown)) for shown in command.key_ids),
    ]


def _shown(orders: Orders) -> dict[str, Any]:
    return {
        "generation": orders.generation,
        "not_before_ms": dict(orders.not_before_ms),
        "stale_before_ms": dict(orders.stale_before_ms),
        "modes": dict(orders.modes),
    }


def _told(trouble: ClientError | BotoCoreError) -> str:
    """The error's code and the operation; a service's own message may name what is confidential."""
    if isinstance(trouble, ClientError):
        return f"{trouble.response.get('Error', {}).get('Code', 'error')} from {trouble.operation_name}"
    return type(trouble).__name__
