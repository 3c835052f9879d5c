"""Initial wiring: graphs that can learn from the first step on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optix_neuroevo.graph.neuron_graph import NeuronGraph

EXCITATORY_SHARE = 0.8
"""Of hidden neurons under Dale's law; inhibitory weights are larger by 4, so that both balance (Song et al. 2016)."""


def wire_randomly(
    graph: NeuronGraph,
    sources: Sequence[str],
    targets: Sequence[str],
    rng: np.random.Generator,
    *,
    density: float = 1.0,
    delay: int = 0,
    gain: float = 1.0,
) -> list[str]:
    """Add edges with random weights from sources to targets.

    Weights of ``"any"`` neurons are drawn from N(0, gain^2 / fan_in), fan_in being the number of new edges into the
    target. Under Dale's law magnitudes are ``|N|``, and those of the rarer sign are scaled so that what a target
    gets on average is zero.

    Args:
        graph: Which graph.
        sources: Ids.
        targets: Ids.
        rng: Draws which pairs and which weights.
        density: Share of pairs, in (0, 1]; every target gets at least one edge. No neuron gets an edge of delay 0 to
            itself.
        delay: Of all edges.
        gain: Standard deviation of a target's weighted input if sources have unit variance.

    Returns:
        Ids of the new edges.

    Raises:
        ValueError: The density is out of range, or an edge is not possible.
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density must be in (0, 1]; got {density}")
    cells = [graph.cell_type_of(s) for s in sources]
    added: list[str] = []
    with graph.edit("wire_randomly"):
        for target in targets:
            possible = [i for i, s in enumerate(sources) if delay or s != target]
            if not possible:
                continue
            count = max(1, round(density * len(possible)))
            chosen = (
                possible if count == len(possible) else rng.choice(possible, count, replace=False).tolist()
            )
            draws = rng.standard_normal(len(chosen)) * gain / np.sqrt(len(chosen))
            plus = sum(cells[i] == "excitatory" for i in chosen)
            minus = sum(cells[i] == "inhibitory" for i in chosen)
            for i, draw in zip(sorted(chosen), draws.tolist(), strict=True):
                weight = draw
                if cells[i] == "excitatory":
                    weight = abs(draw) * (min(1.0, minus / plus) if minus else 1.0)
                elif cells[i] == "inhibitory":
                    weight = -abs(draw) * (min(1.0, plus / minus) if plus else 1.0)
                added.append(graph.add_edge(sources[i], target, weight, delay))
    return added


def layered_graph(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    rng: np.random.Generator,
    *,
    dale_mode: str = "clamp",
    neuron: str = "point",
    activation: str = "tanh",
    recurrent_delay: int = 0,
    dale: bool = False,
    skip: bool = False,
    density: float = 1.0,
    output_gain: float = 0.1,
) -> NeuronGraph:
    """Inputs ``i0..``, one hidden layer ``h0..``, linear outputs ``o0..``, with random weights.

    Args:
        n_inputs: Number of inputs.
        n_hidden: Number of hidden neurons; 0 connects inputs to outputs.
        n_outputs: Number of outputs.
        rng: Draws weights and parameters.
        dale_mode: See :class:`NeuronGraph`.
        neuron: Type of hidden neurons.
        activation: Of hidden point neurons.
        recurrent_delay: Above 0: every hidden neuron also reads all hidden neurons with this delay.
        dale: Give hidden neurons cell types, four excitatory to one inhibitory.
        skip: Connect inputs to outputs too.
        density: Of every projection.
        output_gain: See ``gain`` of :func:`wire_randomly`, for the outputs; small, so that a policy begins undecided.
    """
    graph = NeuronGraph(dale_mode, seed=int(rng.integers(2**31)))
    inputs = [graph.add_neuron("input", "linear", f"i{i}") for i in range(n_inputs)]
    excitatory = round(EXCITATORY_SHARE * n_hidden)
    hidden = [
        graph.add_neuron(
            "hidden",
            activation,
            f"h{i}",
            cell_type="any" if not dale else "excitatory" if i < excitatory else "inhibitory",
            neuron=neuron,
        )
        for i in range(n_hidden)
    ]
    outputs = [graph.add_neuron("output", "linear", f"o{i}") for i in range(n_outputs)]
    if hidden:
        wire_randomly(graph, inputs, hidden, rng, density=density)
        wire_randomly(graph, hidden, outputs, rng, density=density, gain=output_gain)
        if recurrent_delay:
            wire_randomly(graph, hidden, hidden, rng, density=density, delay=recurrent_delay, gain=0.5)
    if skip or not hidden:
        wire_randomly(graph, inputs, outputs, rng, density=density, gain=output_gain)
    return graph
