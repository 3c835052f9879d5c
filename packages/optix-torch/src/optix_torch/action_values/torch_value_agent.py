"""How the PyTorch agents with action values make their gradient steps: one by one, guarded, within their threads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optix_core.agents.value_agent import ValueAgent
from optix_torch.training.descent import Descent
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.threads import Threads
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.state import Stateful


class TorchValueAgent(ValueAgent):
    """An off-policy agent for discrete actions whose networks are PyTorch modules."""

    def _start(
        self,
        training: Trainable,
        target: TargetNetwork,
        hp: dict[str, Any],
        *,
        threads: Any,
        parts: Mapping[str, Stateful] | None = None,
        **spaces: Any,
    ) -> None:
        """Take over the parts; ``spaces`` are the other arguments of ``ValueAgent._begin``."""
        self._training, self._target, self._descent = training, target, Descent(training)
        vector = training.flat.vector
        self._threads = Threads(threads, vector.numel(), vector.device)
        self._begin(training, target, hp, parts=parts, **spaces)

    def _gradient_steps(self, n: int) -> None:
        with self._threads:
            self._descent.begin()
            for _ in range(n):
                if not self._descent.diverged:
                    self._gradient_step()
        self._changed_by_training()

    @abstractmethod
    def _gradient_step(self) -> None:
        """One draw from replay, one gradient, one step."""

    def _changed_by_training(self) -> None:
        """The online network has new weights; refresh what was derived from them."""

    def _report(self) -> dict[str, Any]:
        return self._descent.report()
