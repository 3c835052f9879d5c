"""Growth: gates agree, a mutator has a proposal that fits, and the scores after it say whether it stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from optix_core.state import State
from optix_core.topology import Budget, GateVote, GrowthGate, Proposal, TopologyMutator
from optix_neuroevo.control.changing import GraphChanges, picture
from optix_neuroevo.control.regions import Region
from optix_neuroevo.control.trial import Trial

MOST_DOUBLINGS = 5
"""The cooldown doubles with every growth in a row that was undone, so many times at most."""


class Growing(GraphChanges):
    """One growth at a time, on probation."""

    grow_cooldown: int
    probation: int
    _scheduler: Any
    _factor: float
    _growers: dict[str, TopologyMutator]
    _gates: dict[str, GrowthGate]
    _min_scores: int
    _confidence: float
    _limits: dict[str, int]
    _counts: dict[str, int]
    _scores: deque[float]
    _trial: Trial | None

    def _grow(self, region: Region, *, fresh: bool) -> bool:
        wait = self.grow_cooldown * 2 ** min(region.undone, MOST_DOUBLINGS)
        if not fresh or region.since < wait or len(self._scores) < self._min_scores:
            return False
        budget = Budget(
            neurons=max(0, self._limits["neurons"] - region.hidden()),
            edges=max(0, self._limits["edges"] - region.graph.n_edges()),
            min_hidden=self._limits["hidden"], max_delay=self._limits["delay"],
        )  # fmt: skip
        signals, editor = self._signals(region), self._editor(region)
        votes = {name: gate.vote(editor, signals, tuple(self._scores)) for name, gate in self._gates.items()}
        if not all(vote.grow for vote in votes.values()):
            against = "; ".join(vote.reason for vote in votes.values() if not vote.grow)
            self._log("refused", region, why=against, votes=_numbers(votes))
            return False
        for name, grower in self._growers.items():
            for proposal in grower.propose(editor, signals, budget, self._rng):
                if self._try_growth(region, name, grower, proposal, votes):
                    return True
        self._log("refused", region, why="no mutator has a proposal that fits", votes=_numbers(votes))
        return False

    def _try_growth(
        self,
        region: Region,
        name: str,
        grower: TopologyMutator,
        proposal: Proposal,
        votes: Mapping[str, GateVote],
    ) -> bool:
        state = self._snapshot(region) if self.probation else {}
        delta = self._apply(region, name, grower, [proposal])
        if delta is None:
            return False
        self._counts["grow"] += 1
        if self.probation:
            before = list(self._scores)[-max(self.probation, 10) :]
            self._trial = Trial(
                region=region.name, mutator=name, reason=proposal.reason, state=state, before=before,
                structure=self._structure_now(),
            )  # fmt: skip
        self._scores.clear()
        region.since = 0
        self._log(
            "grown", region, mutator=name, proposal=proposal.to_dict(), votes=_numbers(votes),
            output_change=delta.output_change, graph=picture(region.graph),
        )  # fmt: skip
        self._wake()
        return True

    def _judge(self, trial: Trial) -> None:
        """The probation is over."""
        region = next(r for r in self._regions if r.name == trial.region)
        paid, numbers = trial.verdict(self._confidence)
        self._trial = None
        region.undone = 0 if paid else region.undone + 1
        if paid:
            self._log("kept", region, mutator=trial.mutator, **numbers)
            return
        self._restore(region, trial.state)
        self._counts["revert"] += 1
        self._scores.clear()
        self._scores.extend(trial.before)
        region.since = 0
        self._log("reverted", region, mutator=trial.mutator, **numbers, graph=picture(region.graph))

    def _snapshot(self, region: Region) -> State:
        return region.graph.state_dict() if self._agent is None else self._agent.state_dict()

    def _restore(self, region: Region, state: State) -> None:
        (region.graph if self._agent is None else self._agent).load_state_dict(state)

    def _wake(self) -> None:
        """The loop waits anew for what the growth brings."""
        if self._scheduler is None:
            return
        if self._factor == 0.0:
            self._scheduler.record_restart()
        else:
            self._scheduler.reactivate(self._factor)


def _numbers(votes: Mapping[str, GateVote]) -> dict[str, Any]:
    return {name: {"grow": vote.grow, "reason": vote.reason, **vote.numbers} for name, vote in votes.items()}
