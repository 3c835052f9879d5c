"""What off-policy agents keep their experience in: uniform, prioritised or hindsight replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.replay import HindsightReplay, PrioritizedReplay, ReplayBuffer, goal_functions


def make_replay(hp: Mapping[str, Any], *, prioritized: bool | None = None) -> ReplayBuffer:
    """Prioritised replay or uniform; None: prioritised if ``per_alpha`` is positive."""
    if hp["per_alpha"] > 0 if prioritized is None else prioritized:
        return PrioritizedReplay(hp["replay_capacity"], alpha=hp["per_alpha"])
    return ReplayBuffer(hp["replay_capacity"])


def rows_of(replay: ReplayBuffer | HindsightReplay) -> ReplayBuffer:
    """What happened, without what is relabelled."""
    return replay.replay if isinstance(replay, HindsightReplay) else replay


def prioritized_rows(replay: ReplayBuffer | HindsightReplay) -> PrioritizedReplay | None:
    """Whose priorities there are to update; None: draws are uniform."""
    rows = rows_of(replay)
    return rows if isinstance(rows, PrioritizedReplay) else None


def make_hindsight(ctx: AgentContext, rows: ReplayBuffer, owner: str, *, k: float, strategy: str) -> Any:
    """Replay that relabels goals of ``rows``; None where none is asked for.

    Raises:
        ConfigError: There is no environment to ask what other goals would have earned, it cannot tell, or ``k`` or
            ``strategy`` is out of range.
    """
    if not k:
        return None
    if ctx.env is None:
        raise ConfigError(
            f"{owner}: hindsight={k} needs the environment, whose compute_reward says what other goals would have "
            "earned; build the agent with make_agent(name, env, ...)"
        )
    reward, terminated = goal_functions(ctx.env)
    return HindsightReplay(rows, reward, terminated, k=k, strategy=cast("Any", strategy))
