"""Stand-ins whose behaviour is prescribed, for testing what is built around agents and evaluators."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent
from optix_core.base_evaluator import BaseEvaluator
from optix_core.base_pipeline import BasePipeline
from optix_core.errors import HyperparamError, IncompatibleCheckpoint
from optix_core.types import EpisodeData, EpisodeRecord, EvalMetrics, HyperparamSet, ParamBounds


class ScriptedAgent(BaseAgent):
    """An agent whose only weight is a counter of the windows learned, and whose actions and diagnostics are given.

    Args:
        actions: What ``act`` returns, in turn, for ever.
        diagnostics: What ``learn`` returns, in turn; the last one repeats. An exception in the list is raised.
        hyperparams: Initial values.
        bounds: ``default_param_bounds`` of this agent.

    Attributes:
        learned: How many windows ``learn`` has seen; what is saved and restored.
        calls: Names of the contract's methods in the order they were called, without ``act``.
    """

    def __init__(
        self,
        *,
        actions: Sequence[Any] = (0,),
        diagnostics: Sequence[Mapping[str, Any] | Exception] = ({"loss": 0.0},),
        hyperparams: Mapping[str, Any] | None = None,
        bounds: ParamBounds | None = None,
    ) -> None:
        if not actions or not diagnostics:
            raise ValueError("ScriptedAgent needs at least one action and one diagnostics entry")
        self.learned = 0
        self.calls: list[str] = []
        self._actions, self._acted = tuple(actions), 0
        self._diagnostics = tuple(diagnostics)
        self._params = dict(hyperparams or {})
        if bounds is not None:
            self.default_param_bounds = dict(bounds)  # pyright: ignore[reportAttributeAccessIssue]

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """The next scripted action; greedy acting takes the first and does not move the script on."""
        del observation
        if deterministic:
            return self._actions[0]
        self._acted += 1
        return self._actions[(self._acted - 1) % len(self._actions)]

    def learn(self, episode_data: EpisodeData) -> Mapping[str, Any]:
        """The next scripted diagnostics, or the next scripted exception."""
        del episode_data
        self.calls.append("learn")
        entry = self._diagnostics[min(self.learned, len(self._diagnostics) - 1)]
        self.learned += 1
        if isinstance(entry, Exception):
            raise entry
        return dict(entry)

    def get_hyperparams(self) -> HyperparamSet:
        """A copy of the values in force."""
        return HyperparamSet(dict(self._params))

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force.

        Raises:
            HyperparamError: A name was not in the initial values.
        """
        self.calls.append("set_hyperparams")
        unknown = sorted(set(hyperparams.params) - set(self._params))
        if unknown:
            raise HyperparamError(f"ScriptedAgent has no hyperparameter {', '.join(unknown)}")
        self._params |= hyperparams.params

    def save_weights(self, path: str) -> None:
        """Write the counter and the values in force."""
        self.calls.append("save_weights")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.state_dict()), encoding="utf-8")

    def load_weights(self, path: str) -> None:
        """Read what :meth:`save_weights` wrote."""
        self.calls.append("load_weights")
        self.load_state_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def state_dict(self) -> dict[str, Any]:
        """The counter, the position in the script and the values in force."""
        return {"learned": self.learned, "acted": self._acted, "params": dict(self._params)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: ``state`` is not one of a ScriptedAgent.
        """
        if set(state) != {"learned", "acted", "params"}:
            raise IncompatibleCheckpoint(f"not the state of a ScriptedAgent: it has the keys {sorted(state)}")
        self.learned, self._acted, self._params = (
            int(state["learned"]),
            int(state["acted"]),
            dict(state["params"]),
        )


class ScriptedEvaluator(BaseEvaluator):
    """Gives the prescribed scores, one per window; the last one repeats.

    Args:
        scores: Scores in order; NaN means *no score*.
        spread: Half-width of the episode returns around each score: four returns at ``score + spread * (-1, -1, 1,
            1)``.
    """

    def __init__(self, scores: Iterable[float], *, spread: float = 0.0) -> None:
        self._scores = [float(s) for s in scores]
        if not self._scores:
            raise ValueError("ScriptedEvaluator needs at least one score")
        self._spread = spread
        self.asked = 0

    def score(self, episode_data: EpisodeData, train_diagnostics: Mapping[str, Any]) -> EvalMetrics:
        """The next score; diagnostics are passed on as metrics."""
        score = self._scores[min(self.asked, len(self._scores) - 1)]
        self.asked += 1
        return EvalMetrics(
            primary_score=score,
            metrics=dict(train_diagnostics),
            episode_id=episode_data.episode_id,
            timestamp=0.0,
            episode_returns=()
            if np.isnan(score)
            else tuple(score + self._spread * s for s in (-1, -1, 1, 1)),
        )


class ScriptedPipeline(BasePipeline):
    """Windows of ``steps`` equal steps whose rewards are given; needs no environment.

    Args:
        returns: Return of the one episode that fills each window; the last one repeats. An exception in the list is
            raised.
        steps: Length of each window.

    Attributes:
        calls: ``"setup"``, ``"set_agent"``, ``"teardown"`` in the order they came.
        windows: How many windows were asked for.
    """

    def __init__(self, returns: Sequence[float | Exception] = (0.0,), *, steps: int = 4) -> None:
        if not returns or steps < 1:
            raise ValueError("ScriptedPipeline needs at least one return and one step")
        self._returns, self._steps = tuple(returns), steps
        self.calls: list[str] = []
        self.windows = 0
        self._limit: int | None = None

    def setup(self) -> None:
        """Recorded."""
        self.calls.append("setup")

    def set_agent(self, agent: BaseAgent) -> None:
        """Recorded; the agent is never asked to act."""
        del agent
        self.calls.append("set_agent")

    def teardown(self) -> None:
        """Recorded."""
        self.calls.append("teardown")

    @property
    def is_live(self) -> bool:
        """False."""
        return False

    @property
    def steps_per_window(self) -> int:
        """Length of each window."""
        return self._steps

    def limit_next_window(self, steps: int) -> bool:
        """The next window will hold at most ``steps``."""
        self._limit = steps
        return True

    def episodes(self) -> Iterator[EpisodeData]:
        """The scripted windows, for ever."""
        while True:
            entry = self._returns[min(self.windows, len(self._returns) - 1)]
            self.windows += 1
            if isinstance(entry, Exception):
                raise entry
            length = min(self._steps, self._limit or self._steps)
            self._limit = None
            yield flat_window(length, episode_return=entry, episode_id=self.windows - 1)


def flat_window(steps: int, *, episode_return: float = 0.0, episode_id: int = 0) -> EpisodeData:
    """A window that is one whole episode with the return spread evenly over its steps."""
    ends = np.zeros(steps, np.bool_)
    ends[-1] = True
    return EpisodeData(
        observations=np.zeros((steps, 1), np.float32),
        actions=np.zeros(steps, np.int64),
        rewards=np.full(steps, episode_return / steps),
        terminated=ends,
        truncated=np.zeros(steps, np.bool_),
        episode_id=episode_id,
        timestamp=0.0,
        episode_starts=[0],
        final_obs=np.zeros(1, np.float32),
        boundary_steps=np.asarray([[steps - 1, 0]]),
        boundary_observations=np.zeros((1, 1), np.float32),
        episodes=(
            EpisodeRecord(
                env_index=0, step=steps - 1, episode_return=episode_return, length=steps, terminated=True
            ),
        ),
    )


# --- score streams --------------------------------------------------------------------------------------------------


def constant(level: float, length: int) -> NDArray[np.float64]:
    """``[length]`` scores that never change."""
    return np.full(length, float(level))


def ramp(start: float, slope: float, length: int) -> NDArray[np.float64]:
    """``[length]`` scores that rise by ``slope`` each evaluation and never level off."""
    return start + slope * np.arange(length, dtype=np.float64)


def saturating(start: float, asymptote: float, rate: float, length: int) -> NDArray[np.float64]:
    """``[length]`` scores ``asymptote + (start - asymptote) * exp(-rate * t)``."""
    return asymptote + (start - asymptote) * np.exp(-rate * np.arange(length, dtype=np.float64))


def collapse(level: float, after: int, to: float, length: int) -> NDArray[np.float64]:
    """``[length]`` scores at ``level`` that drop to ``to`` from evaluation ``after`` on."""
    scores = constant(level, length)
    scores[after:] = to
    return scores


def ar1_noise(length: int, *, sigma: float, rho: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """``[length]`` stationary AR(1) noise: standard deviation ``sigma``, autocorrelation ``rho`` in (-1, 1)."""
    noise = rng.standard_normal(length)
    noise[1:] *= np.sqrt(1.0 - rho**2)
    for t in range(1, length):
        noise[t] += rho * noise[t - 1]
    return sigma * noise
