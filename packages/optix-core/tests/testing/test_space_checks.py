"""The checks of observations with parts, masks and memory pass agents that keep their word, and only those."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from optix_core.plugin import AgentSpec
from optix_core.rl.masking import split_masks
from optix_core.rl.structured import leaves, part
from optix_core.testing import LinearAgent, check_agent
from optix_core.testing.agents import spaces as checks
from optix_core.testing.agents.front import subject_from_factory
from optix_core.testing.report import run_check
from optix_core.testing.windows import record

KINDS = ("box", "dict", "tuple", "discrete", "multi_discrete", "multi_binary")


def wide(space: gym.Space[Any], extra: int = 0) -> gym.spaces.Box:
    """A Box for what the agents below make of an observation, plus ``extra`` numbers."""
    size = sum(values.size for _, values in leaves(record(space.sample())))
    return gym.spaces.Box(-np.inf, np.inf, (size + extra,), np.float64)


def flat(observations: Any) -> Any:
    """``[B, F]``."""
    return np.concatenate(
        [v.reshape(len(observations), -1).astype(np.float64) for _, v in leaves(observations)], axis=1
    )


class Parts(LinearAgent):
    """Flattens whatever it sees; uses masks."""

    accepts_action_masks: ClassVar[bool] = True

    def __init__(self, observation_space: Any, action_space: Any, **options: Any) -> None:
        super().__init__(wide(observation_space), action_space, **options)
        self._masks: Any = None

    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        plain, self._masks = split_masks(observations)
        return super().act_batch(flat(plain), deterministic=deterministic)

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        return self.env_actions(self.act_batch(record(observation)[None], deterministic=deterministic))[0]

    def _probabilities(self, features: Any) -> Any:
        scores = features @ self._weights["policy"]
        if self._masks is not None:
            scores = np.where(self._masks, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def learn(self, episode_data: Any) -> Any:
        d = episode_data
        plain, self._masks = split_masks(d.observations)
        window = dataclasses.replace(
            d,
            observations=flat(plain),
            final_obs=flat(split_masks(d.final_obs[None])[0])[0],
            boundary_observations=flat(split_masks(d.boundary_observations)[0]),
        )
        return super().learn(window)


class Recall(LinearAgent):
    """Keeps the sum of the first two numbers that it saw in its episode, and learns from both."""

    memory_size = 2

    def __init__(self, observation_space: Any, action_space: Any, **options: Any) -> None:
        super().__init__(wide(observation_space, 2), action_space, **options)
        self._own = np.zeros((1, 2), np.float32)

    def _after(self, observations: Any, memory: Any) -> Any:
        return (memory + flat(observations)[:, :2]).astype(np.float32)

    def act_batch_with_memory(self, observations: Any, memory: Any, *, deterministic: bool = False) -> Any:
        both = np.concatenate([flat(observations), memory], axis=1)
        return LinearAgent.act_batch(self, both, deterministic=deterministic), self._after(
            observations, memory
        )

    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        memory = np.zeros((len(observations), 2), np.float32)
        return self.act_batch_with_memory(observations, memory, deterministic=deterministic)[0]

    def reset_memory(self) -> None:
        self._own = np.zeros((1, 2), np.float32)

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        policy, self._own = self.act_batch_with_memory(
            np.asarray(observation)[None], self._own, deterministic=deterministic
        )
        return self.env_actions(policy)[0]

    def learn(self, episode_data: Any) -> Any:
        d = episode_data
        after = self._after(d.observations, d.hidden_states)
        join = lambda o, m: np.concatenate([flat(o), m], axis=1)  # noqa: E731
        window = dataclasses.replace(
            d,
            observations=join(d.observations, d.hidden_states),
            final_obs=join(d.final_obs[None], after[-1:])[0],
            boundary_observations=join(d.boundary_observations, after[d.boundary_steps[:, 0]]),
        )
        return super().learn(window)


def factory(cls: Any) -> Any:
    def build(ctx: Any) -> Any:
        return cls(ctx.observation_space, ctx.action_space, seed=ctx.seed)

    return build


def outcomes(
    cls: Any, kinds: tuple[str, ...] = ("box",), actions: tuple[str, ...] = ("discrete",)
) -> dict[str, Any]:
    subject = subject_from_factory(factory(cls), action_spaces=actions, observation_spaces=kinds)
    return {check.id: run_check(check, subject, {}) for check in checks.CHECKS}


def test_agents_that_keep_their_word_pass() -> None:
    found = outcomes(Parts, KINDS)
    assert {i: r.message for i, r in found.items() if r.outcome == "failed"} == {}
    assert {i for i, r in found.items() if r.outcome == "passed"} == {
        "spaces-observations",
        "spaces-images",
        "masks-obeyed",
    }
    found = outcomes(Recall)
    assert {i: r.message for i, r in found.items() if r.outcome == "failed"} == {}
    assert {i for i, r in found.items() if r.outcome == "passed"} >= {
        "memory-protocol",
        "memory-alone",
        "memory-windows",
    }


class BlindToTuples(Parts):
    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        if observations.dtype.names == ("0", "1"):
            raise ValueError("what is this?")
        return super().act_batch(observations, deterministic=deterministic)


class BlindToImages(Parts):
    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        assert observations.dtype != np.uint8
        return super().act_batch(observations, deterministic=deterministic)


class MasksGreedilyOnly(Parts):
    def act_batch(self, observations: Any, *, deterministic: bool = False) -> Any:
        if deterministic:
            return super().act_batch(observations, deterministic=True)
        return self._rng.integers(self._outputs, size=len(observations))


class MasksInBatchesOnly(Parts):
    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        return int(self._rng.integers(self._outputs))


class WritesToMemory(Recall):
    def act_batch_with_memory(self, observations: Any, memory: Any, *, deterministic: bool = False) -> Any:
        found = super().act_batch_with_memory(observations, memory, deterministic=deterministic)
        memory[:] = found[1]
        return found


class MixesRows(Recall):
    def _after(self, observations: Any, memory: Any) -> Any:
        return super()._after(observations, memory) + observations.mean(dtype=np.float32)


class OneBuffer(Recall):
    _buffer = np.zeros((5, 2), np.float32)

    def _after(self, observations: Any, memory: Any) -> Any:
        if len(observations) != 5:
            return super()._after(observations, memory)
        self._buffer[:] = super()._after(observations, memory)
        return self._buffer


class NeverForgets(Recall):
    def reset_memory(self) -> None:
        pass


class SharesItsMemory(Recall):
    def act_batch_with_memory(self, observations: Any, memory: Any, *, deterministic: bool = False) -> Any:
        policy, self._own = super().act_batch_with_memory(observations, memory, deterministic=deterministic)
        return policy, self._own.copy()


class Refuses(Recall):
    def learn(self, episode_data: Any) -> Any:
        if len(episode_data.observations) % 2:
            raise ValueError("even windows only")
        return super().learn(episode_data)


@pytest.mark.parametrize(
    "mutant,kinds,check",
    [
        (BlindToTuples, KINDS, "spaces-observations"),
        (BlindToImages, ("box",), "spaces-images"),
        (MasksGreedilyOnly, ("box",), "masks-obeyed"),
        (MasksInBatchesOnly, ("box",), "masks-obeyed"),
        (WritesToMemory, ("box",), "memory-protocol"),
        (MixesRows, ("box",), "memory-protocol"),
        (OneBuffer, ("box",), "memory-protocol"),
        (NeverForgets, ("box",), "memory-alone"),
        (SharesItsMemory, ("box",), "memory-alone"),
        (Refuses, ("box",), "memory-windows"),
    ],
)
def test_a_seeded_fault_is_found(mutant: Any, kinds: tuple[str, ...], check: str) -> None:
    found = outcomes(mutant, kinds)
    assert found[check].outcome == "failed", found[check]
    assert [i for i, r in found.items() if r.outcome == "failed" and i.startswith(check[:4])] == [check]


@pytest.mark.parametrize("word,cls", [("masks", Parts), ("recurrent", Recall)])
@pytest.mark.parametrize("claimed", [False, True])
def test_specs_say_what_agents_can(word: str, cls: Any, claimed: bool) -> None:
    subject = subject_from_factory(factory(cls))
    spec = AgentSpec(
        name="Some",
        factory="some.where:make",
        framework="numpy",
        action_spaces=frozenset({"discrete"}),
        capabilities=frozenset({word} if claimed else ()),
    )
    check = next(c for c in checks.CHECKS if c.id == f"{'memory' if word == 'recurrent' else word}-claimed")
    found = run_check(check, dataclasses.replace(subject, spec=spec), {})
    assert found.outcome == ("passed" if claimed else "failed")


@pytest.mark.slow
def test_learning_checks_need_parts_masks_and_memory() -> None:
    wanted = {"learning-observations", "learning-masked", "learning-memory"}
    slow = {"learning-discrete", "learning-truncation"}

    def found(cls: Any, kinds: tuple[str, ...]) -> dict[str, str]:
        report = check_agent(factory(cls), observation_spaces=kinds, slow=True)
        return {r.id: r.outcome for r in report.results if r.id in wanted | slow}

    parts = found(Parts, KINDS)
    assert parts["learning-observations"] == parts["learning-masked"] == "passed", parts
    assert parts["learning-memory"] == "skipped"
    assert found(Recall, ("box",))["learning-memory"] == "passed"

    class Forgets(Recall):
        def _after(self, observations: Any, memory: Any) -> Any:
            return np.ones_like(memory)

    assert found(Forgets, ("box",))["learning-memory"] == "failed"


def test_parts_of_a_record() -> None:
    row = record({"a": np.ones(2, np.float32), "b": (np.int64(3), np.zeros((2, 2), np.uint8))})
    assert part(row, ("b", "1")).dtype == np.uint8
    assert [path for path, _ in leaves(row)] == [("a",), ("b", "0"), ("b", "1")]
