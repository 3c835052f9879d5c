"""What happens when training has converged: those who may let it go on are asked, and otherwise it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core.loop.records import DormantReport
from optix_core.loop_callback import DormancyDecider

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController


class Dormancy:
    """The loop's side of going on after convergence."""

    def __init__(self, loop: LoopController) -> None:
        self._loop = loop

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to be asked; callbacks may be added at any time."""
        return any(isinstance(callback, DormancyDecider) for callback in self._loop.callbacks)

    def ask(self, window: int) -> DormantReport:
        """The first answer that lets the run go on, else the last one; the run ends if nobody is there to answer."""
        answer = DormantReport(go_on=False)
        for callback in tuple(self._loop.callbacks):
            if isinstance(callback, DormancyDecider):
                answer = callback.on_converged(self._loop, window)
                if answer.go_on:
                    break
        return answer
