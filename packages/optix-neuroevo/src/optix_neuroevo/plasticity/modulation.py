"""How the run goes decides how plastic the network is: growth, pruning, local rules, exploration scale by regime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optix_core.errors import ConfigError
from optix_core.loop_callback import LoopCallback
from optix_core.state import State
from optix_core.types import EvalMetrics, HyperparamSet

REGIMES = ("trending", "ranging", "volatile")
SCALES: Mapping[str, Mapping[str, float]] = {
    "hebbian_lr": {"trending": 0.5, "ranging": 2.0, "volatile": 0.3},
    "entropy": {"trending": 0.5, "ranging": 2.0, "volatile": 1.5},
    "grow_gap": {"trending": 1.5, "ranging": 0.5, "volatile": 1.2},
    "prune_threshold": {"trending": 1.5, "ranging": 0.8, "volatile": 0.3},
}
"""What each value is multiplied with; always the value at construction, so that scales never pile up."""


class NeuromodulatorSignal(LoopCallback):
    """Scales hyperparameters of plasticity by the regime that the scores are in.

    Args:
        detector: Has ``detect(history) -> regime``, as a ``RegimeDetector`` of optix_core has. None: regimes are given
            with :meth:`apply`.
        hebbian_hook: Its ``hebbian_lr`` is scaled.
        agent: Its hyperparameter ``entropy_coef`` is scaled.
        topology_controller: Its ``grow_cooldown`` and its pruning thresholds are scaled.
        hebbian_lr_scale: By regime; None: :data:`SCALES`.
        entropy_scale: As above.
        grow_gap_scale: As above.
        prune_threshold_scale: As above.
        hook: Another name of ``hebbian_hook``.
        controller: Another name of ``topology_controller``.

    Attributes:
        current_regime: The one in force; None before the first.

    Raises:
        ConfigError: A scale lacks a regime, or nothing is to be scaled.
    """

    critical = True

    def __init__(
        self,
        detector: Any = None,
        hebbian_hook: Any = None,
        agent: Any = None,
        topology_controller: Any = None,
        hebbian_lr_scale: Mapping[str, float] | None = None,
        entropy_scale: Mapping[str, float] | None = None,
        grow_gap_scale: Mapping[str, float] | None = None,
        prune_threshold_scale: Mapping[str, float] | None = None,
        *,
        hook: Any = None,
        controller: Any = None,
    ) -> None:
        self._detector, self._agent = detector, agent
        self._hook = hebbian_hook if hook is None else hook
        self._controller = topology_controller if controller is None else controller
        if self._hook is None and self._agent is None and self._controller is None:
            raise ConfigError("there is nothing to modulate: give hook=, agent= or controller=")
        given = {
            "hebbian_lr": hebbian_lr_scale, "entropy": entropy_scale, "grow_gap": grow_gap_scale,
            "prune_threshold": prune_threshold_scale,
        }  # fmt: skip
        self._scales = {name: dict(SCALES[name] if s is None else s) for name, s in given.items()}
        for name, scale in self._scales.items():
            missing = [regime for regime in REGIMES if regime not in scale]
            if missing:
                raise ConfigError(f"the scale of {name} lacks {', '.join(missing)}")
        self.current_regime: str | None = None
        self._history: list[EvalMetrics] = []
        self._base = self._values()

    @property
    def state(self) -> dict[str, Any]:
        """The regime, and the values in force."""
        return {"regime": self.current_regime, **self._values()}

    def step(self, metrics_history: Sequence[EvalMetrics]) -> str:
        """Detect the regime and put it in force.

        Raises:
            ConfigError: There is no detector.
        """
        if self._detector is None:
            raise ConfigError("there is no detector; call apply(regime)")
        regime = str(self._detector.detect(metrics_history))
        self.apply(regime)
        return regime

    def apply(self, regime: str) -> None:
        """Scale the values at construction by a regime.

        Raises:
            ConfigError: There is no such regime.
        """
        if regime not in REGIMES:
            raise ConfigError(f"unknown regime {regime!r}; there are {', '.join(REGIMES)}")
        self.current_regime = regime
        self._put({name: self._base[name] * self._scales[_KIND[name]][regime] for name in self._base})

    def reset_to_base(self) -> None:
        """Put the values at construction back."""
        self.current_regime = None
        self._put(self._base)

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """One window more: with a detector, look at the scores so far."""
        del episode_id
        if eval_metrics is not None and self._detector is not None:
            self._history = [*self._history[-199:], eval_metrics]
            self.step(tuple(self._history))

    def state_dict(self) -> State:
        """Regime, base values and scores."""
        return {
            "regime": self.current_regime,
            "base": dict(self._base),
            "history": [m.to_state() for m in self._history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there: the values of the regime are put in force again."""
        self._base = {str(k): float(v) for k, v in state["base"].items()}
        self._history = [EvalMetrics.from_state(m) for m in state["history"]]
        if state["regime"] is None:
            self.reset_to_base()
        else:
            self.apply(str(state["regime"]))

    def _values(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._hook is not None:
            found["hebbian_lr"] = float(self._hook.hebbian_lr)
        if self._agent is not None:
            found["entropy_coef"] = float(self._agent.get_hyperparams().params["entropy_coef"])
        if self._controller is not None:
            for name in ("grow_cooldown", "prune_edge_threshold", "prune_neuron_threshold"):
                found[name] = float(getattr(self._controller, name))
        return found

    def _put(self, values: Mapping[str, float]) -> None:
        if self._hook is not None:
            self._hook.hebbian_lr = values["hebbian_lr"]
        if self._agent is not None:
            self._agent.set_hyperparams(HyperparamSet({"entropy_coef": values["entropy_coef"]}))
        if self._controller is not None:
            self._controller.grow_cooldown = round(values["grow_cooldown"])
            self._controller.prune_edge_threshold = values["prune_edge_threshold"]
            self._controller.prune_neuron_threshold = values["prune_neuron_threshold"]


_KIND = {
    "hebbian_lr": "hebbian_lr",
    "entropy_coef": "entropy",
    "grow_cooldown": "grow_gap",
    "prune_edge_threshold": "prune_threshold",
    "prune_neuron_threshold": "prune_threshold",
}
