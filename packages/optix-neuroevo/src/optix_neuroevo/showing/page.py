"""The story as one HTML file without scripts, or its last picture as SVG."""

from __future__ import annotations

from html import escape

from optix_neuroevo.export.svg import to_svg
from optix_neuroevo.showing.story import Chapter

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "section{border-top:1px solid #ccc;padding:1rem 0}h2{font-size:1.1rem;margin:.2rem 0}"
    "svg{max-width:100%;height:auto}.quiet{color:#777}"
)


def page(chapters: list[Chapter], *, title: str) -> str:
    """The whole story: every change with its reason and the graph after it, what is new in orange."""
    parts = [
        "<!doctype html>", f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>", f"<h1>{escape(title)}</h1>",
        "<p>Blue weights are positive, red ones negative; dashed edges have a delay; what is new is orange.</p>",
    ]  # fmt: skip
    for chapter in chapters:
        head = f"{chapter.action}, window {chapter.window}, step {chapter.step}"
        parts.append(f"<section><h2>{escape(head)}</h2>")
        if chapter.refused:
            parts.append(f'<p class="quiet">{chapter.refused} checks before that changed nothing.</p>')
        parts += [f"<p>{escape(text)}</p>" for text in chapter.sentences]
        parts.append(f'<p class="quiet">{chapter.n_neurons} neurons, {chapter.n_edges} edges.</p>')
        if chapter.graph is not None:
            parts.append(_inline(to_svg(chapter.graph, highlight=chapter.new)))
        parts.append("</section>")
    return "\n".join([*parts, "</body></html>", ""])


def picture(chapters: list[Chapter], *, title: str) -> str:
    """The newest graph as SVG.

    Raises:
        ValueError: No event carries a graph.
    """
    for chapter in reversed(chapters):
        if chapter.graph is not None:
            return to_svg(chapter.graph, title=f"{title}, window {chapter.window}", highlight=chapter.new)
    raise ValueError("no event of this run carries a graph")


def _inline(svg: str) -> str:
    """Without the declaration that a file of its own has."""
    return svg[svg.index("<svg") :]
