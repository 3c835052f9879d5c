"""Does saving and loading give back the same agent, and does a bad file leave it as it was?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.state import State, Stateful, arrays_in
from optix_core.testing.agents.subject import (
    WINDOW,
    AgentSubject,
    in_each,
    is_array,
    probe_observations,
    same,
    same_actions,
    weights_of,
)
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.tiny_envs import SpaceProbe
from optix_core.testing.windows import accepts_greedy, collect, feed, greedy


def _trained(subject: AgentSubject, kind: str, *, seed: int = 0) -> BaseAgent:
    """A fresh agent after enough windows that its weights have changed."""
    agent = subject.make(subject.envs()[kind], seed)
    for index in range(subject.windows_to_change(kind) + 1):
        feed(agent, subject.window(kind, seed=index))
    return agent


def _in_folder(question: Callable[[Path], None], name: str = "weights") -> None:
    with tempfile.TemporaryDirectory(prefix="optix-check-") as folder:
        question(Path(folder) / name)


def roundtrip(subject: AgentSubject) -> None:
    """A new agent that loads saved weights acts the same; spaces in the path and overwriting work."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = _trained(subject, kind)

        def at(path: Path) -> None:
            subject.make(env, 5).save_weights(str(path))
            agent.save_weights(str(path))
            other = subject.make(env, 7)
            other.load_weights(str(path))
            require(
                same(weights_of(agent), weights_of(other)),
                "weights differ after save_weights and load_weights",
            )
            if accepts_greedy(agent):
                seen = probe_observations(env)
                require(
                    same_actions(greedy(agent, seen), greedy(other, seen), subject.tolerance),
                    "greedy actions differ after save_weights and load_weights",
                )

        _in_folder(at, "weights of step 1 ü")

    in_each(subject.learning_envs(), ask)


def _require_unharmed(agent: BaseAgent, path: Path, before: Any, what: str) -> None:
    """Fail unless loading ``path`` raises and leaves the weights as they were."""
    try:
        agent.load_weights(str(path))
    except Exception:  # noqa: BLE001 (which error is the agent's choice; that there is one is the rule)
        require(same(before, weights_of(agent)), f"loading {what} raised, but weights had changed by then")
        return
    raise CheckFailed(f"loading {what} raised nothing")


def missing(subject: AgentSubject) -> None:
    """Loading from a path where nothing is raises and changes nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        before = weights_of(agent)
        _in_folder(lambda path: _require_unharmed(agent, path, before, "a missing file"))

    in_each(subject.envs(), ask)


def corrupt(subject: AgentSubject) -> None:
    """Loading a file cut in half or overwritten with zeros raises and changes nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        saved, agent = subject.make(env, 1), subject.make(env, 2)
        before = weights_of(agent)

        def at(path: Path, damage: Callable[[bytes], bytes], what: str) -> None:
            saved.save_weights(str(path))
            for file in (p for p in path.parent.rglob("*") if p.is_file()):
                file.write_bytes(damage(file.read_bytes()))
            _require_unharmed(agent, path, before, what)

        _in_folder(lambda p: at(p, lambda raw: raw[: len(raw) // 2], "a file cut in half"))
        _in_folder(lambda p: at(p, lambda raw: bytes(len(raw)), "a file of zeros"))

    in_each(subject.envs(), ask)


def other_shape(subject: AgentSubject) -> None:
    """Loading weights of an agent for longer observations raises and changes nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise NotApplicable(f"{kind}: observations have no length to vary")
        wider = gym.spaces.Box(0.0, 1.0, (space.shape[0] + 3,), np.float32)
        other, agent = subject.make(SpaceProbe(wider, env.action_space)), subject.make(env)
        before = weights_of(agent)

        def at(path: Path) -> None:
            other.save_weights(str(path))
            _require_unharmed(agent, path, before, "weights for longer observations")

        _in_folder(at)

    in_each(subject.envs(), ask)


def type_name(value: Any) -> str:
    """The name of a value's type."""
    return type(value).__name__


def _stateful(agent: BaseAgent, kind: str) -> Any:
    if not isinstance(agent, Stateful):
        raise NotApplicable(f"{kind}: the agent has no state_dict, so runs with it cannot be resumed exactly")
    return agent


def state_continues(subject: AgentSubject) -> None:
    """An agent that loads a full state goes on exactly as the original: same samples, same next updates."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = _stateful(_trained(subject, kind), kind)
        # a round trip through plain data: what a checkpoint would do
        state = _stored(agent.state_dict())
        other: Any = subject.make(env, 11)
        other.load_state_dict(state)
        mine, theirs = ([np.asarray(a.act(o)) for o in probe_observations(env)] for a in (agent, other))
        require(same_actions(mine, theirs, subject.tolerance), "sampled actions differ after load_state_dict")
        for one in (agent, other):
            for index in range(2):
                feed(one, subject.window(kind, seed=100 + index))
        require(
            same(weights_of(agent), weights_of(other), subject.tolerance),
            "the updates after load_state_dict differ (optimizer state, replay or random stream is missing)",
        )

    in_each(subject.learning_envs(), ask)


def _stored(state: State) -> State:
    """A deep copy of plain state; arrays are copied."""

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: copy(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, list | tuple):
            return [copy(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
        return np.array(value) if is_array(value) else value

    return copy(state)


def state_plain(subject: AgentSubject) -> None:
    """``state_dict`` holds nothing but plain data and numpy arrays."""

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
                require(isinstance(key, str), f"state_dict{path} has the key {key!r}, which is no string")
                walk(inner, f"{path}[{key!r}]")
        elif isinstance(value, list | tuple):
            for index, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
                walk(inner, f"{path}[{index}]")
        elif not (value is None or type(value) in {bool, int, float, str}):
            plain = is_array(value) and value.dtype != object
            require(
                plain, f"state_dict{path} is a {type_name(value)}; only plain data and arrays can be stored"
            )

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        walk(_stateful(subject.make(env), kind).state_dict(), "")

    in_each(subject.envs(), ask)


def state_copied(subject: AgentSubject) -> None:
    """Later learning does not reach a state that was taken before."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        agent = _stateful(_trained(subject, kind), kind)
        state = agent.state_dict()
        kept = {path: array.copy() for path, array in arrays_in(state).items()}
        for index in range(2):
            feed(agent, subject.window(kind, seed=200 + index))
        moved = [
            path
            for path, array in arrays_in(state).items()
            if not np.array_equal(array, kept[path], equal_nan=array.dtype.kind == "f")
        ]
        require(not moved, f"learning changed a state taken earlier: {', '.join(moved[:3])}")

    in_each(subject.learning_envs(), ask)


def fresh_process(subject: AgentSubject) -> None:
    """Another process that loads the weights acts the same. One for all spaces, since frameworks start slowly."""
    if subject.import_name is None:
        raise NotApplicable("another process cannot import what builds this agent")
    envs = subject.envs()
    ours: dict[str, list[np.ndarray]] = {}

    with tempfile.TemporaryDirectory(prefix="optix-check-") as folder:

        def save(kind: str, env: gym.Env[Any, Any]) -> None:
            agent = subject.make(env)
            if not accepts_greedy(agent):
                raise NotApplicable(f"{kind}: without greedy acting there is nothing to compare")
            feed(agent, collect(agent, env, WINDOW))
            agent.save_weights(str(Path(folder) / kind))
            ours[kind] = greedy(agent, probe_observations(env))

        in_each(envs, save)
        theirs = _loaded_elsewhere(subject, {kind: str(Path(folder) / kind) for kind in ours})

    def compare(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        agree = all(
            np.allclose(a, np.asarray(b), rtol=0.0, atol=max(1e-6, subject.tolerance))
            for a, b in zip(ours[kind], theirs[kind], strict=True)
        )
        require(agree, "another process that loaded the weights acts differently")

    in_each({kind: envs[kind] for kind in ours}, compare)


def _loaded_elsewhere(subject: AgentSubject, paths: dict[str, str]) -> dict[str, list[Any]]:
    """Greedy actions by kind of action space, from another process that loaded the weights at ``paths``."""
    job: dict[str, Any] = {
        "factory": subject.import_name,
        "by_name": subject.spec is not None,
        "options": dict(subject.options),
        "action_spaces": subject.action_spaces,
        "observation_spaces": subject.observation_spaces,
        "paths": paths,
    }
    done = subprocess.run(
        [sys.executable, "-m", "optix_core.testing.agents.child"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=300,
    )
    require(done.returncode == 0, f"loading in another process failed: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="persistence-roundtrip", run=roundtrip, summary="Saved weights load into a new agent."),
    Check(id="persistence-missing", run=missing, summary="A missing file raises and changes nothing."),
    Check(id="persistence-corrupt", run=corrupt, summary="A damaged file raises and changes nothing."),
    Check(
        id="persistence-other-shape", run=other_shape, summary="Weights of another architecture are refused."
    ),
    Check(id="persistence-state-continues", run=state_continues, summary="A full state continues exactly."),
    Check(id="persistence-state-plain", run=state_plain, summary="A full state is plain data and arrays."),
    Check(id="persistence-state-copied", run=state_copied, summary="A full state is a copy."),
    Check(
        id="persistence-fresh-process", run=fresh_process, summary="Another process loads the same policy."
    ),
)
