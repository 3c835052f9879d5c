"""What the agents of every framework share: their hyperparameters in force, and their parts as files and states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optix_core import hyperparams as declared
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.store import Store
from optix_core.agents.streams import Streams
from optix_core.agents.trainable import Trainable
from optix_core.base_agent import BaseAgent
from optix_core.errors import ConfigError
from optix_core.plugin import Hyper
from optix_core.rl.spaces import describe_space
from optix_core.seeding import Domain, generator
from optix_core.state import State, Stateful
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder, PolicyGraph


class StoredAgent(BaseAgent):
    """An agent whose parts are stored by a :class:`~optix_core.agents.store.Store`.

    It holds no algorithm: acting and learning are on the agent's own page. Subclasses name what they declare, call
    :meth:`_assemble` at the end of their construction, and push hyperparameters to where they act in :meth:`_apply`.

    Attributes:
        hypers: The hyperparameters that the class declares.
        kind: The name in files and messages: that of the class that declares them.
    """

    hypers: ClassVar[tuple[Hyper, ...]] = ()
    kind: ClassVar[str] = ""

    _hp: dict[str, Any]
    _trainables: dict[str, Trainable]
    _streams: Streams
    _store: Store
    _observation_space: Any
    _observation_normalizer: Any

    @property
    def architecture_keys(self) -> tuple[str, ...]:
        """What of its state has a fixed form: the networks, and neither optimizer moments nor replayed steps."""
        return tuple(f"{name}/networks" for name in self._trainables)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "hypers" in cls.__dict__:
            cls.kind = cls.__name__
            cls.default_param_bounds = declared.bounds(cls.hypers)
            cls.default_log_params = declared.log_params(cls.hypers)
            cls.default_exploration_params = declared.exploration_params(cls.hypers)

    def _assemble(
        self,
        trainables: Mapping[str, Trainable],
        streams: Streams,
        normalizers: Normalizers,
        hp: dict[str, Any],
        *,
        observation_space: Any = None,
        parts: Mapping[str, Stateful] | None = None,
    ) -> None:
        """Take over the parts and put the hyperparameters in force.

        Args:
            trainables: By name; the learning rate is read back from the first.
            streams: Random streams.
            normalizers: Of observations and rewards.
            hp: Complete, valid hyperparameters.
            observation_space: The environment's, if it is known.
            parts: What else belongs to the state, see :class:`~optix_core.agents.store.Store`.
        """
        self._trainables, self._streams = dict(trainables), streams
        self._store = Store(self.kind, trainables, streams, normalizers, parts)
        self._observation_space, self._observation_normalizer = observation_space, normalizers.observation
        self._apply(hp)

    def _apply(self, hp: dict[str, Any]) -> None:
        """Put complete, valid hyperparameters in force; classes with more places that need them extend this."""
        self._hp = hp
        for trainable in self._trainables.values():
            trainable.set_learning_rate(hp["learning_rate"])

    def get_hyperparams(self) -> HyperparamSet:
        """A copy of the values in force; ``learning_rate`` is read from the optimizer."""
        first = next(iter(self._trainables.values()))
        return HyperparamSet(self._hp | {"learning_rate": first.learning_rate()})

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force; names not given keep theirs, the optimizer keeps its moments.

        Raises:
            HyperparamError: A name is unknown or a value out of range; nothing is changed then.
        """
        self._apply(declared.update(self._hp, hyperparams, self.hypers, owner=self.kind))

    def save_weights(self, path: str) -> None:
        """Write what acting needs as one safetensors file: the networks and the observation statistics."""
        self._store.save_weights(path)

    def load_weights(self, path: str) -> None:
        """Read what :meth:`save_weights` wrote; optimizer and hyperparameters stay. All or nothing.

        Raises:
            IncompatibleCheckpoint: It is of another agent or architecture; the first differences are named.
        """
        self._store.load_weights(path)

    def average_weights(self, paths: Sequence[str]) -> None:
        """Load the element-wise mean of several saved weights."""
        self._store.average_weights(paths)

    def perturb_weights(self, noise_scale: float, *, seed: int | None = None) -> None:
        """Multiply every trained weight by ``1 + noise_scale * N(0, 1)``.

        Args:
            noise_scale: At least 0.
            seed: Of the noise; None draws from the agent's own stream.
        """
        rng = self._streams.perturbation if seed is None else generator(seed, Domain.PERTURBATION)
        for trainable in self._trainables.values():
            if trainable.perturbable:
                trainable.perturb(noise_scale, rng)

    def acting_state(self) -> State:
        """What acting changes: its random streams."""
        return self._streams.acting_state()

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        self._streams.load_acting_state(state)

    def on_divergence(self) -> dict[str, Any]:
        """Halve the learning rate, once earlier weights are back after a failed update."""
        halved = self.get_hyperparams().params["learning_rate"] / 2
        self.set_hyperparams(HyperparamSet({"learning_rate": halved}))
        return {"learning_rate": halved}

    def export_onnx(self, path: str) -> None:
        """Write the greedy policy as one ONNX graph, from raw observations to actions of the environment.

        Raises:
            ConfigError: onnx or onnxruntime is missing, or the policy cannot be exported; nothing is written then.
        """
        from optix_core.export import export_onnx

        export_onnx(self, path)

    def policy_graph(self, *, action_mask: bool = False) -> PolicyGraph:
        """The greedy policy as operations that need no framework.

        Args:
            action_mask: Give the graph an input ``action_mask``, which environments with masks need.

        Raises:
            ConfigError: A network has a module that is not known, or actions cannot be masked.
        """
        from optix_core.agents.describing import exported

        widths = (trainable.input_width() for trainable in self._trainables.values())
        return exported(
            self,
            self._describe_policy,
            space=self._observation_space,
            normalizer=self._observation_normalizer,
            input_width=next((width for width in widths if width is not None), None),
            action_mask=action_mask,
        )

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        """Append the operations from observations ``x`` to the action."""
        del b, x, mask
        raise ConfigError(f"{self.kind} cannot be exported: it does not say how its policy is computed")

    @property
    def observation_dtype(self) -> np.dtype[Any] | None:
        """Of one observation; None if the agent was not told the observation space."""
        return None if self._observation_space is None else describe_space(self._observation_space).dtype

    def state_dict(self) -> State:
        """All that decides what comes next: networks, optimizer, hyperparameters, normalisers, random streams, data."""
        return self._store.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; all or nothing.

        Raises:
            IncompatibleCheckpoint: It is of another agent or architecture; the first differences are named.
        """
        self._store.load_state_dict(state, self)
