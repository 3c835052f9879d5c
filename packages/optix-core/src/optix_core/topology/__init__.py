"""How a topology mutator and a network talk to each other, whatever the network is made of.

A mutator says *where* and *how* a network could change; the controller of the network decides *when*, and how much in
all. Everything here is plain Python and numpy, so a mutator can be written and tested without any framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.topology.gates import GateVote as GateVote
    from optix_core.topology.gates import GrowthGate as GrowthGate
    from optix_core.topology.gates import PlasticityRule as PlasticityRule
    from optix_core.topology.mutator import Budget as Budget
    from optix_core.topology.mutator import Proposal as Proposal
    from optix_core.topology.mutator import TopologyMutator as TopologyMutator
    from optix_core.topology.signals import EdgeGradients as EdgeGradients
    from optix_core.topology.signals import Signals as Signals
    from optix_core.topology.view import EdgeView as EdgeView
    from optix_core.topology.view import GraphEdit as GraphEdit
    from optix_core.topology.view import GraphView as GraphView
    from optix_core.topology.view import MutableGraph as MutableGraph
    from optix_core.topology.view import NeuronView as NeuronView

_MODULES = {
    ".gates": ("GateVote", "GrowthGate", "PlasticityRule"),
    ".mutator": ("Budget", "Proposal", "TopologyMutator"),
    ".signals": ("EdgeGradients", "Signals"),
    ".view": ("EdgeView", "GraphEdit", "GraphView", "MutableGraph", "NeuronView"),
}

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {name: module for module, names in _MODULES.items() for name in names}
)
