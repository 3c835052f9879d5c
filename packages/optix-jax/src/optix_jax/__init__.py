"""optix and JAX: not built yet.

This package is a shell. It registers nothing with optix-core and offers no names but its version, so that
what depends on the name can already be installed. It will hold Flax agents with a jitted update.
"""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]
