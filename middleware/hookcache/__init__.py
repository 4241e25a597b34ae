"""hookcache: a caching and metering layer in front of LambdaHook functions of the GenAI IDP Accelerator."""

from __future__ import annotations

from hookcache.hints import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hookcache.decorator import cached as cached

__all__ = ["__version__", "cached"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`cached` is loaded when first used: whoever imports one module of ours does not pay for all (boto3 among them)."""
    if name != "cached":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hookcache.decorator import cached

    return cached
