"""What does a plugin say about the parts of networks that grow?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from optix_core.plugins.component import ComponentSpec

SIGNALS = ("activity", "bias_gradients", "correlation", "edge_gradients")
"""What a mutator can ask to have measured; the attributes of :class:`optix_core.topology.Signals`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatorSpec(ComponentSpec):
    """A change of network topology; the factory makes a :class:`~optix_core.topology.TopologyMutator`.

    Attributes:
        operation: ``"grow"``, ``"prune"``, ``"merge"``, ``"split"`` or ``"rewire"``.
        function_preserving: The network computes the same function right after the change.
        target: ``"graph"`` or ``"brain"``.
        needs: Signals without which it proposes nothing; see :data:`SIGNALS`.
    """

    kind: ClassVar[str] = "topology_mutator"

    operation: Literal["grow", "prune", "merge", "split", "rewire"]
    function_preserving: bool = False
    target: Literal["graph", "brain"] = "graph"
    needs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._one_of("operation", ("grow", "prune", "merge", "split", "rewire"))
        self._flag("function_preserving")
        self._one_of("target", ("graph", "brain"))
        self._words("needs", SIGNALS, needed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronTypeSpec(ComponentSpec):
    """A type of neurons; the factory, called without arguments, makes what optix-neuroevo registers.

    Attributes:
        recurrent: It has state of its own through which gradients flow.
    """

    kind: ClassVar[str] = "neuron_type"

    recurrent: bool = False

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._flag("recurrent")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthGateSpec(ComponentSpec):
    """A reason to let a network grow; the factory makes an :class:`~optix_core.topology.GrowthGate`."""

    kind: ClassVar[str] = "growth_gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlasticityRuleSpec(ComponentSpec):
    """A local rule by which weights follow activity; makes an :class:`~optix_core.topology.PlasticityRule`."""

    kind: ClassVar[str] = "plasticity_rule"
