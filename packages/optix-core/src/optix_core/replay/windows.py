"""Windows that were collected without anyone watching, shown to an off-policy learner afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optix_core.rl.successors import successors
from optix_core.types import EpisodeData

Observe = Callable[..., Any]
"""``observe(observations, actions, rewards, next_observations, terminated, truncated)``, arrays of N rows."""


def observe_window(observe: Observe, window: EpisodeData) -> int:
    """Call ``observe`` for every vector step of ``window`` in time order, as a pipeline would have done.

    Returns:
        The environment steps shown, T * N; 0 for an empty window, for which nothing is called.

    Raises:
        ValueError: The window does not say what truly followed its last step, or a truncated one.
    """
    if not window.n_steps:
        return 0
    successors(window)  # raises where the row behind a cut would be a reset's observation
    following = window.next_observations()
    columns = [window.time_major(name) for name in ("observations", "actions", "learning_rewards")]
    columns.append(following if window.n_envs is not None else following[:, None])
    columns.extend(window.time_major(name) for name in ("terminated", "truncated"))
    for step in zip(*columns, strict=True):
        observe(*step)
    return window.n_steps
