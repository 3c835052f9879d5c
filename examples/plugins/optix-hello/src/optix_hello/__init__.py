"""An agent for optix.

Importing this package imports nothing heavy: names are looked up when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optix_hello.agent import HelloAgent as HelloAgent

__all__ = ["HelloAgent"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from optix_hello import agent

        return getattr(agent, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
