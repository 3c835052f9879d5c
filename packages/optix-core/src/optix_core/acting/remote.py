"""A policy that acts somewhere else: what it is, its weights as bytes, and the policy on the other side.

Whoever trains has :class:`NumpyActing`, views of the memory that training changes. :class:`ActingSpec` says what it
computes, without any weights; it travels once. The weights travel as one block of bytes, as often as they change, with
the statistics of observations that belong to them. :class:`RemotePolicy` acts with both and needs no framework.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.parameters import ParameterLayout
from optix_core.acting.policy import NumpyPolicy, PolicySpec
from optix_core.acting.recurrent import RecurrentCell, RecurrentSpec
from optix_core.errors import ConfigError
from optix_core.normalizers import ObsNormalizer
from optix_core.rl.masking import split_masks, with_masks

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class NumpyActing:
    """A stochastic policy as numpy computes it, on memory that training changes.

    Attributes:
        policy: From observations to actions; from what the first cell puts out, if there are cells.
        cells: Recurrent networks that read the observation: the actor's, then others that keep a memory beside it.
        normalizer: Of observations, before anything reads them; None if they are read as they come.
        accepts_masks: Whether observations may come with action masks.
    """

    policy: NumpyPolicy
    cells: tuple[RecurrentCell, ...] = ()
    normalizer: ObsNormalizer | None = None
    accepts_masks: bool = False


@runtime_checkable
class ActsInNumpy(Protocol):
    """Agents whose policy can act in other processes without their framework."""

    def numpy_acting(self) -> NumpyActing | None:
        """Views of the present policy; None if this one cannot be computed in numpy."""
        ...


@dataclass(frozen=True, slots=True)
class ActingSpec:
    """What a policy computes; plain data, and an empty normaliser.

    Attributes:
        policy: Network and head.
        cells: See :class:`NumpyActing`.
        dtype: Of the weights.
        normalizer: One like the agent's; its statistics come with the weights.
        accepts_masks: See :class:`NumpyActing`.
    """

    policy: PolicySpec
    cells: tuple[RecurrentSpec, ...]
    dtype: str
    normalizer: ObsNormalizer | None
    accepts_masks: bool

    @classmethod
    def of(cls, acting: NumpyActing) -> ActingSpec:
        """The spec of a policy."""
        return cls(
            acting.policy.spec,
            tuple(cell.spec for cell in acting.cells),
            acting.policy.parameters.dtype.str,
            copy.deepcopy(acting.normalizer),
            acting.accepts_masks,
        )

    @property
    def memory_size(self) -> int:
        """M, the numbers of memory per environment; 0 without cells."""
        return sum(cell.memory_size for cell in self.cells)

    def layouts(self) -> list[ParameterLayout]:
        """Of the policy, then of each cell."""
        return [self.policy.layout, *(cell.layout for cell in self.cells)]

    @property
    def nbytes(self) -> int:
        """Bytes of one set of weights with the statistics of observations."""
        return self.places()[-1].stop

    def write(self, acting: NumpyActing, out: NDArray[np.uint8]) -> bool:
        """Copy the present weights and statistics to ``out`` ``[nbytes]``.

        Returns:
            Whether all of them are finite.
        """
        parts = [
            acting.policy.parameters,
            *(cell.parameters for cell in acting.cells),
            _statistics(acting.normalizer),
        ]
        finite = True
        for part, place in zip(parts, self.places(), strict=True):
            values = np.ascontiguousarray(part)
            out[place] = values.view(np.uint8)
            finite = finite and bool(np.isfinite(values).all())
        return finite

    def places(self) -> list[slice]:
        """Where each piece lies; statistics, in float64, are last and begin on a multiple of 8."""
        size = np.dtype(self.dtype).itemsize
        sizes = [-(-layout.size * size // 8) * 8 for layout in self.layouts()]
        used = [layout.size * size for layout in self.layouts()]
        starts = list(itertools.accumulate(sizes, initial=0))
        statistics = _statistics(self.normalizer).nbytes
        found = [slice(start, start + n) for start, n in zip(starts, used, strict=False)]
        return [*found, slice(starts[-1], starts[-1] + statistics)]


class RemotePolicy:
    """Acts with weights that arrive as bytes; offers pipelines what an agent offers them.

    Args:
        spec: What it computes.
        to_env: Policy actions ``[N, *act]`` to elements of the action space.
        rng: Draws actions.

    Attributes:
        memory_size: M, of a recurrent policy; else 0.
        accepts_action_masks: As the agent says.
        rng: May be replaced.
        weights: ``[nbytes]``, the bytes to put new weights into, followed by :meth:`changed`.
    """

    def __init__(self, spec: ActingSpec, to_env: Any, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng
        self.weights: NDArray[np.uint8] = np.zeros(spec.nbytes, np.uint8)
        self.accepts_action_masks = spec.accepts_masks
        self._to_env = to_env
        self._normalizer = copy.deepcopy(spec.normalizer)
        *places, self._statistics = spec.places()
        flat = [self.weights[place].view(spec.dtype) for place in places]
        self._policy = NumpyPolicy(spec.policy, flat[0])
        self._cells = [RecurrentCell(cell, own) for cell, own in zip(spec.cells, flat[1:], strict=True)]
        self._splits = list(itertools.accumulate((cell.memory_size for cell in spec.cells), initial=0))

    def changed(self) -> None:
        """New bytes are in :attr:`weights`."""
        if self._normalizer is not None:
            _load_statistics(self._normalizer, self.weights[self._statistics].view(np.float64))

    def act_batch(self, observations: Array, *, deterministic: bool = False) -> Array:
        """Policy actions ``[N, *act]`` for raw observations ``[N, *obs]``."""
        return self._policy.act(self._seen(observations), self.rng, deterministic=deterministic)

    def act_batch_with_memory(
        self, observations: Array, memory: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[Array, NDArray[np.float32]]:
        """The same with memory ``[N, M]``, and the memory after this step."""
        features, after = self._remember(observations, memory)
        return self._policy.act(features, self.rng, deterministic=deterministic), after

    def env_actions(self, actions: Array) -> Array:
        """Elements of the action space."""
        return self._to_env(actions)

    def log_probs(
        self, observations: Array, actions: Array, memory: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Log-probabilities ``[B]`` of policy actions, given the memory ``[B, M]`` before each if there is one."""
        seen = self._seen(observations) if memory is None else self._remember(observations, memory)[0]
        return self._policy.log_probs(seen, actions).astype(np.float32)

    def _seen(self, observations: Array) -> Array:
        return observations if self._normalizer is None else self._normalizer.normalize(observations)

    def _remember(
        self, observations: Array, memory: NDArray[np.float32]
    ) -> tuple[Array, NDArray[np.float32]]:
        observations, masks = split_masks(observations)
        seen, after = self._seen(observations), np.empty(memory.shape, np.float32)
        features: Array = np.empty(0)
        for i, cell in enumerate(self._cells):
            part = slice(self._splits[i], self._splits[i + 1])
            out = cell.step(seen, memory[:, part], after[:, part])
            features = out if i == 0 else features
        return (features if masks is None else with_masks(features, masks)), after


class RecurrentRemotePolicy(RemotePolicy):
    """A :class:`RemotePolicy` with cells, which pipelines recognise by ``memory_size``."""

    def __init__(self, spec: ActingSpec, to_env: Any, rng: np.random.Generator) -> None:
        super().__init__(spec, to_env, rng)
        self.memory_size = spec.memory_size


def remote_policy(spec: ActingSpec, to_env: Any, rng: np.random.Generator) -> RemotePolicy:
    """The policy that ``spec`` describes, with weights of 0 until some arrive."""
    return (RecurrentRemotePolicy if spec.cells else RemotePolicy)(spec, to_env, rng)


def acting_of(agent: Any) -> NumpyActing:
    """The policy of ``agent`` as numpy computes it.

    Raises:
        ConfigError: Its policy cannot act without its framework; says why and what to do.
    """
    acting = agent.numpy_acting() if isinstance(agent, ActsInNumpy) else None
    if acting is not None:
        return acting
    name = type(agent).__name__
    why = (
        "its networks are not plain perceptrons, or its policy has another kind of head"
        if isinstance(agent, ActsInNumpy)
        else "it offers no numpy_acting()"
    )
    raise ConfigError(
        f"{name} cannot act in actor processes, which compute in numpy and import no framework: {why}. Policies of "
        "PPO, Gaussian PPO and recurrent PPO with the standard networks can; leave runner= away for others"
    )


def _statistics(normalizer: ObsNormalizer | None) -> NDArray[np.float64]:
    """Everything that normalisation depends on, in one row."""
    if normalizer is None or not normalizer.parts:
        return np.empty(0)
    rows: list[NDArray[np.float64]] = []
    for part in normalizer.parts.values():
        state = part.state_dict()
        rows += [np.ravel(state["mean"]), np.ravel(state["squares"]), np.array([float(state["n"])])]
    return np.concatenate(rows)


def _load_statistics(normalizer: ObsNormalizer, row: NDArray[np.float64]) -> None:
    start = 0
    for part in normalizer.parts.values():
        size = part.mean.size
        mean, squares = row[start : start + size], row[start + size : start + 2 * size]
        part.load_state_dict(
            {
                "mean": mean.reshape(part.shape),
                "squares": squares.reshape(part.shape),
                "n": int(row[start + 2 * size]),
                "rejected": 0,
            }
        )
        start += 2 * size + 1
