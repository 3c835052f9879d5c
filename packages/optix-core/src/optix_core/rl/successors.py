"""What a window's steps led to: its successors and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.types import EpisodeData


def rows(window: EpisodeData, name: str) -> NDArray[Any]:
    """The array ``name`` as ``[T * N, ...]``, time step by time step."""
    array = window.time_major(name)
    return array.reshape(-1, *array.shape[2:])


def successors(window: EpisodeData) -> NDArray[Any]:
    """``[N + K, *obs]``: what followed the last step, then what followed each of the K steps that ended an episode.

    All other successors are the next row of the window itself.

    Raises:
        ValueError: The window lacks ``final_obs``, or what followed a truncated step.
    """
    if window.final_obs is None:
        raise ValueError(
            "this window has no final_obs, so the value after its last step is unknown; pipelines must fill it in"
        )
    truncated = window.time_major("truncated") & ~window.time_major("terminated")
    final = np.asarray(window.final_obs)
    final = final[None] if window.n_envs is None else final
    if (
        window.boundary_steps is None
        or window.boundary_observations is None
        or not len(window.boundary_steps)
    ):
        if truncated[:-1].any():  # final_obs tells what followed the last row
            raise _unknown(truncated)
        return final
    seen = truncated.copy()
    seen[-1] = False
    seen[window.boundary_steps[:, 0], window.boundary_steps[:, 1]] = False
    if seen.any():
        raise _unknown(seen)
    return np.concatenate([final, window.boundary_observations])


def next_values(
    window: EpisodeData, values: NDArray[Any], successor_values: NDArray[Any]
) -> NDArray[np.float64]:
    """``[T, N]``: the value of what each step truly led to, before any reset.

    Args:
        window: Whose steps they are.
        values: ``[T, N]`` of its observations.
        successor_values: ``[N + K]`` of :func:`successors`.
    """
    n = values.shape[1]
    following = np.empty(values.shape, np.float64)
    following[:-1] = values[1:]
    following[-1] = successor_values[:n]
    if len(successor_values) > n:
        assert window.boundary_steps is not None
        following[window.boundary_steps[:, 0], window.boundary_steps[:, 1]] = successor_values[n:]
    return following


def _unknown(truncated: NDArray[Any]) -> ValueError:
    t, n = np.argwhere(truncated)[0].tolist()
    return ValueError(
        f"step {t} of environment {n} was truncated, but boundary_observations does not say what followed it; "
        "its successor has a value, so pipelines must record it"
    )
