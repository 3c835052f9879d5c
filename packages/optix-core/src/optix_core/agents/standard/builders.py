"""What a framework makes standard agents of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optix_core.agents.inputs import Features
from optix_core.plugin import AgentContext


class Inputs(Features, Protocol):
    """How one network of the framework reads observations."""

    @property
    def width(self) -> int:
        """Number of features."""
        ...

    @property
    def has_image(self) -> bool:
        """The observation is an image or has one among its parts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Builders:
    """Functions of the framework.

    Attributes:
        observation_input: ``(space, encoder, *, rng, owner) -> Inputs``; draws the weights of an encoder.
        activations: Names that activations between hidden layers may have.
        adam: ``(learning_rate, epsilon) -> optimizer``.
    """

    observation_input: Callable[..., Any]
    activations: Sequence[str]
    adam: Callable[[float, float], Any]


ADAM_EPSILON = 1e-8
"""The value of Kingma and Ba 2015 (arXiv:1412.6980, algorithm 1)."""


def device_for(ctx: AgentContext, inputs: Inputs) -> Any:
    """Where networks that read ``inputs`` learn: ``"auto"`` is the CPU unless there are images.

    A gradient step of a perceptron with a few thousand weights takes less time on a CPU than its kernels take to be
    launched on a GPU; ask for ``"cuda"`` where networks are wide.
    """
    return "cpu" if ctx.device == "auto" and not inputs.has_image else ctx.device
