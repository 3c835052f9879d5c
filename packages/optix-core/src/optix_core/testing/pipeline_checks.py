"""Does a pipeline deliver what happened, all of it, and nothing else?"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from optix_core.base_pipeline import BasePipeline
from optix_core.testing.fakes import ScriptedAgent
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.subjects import ComponentSubject
from optix_core.testing.tiny_envs import Reset, Step, TinyDiscrete
from optix_core.types import EpisodeData

WINDOW, LENGTH, COUNT = 5, 8, 8
"""Steps per window, steps per episode, windows: five divides eight nowhere, so episodes cross borders."""


class Recorder(TinyDiscrete):
    """TinyDiscrete that writes down everything it was asked and answered."""

    def __init__(self, *, truncate: bool = False) -> None:
        super().__init__(LENGTH, truncate=truncate)
        self.resets: list[Any] = []
        self.steps: list[tuple[Any, float, bool, bool, Any]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Recorded."""
        observation, info = super().reset(seed=seed, options=options)
        self.resets.append(observation.copy())
        return observation, info

    def step(self, action: np.int64) -> Step:
        """Recorded."""
        found = super().step(action)
        self.steps.append((int(action), float(found[1]), found[2], found[3], found[0].copy()))
        return found


def _start(
    subject: ComponentSubject, *, truncate: bool = False, seed: int = 0
) -> tuple[BasePipeline, Recorder]:
    """A pipeline over a recording environment, set up, with an agent that alternates between the two actions."""
    env = Recorder(truncate=truncate)
    where: Any = [lambda: env] if getattr(subject.spec, "vectorized", False) else env
    pipeline: BasePipeline = subject.make(where, window_size=WINDOW, seed=seed)
    pipeline.set_agent(ScriptedAgent(actions=(0, 1)))
    pipeline.setup()
    return pipeline, env


def _windows(
    subject: ComponentSubject, count: int = COUNT, **kwargs: Any
) -> tuple[list[EpisodeData], Recorder]:
    pipeline, env = _start(subject, **kwargs)
    found = list(islice(pipeline.episodes(), count))
    pipeline.teardown()
    return found, env


def _joined(windows: list[EpisodeData], name: str) -> Any:
    """A per-step array over all windows, ``[steps, ...]`` of the first environment."""
    return np.concatenate([w.time_major(name)[:, 0] for w in windows])


def contract(subject: ComponentSubject) -> None:
    """It derives from BasePipeline, says whether it is live, and can be torn down twice."""
    pipeline: Any = _start(subject)[0]
    require(
        isinstance(pipeline, BasePipeline), f"{type(pipeline).__name__} does not derive from BasePipeline"
    )
    live: Any = pipeline.is_live
    require(isinstance(live, bool), f"is_live is {live!r}")
    next(pipeline.episodes())
    pipeline.teardown()
    pipeline.teardown()


def accounting(subject: ComponentSubject) -> None:
    """Windows have the announced length, and every step is in exactly one of them, as it happened."""
    windows, env = _windows(subject)
    size = _start(subject)[0].steps_per_window
    if size is not None:
        require(
            all(w.n_steps == size for w in windows),
            f"windows hold {[w.n_steps for w in windows]} steps, not {size}",
        )
    steps = sum(w.n_steps for w in windows)
    require(len(env.steps) == steps, f"{steps} steps were delivered, {len(env.steps)} were made")
    actions, rewards = [s[0] for s in env.steps], [s[1] for s in env.steps]
    require(_joined(windows, "actions").tolist() == actions, "actions differ from those that were made")
    require(_joined(windows, "rewards").tolist() == rewards, "rewards differ from those that were given")
    require(
        [w.episode_id for w in windows] == list(range(len(windows))), "episode_id does not count the windows"
    )


def borders(subject: ComponentSubject) -> None:
    """The environment is reset where an episode ends and nowhere else: not at the borders of windows."""
    _, env = _windows(subject)
    ends = sum(s[2] or s[3] for s in env.steps)
    require(
        len(env.resets) in {ends, ends + 1},
        f"{len(env.resets)} resets for {ends} episode ends in {len(env.steps)} steps",
    )


def ends_apart(subject: ComponentSubject) -> None:
    """Terminal states are in ``terminated`` only, time limits in ``truncated`` only."""
    for truncate in (False, True):
        windows, env = _windows(subject, truncate=truncate)
        require(
            _joined(windows, "terminated").tolist() == [s[2] for s in env.steps],
            "terminated is not what happened",
        )
        require(
            _joined(windows, "truncated").tolist() == [s[3] for s in env.steps],
            "truncated is not what happened",
        )


def observations(subject: ComponentSubject) -> None:
    """Each step has the observation that was acted on and the one that truly followed, also at episode ends."""
    windows, env = _windows(subject)
    following = np.concatenate([w.next_observations().reshape(w.n_steps, -1) for w in windows])
    require(
        np.array_equal(following, np.stack([s[4] for s in env.steps])),
        "next_observations differ from what followed (at an episode's end it is not the next reset)",
    )
    seen, resets, acted = _joined(windows, "observations"), iter(env.resets), next(iter(env.resets))
    next(resets)
    for t, step in enumerate(env.steps):
        require(
            np.array_equal(seen[t], acted), f"the observation of step {t} is not the one that was acted on"
        )
        acted = next(resets, seen[t]) if step[2] or step[3] else step[4]


def records(subject: ComponentSubject) -> None:
    """Every complete episode is recorded once, with return and length carried across windows."""
    windows, env = _windows(subject, truncate=True)
    expected: list[tuple[float, int]] = []
    total, length = 0.0, 0
    for step in env.steps:
        total, length = total + step[1], length + 1
        if step[2] or step[3]:
            expected.append((total, length))
            total, length = 0.0, 0
    found = [(e.episode_return, e.length) for w in windows for e in w.episodes]
    require(found == expected, f"recorded episodes (return, length) are {found}; these happened: {expected}")
    require(
        not any(e.terminated for w in windows for e in w.episodes),
        "episodes cut by a time limit count as terminated",
    )


def on_demand(subject: ComponentSubject) -> None:
    """A window is collected when it is asked for, never ahead."""
    pipeline, env = _start(subject)
    if pipeline.is_live:
        raise NotApplicable("a live source goes on by itself")
    stream = pipeline.episodes()
    before = len(env.steps)
    first = next(stream)
    require(before == 0, f"{before} steps were made before the first window was asked for")
    require(
        len(env.steps) == first.n_steps, f"{len(env.steps)} steps were made for a window of {first.n_steps}"
    )
    pipeline.teardown()


def limited(subject: ComponentSubject) -> None:
    """A limit that is accepted holds for the next window and only for that one."""
    pipeline, env = _start(subject)
    stream = pipeline.episodes()
    next(stream)
    if not pipeline.limit_next_window(3):
        raise NotApplicable("it does not limit windows")
    sizes = [w.n_steps for w in islice(stream, 2)]
    require(sizes[0] <= 3, f"after limit_next_window(3), the next window held {sizes[0]} steps")
    require(sizes[1] == WINDOW, f"the window after a limited one held {sizes[1]} steps, not {WINDOW}")
    require(len(env.steps) == WINDOW + sum(sizes), "steps were made that no window holds")
    pipeline.teardown()


def seeded(subject: ComponentSubject) -> None:
    """One seed, one stream of windows; another seed, another."""
    if not subject.accepts("seed"):
        raise NotApplicable("it has no seed")
    one, again, other = (_joined(_windows(subject, seed=s)[0], "observations") for s in (3, 3, 4))
    require(np.array_equal(one, again), "one seed gave two streams")
    require(not np.array_equal(one, other), "seeds 3 and 4 gave the same stream")


CHECKS: tuple[Check[ComponentSubject], ...] = (
    Check(id="pipeline-contract", run=contract, summary="It is a pipeline and can be torn down twice."),
    Check(id="pipeline-accounting", run=accounting, summary="Every step is in exactly one window."),
    Check(id="pipeline-borders", run=borders, summary="Window borders reset nothing."),
    Check(id="pipeline-ends-apart", run=ends_apart, summary="Terminated and truncated stay apart."),
    Check(
        id="pipeline-observations", run=observations, summary="Observations and true successors are right."
    ),
    Check(id="pipeline-records", run=records, summary="Complete episodes are recorded across windows."),
    Check(id="pipeline-on-demand", run=on_demand, summary="Nothing is collected ahead."),
    Check(id="pipeline-limit", run=limited, summary="An accepted limit holds once."),
    Check(id="pipeline-seed", run=seeded, summary="The seed decides the stream."),
)
