"""Configuration of a run: files, overrides, where every value came from, and what is built from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.config.build import build_agent_from_config as build_agent_from_config
    from optix_core.config.build import make_env_from_config as make_env_from_config
    from optix_core.config.load import load_config as load_config
    from optix_core.config.overrides import apply_overrides as apply_overrides
    from optix_core.config.schema import TrainConfig as TrainConfig
    from optix_core.config.schema import config_to_dict as config_to_dict

_EXPORTS = {
    "TrainConfig": ".schema",
    "apply_overrides": ".overrides",
    "build_agent_from_config": ".build",
    "config_to_dict": ".schema",
    "load_config": ".load",
    "make_env_from_config": ".build",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
