"""The only contract between the loop and whatever learns.

Six methods are enough (:class:`BaseAgent`). More is offered through small optional capabilities (Protocols
below) that the pipeline and the
loop look up once, at construction, never per step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from optix_core.types import EpisodeData, HyperparamSet, ParamBounds


class BaseAgent(ABC):
    """What the loop needs of an agent.

    ``act`` has no side effects on training data, so validation, checkpoint scoring and recording can never
    corrupt a window.

    Attributes:
        default_param_bounds: Tuning range per hyperparameter, empty if nothing should be tuned.
        default_log_params: Those of them that are tuned on a logarithmic scale; ``"1-gamma"`` where ``1 - gamma`` is.
        default_exploration_params: Hyperparameters whose increase (+1) or decrease (-1) makes the policy explore more.
        default_min_episodes_before_dormant: Windows that must pass before the loop may declare convergence.
        accepts_action_masks: Whether it understands observations with an action mask
            (:mod:`optix_core.rl.masking`): it then never chooses a masked action, in acting and in targets.
        accepts_intrinsic_rewards: Whether it learns from ``EpisodeData.learning_rewards`` (or, stepwise, from the
            rewards it is told), so that a bonus reaches it.
    """

    default_param_bounds: ClassVar[ParamBounds] = {}
    default_log_params: ClassVar[Sequence[str]] = ()
    default_exploration_params: ClassVar[Mapping[str, int]] = {}
    default_min_episodes_before_dormant: ClassVar[int] = 0
    accepts_action_masks: ClassVar[bool] = False
    accepts_intrinsic_rewards: ClassVar[bool] = False

    @abstractmethod
    def act(self, observation: Any) -> Any:
        """An action for one observation as ``env.step`` gives it, valid in the environment's action space.

        Recurrent agents keep a memory of their own for it, from one call to the next; ``reset_memory()`` begins a
        new episode there.

        Agents may accept a keyword ``deterministic: bool = False``; the loop then asks for greedy actions in
            validation.
        """

    @abstractmethod
    def learn(self, episode_data: EpisodeData) -> Mapping[str, Any]:
        """Learn from one window.

        Returns:
            Diagnostics, mostly floats. A float that is not finite tells the loop that the update failed.
        """

    @abstractmethod
    def get_hyperparams(self) -> HyperparamSet:
        """A copy of the values in force, read back from where they act (for example the optimizer)."""

    @abstractmethod
    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force, effective from the next ``learn``.

        Raises:
            HyperparamError: A name is unknown or a value is out of its valid range; nothing is changed then.
        """

    @abstractmethod
    def save_weights(self, path: str) -> None:
        """Write what is needed to act to ``path`` (a file or directory of the agent's choice)."""

    @abstractmethod
    def load_weights(self, path: str) -> None:
        """Read what :meth:`save_weights` wrote. All or nothing."""

    @property
    def is_on_policy(self) -> bool:
        """Whether ``learn`` uses only data of the current policy."""
        return True

    def teardown(self) -> None:
        """Release resources; called once when the agent is no longer used. The default holds none."""

    def average_weights(self, paths: Sequence[str]) -> None:
        """Load the mean of several saved weights.

        Raises:
            NotImplementedError: This agent cannot average.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support averaging weights")

    def perturb_weights(self, noise_scale: float) -> None:
        """Multiply every weight by ``1 + noise_scale * N(0, 1)``.

        Agents may accept a keyword ``seed: int | None = None``; with it the noise depends on nothing else, so that two
        variants of one checkpoint, whose random streams are equal, can differ.

        Raises:
            NotImplementedError: This agent cannot be perturbed.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support perturbing weights")

    def export_onnx(self, path: str) -> None:
        """Write the greedy policy as an ONNX file.

        Raises:
            NotImplementedError: This agent cannot be exported.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support ONNX export")


@runtime_checkable
class BatchActing(Protocol):
    """Acting for N observations at once; what pipelines prefer over N calls of ``act``.

    ``act_batch`` returns *policy actions*: exactly what ``learn`` will find in the window. ``env_actions``
    maps them to the
    environment's action space (scaling and clipping to a Box; the identity for discrete actions).
    """

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """Policy actions ``[N, *act]`` for ``observations`` ``[N, *obs]``; a fresh array, never a reused buffer."""
        ...

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as environment actions, ``[N, *act]``."""
        ...


@runtime_checkable
class RecurrentActing(Protocol):
    """Acting with a memory that belongs to whoever steps the environments.

    Pipelines keep one row of memory per environment: zeros where an episode starts, carried on from step to step
    and over window borders, and recorded in ``EpisodeData.hidden_states`` as it was *before* each step.

    Attributes:
        memory_size: M, the numbers in one row of memory.
    """

    memory_size: int

    def act_batch_with_memory(
        self, observations: NDArray[Any], memory: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """One step of N environments.

        Args:
            observations: ``[N, *obs]``.
            memory: ``[N, M]`` float32 before this step; not written to.
            deterministic: Greedy actions.

        Returns:
            Policy actions ``[N, *act]`` and the memory ``[N, M]`` after this step, both fresh arrays.
        """
        ...

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """See :meth:`BatchActing.env_actions`."""
        ...


@runtime_checkable
class StepwiseLearning(Protocol):
    """Agents that learn while the window is being collected (off-policy)."""

    def observe(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        next_observations: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """One vector step: arrays of N transitions; ``next_observations`` are the true successors."""
        ...


@runtime_checkable
class ActionProbabilities(Protocol):
    """Agents with a discrete policy whose probabilities can be asked for."""

    def action_probs(self, observation: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """``[n_actions]``, summing to 1."""
        ...


@runtime_checkable
class BatchActionProbabilities(Protocol):
    """The same for N observations at once."""

    def action_probs_batch(self, observations: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """``[N, n_actions]`` for observations ``[N, *obs]`` as pipelines hold them; each row sums to 1."""
        ...


@runtime_checkable
class ActingState(Protocol):
    """Agents that say cheaply what acting changes (generator, recurrent memory), so that evaluation can put it back."""

    def acting_state(self) -> dict[str, Any]:
        """A copy of everything that ``act`` and ``act_batch`` change."""
        ...

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        ...


@runtime_checkable
class DivergenceRecovery(Protocol):
    """Agents that know how to train more carefully after an update produced non-finite numbers."""

    def on_divergence(self) -> Mapping[str, Any]:
        """Called once earlier weights are restored.

        Returns:
            The hyperparameters it changed, for example a halved learning rate.
        """
        ...


@runtime_checkable
class CompanionCallbacks(Protocol):
    """Agents and pipelines that bring callbacks of their own into the loop (for example topology control)."""

    def companion_callbacks(self, run: Any) -> list[Any]:
        """Callbacks that the loop adds when it starts; ``run`` is the :class:`~optix_core.loop.LoopController`."""
        ...
