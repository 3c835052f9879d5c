"""How optix finds, checks, lists and chooses what plugins offer.

Plugin authors import :mod:`optix_core.plugin`; this package is the host's side of it. Nothing is imported before
it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.plugins.records import Component as Component
    from optix_core.plugins.records import Record as Record
    from optix_core.plugins.registry import Registry as Registry
    from optix_core.plugins.registry import configure as configure
    from optix_core.plugins.registry import default_registry as default_registry
    from optix_core.plugins.registry import register_plugin as register_plugin
    from optix_core.plugins.registry import use_registry as use_registry
    from optix_core.plugins.switches import Switches as Switches

_EXPORTS = {
    "Component": ".records",
    "Record": ".records",
    "Registry": ".registry",
    "Switches": ".switches",
    "configure": ".registry",
    "default_registry": ".registry",
    "register_plugin": ".registry",
    "use_registry": ".registry",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
