"""From trajectories in shared memory to one window, and from environments to the plan of that memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.remote import ActingSpec, remote_policy
from optix_core.agents.box_actions import actions_of
from optix_core.pipelines.faults import FaultPolicy
from optix_core.pipelines.stepping import ListStepper
from optix_core.rl.structured import empty
from optix_core.seeding import Domain, generator
from optix_core.types import EpisodeData, EpisodeRecord
from optix_distributed.shared.plan import MemoryPlan


def plan_memory(
    factory: Callable[[], Any],
    spec: ActingSpec,
    *,
    n_actors: int,
    slots_per_actor: int,
    steps: int,
    envs_per_actor: int,
    verify_weights: bool = False,
) -> MemoryPlan:
    """Make one environment here, look at what it gives and what the policy answers, and close it.

    An environment that cannot be made or reset, and a policy that does not fit it, fail here and not in another
    process.
    """
    env = factory()
    try:
        stepper = ListStepper([env], [factory], root_seed=0, policy=FaultPolicy())
        first = stepper.start(masks=spec.accepts_masks)
        space: Any = env.action_space
        policy = remote_policy(spec, actions_of(space, "the policy").to_env, generator(0, Domain.POLICY))
        if spec.cells:
            memory = np.zeros((1, spec.memory_size), np.float32)
            actions = policy.act_batch_with_memory(first, memory)[0]
        else:
            actions = policy.act_batch(first)
        return MemoryPlan(
            n_actors=n_actors,
            slots_per_actor=slots_per_actor,
            steps=steps,
            envs_per_actor=envs_per_actor,
            obs_shape=first.shape[1:],
            obs_dtype=first.dtype,
            action_shape=actions.shape[1:],
            action_dtype=actions.dtype,
            memory_size=spec.memory_size,
            weight_bytes=spec.nbytes,
            verify_weights=verify_weights,
        )
    finally:
        env.close()


def merged(
    slots: Sequence[Mapping[str, NDArray[Any]]], window_index: int, metadata: dict[str, Any]
) -> EpisodeData:
    """One window ``[T, slots * N]`` that shares no memory with the slots; slot k has the columns from ``k * N`` on."""
    n = slots[0]["rewards"].shape[1]

    def joined(name: str) -> NDArray[Any]:
        first = slots[0][name]
        out = empty((len(first), n * len(slots), *first.shape[2:]), first.dtype)
        for k, slot in enumerate(slots):
            out[:, k * n : (k + 1) * n] = slot[name]
        return out

    counts = [slot["counts"].tolist() for slot in slots]
    steps = [
        slot["boundary_steps"][: c[1]] + np.array([0, k * n])
        for k, (slot, c) in enumerate(zip(slots, counts, strict=True))
    ]
    ends = np.concatenate(steps)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    after = np.concatenate(
        [slot["boundary_observations"][: c[1]] for slot, c in zip(slots, counts, strict=True)]
    )
    records = [
        _record(record, k * n)
        for k, slot in enumerate(slots)
        for record in slot["episodes"][: counts[k][2]].tolist()
    ]
    starts = joined("episode_starts")
    return EpisodeData(
        observations=joined("observations"),
        actions=joined("actions"),
        rewards=joined("rewards"),
        terminated=joined("terminated"),
        truncated=joined("truncated"),
        log_probs=joined("log_probs"),
        hidden_states=joined("hidden_states") if "hidden_states" in slots[0] else None,
        episode_starts=starts,
        final_obs=np.concatenate([slot["final_obs"] for slot in slots]),
        n_envs=n * len(slots),
        episode_id=window_index,
        boundary_steps=ends[order],
        boundary_observations=after[order],
        episodes=tuple(sorted(records, key=lambda r: (r.step, r.env_index))),
        metadata={"episode_records": True, "continues_episode": ~starts[0], **metadata},
    )


def _record(record: tuple[Any, ...], first: int) -> EpisodeRecord:
    env_index, step, episode_return, length, terminated, seed = record
    return EpisodeRecord(
        env_index=env_index + first,
        step=step,
        episode_return=episode_return,
        length=length,
        terminated=terminated,
        seed=None if seed < 0 else seed,
    )
