"""
How an invocation ends, as closed enumerations: the words of receipts, dashboards and reports.

    Outcome   exactly one per invocation; their counts sum to the invocations (P31)
    Reason    why the cache was not used, why a look-up missed, or why an answer was not kept
"""

from enum import StrEnum


class Outcome(StrEnum):
    """The one word that says how an invocation ended. Promise: P31."""

    HIT_MEMORY = "hit_memory"
    HIT_TABLE = "hit_table"
    COLLAPSED = "collapsed"
    MISS = "miss"
    STALE = "stale"
    REFRESH = "refresh"
    OBSERVE = "observe"
    BYPASS = "bypass"
    FAILED = "failed"

    @property
    def answered_from_cache(self) -> bool:
        """True where no backend call was made for this caller: such an answer's usage is zeros (P32)."""
        return self in _FROM_CACHE


_FROM_CACHE = frozenset({Outcome.HIT_MEMORY, Outcome.HIT_TABLE, Outcome.COLLAPSED, Outcome.STALE})


class Reason(StrEnum):
    """Why. One word for one thing, in receipts, dashboards and documents alike."""

    # The cache is not used for this request (outcome `bypass`).
    MODE_OFF = "mode_off"
    EVENT_SHAPE = "event_shape"
    EVENT_SIZE = "event_size"
    NUMBER = "number"
    REFERENCE = "reference"
    INLINE_IMAGE = "inline_image"
    BLOCK_TYPE = "block_type"
    IMAGE_NOT_ALLOWED = "image_not_allowed"
    IMAGE_UNREADABLE = "image_unreadable"
    SAMPLING = "sampling"
    BACKEND_UNKNOWN = "backend_unknown"
    SECRET_UNAVAILABLE = "secret_unavailable"  # noqa: S105 - a reason, no secret
    TABLE_DOWN = "table_down"
    ORDERS_UNREADABLE = "orders_unreadable"
    UNLEASED = "unleased"
    REFUSAL_WINDOW = "refusal_window"
    NESTED = "nested"
    REQUESTED = "requested"
    CALLER_CONTEXT = "caller_context"
    DISTRUSTED = "distrusted"
    INTERNAL = "internal"

    # What one look-up can know about a miss (P58).
    ABSENT = "absent"
    EXPIRED = "expired"
    ERASED = "erased"
    INVALIDATED = "invalidated"
    CORRUPT = "corrupt"
    SCHEMA = "schema"
    FUTURE = "created_in_future"
    NOT_LOOKED_UP = "not_looked_up"
    THROTTLED = "throttled"
    WOULD_HIT = "would_hit"

    # The answer went to the caller and was not kept (P14, P15, P40, P47, P54).
    NOT_AN_OBJECT = "not_an_object"
    NOT_FINITE = "not_finite"
    ERROR_BODY = "error_body"
    ROLE = "role"
    CONTENT = "content"
    BLANK_TEXT = "blank_text"
    STOP_REASON = "stop_reason"
    TRUNCATED = "truncated"
    USAGE = "usage"
    NO_PAGES = "no_pages"
    IMAGE_NOT_READ = "image_not_read"
    ANSWER_SIZE = "answer_size"
    NOT_JSON = "not_json"
    REFUSED_TEXT = "refused_text"
    IMAGE_CHANGED = "image_changed"
    OTHER_VERSION = "other_version"
    STORE_FAILED = "store_failed"
    NOT_INDEXED = "not_indexed"
    SUPERSEDED = "superseded"
    READ_ONLY = "read_only"

    # The invocation failed (outcome `failed`).
    BACKEND_FAILED = "backend_failed"
    BACKEND_TIMEOUT = "backend_timeout"
    BACKEND_THROTTLED = "backend_throttled"
    BACKEND_MALFORMED = "backend_malformed"
    SHARED_FAILURE = "shared_failure"
    FOLLOWER_TIMED_OUT = "follower_timed_out"
    DEADLINE = "deadline"
    LOOP = "loop"
