"""What a neuron computes: activations, neuron types, and the table of types that others can add to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.neurons.activations import ACTIVATIONS as ACTIVATIONS
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

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ACTIVATIONS": ".activations",
        "Neuron": ".prototypes",
        "GRUNeuron": ".prototypes",
        "LSTMNeuron": ".prototypes",
        "MorphNeuron": ".prototypes",
        "TrainableGRUNeuron": ".prototypes",
        "TrainableLSTMNeuron": ".prototypes",
        "NeuronType": ".types",
        "neuron_type": ".types",
        "neuron_types": ".types",
        "register_neuron_type": ".types",
    },
)
