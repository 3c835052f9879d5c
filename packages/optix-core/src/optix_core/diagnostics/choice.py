"""The diagnostic controller that a run asked for, in whichever way."""

from __future__ import annotations

from typing import Any

from optix_core.diagnostics.controller import DiagnosticController
from optix_core.errors import ConfigError

DEFAULTS: dict[str, float] = {
    "loss_spike_factor": 5.0,
    "entropy_floor": 0.05,
    "target_kl": 0.02,
    "epsilon_patience": 20,
    "epsilon_reset_value": 0.3,
    "epsilon_score_threshold": 20.0,
    "min_episodes": 5,
}


def chosen_controller(controller: Any, **options: float) -> Any:
    """The controller to use, or None.

    Args:
        controller: An object with ``step``, True for one of the given options, False for none, or None: one of the
            given options if any of them differs from its default, else none.
        options: Those of :class:`DiagnosticController`, all of :data:`DEFAULTS`.

    Raises:
        ConfigError: A controller of one's own, or none, is asked for together with options.
    """
    changed = sorted(f"diag_{name}" for name, value in options.items() if value != DEFAULTS[name])
    if controller is None:
        controller = bool(changed)
    elif controller is not True and changed:
        raise ConfigError(
            f"{', '.join(changed)} and diagnostic_controller={controller!r} are both given; the options are those of "
            "optix's own DiagnosticController, so pass diagnostic_controller=True or leave it out"
        )
    if controller is True:
        return DiagnosticController(**options)  # pyright: ignore[reportArgumentType] (whole numbers where they belong)
    return None if controller is False else controller
