"""What an agent check gets to work with: how to build the agent, where, and how to look at it from outside."""

from __future__ import annotations

import copy
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent
from optix_core.testing.report import CheckFailed, NotApplicable, require
from optix_core.testing.tiny_envs import SpaceProbe, StayOrLeave, TinyBox, TinyDiscrete
from optix_core.testing.windows import collect, feed
from optix_core.types import EpisodeData

Contents = dict[str, Any]
"""What an agent saved: ``file/array`` to array where the format is known, ``file`` to bytes where not."""

WINDOW = 33
"""Steps in a window of the checks; odd on purpose, so that it divides into neither minibatches nor episodes."""

PATIENCE = 60
"""Windows within which an agent must have started to change its weights (about 2,000 steps)."""

SPACES: dict[str, Callable[[], gym.Space[Any]]] = {
    "discrete": lambda: gym.spaces.Discrete(3),
    "multi_discrete": lambda: gym.spaces.MultiDiscrete([2, 3]),
    "multi_binary": lambda: gym.spaces.MultiBinary(3),
    "box": lambda: gym.spaces.Box(np.float32(-2.0), np.float32(1.0), (2,), np.float32),
    "dict": lambda: gym.spaces.Dict({"a": gym.spaces.Discrete(2), "b": gym.spaces.Discrete(2)}),
    "tuple": lambda: gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.Discrete(2))),
}
"""A small space of each kind that a spec can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSubject:
    """An agent under examination.

    Attributes:
        name: What reports call it.
        build: ``(env, seed, options) -> agent``; raises an OptixError where it cannot.
        spec: Its AgentSpec, if it comes from a plugin.
        record: The plugin's record, if it comes from one.
        action_spaces: Kinds of action space that it claims, keys of :data:`SPACES`.
        observation_spaces: Kinds of observation space that it claims.
        options: Passed to every build.
        tolerance: Absolute difference up to which weights and actions count as equal.
        import_name: ``"pkg.mod:attr"`` by which another process can build it, if there is one.
    """

    name: str
    build: Callable[[gym.Env[Any, Any], int, Mapping[str, Any]], BaseAgent]
    spec: Any = None
    record: Any = None
    action_spaces: tuple[str, ...] = ("discrete",)
    observation_spaces: tuple[str, ...] = ("box",)
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tolerance: float = 0.0
    import_name: str | None = None
    _warm: dict[str, int] = field(default_factory=dict[str, int], repr=False)
    _windows: dict[tuple[str, int, int], EpisodeData] = field(
        default_factory=dict[tuple[str, int, int], EpisodeData], repr=False
    )

    def make(self, env: gym.Env[Any, Any], seed: int = 0) -> BaseAgent:
        """A fresh agent for ``env``."""
        return self.build(env, seed, self.options)

    def envs(self) -> dict[str, gym.Env[Any, Any]]:
        """One tiny environment per claimed action space, with the first claimed observation space."""
        kind = "box" if "box" in self.observation_spaces else self.observation_spaces[0]
        tiny: dict[str, gym.Env[Any, Any]] = {}
        for action in self.action_spaces:
            if kind == "box" and action == "discrete":
                tiny[action] = TinyDiscrete()
            elif kind == "box" and action == "box":
                tiny[action] = TinyBox()
            else:
                tiny[action] = SpaceProbe(SPACES[kind](), SPACES[action]())
        return tiny

    def learning_envs(self) -> dict[str, gym.Env[Any, Any]]:
        """Those of :meth:`envs` in which there is something to learn.

        Raises:
            NotApplicable: There is none for the claimed spaces.
        """
        fit = {k: e for k, e in self.envs().items() if not isinstance(e, SpaceProbe)}
        if not fit:
            raise NotApplicable("no tiny environment has these spaces")
        return fit

    def stay_or_leave(self) -> dict[str, StayOrLeave]:
        """The environments that tell truncation from termination, for the claimed spaces.

        Raises:
            NotApplicable: There is none for the claimed spaces.
        """
        fit = {
            kind: StayOrLeave(continuous=kind == "box")
            for kind in self.action_spaces
            if kind in {"discrete", "box"} and "box" in self.observation_spaces
        }
        if not fit:
            raise NotApplicable("no tiny environment has these spaces")
        return fit

    def windows_to_change(self, kind: str) -> int:
        """How many windows of :data:`WINDOW` steps pass until the weights have changed, at least 1.

        Raises:
            NotApplicable: They never did within :data:`PATIENCE` windows; ``learn-changes-weights`` makes that a
                failure.
        """
        if kind not in self._warm:
            self._warm[kind] = 0
            env = self.envs()[kind]
            agent = self.make(env)
            before = weights_of(agent)
            for window in range(PATIENCE):
                feed(agent, collect(agent, env, WINDOW, seed=window, window=window))
                if not same(before, weights_of(agent)):
                    self._warm[kind] = window + 1
                    break
        if not self._warm[kind]:
            raise NotApplicable(f"the weights did not change in {PATIENCE} windows of {WINDOW} steps")
        return self._warm[kind]

    def window(self, kind: str, *, seed: int = 0, steps: int = WINDOW) -> EpisodeData:
        """A window that a fresh agent collected, the caller's own copy."""
        if (kind, seed, steps) not in self._windows:
            env = self.envs()[kind]
            self._windows[kind, seed, steps] = collect(self.make(env, seed), env, steps, seed=seed)
        return copy.deepcopy(self._windows[kind, seed, steps])

    def same_windows(
        self, kind: str, change: Callable[[EpisodeData], EpisodeData], *, seed: int = 0
    ) -> BaseAgent:
        """A fresh agent after learning enough equal windows, each passed through ``change``, to have changed."""
        agent = self.make(self.envs()[kind], seed)
        for index in range(self.windows_to_change(kind) + 1):
            feed(agent, change(self.window(kind, seed=index)))
        return agent


def in_each(
    envs: Mapping[str, gym.Env[Any, Any]], question: Callable[[str, gym.Env[Any, Any]], None]
) -> None:
    """Ask about every environment; failures and refusals to answer name the kind.

    Raises:
        CheckFailed: For the first kind where the answer is no.
        NotApplicable: The question applies to none of them.
    """
    reasons: list[str] = []
    for kind, env in envs.items():
        try:
            question(kind, env)
        except CheckFailed as error:
            raise CheckFailed(f"{kind}: {str(error).removeprefix(f'{kind}: ')}") from error
        except NotApplicable as reason:
            reasons.append(f"{kind}: {reason}")
    if len(reasons) == len(envs):
        raise NotApplicable("; ".join(reasons))


def weights_of(agent: BaseAgent) -> Contents:
    """What ``save_weights`` writes, read back as arrays where the format is known."""
    with tempfile.TemporaryDirectory(prefix="optix-check-") as folder:
        path = Path(folder) / "weights"
        agent.save_weights(str(path))
        return read_saved(Path(folder))


def read_saved(root: Path) -> Contents:
    """Every file below ``root``, decoded.

    Raises:
        CheckFailed: There is none.
    """
    files = sorted(p for p in root.rglob("*") if p.is_file())
    require(files, "save_weights wrote no file")
    found: Contents = {}
    for path in files:
        name = path.relative_to(root).as_posix()
        raw = path.read_bytes()
        arrays = _decode(raw)
        found |= {name: raw} if arrays is None else {f"{name}/{key}": value for key, value in arrays.items()}
    return found


def _decode(raw: bytes) -> dict[str, Any] | None:
    """Arrays or plain data in npz, npy, safetensors and JSON; None for any other format."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if raw.startswith((b"PK", b"\x93NUMPY")):
            opened = np.load(io.BytesIO(raw), allow_pickle=False)
            return {"": opened} if isinstance(opened, np.ndarray) else {k: opened[k] for k in opened.files}
        if raw[:1] in {b"{", b"["}:
            return {"": json.loads(raw)}
        return dict(load(raw))
    except (ValueError, KeyError, OSError, SafetensorError):
        return None


def same(left: Contents, right: Contents, tolerance: float = 0.0) -> bool:
    """Whether two sets of saved contents are equal, numbers up to an absolute ``tolerance``."""
    return set(left) == set(right) and all(_equal(left[k], right[k], tolerance) for k in left)


def as_any(value: Any) -> Any:
    """``value``, about whose type nothing is known: components may return anything."""
    return value


def is_array(value: Any) -> bool:
    """Whether ``value`` is a numpy array, of whatever dtype."""
    return isinstance(value, np.ndarray)


def _equal(left: Any, right: Any, tolerance: float) -> bool:
    if is_array(left) and is_array(right):
        if left.shape != right.shape or left.dtype != right.dtype:
            return False
        if np.issubdtype(left.dtype, np.inexact):
            return bool(np.allclose(left, right, rtol=0.0, atol=tolerance, equal_nan=True))
        return bool(np.array_equal(left, right))
    return bool(left == right)


def same_actions(left: list[NDArray[Any]], right: list[NDArray[Any]], tolerance: float = 0.0) -> bool:
    """Whether two lists of actions are equal, numbers up to an absolute ``tolerance``."""
    return len(left) == len(right) and all(_equal(a, b, tolerance) for a, b in zip(left, right, strict=True))


def all_finite(contents: Contents) -> bool:
    """Whether every floating-point array among saved contents is finite."""
    return all(
        bool(np.isfinite(value).all())
        for value in contents.values()
        if is_array(value) and np.issubdtype(value.dtype, np.inexact)
    )


def probe_observations(env: gym.Env[Any, Any], count: int = 12) -> list[Any]:
    """Samples of the observation space, the same every time."""
    space = env.observation_space
    space.seed(12345)
    return [space.sample() for _ in range(count)]
