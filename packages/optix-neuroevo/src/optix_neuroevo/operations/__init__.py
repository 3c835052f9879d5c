"""Changes of structure, each a transaction that states what it preserves.

Every operation takes ``probe`` (observations on which outputs before and after are compared; the difference is
reported in the delta) and ``tolerance`` (an operation that changes an output by more undoes itself and raises
:class:`~optix_neuroevo.OperationRefused`). All of them reckon with effective weights, in both Dale modes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.operations.add import add_free_edge as add_free_edge
    from optix_neuroevo.operations.add import add_input_neuron as add_input_neuron
    from optix_neuroevo.operations.insert import insert_neuron_on_edge as insert_neuron_on_edge
    from optix_neuroevo.operations.measures import cosine_similarity_neurons as cosine_similarity_neurons
    from optix_neuroevo.operations.measures import edge_importance as edge_importance
    from optix_neuroevo.operations.measures import neuron_importance as neuron_importance
    from optix_neuroevo.operations.measures import neuron_importances as neuron_importances
    from optix_neuroevo.operations.merge import merge_neurons as merge_neurons
    from optix_neuroevo.operations.prune import prune_edge as prune_edge
    from optix_neuroevo.operations.prune import prune_neuron as prune_neuron
    from optix_neuroevo.operations.rewire import rewire_edges as rewire_edges
    from optix_neuroevo.operations.split import split_neuron as split_neuron

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "add_free_edge": ".add",
        "add_input_neuron": ".add",
        "insert_neuron_on_edge": ".insert",
        "cosine_similarity_neurons": ".measures",
        "edge_importance": ".measures",
        "neuron_importance": ".measures",
        "neuron_importances": ".measures",
        "merge_neurons": ".merge",
        "prune_edge": ".prune",
        "prune_neuron": ".prune",
        "rewire_edges": ".rewire",
        "split_neuron": ".split",
    },
)
