"""A graph for other graph libraries: networkx and DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph


def to_networkx(graph: NeuronGraph) -> Any:
    """The graph as a ``networkx.MultiDiGraph``; edges have their ids as keys.

    Nodes have ``role``, ``type``, ``activation``, ``cell_type``, ``region`` and ``bias``, edges ``weight`` (effective)
    and ``delay``.

    Raises:
        ConfigError: networkx is not installed.
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise ConfigError("to_networkx needs the package networkx: pip install networkx") from error
    made: Any = nx.MultiDiGraph()
    for name in graph.all_neuron_ids():
        view = graph.get_neuron(name)
        made.add_node(
            name, role=view.role, type=view.type_name, activation=view.activation, cell_type=view.cell_type,
            region=view.region, bias=view.bias.item(),
        )  # fmt: skip
    for edge in graph.all_edges():
        made.add_edge(edge.src, edge.dst, key=edge.edge_id, weight=edge.effective_weight, delay=edge.delay)
    return made


def to_dot(graph: NeuronGraph) -> str:
    """The graph in the DOT language of Graphviz: inputs to the left, delayed edges dashed with their delay."""
    lines = ["digraph neurons {", "  rankdir=LR;", "  node [shape=circle fontsize=10];"]
    for role, shape in (("input", "box"), ("output", "doublecircle")):
        names = graph.input_ids if role == "input" else graph.output_ids
        nodes = " ".join(f"{_quoted(name)} [shape={shape}];" for name in names)
        lines.append(f"  {{ rank=same; {nodes} }}")
    for name in graph.hidden_ids:
        view = graph.get_neuron(name)
        kind = view.activation if view.type_name == "point" else view.type_name
        lines.append(f"  {_quoted(name)} [label={_quoted(f'{name} ({kind})')}];")
    for edge in graph.all_edges():
        color = "firebrick" if edge.effective_weight < 0 else "steelblue"
        label = f"{edge.effective_weight:.3g}" + (f" d{edge.delay}" if edge.delay else "")
        style = " style=dashed" if edge.delay else ""
        lines.append(
            f"  {_quoted(edge.src)} -> {_quoted(edge.dst)} [label={_quoted(label)} color={color}{style}];"
        )
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
