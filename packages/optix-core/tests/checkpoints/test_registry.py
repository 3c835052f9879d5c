"""Policies are found by score and restored completely or not at all."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.base_agent import BaseAgent
from optix_core.checkpoints import CheckpointRegistry, CheckpointStore, CheckpointWarning
from optix_core.checkpoints.compatibility import describe_space
from optix_core.errors import (
    CheckpointError,
    CheckpointLocked,
    CheckpointNotSaved,
    CorruptCheckpoint,
    IncompatibleCheckpoint,
    NonFiniteState,
)
from optix_core.state import SealedArray
from optix_core.types import EvalMetrics, HyperparamSet


class SixMethods(BaseAgent):
    """Nothing but the contract; weights are one array in an .npy file."""

    def __init__(self, value: float = 0.0) -> None:
        self.w = np.full(3, value)
        self.params = {"lr": 0.1}

    def act(self, observation: Any) -> Any:
        return 0

    def learn(self, episode_data: Any) -> Mapping[str, Any]:
        return {}

    def get_hyperparams(self) -> HyperparamSet:
        return HyperparamSet(dict(self.params))

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        self.params = dict(hyperparams.params)

    def save_weights(self, path: str) -> None:
        Path(path).mkdir()
        np.save(Path(path) / "w.npy", self.w)

    def load_weights(self, path: str) -> None:
        self.w = np.load(Path(path) / "w.npy", allow_pickle=False)


class Averaging(SixMethods):
    def average_weights(self, paths: Any) -> None:
        self.w = np.mean([np.load(Path(p) / "w.npy") for p in paths], axis=0)


class Full(Averaging):
    """With complete state: weights, a moment that appears with the first update, a generator."""

    observation_space = "Box(4)"
    action_space = "Discrete(2)"

    def __init__(self, value: float = 0.0, size: int = 3, seed: int = 0) -> None:
        super().__init__(value)
        self.w = np.full(size, value)
        self.moment: np.ndarray[Any, Any] | None = None
        self.rng = np.random.default_rng(seed)
        self.fail_after: int | None = None

    def update(self) -> None:
        noise = self.rng.standard_normal(self.w.shape)
        self.moment = noise if self.moment is None else 0.9 * self.moment + noise
        self.w = self.w + 0.1 * self.moment

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": {"w": self.w.copy()},
            "optimizer": {} if self.moment is None else {"m": self.moment.copy()},
            "rng": dict(self.rng.bit_generator.state),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        setters = [
            lambda: setattr(self, "w", np.array(state["weights"]["w"])),
            lambda: setattr(self, "moment", state["optimizer"].get("m")),
            lambda: setattr(self.rng.bit_generator, "state", state["rng"]),
        ]
        for k, setter in enumerate(setters):
            if self.fail_after == k:
                self.fail_after = None
                raise RuntimeError("half-way")
            setter()

    def bits(self) -> bytes:
        state = self.state_dict()
        return json.dumps(state["rng"]).encode() + b"".join(
            a.tobytes() for part in ("weights", "optimizer") for a in state[part].values()
        )


def metrics(score: float, episode: int = 0, **numbers: Any) -> EvalMetrics:
    return EvalMetrics(score, numbers, episode, 12.5, (1.0, score))


def put(registry: CheckpointRegistry, agent: BaseAgent, score: float, **options: Any) -> Any:
    return registry.save(agent, metrics(score, options.pop("episode", 0)), agent.get_hyperparams(), **options)


@pytest.fixture(params=[SixMethods, Full])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_empty(tmp_path: Path, kind: Any) -> None:
    registry = CheckpointRegistry(tmp_path / "new" / "dir")
    assert registry.best is None
    assert registry.snapshots() == []
    assert registry.load_best(kind()) is None
    assert registry.load_ensemble(Averaging()) is None
    assert registry.latest_training_state() is None
    assert registry.checkpoint_dir == tmp_path / "new" / "dir"


def test_best_is_the_best_and_not_the_last(tmp_path: Path, kind: Any) -> None:
    registry = CheckpointRegistry(tmp_path, max_snapshots=2)
    for value in (100.0, 5.0, 4.0, math.nan, math.inf):
        put(registry, kind(value if math.isfinite(value) else -1.0), value)
    again = CheckpointRegistry(tmp_path)
    assert again.best is not None
    assert again.best.eval_metrics.primary_score == 100.0
    agent = kind()
    snapshot = again.load_best(agent)
    assert snapshot is not None
    assert agent.w.tolist() == [100.0] * 3
    assert len(again.snapshots()) == 2


def test_ties_go_to_the_earlier(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    first = put(registry, SixMethods(1), 7.0)
    put(registry, SixMethods(2), 7.0)
    assert registry.best == first


def test_a_snapshot_tells_what_was_saved(tmp_path: Path, kind: Any) -> None:
    registry = CheckpointRegistry(tmp_path)
    agent = kind(2.0)
    agent.params = {"lr": np.float32(0.5), "layers": [64, 64]}
    given = EvalMetrics(
        np.float64(3.5), {"f32": np.float32(1.5), "nan": math.nan, "arr": np.arange(2)}, 9, 12.5, (1.0, 2.0)
    )
    saved = registry.save(agent, given, agent.get_hyperparams(), step=77)
    assert saved is not None
    [found] = CheckpointRegistry(tmp_path).snapshots()
    assert found == saved or math.isnan(found.eval_metrics.metrics["nan"])
    assert (found.snapshot_id, found.episode_id, found.eval_metrics.primary_score) == (
        "ckpt-000000000077",
        9,
        3.5,
    )
    assert found.eval_metrics.metrics["f32"] == 1.5
    assert found.eval_metrics.metrics["arr"] == [0, 1]
    assert found.eval_metrics.episode_returns == (1.0, 2.0)
    assert found.hyperparams.params == {"lr": 0.5, "layers": [64, 64]}
    assert found.weights_path == str(tmp_path / "ckpt-000000000077")


def test_only_improvements_compete_for_best(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    put(registry, Full(1), 1.0)
    put(registry, Full(2), 50.0, reason="periodic")
    put(registry, Full(3), 60.0, reason="signal")
    registry.save(Full(4), None, HyperparamSet({}), reason="final")
    assert registry.best is not None
    assert registry.best.eval_metrics.primary_score == 1.0
    scores = [s.eval_metrics.primary_score for s in registry.snapshots()]
    assert scores[:3] == [1.0, 50.0, 60.0]
    assert math.isnan(scores[3])


def test_full_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    agent = Full(1.0)
    for _ in range(3):
        agent.update()
    registry = CheckpointRegistry(tmp_path)
    put(registry, agent, 1.0, training={"pipeline": {"rng": agent.rng.bit_generator.state}, "loop": {"n": 3}})
    for _ in range(4):
        agent.update()
    fresh = Full(seed=99)
    assert fresh.bits() != agent.bits()
    loaded = registry.latest_training_state()
    assert loaded is not None
    assert set(loaded.components) == {"agent", "pipeline", "loop"}
    assert loaded.info.manifest.kind == "exact"
    registry.restore(fresh, loaded)
    for _ in range(4):
        fresh.update()
    assert fresh.bits() == agent.bits()


def test_weights_only_leaves_the_rest(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    put(registry, Full(5.0), 1.0)
    agent = Full(1.0, seed=3)
    agent.update()
    moment, rng = agent.moment, agent.rng.bit_generator.state
    registry.load(agent, "best", weights_only=True)
    assert agent.w.tolist() == [5.0] * 3
    assert agent.moment is not None
    np.testing.assert_array_equal(agent.moment, moment)
    assert agent.rng.bit_generator.state == rng


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("weights_only", [False, True])
def test_loading_that_fails_half_way_leaves_the_agent_as_it_was(
    tmp_path: Path, k: int, weights_only: bool
) -> None:
    registry = CheckpointRegistry(tmp_path)
    other = Full(5.0)
    other.update()
    put(registry, other, 1.0)
    agent = Full(1.0, seed=3)
    agent.update()
    before = agent.bits()
    agent.fail_after = k
    with pytest.raises(RuntimeError, match="half-way"):
        registry.load(agent, "best", weights_only=weights_only)
    assert agent.bits() == before


def test_another_architecture_is_refused_before_the_agent_is_touched(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    put(registry, Full(5.0, size=4), 1.0)
    agent = Full(1.0)
    agent.action_space = "Discrete(3)"
    before = agent.bits()
    agent.load_state_dict = None  # type: ignore[method-assign, assignment]
    with pytest.raises(IncompatibleCheckpoint) as caught:
        registry.load(agent, "best")
    text = str(caught.value)
    assert "weights/w: this agent has float64[3] (3 values), the checkpoint float64[4] (4 values)" in text
    assert "action space: here Discrete(3), in the checkpoint Discrete(2)" in text
    assert "Full" in text
    assert "1 weights differ" in text
    assert agent.bits() == before


def test_only_the_first_five_differences_are_listed(tmp_path: Path) -> None:
    class Wide(Full):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "weights": {f"w{i}": self.w for i in range(9)}}

    registry = CheckpointRegistry(tmp_path)
    put(registry, Wide(size=2), 1.0)
    with pytest.raises(IncompatibleCheckpoint) as caught:
        registry.load(Wide(), "best")
    assert "w4" in str(caught.value)
    assert "w5" not in str(caught.value)
    assert "and 4 more" in str(caught.value)


def test_optimizer_state_may_come_and_go(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    trained = Full(1.0)
    trained.update()
    put(registry, Full(2.0), 1.0, step=0)
    put(registry, trained, 2.0, step=1)
    registry.load(Full(), "ckpt-000000000001")
    registry.load(trained, "ckpt-000000000000")
    assert trained.moment is None


def test_agents_may_say_what_is_fixed(tmp_path: Path) -> None:
    class Growing(Full):
        architecture_keys = ()

    registry = CheckpointRegistry(tmp_path)
    put(registry, Growing(2.0, size=7), 1.0)
    agent = Growing()
    registry.load(agent, "best")
    assert agent.w.tolist() == [2.0] * 7


def test_what_is_fixed_may_lie_deeper_in_the_state(tmp_path: Path) -> None:
    """Networks beside optimizer moments and a replay memory that grows."""

    class Replaying:
        architecture_keys = ("actor/networks", "critic/networks")

        def __init__(self, size: int = 2, replayed: int = 3) -> None:
            self.state = {
                "actor": {"networks": {"w": np.zeros(size)}, "moments": {"m": np.zeros(replayed)}},
                "critic": {"networks": {"w": np.zeros(2)}},
                "replay": {"open": np.zeros(replayed), "segments": [SealedArray(np.zeros(replayed))]},
            }

        def state_dict(self) -> Any:
            return self.state

        def load_state_dict(self, state: Any) -> None:
            self.state = state

        def get_hyperparams(self) -> HyperparamSet:
            return HyperparamSet({})

    registry = CheckpointRegistry(tmp_path)
    put(registry, Replaying(replayed=5), 1.0)  # type: ignore[arg-type]
    stored = registry.store.list()[0].manifest.architecture
    assert stored["complete"]
    assert sorted(stored["tensors"]) == ["actor/networks/w", "critic/networks/w"]
    agent = Replaying()
    registry.load(agent, "best")  # type: ignore[arg-type]
    assert agent.state["replay"]["open"].shape == (5,)
    with pytest.raises(IncompatibleCheckpoint, match="actor/networks/w"):
        registry.load(Replaying(size=4), "best")  # type: ignore[arg-type]


def test_an_agent_without_load_state_dict_cannot_take_a_full_state(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    put(registry, Full(), 1.0)
    with pytest.raises(IncompatibleCheckpoint, match="SixMethods has no load_state_dict"):
        registry.load(SixMethods(), "best")


def test_policies_of_other_architectures_in_the_directory_are_passed_over(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path, max_snapshots=2)
    put(registry, Full(9.0, size=8), 100.0)
    put(registry, Full(1.0), 5.0)
    for value in (4.0, 3.0, 2.0):
        put(registry, Full(0.0), value)
    agent = Full()
    snapshot = registry.load_best(agent)
    assert snapshot is not None
    assert snapshot.eval_metrics.primary_score == 5.0
    with pytest.raises(IncompatibleCheckpoint):
        registry.load_best(Full(size=2))


# -- ensembles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_kind", [Averaging, Full])
def test_the_ensemble_is_the_mean_of_the_best_in_the_band(tmp_path: Path, agent_kind: Any) -> None:
    registry = CheckpointRegistry(tmp_path)
    for value, score in ((1.0, 100.0), (2.0, 95.0), (6.0, 91.0), (50.0, 90.5), (99.0, 20.0)):
        put(registry, agent_kind(value), score)
    agent = agent_kind()
    snapshot = registry.load_ensemble(agent, top_k=3, score_band=0.1)
    assert snapshot is not None
    assert snapshot.eval_metrics.primary_score == 100.0
    np.testing.assert_allclose(agent.w, 3.0)
    registry.load_ensemble(agent, top_k=10, score_band=0.1)
    np.testing.assert_allclose(agent.w, (1 + 2 + 6 + 50) / 4)
    registry.load_ensemble(agent, top_k=3, score_band=0.01)
    np.testing.assert_allclose(agent.w, 1.0)


def test_the_band_of_negative_scores_lies_below_the_best(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    for value, score in ((1.0, -100.0), (3.0, -109.0), (9.0, -111.0)):
        put(registry, Averaging(value), score)
    agent = Averaging()
    registry.load_ensemble(agent)
    np.testing.assert_allclose(agent.w, 2.0)


def test_an_agent_that_cannot_average_is_told_so_and_left_alone(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    for value in (1.0, 2.0):
        put(registry, SixMethods(value), 10.0)
    agent = SixMethods(7.0)
    with pytest.raises(NotImplementedError, match="SixMethods cannot average"):
        registry.load_ensemble(agent)
    assert agent.w.tolist() == [7.0] * 3


def test_an_ensemble_that_fails_leaves_the_agent_as_it_was(tmp_path: Path) -> None:
    class Failing(Full):
        def average_weights(self, paths: Any) -> None:
            self.w[:] = math.nan
            raise RuntimeError("no mean today")

    registry = CheckpointRegistry(tmp_path)
    for value in (1.0, 2.0):
        put(registry, Failing(value), 10.0)
    agent = Failing(7.0)
    before = agent.bits()
    with pytest.raises(RuntimeError, match="no mean today"):
        registry.load_ensemble(agent)
    assert agent.bits() == before


# -- resuming, failures --------------------------------------------------------------------------------------------


def test_the_parent_of_a_resumed_run_stays_and_is_named(tmp_path: Path) -> None:
    put(CheckpointRegistry(tmp_path), Full(1), 1.0, training={"loop": {}}, step=10, reason="periodic")
    registry = CheckpointRegistry(tmp_path, max_snapshots=1)
    loaded = registry.latest_training_state()
    assert loaded is not None
    registry.continue_from(loaded)
    for i in range(11, 15):
        put(registry, Full(i), float(i), training={"loop": {}}, step=i)
    infos = registry.store.list()
    assert [i.step for i in infos] == [10, 14]
    assert infos[-1].manifest.parent == {"name": infos[0].name, "digest": infos[0].manifest.digest}


def test_training_state_is_found_behind_snapshots_without_it_and_behind_damage(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    for i in range(3):
        put(registry, Full(i), float(i), training={"loop": {"i": i}}, step=i)
    put(registry, Full(9), 9.0, step=9)
    assert registry.store.list()[-1].manifest.kind == "weights"
    (tmp_path / "ckpt-000000000002" / "state.json").write_text("{}")
    with pytest.warns(CheckpointWarning, match="ckpt-000000000002"):
        loaded = registry.latest_training_state()
    assert loaded is not None
    assert loaded.components["loop"] == {"i": 1}


def test_opaque_agents_can_be_resumed_with_training_state(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    put(registry, SixMethods(4.0), 1.0, training={"loop": {"i": 3}})
    loaded = registry.latest_training_state()
    assert loaded is not None
    assert loaded.info.manifest.kind == "weights"
    agent = SixMethods()
    registry.restore(agent, loaded)
    assert agent.w.tolist() == [4.0] * 3


def test_a_component_called_agent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="component 'agent'"):
        put(CheckpointRegistry(tmp_path), Full(), 1.0, training={"agent": {}})


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    with pytest.raises(NonFiniteState):
        put(registry, Full(math.nan), 1.0)
    assert registry.snapshots() == []


def test_failing_saves_are_reported_and_the_third_in_a_row_raises(tmp_path: Path, faulty: Any) -> None:
    said: list[str] = []
    registry = CheckpointRegistry(tmp_path, fs=faulty, report=said.append)
    put(registry, Full(1), 1.0)

    def fail() -> Any:
        faulty.arm(3, errno.ENOSPC, persistent=True)
        try:
            return put(registry, Full(2), 2.0)
        finally:
            faulty.disarm()

    assert fail() is None
    assert fail() is None
    assert put(registry, Full(2), 2.0) is not None  # a success in between starts the count again
    assert fail() is None
    assert fail() is None
    with pytest.raises(CheckpointNotSaved, match="failure 3 in a row"):
        fail()
    assert len(said) == 4
    assert all("No space left" in text and "bytes are free" in text for text in said)
    assert len(registry.snapshots()) == 2


def test_on_save_error_raise(tmp_path: Path, faulty: Any) -> None:
    registry = CheckpointRegistry(tmp_path, fs=faulty, on_save_error="raise")
    faulty.arm(1, errno.EIO, persistent=True)
    with pytest.raises(CheckpointNotSaved):
        put(registry, Full(), 1.0)
    with pytest.raises(ValueError, match="on_save_error"):
        CheckpointRegistry(tmp_path, on_save_error="ignore")


def test_damaged_best_is_stepped_over_and_only_damage_is_an_error(tmp_path: Path) -> None:
    registry = CheckpointRegistry(tmp_path)
    for value in (1.0, 2.0):
        put(registry, Full(value), value, step=int(value))
    (tmp_path / "ckpt-000000000002" / "agent.safetensors").unlink()
    agent = Full()
    with pytest.warns(CheckpointWarning, match=r"agent.safetensors is missing"):
        snapshot = registry.load_best(agent)
    assert snapshot is not None
    assert agent.w.tolist() == [1.0] * 3
    (tmp_path / "ckpt-000000000001" / "manifest.json").unlink()
    before = agent.bits()
    with pytest.warns(CheckpointWarning), pytest.raises(CorruptCheckpoint):
        registry.load_best(agent)
    assert agent.bits() == before


def test_one_writer(tmp_path: Path) -> None:
    registry, other = CheckpointRegistry(tmp_path), CheckpointRegistry(tmp_path)
    with registry.lock():
        put(registry, Full(), 1.0)
        with pytest.raises(CheckpointLocked):
            put(other, Full(), 2.0)
        assert other.load_best(Full()) is not None
    put(other, Full(), 2.0)


def test_preflight(tmp_path: Path) -> None:
    CheckpointRegistry(tmp_path).preflight(Full())
    (tmp_path / "blocker").write_text("")
    with pytest.raises(CheckpointError, match="Choose another directory"):
        CheckpointRegistry(tmp_path / "blocker" / "x")


def test_spaces_are_described_briefly() -> None:
    gym = pytest.importorskip("gymnasium")
    assert describe_space(None) is None
    assert describe_space(gym.spaces.Discrete(3)) == "Discrete(3)"
    image = gym.spaces.Box(0, 255, (84, 84, 3), np.uint8)
    assert describe_space(image) == "Box(0, 255, shape [84, 84, 3], uint8)"


def test_checkpoints_are_found_by_the_plain_store(tmp_path: Path) -> None:
    put(CheckpointRegistry(tmp_path), Full(), 1.0)
    assert CheckpointStore(tmp_path).load().components.keys() == {"agent"}
