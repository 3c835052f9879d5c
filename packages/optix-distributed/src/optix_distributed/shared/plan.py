"""Where everything lies in the shared memory: the same arithmetic in every process."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_distributed.shared.region import LINE, Layout, SharedRegion
from optix_distributed.shared.weights import WeightBuffers

STATS = ("steps", "episodes", "cpu_ns", "version", "heartbeat_ns", "env_errors", "nonfinite", "retries")
"""What each actor writes into its line of int64, for its present life."""
STEPS, EPISODES, CPU, VERSION, HEARTBEAT, ENV_ERRORS, NONFINITE, RETRIES = range(len(STATS))

RECORD = np.dtype(
    [
        ("env_index", "i8"), ("step", "i8"), ("episode_return", "f8"), ("length", "i8"), ("terminated", "?"),
        ("seed", "i8"),
    ],
    align=True,
)  # fmt: skip
"""A complete episode; a seed of -1 is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Sizes that decide where things lie.

    Attributes:
        n_actors: A.
        slots_per_actor: S; nobody but its actor writes to a slot, and only while it has been granted.
        steps: T, of each environment in one trajectory.
        envs_per_actor: N.
        obs_shape: Of one observation.
        obs_dtype: Of one observation.
        action_shape: Of one policy action.
        action_dtype: Of one policy action.
        memory_size: M of a recurrent policy, else 0.
        weight_bytes: Of one version of the weights.
    """

    n_actors: int
    slots_per_actor: int
    steps: int
    envs_per_actor: int
    obs_shape: tuple[int, ...]
    obs_dtype: np.dtype[Any]
    action_shape: tuple[int, ...]
    action_dtype: np.dtype[Any]
    memory_size: int
    weight_bytes: int
    verify_weights: bool = False

    @property
    def slot_steps(self) -> int:
        """``T * N``, environment steps in one trajectory."""
        return self.steps * self.envs_per_actor

    def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Arrays of one slot: name to shape and dtype. Every step might end an episode, so there is room for all."""
        T, N, ends = self.steps, self.envs_per_actor, self.slot_steps
        found: dict[str, tuple[tuple[int, ...], Any]] = {
            "counts": ((4,), np.int64),
            "observations": ((T, N, *self.obs_shape), self.obs_dtype),
            "final_obs": ((N, *self.obs_shape), self.obs_dtype),
            "actions": ((T, N, *self.action_shape), self.action_dtype),
            "rewards": ((T, N), np.float64),
            "log_probs": ((T, N), np.float32),
            "terminated": ((T, N), np.bool_),
            "truncated": ((T, N), np.bool_),
            "episode_starts": ((T, N), np.bool_),
            "boundary_steps": ((ends, 2), np.int64),
            "boundary_observations": ((ends, *self.obs_shape), self.obs_dtype),
            "episodes": ((ends,), RECORD),
        }
        if self.memory_size:
            found["hidden_states"] = ((T, N, self.memory_size), np.float32)
        return found

    @property
    def nbytes(self) -> int:
        """Of the whole region."""
        return self._places().layout.nbytes

    def _places(self) -> _Places:
        layout = Layout()
        control = layout.take((LINE,), np.uint8)
        stats = layout.take((self.n_actors, LINE), np.uint8)
        weights = WeightBuffers.reserve(layout, self.weight_bytes)
        fields = self.fields()
        slots = [
            [{name: layout.take(*what) for name, what in fields.items()} for _ in range(self.slots_per_actor)]
            for _ in range(self.n_actors)
        ]
        return _Places(layout, control, stats, weights, slots)


@dataclass(frozen=True, slots=True)
class _Places:
    layout: Layout
    control: int
    stats: int
    weights: int
    slots: list[list[dict[str, int]]]


@dataclass(slots=True)
class SharedState:
    """The region as arrays.

    Attributes:
        control: ``[8]`` int64; the first says that actors should stop.
        stats: ``[A, 8]`` int64, see :data:`STATS`.
        weights: Published versions.
    """

    plan: MemoryPlan
    region: SharedRegion
    control: NDArray[np.int64] = field(init=False)
    stats: NDArray[np.int64] = field(init=False)
    weights: WeightBuffers = field(init=False)
    _slots: list[list[dict[str, int]]] = field(init=False)

    def __post_init__(self) -> None:
        places = self.plan._places()
        self.control = self.region.array(places.control, (8,), np.int64)
        self.stats = self.region.array(places.stats, (self.plan.n_actors, LINE // 8), np.int64)
        self.weights = (
            WeightBuffers(self.region, places.weights, self.plan.weight_bytes, verify=True)
            if self.plan.verify_weights
            else WeightBuffers(self.region, places.weights, self.plan.weight_bytes)
        )
        self._slots = places.slots

    def slot(self, actor: int, slot: int) -> dict[str, NDArray[Any]]:
        """The arrays of one slot, by name."""
        places = self._slots[actor][slot]
        return {name: self.region.array(places[name], *what) for name, what in self.plan.fields().items()}

    def close(self) -> None:
        """Give the memory up."""
        empty = np.empty(0, np.int64)
        self.control = self.stats = empty
        del self.weights
        self.region.close()


def describe(plan: MemoryPlan) -> str:
    """One line about what the memory is used for."""
    slot = sum(np.dtype(kind).itemsize * math.prod(shape) for shape, kind in plan.fields().values())
    return (
        f"{plan.nbytes / 2**20:.1f} MiB shared: {plan.n_actors * plan.slots_per_actor} trajectories "
        f"of {slot / 2**20:.2f} "
        f"MiB, weights 2 x {plan.weight_bytes / 2**20:.2f} MiB"
    )
