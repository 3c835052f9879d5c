"""A graph as an SVG picture: levels from left to right, width and colour of edges by weight, delays written on."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

_COLUMN, _ROW, _MARGIN, _RADIUS = 150, 44, 46, 13
_FILL = {"excitatory": "#d9ead3", "inhibitory": "#f4cccc", "any": "#eeeeee"}
_STYLE = (
    "text{font:11px sans-serif;fill:#222}.small{font-size:9px;fill:#555}.new circle,.new rect{stroke:#e69138;"
    "stroke-width:3}path{fill:none}path.new{stroke:#e69138}"
)


def to_svg(
    graph: NeuronGraph, *, title: str = "", highlight: Iterable[str] = (), most_edges: int = 2000
) -> str:
    """Draw a graph.

    Positive weights are blue, negative ones red, wide ones strong; edges with a delay are dashed and carry it. Circles
    are filled by cell type: green excitatory, red inhibitory, grey either.

    Args:
        graph: Which graph.
        title: Written above it.
        highlight: Ids of neurons and edges that are drawn in orange, such as what a change added.
        most_edges: Of more than so many only the strongest are drawn, and the picture says so.

    Returns:
        A complete SVG document; nothing in it is loaded from elsewhere.
    """
    marked = set(highlight)
    place, width, height = _places(graph)
    edges = sorted(graph.all_edges(), key=lambda e: -abs(e.effective_weight))[:most_edges]
    hidden = graph.n_edges() - len(edges)
    largest = max((abs(e.effective_weight) for e in edges), default=0.0) or 1.0
    parts: list[str] = []
    for e in reversed(edges):  # strong ones on top
        (x1, y1), (x2, y2) = place[e.src], place[e.dst]
        strength = abs(e.effective_weight) / largest
        color = "#b3392f" if e.effective_weight < 0 else "#2f6db3"
        if e.src == e.dst:
            shape = (
                f"M{x1 - 6},{y1 - _RADIUS} C{x1 - 30},{y1 - 44} {x1 + 30},{y1 - 44} {x1 + 6},{y1 - _RADIUS}"
            )
            middle = (x1, y1 - 36)
        else:
            bend = 0.0 if x2 > x1 else 34.0 + 0.08 * abs(y2 - y1)
            mx, my = (x1 + x2) / 2, (y1 + y2) / 2 + bend
            shape = f"M{x1},{y1} Q{mx:.1f},{my:.1f} {x2},{y2}"
            middle = (mx, (my + (y1 + y2) / 2) / 2)
        dashes = ' stroke-dasharray="5 3"' if e.delay else ""
        new = ' class="new"' if e.edge_id in marked else ""
        said = escape(f"{e.edge_id}: {e.src} to {e.dst}, weight {e.effective_weight:.4g}, delay {e.delay}")
        parts.append(
            f'<path{new} d="{shape}" stroke="{color}" stroke-width="{0.4 + 3 * strength:.2f}" '
            f'stroke-opacity="{0.25 + 0.7 * strength:.2f}"{dashes}><title>{said}</title></path>'
        )
        if e.delay and len(edges) <= 150:
            parts.append(f'<text class="small" x="{middle[0]:.1f}" y="{middle[1]:.1f}">{e.delay}</text>')
    for name, (x, y) in place.items():
        view = graph.get_neuron(name)
        kind = view.activation if view.type_name == "point" else view.type_name
        said = escape(f"{name}: {view.role}, {kind}, {view.cell_type}, bias {view.bias.item():.4g}")
        size = f'x="{x - _RADIUS}" y="{y - _RADIUS}" width="{2 * _RADIUS}" height="{2 * _RADIUS}"'
        drawn = f"<rect {size}" if view.role == "input" else f'<circle cx="{x}" cy="{y}" r="{_RADIUS}"'
        edge = 2.2 if view.role == "output" else 1
        new = ' class="new"' if name in marked else ""
        parts.append(
            f'<g{new}>{drawn} fill="{_FILL[view.cell_type]}" '
            f'stroke="#444" stroke-width="{edge}"/><title>{said}</title>'
            f'<text x="{x}" y="{y + _RADIUS + 11}" text-anchor="middle" class="small">{escape(name)}</text></g>'
        )
    head = f'<text x="{_MARGIN}" y="20">{escape(title)}</text>' if title else ""
    if hidden:
        head += f'<text class="small" x="{_MARGIN}" y="33">{hidden} weaker edges are not drawn</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}</style>{head}{''.join(parts)}</svg>\n"
    )


def _places(graph: NeuronGraph) -> tuple[dict[str, tuple[float, float]], int, int]:
    """Centres of all neurons by id, and the size of the picture."""
    plan = graph.plan()
    columns: list[list[int]] = [plan.input_slots.tolist()]
    outputs = set(plan.row_slots[plan.output_columns - plan.first].tolist())
    for level in plan.levels:
        inner = [s for s in plan.row_slots[level.start : level.stop].tolist() if s not in outputs]
        if inner:
            columns.append(inner)
    columns.append(plan.row_slots[plan.output_columns - plan.first].tolist())
    tallest = max(len(column) for column in columns)
    height = 2 * _MARGIN + _ROW * max(1, tallest)
    position = graph.neurons["position"]
    found: dict[str, tuple[float, float]] = {}
    for i, column in enumerate(columns):
        offset = (tallest - len(column)) * _ROW / 2
        ordered = np.array(column, np.int64)[np.argsort(position[column], kind="stable")] if column else []
        for j, slot in enumerate(ordered):
            found[graph.neuron_at(int(slot))] = (
                _MARGIN + i * _COLUMN,
                _MARGIN + offset + j * _ROW + _ROW / 2,
            )
    return found, 2 * _MARGIN + _COLUMN * (len(columns) - 1), height
