"""optix and distributed training: not built yet.

This package is a shell. It registers nothing with optix-core and offers no names but its version, so that
what depends on the name can already be installed. It will hold the actor-learner runner (V-trace) with a
local and a Ray backend.
"""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]
