"""The neuron types as plugins are listed; imports nothing heavy."""

from __future__ import annotations

from optix_core.plugin import NeuronTypeSpec

_MADE_BY = "optix_neuroevo.neurons.builtin:{}"

NEURON_TYPES: tuple[NeuronTypeSpec, ...] = tuple(
    NeuronTypeSpec(name=name, factory=_MADE_BY.format(name), summary=summary, recurrent=recurrent)
    for name, summary, recurrent in (
        ("point", "an activation of weighted input plus bias", False),
        ("gru", "scalar gated recurrent unit, state detached", False),
        ("lstm", "scalar long short-term memory, state detached", False),
        ("trainable_gru", "scalar gated recurrent unit with gradients through its state", True),
        ("trainable_lstm", "scalar long short-term memory with gradients through its state", True),
        ("morph", "a relay that learning can make a tanh", False),
    )
)
