"""Which agent does ``make_agent`` build?

Pure choosing: from the specs of loaded plugins and the kinds of the environment's spaces, without importing anything
that a plugin did not import. Every step writes down how many candidates it left. The order of steps is part of the
contract:

1. what stands before a colon, a plugin or a framework;
2. neuro-evolution;
3. the name: of an agent, of its algorithm, or of one that it answers to, whatever the case;
4. the action space, then the observation space;
5. ``deterministic`` and ``recurrent``;
6. ``framework``;
7. requirements that are installed;
8. the hook ``optix_select_agent``, else preference: our own distributions before others, then the order of
   frameworks, the exact name before the algorithm's, and the larger rank.

Our own come first of all so that installing a package of somebody else never changes what an existing call returns.
Ranks are compared among our own or inside one distribution only; a tie between others is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from optix_core.plugins import explain
from optix_core.plugins.hints import canonical, framework_name
from optix_core.plugins.records import Component, Resolution
from optix_core.plugins.requirements import unmet
from optix_core.plugins.specs import AgentSpec

if TYPE_CHECKING:
    from optix_core.plugins.protocol import AgentRequest
    from optix_core.plugins.registry import Registry

Agent = Component[AgentSpec]

FRAMEWORK_ORDER = ("torch", "jax", "tf")
"""Preference where the user has none; further frameworks follow by name."""

_log = logging.getLogger("optix_core.plugins")


def resolve(registry: Registry, request: AgentRequest) -> Resolution:
    """Choose the agent that ``request`` asks for.

    Raises:
        AgentResolutionError: None fits, or several fit equally; a subclass says which, with what to do about it.
    """
    return Search(registry, request).run()


class Search:
    """One choice; ``left`` shrinks from step to step."""

    def __init__(self, registry: Registry, request: AgentRequest) -> None:
        self.registry = registry
        self.request = request
        self.all = registry.agents()
        self.left: tuple[Agent, ...] = self.all
        self.steps: list[str] = []

    def run(self) -> Resolution:
        """Take all steps."""
        request = self.request
        if not self.all:
            raise explain.no_backend(self)
        self._qualifier()
        self._neuroevo()
        self._name()
        self._spaces()
        if request.deterministic is not None:
            policy = "deterministic" if request.deterministic else "stochastic"
            self._keep(f"deterministic={request.deterministic}", lambda a: a.spec.policy == policy)
        if request.recurrent is not None:
            wanted = request.recurrent
            self._keep(f"recurrent={wanted}", lambda a: ("recurrent" in a.spec.capabilities) == wanted)
        if request.framework is not None:
            framework = request.framework
            self._keep(f"framework {framework}", lambda a: a.spec.framework == framework, explain.framework)
        self._requires()
        chosen = self._choose()
        self.steps.append(f"chosen: {chosen.qualified}")
        return Resolution(chosen.record, chosen.spec, tuple(self.steps))

    # --- steps --------------------------------------------------------------------------------------------------

    def _keep(
        self,
        label: str,
        test: Callable[[Agent], bool],
        error: Callable[[Search, tuple[Agent, ...]], Exception] = explain.nothing_left,
    ) -> None:
        """Keep what passes ``test``; if nothing does, raise what ``error`` makes of those before."""
        before = self.left
        self.left = tuple(agent for agent in before if test(agent))
        self.steps.append(f"{label}: {len(self.left)} of {len(before)} left")
        if not self.left:
            raise error(self, before)

    def _qualifier(self) -> None:
        given = self.request.qualifier
        if given is None:
            return
        plugin, framework = canonical(given), framework_name(given)
        # a package that calls itself like a framework must not take over "torch:PPO"
        is_framework = any(a.spec.framework == framework and a.record.first_party for a in self.all)
        if plugin in {record.name for record in self.registry.records} and not is_framework:
            self._keep(f"plugin {plugin}", lambda a: a.record.name == plugin, explain.qualifier)
        else:
            self._keep(f"framework {framework}", lambda a: a.spec.framework == framework, explain.qualifier)

    def _neuroevo(self) -> None:
        request = self.request
        if request.neuroevo:
            self._keep("neuroevo=True", _grows, explain.no_neuroevo)
            return
        exact = request.name.casefold() if request.name else None
        self._keep(
            f"neuroevo={request.neuroevo}",
            lambda a: not _grows(a) or request.qualifier is not None or a.spec.name.casefold() == exact,
            explain.only_neuroevo,
        )

    def _name(self) -> None:
        name = self.request.name
        if name is not None:
            self._keep(f"name {name!r}", lambda a: answers(a, name), explain.unknown_name)

    def _spaces(self) -> None:
        request = self.request
        kind = request.action_space
        self._keep(f"action space {kind}", lambda a: kind in a.spec.action_spaces, explain.action_space)
        seen = request.observation_space
        self._keep(
            f"observation space {seen}",
            lambda a: seen in a.spec.observation_spaces,
            explain.observation_space,
        )

    def _requires(self) -> None:
        missing = {agent.qualified: unmet(agent.spec.requires) for agent in self.left}
        best = self._ordered(self.left)[0]
        self._keep("requirements", lambda a: not missing[a.qualified], explain.missing(best, missing))
        for name, items in sorted(missing.items()):
            if items:
                needs = ", ".join(item.requirement for item in items)
                self.steps.append(f"skipped {name}: needs {needs}")
                _log.warning("%s fits but is skipped: it needs %s, which is not installed", name, needs)

    def _choose(self) -> Agent:
        from optix_core.plugins.selection import selected

        picked = selected(self.registry, self.request, self.left)
        if picked is not None:
            agent, who = picked
            self.steps.append(f"selected by {who}")
            return agent
        pool = self.left
        if self.request.name is None and not (self.request.recurrent or self.request.neuroevo):
            pool = tuple(agent for agent in pool if agent.spec.default_rank is not None)
            if not pool:
                raise explain.only_by_name(self, self.left)
        pool = tuple(agent for agent in pool if agent.record.first_party) or pool
        best = self._ordered(pool)[0]
        if best.record.first_party:
            rivals = [agent for agent in pool if self._key(agent) == self._key(best)]
        else:
            plugins = {agent.record.name for agent in pool}
            rivals = list(pool) if len(plugins) > 1 else [a for a in pool if self._key(a) == self._key(best)]
        preferred = self._preferred(rivals if len(rivals) > 1 else [best])
        if preferred is not None:
            self.steps.append(f"preferred by configuration: {preferred.record.name}")
            return preferred
        if len(rivals) > 1:
            raise explain.ambiguous(self, rivals)
        return best

    # --- order --------------------------------------------------------------------------------------------------

    def _preferred(self, standing: Sequence[Agent]) -> Agent | None:
        """What the configuration puts in the place of those standing, if that fits too."""
        prefer = self.registry.switches.prefer
        names = {name.casefold() for agent in standing for name in agent.spec.names}
        keys = {f"{agent.spec.framework}:{name}" for agent in standing for name in names} | names
        plugins = {prefer[key] for key in keys if key in prefer}
        found = [
            agent
            for agent in self.left
            if agent.record.name in plugins and names & {name.casefold() for name in agent.spec.names}
        ]
        return self._ordered(found)[0] if found else None

    def _ordered(self, agents: Sequence[Agent]) -> list[Agent]:
        """Best first; what nothing decides between stays in the order of plugins, which is by name."""
        return sorted(agents, key=lambda agent: (not agent.record.first_party, *self._key(agent)))

    def _key(self, agent: Agent) -> tuple[int, str, bool, float]:
        """Smaller is better; equal means that nothing decides between two."""
        order = (*self.registry.switches.frameworks, *FRAMEWORK_ORDER)
        framework = agent.spec.framework
        place = order.index(framework) if framework in order else len(order)
        exact = self.request.name is not None and agent.spec.name.casefold() == self.request.name.casefold()
        rank = float("-inf") if agent.spec.default_rank is None else float(agent.spec.default_rank)
        return place, framework, not exact, -rank


def answers(agent: Agent, name: str) -> bool:
    """Whether the agent can be asked for by ``name``."""
    return name.casefold() in {known.casefold() for known in agent.spec.names}


def _grows(agent: Agent) -> bool:
    return "neuroevo" in agent.spec.capabilities
