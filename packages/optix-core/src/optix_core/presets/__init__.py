"""Settings that are known to work: one preset per environment and algorithm, with where its numbers come from.

Presets are data (``data/*.toml``). Nothing uses one unless it is asked for, by name or as ``auto``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.presets.catalogue import all_presets as all_presets
    from optix_core.presets.catalogue import find_preset as find_preset
    from optix_core.presets.catalogue import presets_for as presets_for
    from optix_core.presets.preset import Preset as Preset

_EXPORTS = {
    "Preset": ".preset",
    "all_presets": ".catalogue",
    "find_preset": ".catalogue",
    "presets_for": ".catalogue",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
