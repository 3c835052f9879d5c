"""Observers of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.callbacks.progress import ProgressCallback as ProgressCallback
    from optix_core.callbacks.rich_dashboard import RichDashboardCallback as RichDashboardCallback
    from optix_core.callbacks.stream_callback import StreamCallback as StreamCallback
    from optix_core.callbacks.tensorboard_callback import TensorBoardCallback as TensorBoardCallback
    from optix_core.callbacks.wandb_callback import WandbCallback as WandbCallback

_EXPORTS = {
    "ProgressCallback": ".progress",
    "RichDashboardCallback": ".rich_dashboard",
    "StreamCallback": ".stream_callback",
    "TensorBoardCallback": ".tensorboard_callback",
    "WandbCallback": ".wandb_callback",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
