"""Observers of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.callbacks.progress import ProgressCallback as ProgressCallback

_EXPORTS = {"ProgressCallback": ".progress"}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
