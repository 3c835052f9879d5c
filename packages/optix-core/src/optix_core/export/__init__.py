"""Trained policies for use elsewhere: a description without a framework, run by numpy or written as ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.export.archive import PolicyArchive as PolicyArchive
    from optix_core.export.exporters import export_numpy as export_numpy
    from optix_core.export.exporters import export_onnx as export_onnx
    from optix_core.export.graph import GraphBuilder as GraphBuilder
    from optix_core.export.graph import PolicyGraph as PolicyGraph

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "PolicyArchive": ".archive",
        "export_numpy": ".exporters",
        "export_onnx": ".exporters",
        "GraphBuilder": ".graph",
        "PolicyGraph": ".graph",
    },
)
