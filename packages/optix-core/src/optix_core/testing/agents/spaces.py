"""Does the agent keep its word about observations with parts, action masks and memory?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.base_agent import ActingState, BaseAgent, BatchActing, RecurrentActing
from optix_core.pipelines.actor import Actor
from optix_core.rl.spaces import describe_space
from optix_core.testing.agents.act import require_valid
from optix_core.testing.agents.subject import AgentSubject, all_finite, as_any, probe_observations, weights_of
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.tiny_envs import SeenAs, TinyBox, TinyDiscrete, TinyMasked, TinyRecall
from optix_core.testing.windows import collect, feed, stacked

STEPS = 48
"""Steps of a window here."""


def seen_as(kind: str, action: str) -> gym.Env[Any, Any]:
    """A tiny environment with discrete or box actions, told by observations of ``kind``."""
    env: gym.Env[Any, Any] = TinyDiscrete() if action == "discrete" else TinyBox()
    return env if kind == "box" else SeenAs(env, kind)


def _action_kind(subject: AgentSubject) -> str:
    for kind in ("discrete", "box"):
        if kind in subject.action_spaces:
            return kind
    raise NotApplicable("no tiny environment has the action spaces that the agent claims")


def claimed_observations(subject: AgentSubject) -> None:
    """From every kind of observation that it claims besides Box, it acts and learns."""
    kinds = [kind for kind in subject.observation_spaces if kind != "box"]
    if not kinds:
        raise NotApplicable("the agent claims box observations only")
    for kind in kinds:
        _acts_and_learns(subject, kind)


def images(subject: AgentSubject) -> None:
    """An agent that claims Box acts on and learns from images of bytes too."""
    if "box" not in subject.observation_spaces:
        raise NotApplicable("the agent does not claim box observations")
    _acts_and_learns(subject, "image")


def _acts_and_learns(subject: AgentSubject, kind: str) -> None:
    env = seen_as(kind, _action_kind(subject))
    try:
        agent = subject.make(env)
        for observation in probe_observations(env, 6):
            require_valid(agent.act(observation), env, f"a {kind} observation")
        if isinstance(agent, BatchActing):
            batch = stacked(probe_observations(env, 6))
            for chosen in agent.env_actions(agent.act_batch(batch)):
                require_valid(chosen, env, f"a batch of {kind} observations")
        for window in range(2):
            feed(agent, collect(agent, env, STEPS, seed=window, window=window))
        require(all_finite(weights_of(agent)), "weights are not finite after learning")
    except CheckFailed as error:
        raise CheckFailed(f"{kind} observations: {error}") from error
    except Exception as error:
        raise CheckFailed(f"{kind} observations: {type(error).__name__}: {error}") from error


def _agent_for(subject: AgentSubject, env: gym.Env[Any, Any]) -> BaseAgent:
    if "discrete" not in subject.action_spaces or "box" not in subject.observation_spaces:
        raise NotApplicable("the agent does not claim discrete actions from box observations")
    return subject.make(env)


def require_masks(subject: AgentSubject) -> None:
    """Stop unless the agent says that it understands masks.

    Raises:
        NotApplicable: It does not.
    """
    if not _agent_for(subject, TinyMasked()).accepts_action_masks:
        raise NotApplicable("the agent does not say accepts_action_masks")


def require_memory(subject: AgentSubject) -> None:
    """Stop unless the agent acts with a memory.

    Raises:
        NotApplicable: It does not.
    """
    if not isinstance(_agent_for(subject, TinyRecall()), RecurrentActing):
        raise NotApplicable("the agent has no act_batch_with_memory")


def masks_obeyed(subject: AgentSubject) -> None:
    """No masked action is ever chosen: greedily or not, in batches or alone, before and after learning."""
    require_masks(subject)
    for method in (False, True):
        env = TinyMasked(method=method)
        agent = subject.make(env)
        for window in range(3):
            data = collect(agent, env, STEPS, seed=window, window=window)
            require(
                data.observations.dtype.names is not None, "the kit showed no masks"
            )  # guards the check itself
            masks = data.observations["action_mask"]
            rows = np.arange(STEPS)
            require(
                bool(masks[rows, data.actions.reshape(-1).astype(np.int64)].all()),
                "a masked action was chosen",
            )
            _obeys(agent, data.observations, describe_space(env.action_space))
            feed(agent, data)
        require(all_finite(weights_of(agent)), "weights are not finite after learning with masks")


def _obeys(agent: BaseAgent, observations: Any, space: Any) -> None:
    """Every choice is allowed, also where only one is; pipelines make the same test."""
    narrow = observations.copy()
    narrow["action_mask"] = np.eye(space.n, dtype=np.bool_)[np.arange(len(narrow)) % space.n]
    for batch in (observations, narrow):
        for deterministic in (False, True):
            actor = Actor(agent, space, deterministic=deterministic)
            if actor.memory_size:
                actor.remembering(batch, np.zeros((len(batch), actor.memory_size), np.float32))
            else:
                actor(batch)
    for row in narrow[: space.n]:
        shown = {"observation": row["observation"], "action_mask": row["action_mask"]}
        for _ in range(4):
            require(
                bool(row["action_mask"][int(agent.act(shown)) - space.start]),
                "act chose a masked action from a dict of observation and action_mask",
            )


def masks_claimed(subject: AgentSubject) -> None:
    """The spec claims ``masks`` exactly if the agent says ``accepts_action_masks`` where actions can be masked."""
    if subject.spec is None:
        raise NotApplicable("the agent has no spec")
    claims = "masks" in subject.spec.capabilities
    maskable = {kind: env for kind, env in subject.envs().items() if kind in {"discrete", "multi_discrete"}}
    require(maskable or not claims, "the spec claims masks, but its action spaces have no separate choices")
    for kind, env in maskable.items():
        says = bool(subject.make(env).accepts_action_masks)
        require(
            claims == says,
            f"{kind}: the spec {'claims' if claims else 'does not claim'} masks, the agent says {says}",
        )


def memory_claimed(subject: AgentSubject) -> None:
    """The spec claims ``recurrent`` exactly if the agent has ``act_batch_with_memory``."""
    if subject.spec is None:
        raise NotApplicable("the agent has no spec")
    agent = subject.make(next(iter(subject.envs().values())))
    claims, has = "recurrent" in subject.spec.capabilities, isinstance(agent, RecurrentActing)
    require(
        claims == has,
        f"the spec {'claims' if claims else 'does not claim'} recurrent, act_batch_with_memory is "
        f"{'there' if has else 'not there'}",
    )


def memory_protocol(subject: AgentSubject) -> None:
    """Memory goes in and comes out row by row, untouched and fresh; zeros mean a new episode."""
    require_memory(subject)
    env = TinyRecall()
    agent: Any = subject.make(env)
    batch = stacked(probe_observations(env, 5))
    rng = np.random.default_rng(0)
    memory = rng.normal(0, 0.5, (5, agent.memory_size)).astype(np.float32)
    kept, seen = memory.copy(), batch.copy()
    first, after = agent.act_batch_with_memory(batch, memory, deterministic=True)
    require(
        after.shape == memory.shape and after.dtype == np.float32,
        f"memory of shape {memory.shape} came back with shape {after.shape} and dtype {after.dtype}",
    )
    require(
        np.array_equal(memory, kept) and np.array_equal(batch, seen),
        "the memory or the observations given were changed",
    )
    result, policy = after.copy(), np.array(first)
    agent.act_batch_with_memory(batch[::-1].copy(), np.zeros_like(memory))
    require(
        np.array_equal(after, result) and np.array_equal(first, policy),
        "a buffer was used again: results changed later",
    )
    close = max(1e-5, subject.tolerance)
    for n in range(5):
        _, alone = agent.act_batch_with_memory(batch[n : n + 1], memory[n : n + 1], deterministic=True)
        require(
            np.allclose(alone[0], after[n], rtol=0.0, atol=close),
            f"row {n} depends on the other environments' rows",
        )
    require(
        not np.allclose(after, agent.act_batch_with_memory(batch, np.zeros_like(memory))[1], atol=close),
        "the memory given makes no difference",
    )


def memory_alone(subject: AgentSubject) -> None:
    """``act`` remembers by itself from ``reset_memory`` on, and acting in batches leaves that memory alone."""
    require_memory(subject)
    env = TinyRecall()
    agent: Any = subject.make(env)
    require(callable(getattr(agent, "reset_memory", None)), "a recurrent agent needs reset_memory()")
    for window in range(3):  # fresh weights may hardly listen to the memory
        feed(agent, collect(agent, env, STEPS, seed=window, window=window))
    observations = probe_observations(env, 40)
    memory = np.zeros((1, agent.memory_size), np.float32)
    expected: list[Any] = []
    for observation in observations:
        policy, memory = agent.act_batch_with_memory(stacked([observation]), memory, deterministic=True)
        expected.append(np.asarray(agent.env_actions(policy)[0]))
    for turn in range(2):
        agent.reset_memory()
        found: list[Any] = []
        for observation in observations:
            found.append(np.asarray(agent.act(observation, deterministic=True)))
            agent.act_batch_with_memory(stacked([observation]), np.ones_like(memory))
        require(
            all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)),
            f"act gives other actions than act_batch_with_memory (turn {turn}); its memory is not its own, or "
            "reset_memory does not begin anew",
        )
    if isinstance(agent, ActingState):
        whole = as_any(agent)
        whole.reset_memory()
        for observation in observations[:3]:
            whole.act(observation, deterministic=True)
        state = whole.acting_state()
        rest = [np.asarray(whole.act(o, deterministic=True)) for o in observations[3:]]
        whole.load_acting_state(state)
        again = [np.asarray(whole.act(o, deterministic=True)) for o in observations[3:]]
        require(
            all(np.array_equal(a, b) for a, b in zip(rest, again, strict=True)),
            "acting_state does not cover act's memory",
        )


def memory_windows(subject: AgentSubject) -> None:
    """Windows with memories are learned from, whatever their episode ends."""
    require_memory(subject)
    env = TinyRecall()
    agent = subject.make(env)
    for window in range(3):
        data = collect(agent, env, STEPS + window, seed=window, window=window)
        require(data.hidden_states is not None, "the kit recorded no memory")
        feed(agent, data)
    require(all_finite(weights_of(agent)), "weights are not finite after learning with memory")


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(
        id="spaces-observations",
        run=claimed_observations,
        summary="Acts on and learns from every kind of observation that it claims.",
    ),
    Check(id="spaces-images", run=images, summary="Acts on and learns from images of bytes."),
    Check(id="masks-obeyed", run=masks_obeyed, summary="No masked action is ever chosen."),
    Check(id="masks-claimed", run=masks_claimed, summary="The spec says masks where the agent does."),
    Check(id="memory-protocol", run=memory_protocol, summary="Memory is passed row by row."),
    Check(id="memory-alone", run=memory_alone, summary="act keeps a memory of its own."),
    Check(id="memory-windows", run=memory_windows, summary="Windows with memories are learned from."),
    Check(id="memory-claimed", run=memory_claimed, summary="The spec says recurrent where the agent is."),
)
