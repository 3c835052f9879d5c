"""What optix-neuroevo tells optix about its parts; imports nothing heavy."""

from __future__ import annotations

from optix_core.plugin import MutatorSpec

_ROOM = "optix_neuroevo.mutators"

MUTATORS: tuple[MutatorSpec, ...] = (
    MutatorSpec(
        name="insert_on_edge",
        factory=f"{_ROOM}.growing:InsertOnEdge",
        summary="puts a relay that can become non-linear into the strongest edge",
        operation="grow",
        function_preserving=True,
    ),
    MutatorSpec(
        name="split",
        factory=f"{_ROOM}.growing:Split",
        summary="splits the hidden neuron that matters most, with unequal shares",
        operation="split",
        function_preserving=True,
        needs=frozenset({"activity"}),
    ),
    MutatorSpec(
        name="add_missing_edge",
        factory=f"{_ROOM}.growing:AddMissingEdge",
        summary="adds the missing edge, of any delay, of the steepest gradient",
        operation="grow",
        function_preserving=True,
        needs=frozenset({"edge_gradients"}),
    ),
    MutatorSpec(
        name="gradmax",
        factory=f"{_ROOM}.growing:GradMax",
        summary="adds a neuron whose new weights have the largest gradient",
        operation="grow",
        function_preserving=True,
        needs=frozenset({"edge_gradients"}),
    ),
    MutatorSpec(
        name="prune_edge",
        factory=f"{_ROOM}.shrinking:PruneEdge",
        summary="takes away edges of next to no weight",
        operation="prune",
    ),
    MutatorSpec(
        name="prune_neuron",
        factory=f"{_ROOM}.shrinking:PruneNeuron",
        summary="takes away neurons that neither matter nor learn",
        operation="prune",
        needs=frozenset({"activity", "bias_gradients"}),
    ),
    MutatorSpec(
        name="merge_twins",
        factory=f"{_ROOM}.shrinking:MergeTwins",
        summary="merges neurons that say the same",
        operation="merge",
        needs=frozenset({"activity", "correlation"}),
    ),
    MutatorSpec(
        name="rigl",
        factory=f"{_ROOM}.rewiring:RigL",
        summary="moves the weakest edges to where gradients are steepest",
        operation="rewire",
        needs=frozenset({"edge_gradients"}),
    ),
)
