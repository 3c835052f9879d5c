"""Known signs of trouble while training, and what is done about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.diagnostics.controller import DiagnosticController as DiagnosticController
    from optix_core.diagnostics.controller import Firing as Firing

_EXPORTS = {"DiagnosticController": ".controller", "Firing": ".controller"}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
