"""Do core's own components pass the kit, and does each seeded fault fail exactly the check that is there for it?"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import pytest

from optix_core.base_optimizer import BaseOptimizer
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.loop_callback import LoopCallback
from optix_core.pipelines.batch import BatchPipeline
from optix_core.testing import check_callback, check_evaluator, check_pipeline, check_tuner
from optix_core.types import EvalMetrics, HyperparamSet


@pytest.mark.parametrize(
    "check, name",
    [
        (check_pipeline, "batch"),
        (check_pipeline, "vector"),
        (check_tuner, "spsa"),
        (check_tuner, "fixed"),
        (check_callback, "progress"),
        (check_evaluator, "mean_return"),
    ],
)
def test_components_of_core_conform(check: Any, name: str) -> None:
    report = check(f"optix-core:{name}", slow=True)
    assert report.ok, str(report)


# --- pipelines -------------------------------------------------------------------------------------------------------


class Changes(BatchPipeline):
    """A pipeline that hands on windows changed by ``change``."""

    def change(self, window: Any) -> None:
        raise NotImplementedError

    def episodes(self) -> Any:
        for window in super().episodes():
            self.change(window)
            yield window


class ShiftsRewards(Changes):
    def change(self, window: Any) -> None:
        window.rewards = window.rewards + 1.0


class MergesEnds(Changes):
    def change(self, window: Any) -> None:
        window.terminated = window.terminated | window.truncated


class LosesSuccessors(Changes):
    def change(self, window: Any) -> None:
        window.boundary_steps = None


class ForgetsCarriedReturns(Changes):
    def change(self, window: Any) -> None:
        window.episodes = tuple(e for e in window.episodes if e.length <= window.length)


class CollectsAhead(BatchPipeline):
    def episodes(self) -> Any:
        stream = super().episodes()
        ahead = next(stream)
        for window in stream:
            yield ahead
            ahead = window


class ForcesResets(BatchPipeline):
    def episodes(self) -> Any:
        for window in super().episodes():
            yield window
            self.env.reset()


class IgnoresItsLimit(BatchPipeline):
    def limit_next_window(self, steps: int) -> bool:
        return True


class Unseeded(BatchPipeline):
    def __init__(self, *args: Any, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, seed=np.random.default_rng().integers(2**31), **kwargs)


class TornOnce(BatchPipeline):
    torn = False

    def teardown(self) -> None:
        if self.torn:
            raise RuntimeError("already closed")
        self.torn = True
        super().teardown()


PIPELINES: dict[type[BatchPipeline], str] = {
    ShiftsRewards: "pipeline-accounting",
    MergesEnds: "pipeline-ends-apart",
    LosesSuccessors: "pipeline-observations",
    ForgetsCarriedReturns: "pipeline-records",
    CollectsAhead: "pipeline-on-demand",
    ForcesResets: "pipeline-borders",
    IgnoresItsLimit: "pipeline-limit",
    Unseeded: "pipeline-seed",
    TornOnce: "pipeline-contract",
}


@pytest.mark.parametrize("mutant", PIPELINES, ids=lambda m: m.__name__)
def test_a_pipeline_fault_is_found(mutant: type[BatchPipeline]) -> None:
    report = check_pipeline(mutant)
    failed = {r.id for r in report.failures}
    assert PIPELINES[mutant] in failed, str(report)
    # what happens ahead of time or between windows shows in the record of steps as well
    consequences = {
        CollectsAhead: {"pipeline-accounting", "pipeline-ends-apart", "pipeline-observations", "pipeline-records",
                        "pipeline-limit", "pipeline-borders"},
        ForcesResets: {"pipeline-observations", "pipeline-records"},
    }.get(mutant, set())  # fmt: skip
    assert failed - {PIPELINES[mutant]} <= consequences, str(report)


# --- tuners ----------------------------------------------------------------------------------------------------------


class Walk(BaseOptimizer):
    """A good tuner to break: a random walk inside the ranges that remembers the best values."""

    def __init__(self, param_bounds: Any = None, log_params: Any = (), *, seed: int | None = None) -> None:
        self.bounds, self.rng = dict(param_bounds or {}), np.random.default_rng(seed)
        self.best: dict[str, float] = {}
        self.score = -math.inf

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        params = dict(current_hyperparams.params)
        if metrics_history and metrics_history[-1].primary_score > self.score:
            self.score, self.best = metrics_history[-1].primary_score, {n: params[n] for n in self.bounds}
        return HyperparamSet(
            {**params, **{n: self.step(n, self.best.get(n, params[n])) for n in self.bounds}}
        )

    def step(self, name: str, value: float) -> float:
        low, high = self.bounds[name]
        return float(np.clip(value + 0.1 * (high - low) * self.rng.standard_normal(), low, high))

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best), "score": self.score, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Any) -> None:
        self.best, self.score = dict(state["best"]), state["score"]
        self.rng.bit_generator.state = state["rng"]


class Escapes(Walk):
    def step(self, name: str, value: float) -> float:
        low, high = self.bounds[name]
        return value + 0.5 * (high - low) * float(self.rng.standard_normal())


class Meddles(Walk):
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        found = super().suggest(current_hyperparams, metrics_history)
        found.params["batch_size"] = float(found.params["batch_size"])
        return found


class WritesToArgument(Walk):
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        found = super().suggest(HyperparamSet(dict(current_hyperparams.params)), metrics_history)
        current_hyperparams.params.update(found.params)
        return found


class UnseededWalk(Walk):
    def __init__(self, param_bounds: Any = None, log_params: Any = (), *, seed: int | None = None) -> None:
        super().__init__(param_bounds, log_params)


class PoisonedByNaN(Walk):
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        if metrics_history and math.isnan(metrics_history[-1].primary_score):
            self.score = math.nan
        found = super().suggest(current_hyperparams, metrics_history)
        return found if not math.isnan(self.score) else HyperparamSet({**found.params, "gamma": math.nan})


class ForgetsItsStream(Walk):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "rng": self.rng.bit_generator.state})


class NeedsHistory(Walk):
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        metrics_history[-1]
        return super().suggest(current_hyperparams, metrics_history)


class GoesByRawScores(Walk):
    def step(self, name: str, value: float) -> float:
        low, high = self.bounds[name]
        return float(np.clip(value + 1e-3 * (high - low) * math.tanh(self.score), low, high))


class Drifts(Walk):
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        params = dict(current_hyperparams.params)
        return HyperparamSet({**params, **{n: self.step(n, params[n]) for n in self.bounds}})

    def step(self, name: str, value: float) -> float:
        low, high = self.bounds[name]
        return float(np.clip(value + 0.01 * (high - low), low, high))


TUNERS: dict[type[Walk], str] = {
    GoesByRawScores: "tuner-units",
    Drifts: "tuner-constant",
    Escapes: "tuner-bounds",
    Meddles: "tuner-untouched",
    WritesToArgument: "tuner-arguments-unchanged",
    UnseededWalk: "tuner-seed",
    PoisonedByNaN: "tuner-no-score",
    ForgetsItsStream: "tuner-state",
    NeedsHistory: "tuner-contract",
}


def test_a_good_tuner_passes() -> None:
    report = check_tuner(Walk, slow=True)
    assert report.ok, str(report)


@pytest.mark.parametrize("mutant", TUNERS, ids=lambda m: m.__name__)
def test_a_tuner_fault_is_found(mutant: type[Walk]) -> None:
    failed = {r.id for r in check_tuner(mutant).failures}
    consequences = {Escapes: {"tuner-no-score", "tuner-constant"}}.get(mutant, set())
    assert TUNERS[mutant] in failed
    assert failed - {TUNERS[mutant]} <= consequences


# --- callbacks and evaluators ----------------------------------------------------------------------------------------


class ChangesParams(LoopCallback):
    def on_hyperparam_update(self, old_params: dict[str, Any], new_params: dict[str, Any]) -> None:
        new_params.clear()


class NeedsMetrics(LoopCallback):
    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        eval_metrics.primary_score  # pyright: ignore[reportOptionalMemberAccess]


class NeedsStart(LoopCallback):
    def on_loop_start(self) -> None:
        self.file = 1

    def on_loop_stop(self) -> None:
        self.file += 1


class NoCallback:
    pass


@pytest.mark.parametrize(
    "mutant, expected",
    [
        (ChangesParams, ["callback-events"]),
        (NeedsMetrics, ["callback-events"]),
        (NeedsStart, ["callback-stop-first"]),
        (NoCallback, ["callback-contract", "callback-events", "callback-stop-first"]),
    ],
)
def test_a_callback_fault_is_found(mutant: type, expected: list[str]) -> None:
    assert [r.id for r in check_callback(mutant).failures] == expected


class LowerIsBetter(MeanReturnEvaluator):
    def score(self, episode_data: Any, train_diagnostics: Any) -> EvalMetrics:
        found = super().score(episode_data, train_diagnostics)
        return EvalMetrics(-found.primary_score, found.metrics, found.episode_id)


class WritesToWindow(MeanReturnEvaluator):
    def score(self, episode_data: Any, train_diagnostics: Any) -> EvalMetrics:
        found = super().score(episode_data, train_diagnostics)
        episode_data.rewards *= 0.0
        return found


class ForgetsWindow(MeanReturnEvaluator):
    def score(self, episode_data: Any, train_diagnostics: Any) -> EvalMetrics:
        found = super().score(episode_data, train_diagnostics)
        return EvalMetrics(found.primary_score, found.metrics, 0)


class MixesValidationIn(MeanReturnEvaluator):
    seen = 0.0

    def score_validation(self, episode_data: Any) -> EvalMetrics:
        self.seen += 1.0
        return super().score_validation(episode_data)

    def score(self, episode_data: Any, train_diagnostics: Any) -> EvalMetrics:
        found = super().score(episode_data, train_diagnostics)
        return EvalMetrics(found.primary_score + self.seen, found.metrics, found.episode_id)


class NeedsAnEnd(MeanReturnEvaluator):
    def score(self, episode_data: Any, train_diagnostics: Any) -> EvalMetrics:
        if not episode_data.episodes:
            raise IndexError("no episode")
        return super().score(episode_data, train_diagnostics)


@pytest.mark.parametrize(
    "mutant, expected",
    [
        (LowerIsBetter, "evaluator-order"),
        (WritesToWindow, "evaluator-pure"),
        (ForgetsWindow, "evaluator-contract"),
        (MixesValidationIn, "evaluator-pure"),
        (NeedsAnEnd, "evaluator-no-episode"),
    ],
)
def test_an_evaluator_fault_is_found(mutant: type, expected: str) -> None:
    assert [r.id for r in check_evaluator(mutant).failures] == [expected]


def test_islice_of_a_good_pipeline_is_what_the_checks_saw() -> None:
    from optix_core.testing import ScriptedAgent, TinyDiscrete

    pipeline = BatchPipeline(TinyDiscrete(), window_size=5, seed=0)
    pipeline.set_agent(ScriptedAgent(actions=(0, 1)))
    pipeline.setup()
    assert [w.n_steps for w in islice(pipeline.episodes(), 3)] == [5, 5, 5]
