"""The neuron graph: packed arrays with stable places, its construction, its changes, its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.graph.delta import GraphDelta as GraphDelta
    from optix_neuroevo.graph.delta import OperationRefused as OperationRefused
    from optix_neuroevo.graph.delta import Transfer as Transfer
    from optix_neuroevo.graph.edit import Edit as Edit
    from optix_neuroevo.graph.elements import Edge as Edge
    from optix_neuroevo.graph.elements import ParamRef as ParamRef
    from optix_neuroevo.graph.neuron_graph import NeuronGraph as NeuronGraph
    from optix_neuroevo.graph.state_layout import StateLayout as StateLayout
    from optix_neuroevo.graph.state_layout import StateMigration as StateMigration
    from optix_neuroevo.graph.wiring import layered_graph as layered_graph
    from optix_neuroevo.graph.wiring import wire_randomly as wire_randomly

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Edge": ".elements",
        "Edit": ".edit",
        "GraphDelta": ".delta",
        "NeuronGraph": ".neuron_graph",
        "OperationRefused": ".delta",
        "ParamRef": ".elements",
        "StateLayout": ".state_layout",
        "StateMigration": ".state_layout",
        "Transfer": ".delta",
        "layered_graph": ".wiring",
        "wire_randomly": ".wiring",
    },
)
