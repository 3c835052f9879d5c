"""PPO whose network is a neuron graph that may change while it learns (Schulman et al. 2017, arXiv:1707.06347).

The graph acts step by step in numpy and learns over sequences in PyTorch, through one compiled plan. Whoever steps the
environments keeps the memory, as for ``TorchRecurrentPPOAgent``; rows of memory follow the graph through mutations
(``memory_rows.py``), and so does the optimizer's state (``training/adam.py``). Topology is part of every state and of
every file of weights. Before the first update of each window the largest ``|ratio - 1|`` is measured and reported: it
says that what learns is what acted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents.box_actions import actions_of
from optix_core.agents.decay import Decay
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.single import SingleObservation
from optix_core.agents.streams import Streams
from optix_core.errors import ConfigError
from optix_core.rl.masking import split_masks
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_core.state import State
from optix_core.types import HyperparamSet
from optix_neuroevo.agents.keeping import GraphKeeping
from optix_neuroevo.agents.ledger import GrowthLedger
from optix_neuroevo.agents.measuring import Measurements, OptionalMeasurements
from optix_neuroevo.agents.memory_rows import MemoryRows
from optix_neuroevo.agents.networks import GraphNetworks
from optix_neuroevo.agents.trainable import GraphTrainable
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.specs import HYPERS, RECURRENT_HYPERS
from optix_neuroevo.training.adam import TopologyAwareAdam
from optix_torch.policy_gradient.recurrent_agent import OwnMemory
from optix_torch.training.threads import Threads

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


class GraphAgent(GraphKeeping):
    """Proximal policy optimisation of a neuron graph, for discrete and continuous actions.

    Memory is kept and used; gradients stay within one step: past activations are data. That trains every edge, those
    with delays too, and is as fast as a network without memory. To learn what to remember, gradients have to go back in
    time: :class:`RecurrentGraphAgent`.

    Args:
        graph: Its outputs are what actions are made of, then the value of the state. It is used itself, not a copy.
        obs_dim: Numbers in one flat observation; a graph with fewer inputs gets more of them.
        n_actions: Choices (of all components together), bits or dimensions.
        continuous: Actions are numbers: outputs are means, and the logarithms of standard deviations are parameters of
            their own. Decided by ``action_space`` if that is given.
        hyperparams: Values that differ from the defaults; see ``optix_neuroevo.specs``. Copied.
        device: Only ``"cpu"`` and ``"auto"``: a graph's parameters share memory with the arrays that it acts with.
        action_space: The environment's; None is Discrete, or numbers in [-1, 1] if ``continuous``.
        observation_space: The environment's.
        project: Let the graph's inputs read a learned linear projection of the observation.
        columns: ``[n_in]`` which number of the observation each input reads; None: one after another.
        memory_capacity: Most numbers that the graph's memory may ever have; None: four times as many as now, at
            least 63.
        observation_normalizer: Applied before acting and learning; updated after each window.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        threads: See :class:`~optix_torch.training.threads.Threads`.
        seed: Root seed of acting, minibatch order and projection; None draws one from the operating system.

    Attributes:
        memory_size: Numbers in one row of memory; it stays the same when the graph changes.
        graph: The graph.
        measurements: What windows show of the graph; None until somebody asks with :meth:`measure`.

    Raises:
        ConfigError: Graph, spaces and device do not go together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    accepts_intrinsic_rewards = True

    def __init__(
        self,
        graph: NeuronGraph,
        obs_dim: int,
        n_actions: int,
        continuous: bool = False,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: str | None = None,
        *,
        action_space: Any = None,
        observation_space: Any = None,
        project: bool = False,
        columns: NDArray[np.int64] | None = None,
        memory_capacity: int | None = None,
        observation_normalizer: ObsNormalizer | None = None,
        reward_normalizer: RewardNormalizer | None = None,
        threads: Literal["auto"] | int = "auto",
        seed: int | None = None,
    ) -> None:
        if str(device or "auto") not in {"auto", "cpu"}:
            raise ConfigError(
                f"device is {device!r}, but graphs act and learn on the CPU, where both share one memory; pass 'cpu'"
            )
        if continuous and action_space is None:
            from gymnasium.spaces import Box

            action_space = Box(-1.0, 1.0, (n_actions,), np.float32)
        owner = type(self).__name__
        hp = declared.merge(self.hypers, hyperparams, owner=owner)
        self._actions, self._single = actions_of(action_space, owner), SingleObservation(observation_space)
        if self._actions.n_actions not in {None, n_actions}:
            raise ConfigError(f"n_actions is {n_actions}, but the action space has {self._actions.n_actions}")
        self.accepts_action_masks = self._actions.head.endswith("categorical")  # type: ignore[misc]
        seed = fresh_root_seed() if seed is None else seed
        self._networks = GraphNetworks(
            graph, obs_dim, n_actions, self._actions.head, self._actions.nvec,
            project=project, columns=columns, rng=np.random.default_rng(derive_seed(seed, Domain.INIT)),
        )  # fmt: skip
        self._training = GraphTrainable(
            self._networks,
            TopologyAwareAdam(self._networks.named_parameters().values(), lr=hp["learning_rate"], eps=1e-5),
        )
        self._rows = MemoryRows(graph, memory_capacity)
        self._normalizers = Normalizers(observation_normalizer, reward_normalizer)
        parameters = sum(p.numel() for p in self._networks.named_parameters().values())
        self._threads = Threads(threads, parameters, "cpu")
        self._own, self._decay = OwnMemory(self._rows.width), Decay()
        self.ledger = GrowthLedger(graph)
        self._measuring = OptionalMeasurements()
        parts = {
            "rows": self._rows, "memory": self._own, "decay": self._decay, "ledger": self.ledger,
            "measuring": self._measuring,
        }  # fmt: skip
        self._companions: list[Any] = []
        self._assemble(
            {"graph": self._training}, Streams(seed), self._normalizers, hp,
            observation_space=observation_space, parts=parts,
        )  # fmt: skip

    # --- the graph ---

    @property
    def graph(self) -> NeuronGraph:
        """The graph that acts and learns."""
        return self._networks.graph

    @property
    def memory_size(self) -> int:
        """Numbers in one row of memory."""
        return self._rows.width

    @property
    def memory_capacity(self) -> int:
        """Most numbers that the graph's memory may have."""
        return self._rows.capacity

    @property
    def architecture_keys(self) -> tuple[str, ...]:
        """Nothing of its state has a fixed form: topology is part of it."""
        return ()

    @property
    def optimizer(self) -> TopologyAwareAdam:
        """It follows the graph's changes by itself."""
        return self._training.optimizer

    @property
    def measurements(self) -> Measurements | None:
        """What windows show of the graph; None until :meth:`measure` was called."""
        return self._measuring.measurements

    def measure(self, measurements: Measurements | None) -> None:
        """Look at every window from now on, which costs about as much as one more epoch; None: no longer."""
        self._measuring.set(measurements)

    def add_companions(self, *callbacks: Any) -> None:
        """Callbacks that a training loop adds when it starts, for example a topology controller."""
        self._companions += callbacks

    def companion_callbacks(self, run: Any) -> list[Any]:
        """Those of :meth:`add_companions`."""
        del run
        return list(self._companions)

    # --- acting ---

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """An action of the environment, by a memory and a random stream of its own: training never notices.

        It remembers the observations of earlier calls; :meth:`reset_memory` begins a new episode.
        """
        actions, self._own.memory = self._act(
            self._single(observation), self._own.memory, self._streams.single, deterministic=deterministic
        )
        return self._actions.one(actions)

    def reset_memory(self) -> None:
        """Let :meth:`act` forget what it has seen."""
        self._own.memory = np.zeros((1, self.memory_size), np.float32)

    def act_batch_with_memory(
        self, observations: NDArray[Any], memory: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Policy actions for ``[N, *obs]``, and the memory ``[N, M]`` after the step; fresh arrays."""
        return self._act(observations, memory, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the action space, ``[N, *act]``; a Box clips what it is not mapped to."""
        return self._actions.to_env(actions)

    def acting_state(self) -> State:
        """What acting changes: random streams, and the memory of :meth:`act`."""
        return {**super().acting_state(), **self._own.state_dict()}

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        super().load_acting_state(state)
        self._own.load_state_dict(state)

    def _act(
        self,
        observations: NDArray[Any],
        memory: NDArray[np.float32],
        rng: np.random.Generator,
        *,
        deterministic: bool,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        seen, masks = split_masks(observations)
        outputs, _, after = self._networks.step(
            self._normalizers.observations(seen), self._rows.unpack(memory)
        )
        if masks is not None:
            from optix_core.acting.heads import mask_logits

            outputs = mask_logits(outputs, masks)
        chosen = self._networks.distribution
        actions = chosen.greedy(outputs) if deterministic else chosen.sample(outputs, rng)
        return actions, self._rows.pack(after)

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        from optix_core.agents.describing import linear
        from optix_neuroevo.export.describing import describe_graph

        networks, flat = self._networks, b.add("flatten", x)
        if networks.columns is not None:
            raise ConfigError("a network whose inputs pick numbers of the observation cannot be exported yet")
        if "projection" in networks.extras:
            weight = networks.extras["projection"].detach().numpy()
            flat = linear(b, flat, weight, np.zeros(len(weight), np.float32))
        outputs = describe_graph(b, self.graph, flat)
        wanted = b.add("slice", outputs, start=0, stop=networks.n_actions)
        return self._actions.describe(b, wanted, mask, networks.n_actions)


class RecurrentGraphAgent(GraphAgent):
    """The same with gradients through time: what was recorded at the beginning of a chunk is where they end.

    Args:
        chunk_len: Steps that gradients go back, at least 1. Where a graph has no memory there is nothing to go back
            through, and it learns as :class:`GraphAgent` does.
    """

    hypers = RECURRENT_HYPERS

    def __init__(self, *args: Any, chunk_len: int = 64, **kwargs: Any) -> None:
        if chunk_len < 1:
            raise ConfigError(f"chunk_len is {chunk_len}; gradients go back at least 1 step")
        super().__init__(*args, **kwargs)
        self.chunk_len = chunk_len
