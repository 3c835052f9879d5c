"""Graphs for use elsewhere: as files that need no optix-neuroevo, as drawings, and for other graph libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.export.describing import describe_graph as describe_graph
    from optix_neuroevo.export.drawing import to_dot as to_dot
    from optix_neuroevo.export.drawing import to_networkx as to_networkx
    from optix_neuroevo.export.files import export_numpy as export_numpy
    from optix_neuroevo.export.files import export_onnx as export_onnx
    from optix_neuroevo.export.svg import to_svg as to_svg

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "describe_graph": ".describing",
        "export_numpy": ".files",
        "export_onnx": ".files",
        "to_dot": ".drawing",
        "to_networkx": ".drawing",
        "to_svg": ".svg",
    },
)
