"""The error tree: may the host retry, and whose fault is it?"""

import pytest

from hookcache import errors
from hookcache.errors import BackendFailed, HookCacheError, backend_failed


def tree(root):
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("hookcache"):
            yield from tree(child)


def test_every_error_is_drawn_in_the_docstring():
    """P36: the tree on the page is the tree in the code."""
    drawn = errors.__doc__ or ""
    ours = [
        error
        for error in tree(HookCacheError)
        if error.__module__ == "hookcache.errors" and error.__name__ in dir(errors)
    ]

    assert [] == [error.__name__ for error in ours if error.__name__ not in drawn]


@pytest.mark.parametrize(
    ("name", "retryable", "fault"),
    [
        ("ConfigurationError", False, "operator"),
        ("LoopDetected", False, "operator"),
        ("Unkeyable", False, "request"),
        ("TierUnavailable", False, "table"),
        ("EntryRejected", False, "writer"),
        ("FollowerTimedOut", True, "leader"),
        ("DeadlineTooClose", True, "operator"),
        ("BackendThrottled", True, "backend"),
        ("BackendFailed", True, "backend"),
        ("BackendMalformed", True, "backend"),
    ],
)
def test_each_error_says_whether_to_retry_and_whose_fault_it_is(name, retryable, fault):
    """P27, P28: answers for the operator and the receipt; the host itself reads none of them."""
    error = getattr(errors, name)

    assert (retryable, fault) == (error.retryable, error.fault)
    assert issubclass(error, HookCacheError)
    assert error.__doc__


@pytest.mark.parametrize("name", ["ThrottlingException", "botocore.errorfactory.X", "_Private", "A" * 128])
def test_the_backends_error_type_is_the_name_of_what_we_raise(name):
    """F20: the runtime reports `type(error).__name__`, so the host reads what it would have read without us."""
    error = backend_failed("message", name)

    assert (name, name, "message") == (type(error).__name__, error.error_type, str(error))
    assert isinstance(error, BackendFailed)


@pytest.mark.parametrize("name", ["", "Two words", "x\ny", "A" * 129, "<script>", "1st", "\u00e9"], ids=ascii)
def test_a_type_that_is_no_name_is_reported_as_backend_failed(name):
    """P36, F20: what a backend wrote there must not become a class name."""
    error = backend_failed("message", name)

    assert ("BackendFailed", "BackendFailed") == (type(error).__name__, error.error_type)
