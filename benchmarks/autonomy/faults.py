"""Breaking a run that goes well, and reading from its log what the loop did about it."""

from __future__ import annotations

import json
from pathlib import Path

from optix_core.loop_callback import LoopCallback
from optix_core.seeding import Domain, generator

SPIKE = 100.0
NOISE = 10.0
"""Weights are multiplied by 1 + NOISE * N(0, 1)."""
WINDOWS = 3
"""So often the fault strikes, one window after the other, unless it was undone before: training alone could heal it."""
WAIT = 12
"""Fewer windows than this lie between reaching the level and the fault; the seed says how many."""
COLLAPSED = 0.5
"""A score below this share of the best one is a collapse."""


class Curve(LoopCallback):
    """Evaluated windows: ``(window, training steps, score)``."""

    def __init__(self):
        self.points = []
        self.optimizer = None

    def on_episode_end(self, episode_id, eval_metrics):
        if eval_metrics is not None:
            steps = self.optimizer.controller.progress.steps
            self.points.append((episode_id, steps, eval_metrics.primary_score))


class Fault(Curve):
    """Once ``reached`` is reached and some windows have passed, break the agent.

    Args:
        kind: ``"weights"``: noise; ``"learning-rate"``: too large by a factor, put back afterwards.
        reached: The score from which on the run goes well.
        seed: Decides when.
    """

    critical = True  # it changes the agent: an error here must end the run

    def __init__(self, kind, *, reached, seed):
        super().__init__()
        self._kind, self._reached = kind, reached
        self._wait = int(generator(seed, Domain.PERTURBATION, 7).integers(WAIT))
        self._due = self._rate = self.injected = None
        self._undone = False

    def on_episode_end(self, episode_id, eval_metrics):
        super().on_episode_end(episode_id, eval_metrics)
        agent = self.optimizer.agent
        if self._due is None and self.points and self.points[-1][2] >= self._reached:
            self._due = episode_id + self._wait
        if self._due is None or episode_id < self._due or self._undone:
            return
        if self.injected is None:
            self.injected = episode_id
            self._rate = float(agent.get_hyperparams().params["learning_rate"])
        passed = episode_id - self.injected
        if self._kind == "weights" and passed < WINDOWS:
            agent.perturb_weights(NOISE)
        elif self._kind == "learning-rate" and passed in {0, WINDOWS}:
            _set_rate(agent, self._rate * (1.0 if passed else SPIKE))

    def on_degradation(self, episode_id, eval_metrics):
        self._undone = True  # a rollback restores weights and rate

    def report(self, events):
        """What happened after the fault: evaluations from the collapse to the rollback, and scores from then on."""
        before = [
            score for window, _, score in self.points if self.injected is None or window <= self.injected
        ]
        best = max(before, default=None)
        later = [] if self.injected is None else [p for p in self.points if p[0] > self.injected]
        collapsed = next((window for window, _, score in later if score < COLLAPSED * best), None)
        undone = None
        if collapsed is not None:
            rollbacks = [e["window"] for e in events if e["kind"] == "rolled_back"]
            undone = next((window for window in rollbacks if window >= collapsed), None)
        evaluations = None
        if undone is not None:
            evaluations = sum(collapsed <= window <= undone for window, _, _ in later)
        return {
            "injected": self.injected,
            "collapsed": collapsed,
            "rolled_back": undone,
            "evaluations": evaluations,
            "best_before": best,
            "after": [] if undone is None else [score for window, _, score in later if window > undone],
        }


def _set_rate(agent, value):
    hyperparams = agent.get_hyperparams()
    hyperparams.params["learning_rate"] = value
    agent.set_hyperparams(hyperparams)


def events_below(folder):
    """All events of the runs in ``folder``, in order."""
    return [
        json.loads(line)
        for path in sorted(Path(folder).rglob("events.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
