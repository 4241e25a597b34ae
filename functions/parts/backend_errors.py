"""
Why a backend gave no answer, as one tree that says what to do about it.

    BackendError
    ├── SettingsError           a setting is missing or malformed: correct it; raised when the function starts
    ├── NoImageError            the request or the bucket holds no image to read: rights, or the host's prompt
    ├── BadRequestError         the request is none of the host's, or holds what this backend cannot send: its configuration
    ├── ServiceRefusedError     the service says that the request or the key is wrong: asking again does not help
    ├── ServiceThrottledError   the service asks for patience, and longer than this invocation has
    ├── ServiceFailedError      the service fails or cannot be reached, or its job failed
    ├── OutOfTimeError          no answer before this invocation's end
    └── BadAnswerError          an answer came and is none: empty, cut, no JSON, another shape

The host retries whatever is raised and reads no type; the types are for whoever reads the log. A failure never leaves
as an empty text, for that would be taken for a blank page. Messages carry sizes, states and remedies: no prompt, no
answer, no key and no address that names a document.
"""


class BackendError(Exception):
    """There is no answer."""


class SettingsError(BackendError):
    """A setting is missing or malformed; the message names it."""


class NoImageError(BackendError):
    """An image is missing, denied or of no known kind; nothing was read."""


class BadRequestError(BackendError):
    """The host's request holds something that the service has no place for; it is not left out in silence."""


class ServiceRefusedError(BackendError):
    """The service will not serve this request, however often it is asked."""


class ServiceThrottledError(BackendError):
    """The service is asked too often."""


class ServiceFailedError(BackendError):
    """The service is broken or out of reach, or reports that the work failed."""


class OutOfTimeError(BackendError):
    """This invocation's time ends before the service's work does."""


class BadAnswerError(BackendError):
    """The service answered with something that is no answer."""
