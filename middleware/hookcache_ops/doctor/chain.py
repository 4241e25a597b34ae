"""Checks of the chain host, wrapper, backend: names, settings, times, modes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hookcache.clock import MARGIN_SECONDS
from hookcache.control import identity_of
from hookcache.limits import HOST_SECONDS
from hookcache.policy import Mode
from hookcache.request import CONTEXTS
from hookcache.settings import PREFIX
from hookcache_ops.doctor.finding import Finding, error, note, warning
from hookcache_ops.doctor.patient import REDIRECT, Patient, bare_name

HOST_PREFIX = "GENAIIDP-"
OLD_HOST_SECONDS = 60
"""How long older hosts waited for a hook."""
RUNTIME_MB = 200
"""What Python, the SDK and one page in work take beside the kept answers, generously."""


def name(patient: Patient) -> Iterator[Finding]:
    """Contract of the host: it may invoke functions called GENAIIDP-... only, case-sensitively."""
    if not patient.name.startswith(HOST_PREFIX):
        yield error(
            "name_prefix",
            f"{patient.name} does not start with {HOST_PREFIX}: the host refuses its ARN and may not invoke it",
            f"deploy it under a name such as {HOST_PREFIX}cache-{patient.name}",
        )


def settings(patient: Patient) -> Iterator[Finding]:
    """P52: the settings are what the function itself would accept, and no variable is ignored."""
    own = {variable for variable, told in patient.environment.items() if variable.startswith(PREFIX) and told}
    if not own:
        yield error(
            "not_configured",
            f"{patient.name} has no {PREFIX} variable: there is no cache in it",
            "set the variables that README.md lists, or name the wrapper instead of the backend",
        )
        return
    if patient.wraps_another and f"{PREFIX}BACKEND" not in own:
        yield error(
            "backend_not_set",
            f"{patient.name} stands in front of nothing: {PREFIX}BACKEND is not set",
            f"set {PREFIX}BACKEND to the name of the hook to stand in front of",
        )
    if bare_name(patient.environment.get(f"{PREFIX}BACKEND", "")) == patient.name:
        yield error(
            "backend_is_itself",
            f"{patient.name} wraps itself: it would call itself without end, and refuses to start",
            f"set {PREFIX}BACKEND to the hook that reads the pages",
        )
    elif patient.reading.refusal:
        yield error(
            "settings_refused",
            f"{patient.name} refuses to start: {patient.reading.refusal}",
            "correct that variable; every request fails until then",
        )
    for said in patient.reading.said:
        unknown = re.match(rf"({PREFIX}\w+) is no setting", said)
        if unknown:
            yield warning(
                "unknown_setting",
                f"{unknown[1]} is no setting of hookcache and is ignored",
                "correct its spelling or remove it",
            )
    if patient.environment.get(f"{PREFIX}SECRET"):
        yield warning(
            "secret_in_environment",
            f"{PREFIX}SECRET is set: whoever may read the configuration can test guessed prompts",
            f"keep the secret in Secrets Manager and name it in {PREFIX}SECRET_ARN",
        )


def handler(patient: Patient) -> Iterator[Finding]:
    """The layer needs to know the handler that it stands before."""
    old = patient.environment.get(f"{PREFIX}HANDLER", "")
    redirected = patient.configuration.get("Handler") == REDIRECT
    if redirected and not old:
        yield error(
            "handler_not_set",
            f"the handler is {REDIRECT}, and {PREFIX}HANDLER does not name the old one",
            f"set {PREFIX}HANDLER to the function's own handler, such as index.lambda_handler",
        )
    if old and not redirected:
        yield error(
            "handler_not_redirected",
            f"{PREFIX}HANDLER is set, and the handler is {patient.configuration.get('Handler')}: the cache is not in use",
            f"set the function's handler to {REDIRECT}",
        )


def times(patient: Patient) -> Iterator[Finding]:
    """P52: backend timeout < wrapper timeout < what the host waits; a follower's wait fits into the wrapper's time."""
    own = patient.timeout_seconds
    if own >= HOST_SECONDS:
        yield error(
            "wrapper_timeout",
            f"{patient.name} may run {own:g} s, and the host stops waiting after {HOST_SECONDS} s",
            f"set its timeout below {HOST_SECONDS} s",
        )
    if patient.settings is None:
        return
    wait = patient.settings.wait_seconds
    if wait + MARGIN_SECONDS >= own:
        yield warning(
            "wait_outlasts_wrapper",
            f"a second caller waits {wait:g} s, and {patient.name} is stopped after {own:g} s",
            f"set {PREFIX}WAIT_SECONDS below {own - MARGIN_SECONDS:g}, or raise the timeout",
        )
    if wait + MARGIN_SECONDS >= patient.host_seconds:
        yield warning(
            "wait_outlasts_host",
            f"a second caller waits {wait:g} s, and this host gives up after {patient.host_seconds:g} s",
            f"set {PREFIX}WAIT_SECONDS below {patient.host_seconds - MARGIN_SECONDS:g}",
        )
    elif wait + MARGIN_SECONDS >= OLD_HOST_SECONDS:
        yield note(
            "wait_outlasts_old_hosts",
            f"a second caller waits {wait:g} s; hosts with the old {OLD_HOST_SECONDS} s timeout give up before that",
            f"keep it where the host waits {HOST_SECONDS} s, else set {PREFIX}WAIT_SECONDS to 45",
        )


def memory(patient: Patient) -> Iterator[Finding]:
    """The memory tier has room beside the runtime."""
    if patient.settings is None:
        return
    tier, given = patient.settings.memory_bytes / 2**20, float(patient.configuration.get("MemorySize", 128))
    room = int(given - RUNTIME_MB)
    if tier > given - RUNTIME_MB:
        yield warning(
            "memory_outgrows_function",
            f"answers may take {tier:,.0f} MB of memory and the runtime needs {RUNTIME_MB}, and {patient.name} has {given:,.0f} MB: "
            "it would be stopped in the middle of a page",
            (f"set {PREFIX}MEMORY_BYTES below {room * 2**20}, or " if room > 0 else "")
            + "give the function more memory",
        )


def backend(patient: Patient) -> Iterator[Finding]:
    """The backend is there, ends before the wrapper, and says which code it is (P40)."""
    named = patient.environment.get(f"{PREFIX}BACKEND", "")
    if not named or bare_name(named) == patient.name:
        return
    found = patient.backend
    if found is None:
        yield error(
            "backend_missing",
            f"there is no function {named}: every request fails",
            f"correct {PREFIX}BACKEND, or deploy the function or the alias that it names",
        )
        return
    if found.get("State", "Active") not in {"Active", "Inactive"}:
        yield error(
            "backend_not_ready",
            f"{named} is in state {found['State']}",
            "wait until it is Active; deploy it anew where it says Failed, its own StateReason says what it lacks",
        )
    if float(found["Timeout"]) >= patient.timeout_seconds:
        yield error(
            "timeout_chain",
            f"{named} may run {found['Timeout']} s, and {patient.name} is stopped after {patient.timeout_seconds:g} s: "
            "late answers are paid and lost",
            f"give {patient.name} at least 5 s more than its backend, below {HOST_SECONDS} s",
        )
    yield from _lifetimes(patient, named, float(found["Timeout"]))
    if not bare_name(named).startswith(HOST_PREFIX):
        yield note(
            "backend_prefix",
            f"{named} does not start with {HOST_PREFIX}: the host itself could not call it",
            "none is needed; with the wrapper taken out, the host's steps would fail",
        )
    if (patient.environment.get(f"{PREFIX}IDENTITY") or "auto") == "auto":  # an empty text is none
        try:
            identity_of(found)
        except KeyError as missing:
            yield error(
                "identity",
                f"Lambda does not say which code of {named} answers: {missing} is missing, so nothing is cached",
                f"set {PREFIX}IDENTITY to pinned, and change {PREFIX}GENERATION with each deployment of the backend",
            )
        except ValueError:
            yield error(
                "identity",
                f"the last update of {named} is not done or failed: which code answers is not known, so nothing new is cached",
                "wait until its LastUpdateStatus is Successful; deploy it again where that says Failed",
            )


def _lifetimes(patient: Patient, named: str, backend_seconds: float) -> Iterator[Finding]:
    """P10: an answer's age counts from the moment its fetch began, so one that took longer than its freshness never hits."""
    if patient.settings is None:
        return
    fresh = {context: patient.settings.rules(context).fresh_seconds for context in sorted(CONTEXTS)}
    short = {context: seconds for context, seconds in fresh.items() if seconds <= backend_seconds}
    if short:
        told = ", ".join(f"{context} {seconds} s" for context, seconds in short.items())
        yield note(
            "fresh_within_fetch",
            f"answers age from the moment their fetch began, and {named} may take {backend_seconds:g} s; they are fresh "
            f"for less than that ({told}), so a slow one is never served again",
            f"set {PREFIX}FRESH_SECONDS, or fresh_seconds in {PREFIX}POLICY, well above the time that a page takes",
        )


def modes(patient: Patient) -> Iterator[Finding]:
    """P50: what is switched off is switched off on purpose."""
    if patient.settings is None:
        return
    whole = patient.settings.mode
    others = {context: patient.settings.rules(context).mode for context in sorted(CONTEXTS)}
    others = {context: mode for context, mode in others.items() if mode is not whole}
    if whole is not Mode.ON:
        but = ", but for the steps below" if others else ""
        yield (warning if whole is Mode.OFF and not others else note)(
            "mode",
            f"the mode is {whole.value}: {_MEANING[whole]}{but}",
            f"set {PREFIX}MODE to on, unless you meant it",
        )
    if others:
        told = ", ".join(f"{context} {mode.value}" for context, mode in others.items())
        yield note("mode_of_a_step", f"some steps have a mode of their own: {told}", f"see {PREFIX}POLICY")


_MEANING = {
    Mode.OFF: "nothing is looked up or kept",
    Mode.OBSERVE: "answers are kept, none is served from cache",
    Mode.READ_ONLY: "no new answer is kept",
    Mode.WRITE_ONLY: "none is served from cache",
}
