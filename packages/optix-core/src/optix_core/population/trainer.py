"""Population-based training of agents that learn by gradients (Jaderberg et al. 2017, arXiv:1711.09846).

All members train for an interval; the last copy weights, optimizer and replay memory of the first, and try
hyperparameters near theirs; and so on until everybody has used up its budget. A generation waits for its slowest
member, which costs some time where machines differ, and makes a run depend on its seed alone: not on how many processes
there are, how fast they are, or who of them died on the way.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.errors import ConfigError, SearchError
from optix_core.executor import Executor, SerialExecutor
from optix_core.loop.signals import StopOnSignal
from optix_core.population.interval import Done, Work, Workshop
from optix_core.population.members import Member, founders, next_generation, ranked
from optix_core.population.record import Record
from optix_core.population.result import PopulationResult
from optix_core.search.seeded import call_seeded
from optix_core.seeding import Domain, generator
from optix_core.stats.comparison import mean_interval
from optix_core.tuners.space import UnitSpace

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.types import ParamBounds

logger = logging.getLogger("optix.population")

FRESH = 1_000_000
"""Index of the evaluation that names the winner: no generation has it."""


class PopulationTrainer:
    """Trains ``members`` agents, each for ``max_steps`` environment steps.

    Args:
        agent_factory: ``(params) -> agent``, with whatever the agent is by default for hyperparameters that are not in
            ``params``; a parameter named ``seed`` receives one.
        pipeline_factory: ``() -> pipeline`` to train on; a parameter named ``seed`` receives one.
        val_pipeline_factory: ``() -> pipeline`` to evaluate on, such as ``EvaluationPipeline``, likewise.
        folder: Where the population and its log (``events.jsonl``) are kept.
        interval_steps: Environment steps of a member between two selections.
        max_steps: Environment steps of a member in all.
        members: How many, at least 2.
        param_bounds: What is tuned, with inclusive ranges; None: what the agent declares.
        log_params: Names on a logarithmic scale, ``"1-gamma"`` for ``1 - gamma``; None: what the agent declares.
        exploit_share: Part of the population that copies, and part that is copied, in (0, 0.5].
        explore_scale: Half-width of the change of copied hyperparameters, as a part of their ranges, in (0, 0.5].
        eval_episodes: Of every evaluation; in one generation all members meet the same ones.
        confirm_episodes: Fresh episodes on which the winner is named, among ``confirm_members``.
        confirm_members: How many members, those ahead in the last generation, compete for it.
        executor: Makes the calls; None: one after another, here.
        seed: Root seed; None: a fresh one.
        resume: Continue what is in ``folder``, if there is something.
        handle_signals: The first Ctrl-C or SIGTERM ends the run after the present generation, with everything saved; a
            second one at once.

    Attributes:
        seed: The root seed.
        space: What is tuned.

    Raises:
        ConfigError: An argument is out of its range, there is nothing to tune, or the folder holds another population.
    """

    def __init__(
        self,
        agent_factory: Callable[..., BaseAgent],
        pipeline_factory: Callable[..., BasePipeline],
        val_pipeline_factory: Callable[..., BasePipeline],
        folder: str | Path,
        *,
        interval_steps: int,
        max_steps: int,
        members: int = 8,
        param_bounds: ParamBounds | None = None,
        log_params: Iterable[str] | None = None,
        exploit_share: float = 0.2,
        explore_scale: float = 0.1,
        eval_episodes: int = 10,
        confirm_episodes: int = 100,
        confirm_members: int = 3,
        executor: Executor | None = None,
        seed: int | None = None,
        resume: bool = False,
        handle_signals: bool = True,
    ) -> None:
        least = {
            "members": 2,
            "interval_steps": 1,
            "eval_episodes": 1,
            "confirm_episodes": 2,
            "confirm_members": 1,
        }
        given = {"members": members, "interval_steps": interval_steps, "eval_episodes": eval_episodes,
                 "confirm_episodes": confirm_episodes, "confirm_members": confirm_members}  # fmt: skip
        for name, value in given.items():
            if value < least[name]:
                raise ConfigError(f"{name} is {value}; it must be at least {least[name]}")
        if max_steps < interval_steps:
            raise ConfigError(f"max_steps is {max_steps}, less than one interval of {interval_steps}")
        for name, value in (("exploit_share", exploit_share), ("explore_scale", explore_scale)):
            if not 0 < value <= 0.5:
                raise ConfigError(f"{name} is {value}; it must be in (0, 0.5]")
        self._record = Record(folder, resume=resume)
        self.seed = self._record.root_seed(seed)
        self._workshop = Workshop(
            agent_factory=agent_factory, pipeline_factory=pipeline_factory,
            val_pipeline_factory=val_pipeline_factory, seed=self.seed,
        )  # fmt: skip
        self._interval, self._budget, self._n = interval_steps, max_steps, members
        self._share, self._scale = exploit_share, explore_scale
        self._episodes, self._confirm = eval_episodes, (confirm_members, confirm_episodes)
        self._executor: Executor = executor or SerialExecutor()
        self._handle_signals = handle_signals
        self._defaults, self.space = self._tuned(param_bounds, log_params)
        self._settings = {
            **given, "max_steps": max_steps, "exploit_share": exploit_share, "explore_scale": explore_scale,
            "tuned": {axis.name: [axis.low, axis.high] for axis in self.space.axes},
        }  # fmt: skip

    @property
    def generations(self) -> int:
        """How many intervals there are; the last one may be shorter."""
        return math.ceil(self._budget / self._interval)

    def run(self) -> PopulationResult:
        """Train until every member has used up its budget, and name a winner on fresh episodes.

        Raises:
            SearchError: Every member of a generation failed; the message ends with the last traceback.
            ConfigError: Parts do not fit each other.
            CheckpointNotSaved: The population could not be stored.
            Exception: What the executor raises if its processes die too often.
        """
        signals = StopOnSignal(enabled=self._handle_signals)
        with self._record.held(), signals:
            members, history, spent = self._beginning()
            while len(history) < self.generations and signals.received is None:
                members, entry = self._generation(members, len(history))
                history.append(entry)
                spent += entry["steps"]
                if len(history) < self.generations:
                    rng = generator(self.seed, Domain.POPULATION, len(history))
                    members = next_generation(
                        members, self.space, share=self._share, scale=self._scale, rng=rng
                    )
                self._record.save(self.seed, self._settings, members, history, spent)
            winner, confirmed = self._winner(members)
            self._record.tell(
                "population_winner", len(history), winner.steps, member=winner.number, params=winner.params,
                score=winner.score, confirmed=confirmed.mean, low=confirmed.low, high=confirmed.high,
            )  # fmt: skip
        return PopulationResult(
            winner=winner, confirmed=confirmed, members=members, history=tuple(history), steps=spent,
            interrupted=signals.received is not None,
        )  # fmt: skip

    def agent_of(self, member: Member) -> BaseAgent:
        """The member's agent, with its weights and hyperparameters."""
        # what a copy would try next is not what its score was reached with
        params = dict(member.schedule[-1][1]) if member.schedule else member.params
        work = Work(
            member=member.number, generation=0, params=params, state=member.state, steps=0, episodes=1
        )
        made: BaseAgent = self._workshop.agent(work)
        return made

    # ------------------------------------------------------------------ inside

    def _tuned(
        self, bounds: ParamBounds | None, log_params: Iterable[str] | None
    ) -> tuple[dict[str, Any], UnitSpace]:
        """What the factory makes by default, of what is tuned, and the space of it."""
        agent = call_seeded(self._workshop.agent_factory, self.seed, {})
        try:
            params = agent.get_hyperparams().params
            ranges = agent.default_param_bounds if bounds is None else bounds
            unknown = sorted(set(ranges) - set(params))
            if bounds is not None and unknown:
                raise ConfigError(
                    f"param_bounds names {', '.join(unknown)}, but {type(agent).__name__} has "
                    f"{', '.join(sorted(params))}"
                )
            scales = agent.default_log_params if log_params is None else tuple(log_params)
            space = UnitSpace.of(params, ranges, scales)
            if not space.axes:
                raise ConfigError(
                    f"{type(agent).__name__} declares no ranges of hyperparameters, so members could not differ; pass "
                    "param_bounds={'learning_rate': (1e-5, 1e-2), ...}"
                )
            return {axis.name: params[axis.name] for axis in space.axes}, space
        finally:
            agent.teardown()

    def _beginning(self) -> tuple[tuple[Member, ...], list[dict[str, Any]], int]:
        found = self._record.load(self._settings)
        if found is not None:
            return found
        rng = generator(self.seed, Domain.POPULATION, 0)
        return founders(self._defaults, self.space, self._n, rng), [], 0

    def _generation(self, members: Sequence[Member], index: int) -> tuple[tuple[Member, ...], dict[str, Any]]:
        steps = min(self._interval, self._budget - index * self._interval)
        begun = [member.begins() for member in members]
        work = [
            Work(member=m.number, generation=index, params=m.params, state=m.state, steps=steps,
                 episodes=self._episodes)
            for m in begun
        ]  # fmt: skip
        done = self._executor.map(self._workshop, work)
        after = tuple(_after(member, one) for member, one in zip(begun, done, strict=True))
        failures = {m.number: one.failure for m, one in zip(begun, done, strict=True) if one.failure}
        entry = {
            "generation": index,
            "steps": sum(one.steps for one in done),
            "scores": [m.score for m in after],
            "params": [dict(m.params) for m in after],
            "parents": [m.parent for m in begun],
        }
        self._record.tell(
            "population", index + 1, max(m.steps for m in after), scores=entry["scores"], params=entry["params"],
            parents=entry["parents"], failures={str(k): failure for k, failure in failures.items()},
        )  # fmt: skip
        for number, failure in failures.items():
            logger.warning("member %d failed in generation %d: %s", number, index, failure.splitlines()[-1])
        if len(failures) == len(after):
            raise SearchError(
                f"all {len(after)} members failed in generation {index}. The last one so:\n{[*failures.values()][-1]}"
            )
        return after, entry

    def _winner(self, members: Sequence[Member]) -> tuple[Member, Any]:
        n, episodes = self._confirm
        best = [m for m in ranked(members) if m.state is not None][:n]
        if not best:
            raise SearchError("the run was ended before any member had been trained")
        work = [
            Work(member=m.number, generation=FRESH, params=dict(m.schedule[-1][1]), state=m.state, steps=0,
                 episodes=episodes)
            for m in best
        ]  # fmt: skip
        done = self._executor.map(self._workshop, work)
        sound = [
            (m, mean_interval(one.returns)) for m, one in zip(best, done, strict=True) if not one.failure
        ]
        if not sound:
            raise SearchError(
                f"no member could be evaluated on fresh episodes. The last one so:\n{done[-1].failure}"
            )
        return max(sound, key=lambda pair: pair[1].mean)


def _after(member: Member, done: Done) -> Member:
    """A member at the end of its interval; after a failure it is what it was, without a score."""
    if done.failure:
        return replace(member, score=None)
    return replace(
        member,
        state=done.state,
        steps=member.steps + done.steps,
        score=math.fsum(done.returns) / len(done.returns),
    )
