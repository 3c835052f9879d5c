"""optix and neuroevolution: neuron graphs whose structure changes while they learn.

Importing this package loads no PyTorch; building a graph and acting with it need numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_neuroevo._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_neuroevo.agents.graph_agent import GraphAgent as GraphAgent
    from optix_neuroevo.agents.graph_agent import RecurrentGraphAgent as RecurrentGraphAgent
    from optix_neuroevo.brain.agent import BrainAgent as BrainAgent
    from optix_neuroevo.brain.network import BrainNetwork as BrainNetwork
    from optix_neuroevo.control.controller import TopologyController as TopologyController
    from optix_neuroevo.graph.averaging import average_graphs as average_graphs
    from optix_neuroevo.graph.delta import GraphDelta as GraphDelta
    from optix_neuroevo.graph.delta import OperationRefused as OperationRefused
    from optix_neuroevo.graph.delta import Transfer as Transfer
    from optix_neuroevo.graph.elements import Edge as Edge
    from optix_neuroevo.graph.neuron_graph import NeuronGraph as NeuronGraph
    from optix_neuroevo.graph.state_layout import StateMigration as StateMigration
    from optix_neuroevo.graph.wiring import layered_graph as layered_graph
    from optix_neuroevo.graph.wiring import wire_randomly as wire_randomly
    from optix_neuroevo.neurons.prototypes import GRUNeuron as GRUNeuron
    from optix_neuroevo.neurons.prototypes import LSTMNeuron as LSTMNeuron
    from optix_neuroevo.neurons.prototypes import MorphNeuron as MorphNeuron
    from optix_neuroevo.neurons.prototypes import Neuron as Neuron
    from optix_neuroevo.neurons.prototypes import TrainableGRUNeuron as TrainableGRUNeuron
    from optix_neuroevo.neurons.prototypes import TrainableLSTMNeuron as TrainableLSTMNeuron
    from optix_neuroevo.neurons.types import NeuronType as NeuronType
    from optix_neuroevo.neurons.types import neuron_type as neuron_type
    from optix_neuroevo.neurons.types import neuron_types as neuron_types
    from optix_neuroevo.neurons.types import register_neuron_type as register_neuron_type
    from optix_neuroevo.operations.add import add_free_edge as add_free_edge
    from optix_neuroevo.operations.add import add_input_neuron as add_input_neuron
    from optix_neuroevo.operations.insert import insert_neuron_on_edge as insert_neuron_on_edge
    from optix_neuroevo.operations.measures import cosine_similarity_neurons as cosine_similarity_neurons
    from optix_neuroevo.operations.measures import edge_importance as edge_importance
    from optix_neuroevo.operations.measures import neuron_importance as neuron_importance
    from optix_neuroevo.operations.merge import merge_neurons as merge_neurons
    from optix_neuroevo.operations.prune import prune_edge as prune_edge
    from optix_neuroevo.operations.prune import prune_neuron as prune_neuron
    from optix_neuroevo.operations.rewire import rewire_edges as rewire_edges
    from optix_neuroevo.operations.split import split_neuron as split_neuron
    from optix_neuroevo.plan.absent import absent_gradients as absent_gradients
    from optix_neuroevo.plan.compile import Plan as Plan
    from optix_neuroevo.plan.module import GraphModule as GraphModule
    from optix_neuroevo.plan.probe import Probe as Probe
    from optix_neuroevo.plan.probe import record_activity as record_activity
    from optix_neuroevo.plasticity.hebbian import HebbianHook as HebbianHook
    from optix_neuroevo.plasticity.modulation import NeuromodulatorSignal as NeuromodulatorSignal
    from optix_neuroevo.training.adam import TopologyAwareAdam as TopologyAwareAdam

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "GraphAgent": ".agents.graph_agent",
        "RecurrentGraphAgent": ".agents.graph_agent",
        "BrainAgent": ".brain.agent",
        "BrainNetwork": ".brain.network",
        "TopologyController": ".control.controller",
        "HebbianHook": ".plasticity.hebbian",
        "NeuromodulatorSignal": ".plasticity.modulation",
        "TopologyAwareAdam": ".training.adam",
        "average_graphs": ".graph.averaging",
        "GraphDelta": ".graph.delta",
        "OperationRefused": ".graph.delta",
        "Transfer": ".graph.delta",
        "Edge": ".graph.elements",
        "NeuronGraph": ".graph.neuron_graph",
        "StateMigration": ".graph.state_layout",
        "layered_graph": ".graph.wiring",
        "wire_randomly": ".graph.wiring",
        "GRUNeuron": ".neurons.prototypes",
        "LSTMNeuron": ".neurons.prototypes",
        "MorphNeuron": ".neurons.prototypes",
        "Neuron": ".neurons.prototypes",
        "TrainableGRUNeuron": ".neurons.prototypes",
        "TrainableLSTMNeuron": ".neurons.prototypes",
        "NeuronType": ".neurons.types",
        "neuron_type": ".neurons.types",
        "neuron_types": ".neurons.types",
        "register_neuron_type": ".neurons.types",
        "add_free_edge": ".operations.add",
        "add_input_neuron": ".operations.add",
        "insert_neuron_on_edge": ".operations.insert",
        "cosine_similarity_neurons": ".operations.measures",
        "edge_importance": ".operations.measures",
        "neuron_importance": ".operations.measures",
        "merge_neurons": ".operations.merge",
        "prune_edge": ".operations.prune",
        "prune_neuron": ".operations.prune",
        "rewire_edges": ".operations.rewire",
        "split_neuron": ".operations.split",
        "absent_gradients": ".plan.absent",
        "Plan": ".plan.compile",
        "GraphModule": ".plan.module",
        "Probe": ".plan.probe",
        "record_activity": ".plan.probe",
    },
)
