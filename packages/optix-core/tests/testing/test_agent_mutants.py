"""Does the kit pass a good agent, and does each seeded fault fail exactly the check that is there for it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from optix_core.base_agent import BaseAgent
from optix_core.errors import SpaceError
from optix_core.plugins.envs import space_kind
from optix_core.testing import LinearAgent, check_agent
from optix_core.testing.agents import spaces
from optix_core.testing.agents.front import AGENT_CHECKS
from optix_core.types import EpisodeData, HyperparamSet

BOTH = ("discrete", "box")


def factory(cls: type[LinearAgent], *kinds: str) -> Any:
    def build(ctx: Any, **options: Any) -> BaseAgent:
        if space_kind(ctx.action_space) in {"discrete", "box"} - set(kinds):
            raise SpaceError("not claimed here")
        if options:
            raise TypeError(f"unknown options: {', '.join(options)}")
        return cls(ctx.observation_space, ctx.action_space, seed=ctx.seed, hyperparams=ctx.hyperparams)

    return build


def test_a_good_agent_passes_every_check() -> None:
    report = check_agent(factory(LinearAgent, *BOTH), action_spaces=BOTH)
    assert report.ok, str(report)
    ran = {r.id for r in report.results if r.outcome == "passed"}
    needs_a_plugin = {c.id for c in AGENT_CHECKS if c.id.startswith("static-")} | {"hyperparams-defaults"}
    needs_a_module = {"persistence-fresh-process"}
    slow = {c.id for c in AGENT_CHECKS if c.slow}
    not_claimed = {c.id for c in spaces.CHECKS} - {"spaces-images"} | {"capability-onnx"}
    assert ran == {c.id for c in AGENT_CHECKS} - needs_a_plugin - needs_a_module - slow - not_claimed


class AliasedHyperparams(LinearAgent):
    def get_hyperparams(self) -> HyperparamSet:
        return HyperparamSet(self._params)


class KeepsGivenHyperparams(LinearAgent):
    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        super().set_hyperparams(hyperparams)
        if set(hyperparams.params) == set(self._params):
            self._params = hyperparams.params


class IgnoresUnknownHyperparams(LinearAgent):
    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        super().set_hyperparams(
            HyperparamSet({k: v for k, v in hyperparams.params.items() if k in self._params})
        )


class HalfRefusesHyperparams(LinearAgent):
    """Puts the good values in force before it finds the bad one."""

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        for name, value in reversed(list(hyperparams.params.items())):
            if value != value:  # NaN  # noqa: PLR0124
                self._params["gamma"] = 0.5
            super().set_hyperparams(HyperparamSet({name: value}))


class ClipsRange(LinearAgent):
    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        params = dict(hyperparams.params)
        if isinstance(params.get("learning_rate"), float) and params["learning_rate"] > 0.1:
            params["learning_rate"] = 0.1
        super().set_hyperparams(HyperparamSet(params))


class DriftingHyperparams(LinearAgent):
    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        super().set_hyperparams(hyperparams)
        if len(hyperparams.params) > 1 and all(
            hyperparams.params.get(k) == v for k, v in self._params.items()
        ):
            self._params["entropy_coef"] = round(self._params["entropy_coef"] + 1e-3, 6)


class DeafToLearningRate(LinearAgent):
    """The optimizer keeps the rate it was made with."""

    def _ascend(self, gradients: Any) -> None:
        kept, self._params = self._params, {**self._params, "learning_rate": 0.05}
        super()._ascend(gradients)
        self._params = kept


class ForgetsOptimizerState(LinearAgent):
    def load_state_dict(self, state: Any) -> None:
        moments = {name: np.zeros_like(w) for name, w in state["weights"].items()}
        super().load_state_dict(
            {**state, "mean_gradient": moments, "mean_square": dict(moments), "updates": 0}
        )


class ForgetsRandomStream(LinearAgent):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "rng": self.state_dict()["rng"]})


class SharesItsState(LinearAgent):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "mean_gradient": self._mean_gradient}


class StatefulObject(LinearAgent):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "version": Path("1")}


class Unseeded(LinearAgent):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rng = np.random.default_rng()


class OneSeedForAll(LinearAgent):
    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        del seed
        super().__init__(*args, seed=0, **kwargs)


class SeedsTheWorld(LinearAgent):
    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, seed=seed, **kwargs)
        np.random.seed(seed)  # noqa: NPY002


class SharedMoments(LinearAgent):
    """The optimizer's state belongs to the class, that is to all agents of one shape."""

    shared: ClassVar[dict[int, Any]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # a fresh store whenever an agent with the same seed is made, so that only a neighbour can disturb
        key = self._weights["policy"].size
        if self._rng.bit_generator.seed_seq.entropy == 9:  # pyright: ignore[reportAttributeAccessIssue]
            self._mean_gradient = self.shared[key]
        else:
            self.shared[key] = self._mean_gradient


class OutOfBounds(LinearAgent):
    """Emits what the policy says, not what the box allows."""

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        if self._discrete or deterministic:
            return super().act(observation, deterministic=deterministic)
        action = super().act(observation)
        return (
            action
            if np.all(np.asarray(observation) % 1 == 0) or np.all(np.asarray(observation) == 0.5)
            else action - 4.0
        )


class BreaksOnLargeInput(LinearAgent):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        if np.abs(np.asarray(observation)).max() > 100:
            return float("nan")
        return super().act(observation, deterministic=deterministic)


class Float32Only(LinearAgent):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        if np.asarray(observation).dtype == np.float64:
            raise TypeError("expected float32")
        return super().act(observation, deterministic=deterministic)


class WritesToObservation(LinearAgent):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        action = super().act(observation, deterministic=deterministic)
        if np.asarray(observation).flags.writeable:
            observation *= 0.5
        return action


class LearnsWhileActing(LinearAgent):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        if not deterministic:
            self._weights["value"] = self._weights["value"] + 0.01
        return super().act(observation, deterministic=deterministic)


class NoisyGreedy(LinearAgent):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        action = super().act(observation, deterministic=deterministic)
        if deterministic:
            jitter = self._rng.random(8)
            return int(jitter[0] < 0.5) if self._discrete else np.float32(jitter[: self._outputs])
        return action


class ReusesItsBuffer(LinearAgent):
    _buffer: Any = None

    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        fresh = super().act_batch(observations, deterministic=deterministic)
        if len(fresh) == 1:
            return fresh
        if self._buffer is None:
            self._buffer = fresh.copy()
        self._buffer[:] = fresh
        return self._buffer


class CarelessProbabilities(LinearAgent):
    def action_probs(self, observation: Any) -> Any:
        return super().action_probs(observation) * 1.01


class TruncationIsTermination(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        episode_data.terminated = episode_data.terminated | episode_data.truncated
        return super().learn(episode_data)


class TakesResetForSuccessor(LinearAgent):
    """Bootstraps from the first observation of the next episode."""

    def learn(self, episode_data: EpisodeData) -> Any:
        kept, episode_data.boundary_steps = episode_data.boundary_steps, None
        found = super().learn(episode_data)
        episode_data.boundary_steps = kept
        return found


class NormalisesRewardsInPlace(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        episode_data.rewards /= 2.0
        return super().learn(episode_data)


class DividesBySpread(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        found = dict(super().learn(episode_data))
        with np.errstate(all="ignore"):
            found["snr"] = float(np.float64(1.0) / episode_data.rewards.std())
        return found


class Overflows(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        found = dict(super().learn(episode_data))
        with np.errstate(all="ignore"):
            found["moment"] = float(np.float32(np.mean(episode_data.rewards**8)))
        return found


class ReportsNonsense(LinearAgent):
    """Explained variance without a guard: NaN whenever a window has no rewards, infinite on ordinary ones."""

    def learn(self, episode_data: EpisodeData) -> Any:
        found = dict(super().learn(episode_data))
        return (
            {**found, "ratio": float("inf")}
            if episode_data.episode_id > 0 or len(episode_data.episodes) == 4
            else found
        )


class NeverLearns(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        return {"loss": 0.0}


class NeedsWholeEpisodes(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        if episode_data.length == 33 and not episode_data.dones.any():
            raise ValueError("no episode ended")
        return super().learn(episode_data)


class NeedsEvenWindows(LinearAgent):
    def learn(self, episode_data: EpisodeData) -> Any:
        if episode_data.length == 7:
            raise ValueError("cannot split 7 steps into minibatches")
        return super().learn(episode_data)


class SwallowsMissingFiles(LinearAgent):
    def load_weights(self, path: str) -> None:
        if Path(path).exists() or "nothing" in path:
            super().load_weights(path)


class HalfLoads(LinearAgent):
    """Changes a weight before it finds out that the file is bad."""

    def load_weights(self, path: str) -> None:
        if not Path(path).exists():
            raise FileNotFoundError(path)
        kept = self._weights
        self._weights = {**kept, "value": kept["value"] + 1.0}
        try:
            super().load_weights(path)
        except Exception as error:
            if "nothing" in path or "shapes" in str(error):
                self._weights = kept
            raise


class LoadsAnyShape(LinearAgent):
    def _require_shapes(self, weights: Any) -> None:
        del weights


class SavesHalf(LinearAgent):
    def load_weights(self, path: str) -> None:
        policy = self._weights["policy"]
        super().load_weights(path)
        if "step 1" in path:
            self._weights = {**self._weights, "policy": policy}


class ActsAnywhere(LinearAgent):
    def __init__(self, observation_space: Any, action_space: Any, **kwargs: Any) -> None:
        try:
            super().__init__(observation_space, action_space, **kwargs)
        except SpaceError as error:
            raise AttributeError("space has no attribute n") from error


class WrongPolicy(LinearAgent):
    is_on_policy = "yes"  # pyright: ignore[reportAssignmentType]


class PerturbsAtZero(LinearAgent):
    def perturb_weights(self, noise_scale: float) -> None:
        super().perturb_weights(noise_scale + 0.01)


class SumsInsteadOfAveraging(LinearAgent):
    def average_weights(self, paths: Any) -> None:
        super().average_weights(paths)
        self._weights = {n: w * len(paths) for n, w in self._weights.items()}


MUTANTS: dict[type[LinearAgent], str] = {
    AliasedHyperparams: "hyperparams-copies",
    KeepsGivenHyperparams: "hyperparams-copies",
    IgnoresUnknownHyperparams: "hyperparams-unknown",
    HalfRefusesHyperparams: "hyperparams-invalid",
    ClipsRange: "hyperparams-bounds",
    DriftingHyperparams: "hyperparams-roundtrip",
    DeafToLearningRate: "hyperparams-effective",
    ForgetsOptimizerState: "persistence-state-continues",
    ForgetsRandomStream: "persistence-state-continues",
    SharesItsState: "persistence-state-copied",
    StatefulObject: "persistence-state-plain",
    SwallowsMissingFiles: "persistence-missing",
    HalfLoads: "persistence-corrupt",
    LoadsAnyShape: "persistence-other-shape",
    SavesHalf: "persistence-roundtrip",
    Unseeded: "determinism-seed",
    OneSeedForAll: "determinism-seed-matters",
    SeedsTheWorld: "determinism-global-generators",
    SharedMoments: "determinism-isolated",
    OutOfBounds: "act-member",
    BreaksOnLargeInput: "act-edge-observations",
    Float32Only: "act-observation-dtypes",
    WritesToObservation: "act-observation-unchanged",
    LearnsWhileActing: "act-pure",
    NoisyGreedy: "act-greedy-repeats",
    ReusesItsBuffer: "act-batch",
    CarelessProbabilities: "act-probabilities",
    TruncationIsTermination: "learn-truncation",
    TakesResetForSuccessor: "learn-true-successors",
    NormalisesRewardsInPlace: "learn-data-unchanged",
    DividesBySpread: "learn-zero-rewards",
    Overflows: "learn-huge-rewards",
    ReportsNonsense: "learn-diagnostics",
    NeverLearns: "learn-changes-weights",
    NeedsWholeEpisodes: "learn-episode-shapes",
    NeedsEvenWindows: "learn-window-lengths",
    ActsAnywhere: "contract-refuses-spaces",
    WrongPolicy: "contract-on-policy",
    PerturbsAtZero: "capability-perturb",
    SumsInsteadOfAveraging: "capability-average",
}


TROUBLED_BY_IMAGES = {OutOfBounds, BreaksOnLargeInput, WritesToObservation}
"""Bytes up to 255 are large numbers, and no floats."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__)
def test_a_seeded_fault_fails_exactly_its_check(mutant: type[LinearAgent]) -> None:
    kinds = ("box",) if mutant is OutOfBounds else ("discrete",)
    report = check_agent(factory(mutant, *kinds), action_spaces=kinds)
    also = {"spaces-images"} if mutant in TROUBLED_BY_IMAGES else set[str]()
    assert [r.id for r in report.failures if r.id not in also] == [MUTANTS[mutant]], str(report)


BY_SPACES = {check.id for check in spaces.CHECKS}
"""These have mutants of their own kinds, in test_space_checks.py."""


def test_every_check_of_behaviour_has_a_mutant() -> None:
    quick = {c.id for c in AGENT_CHECKS if not c.slow and not c.id.startswith("static-")}
    tested_otherwise = {
        "contract-methods",
        "contract-builds",
        "contract-refuses-options",
        "hyperparams-defaults",
        "persistence-fresh-process",
        "capability-onnx",
        *BY_SPACES,
    }
    assert quick - set(MUTANTS.values()) == tested_otherwise


@pytest.mark.slow
def test_learning_checks_pass_a_learner_and_fail_faults() -> None:
    slow = {"learning-discrete", "learning-box", "learning-truncation"}
    good = check_agent(factory(LinearAgent, *BOTH), action_spaces=BOTH, slow=True)
    assert {r.id for r in good.results if r.outcome == "passed"} >= slow, str(good)
    bad = check_agent(factory(TruncationIsTermination, *BOTH), action_spaces=BOTH, slow=True)
    assert {r.id for r in bad.failures} == {"learn-truncation", "learning-truncation"}, str(bad)


@pytest.mark.slow
def test_an_agent_that_climbs_down_fails_the_learning_checks() -> None:
    class ClimbsDown(LinearAgent):
        def _ascend(self, gradients: Any) -> None:
            super()._ascend({n: g if n == "value" else -g for n, g in gradients.items()})

    report = check_agent(factory(ClimbsDown, *BOTH), action_spaces=BOTH, slow=True)
    assert {r.id for r in report.failures} >= {"learning-discrete", "learning-box"}, str(report)
