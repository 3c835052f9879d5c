"""How much neurons and edges matter, and how alike neurons are; always by effective weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]
_TINY = 1e-8


def edge_importance(graph: NeuronGraph, edge_id: str) -> float:
    """``|w|``, the magnitude of the effective weight."""
    return abs(graph.effective_weight(edge_id))


def neuron_importances(graph: NeuronGraph, mean_magnitude: Array) -> Array:
    """Importance of every neuron slot: the sum of incident ``|w|`` times ``mean |h| + 1e-8``; 0 in free slots.

    Args:
        graph: Which graph.
        mean_magnitude: ``[neuron slots]`` mean ``|h|``.
    """
    magnitude = np.abs(graph.effective_weights()).astype(np.float64)
    src, dst, alive = graph.edges["src"], graph.edges["dst"], graph.edges.alive
    own = alive & (src == dst)  # an edge to itself is incident once
    n = graph.neurons.capacity
    total = np.bincount(src[alive], magnitude[alive], n) + np.bincount(dst[alive], magnitude[alive], n)
    total -= np.bincount(src[own], magnitude[own], n)
    return np.where(graph.neurons.alive, total * (np.asarray(mean_magnitude, np.float64) + _TINY), 0.0)


def neuron_importance(graph: NeuronGraph, neuron_id: str, activity: Array | None = None) -> float:
    """Importance of one neuron.

    Args:
        graph: Which graph.
        neuron_id: Which neuron.
        activity: ``[T, neuron slots, B]`` of :func:`~optix_neuroevo.record_activity`; None: the activation in the
            last ``graph.forward``.
    """
    slot = graph.slot_of(neuron_id)
    mean = np.zeros(graph.neurons.capacity)
    mean[slot] = abs(graph.activation_of(neuron_id)) if activity is None else np.abs(activity[:, slot]).mean()
    return float(neuron_importances(graph, mean)[slot])


def cosine_similarity_neurons(graph: NeuronGraph, a: str, b: str, activity: Array | None = None) -> float:
    """Cosine of the angle between two neurons' activations, in [-1, 1]; 0.0 if one was silent.

    Args:
        graph: Which graph.
        a: A neuron.
        b: Another.
        activity: ``[T, neuron slots, B]``; None: the last activations, which leaves only the sign of their product.
    """
    if activity is None:
        x, y = np.array([graph.activation_of(a)]), np.array([graph.activation_of(b)])
    else:
        x = activity[:, graph.slot_of(a)].astype(np.float64).ravel()
        y = activity[:, graph.slot_of(b)].astype(np.float64).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths > _TINY**2 else 0.0
