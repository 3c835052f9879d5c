"""Do the optional abilities that an agent has, or claims in its spec, work?"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.testing.agents.subject import (
    AgentSubject,
    all_finite,
    in_each,
    probe_observations,
    same,
    weights_of,
)
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.windows import feed, greedy, stacked

CLOSE = 1e-5
"""What float32 arithmetic may lose in averaging or in an exported graph."""


def averaging(subject: AgentSubject) -> None:
    """The average of a policy with itself is that policy, and a failing average changes nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        with tempfile.TemporaryDirectory(prefix="optix-check-") as folder:
            paths = [str(Path(folder) / name / "weights") for name in ("one", "two")]
            for path in paths:
                Path(path).parent.mkdir()
                agent.save_weights(path)
            other = subject.make(env, 3)
            try:
                other.average_weights(paths)
            except NotImplementedError:
                raise NotApplicable(f"{kind}: the agent does not average weights") from None
            require(
                same(weights_of(agent), weights_of(other), CLOSE),
                "the average of weights with themselves differs",
            )
            before = weights_of(other)
            try:
                other.average_weights([paths[0], str(Path(folder) / "nothing")])
            except Exception:  # noqa: BLE001 (which error is the agent's choice)
                require(same(before, weights_of(other)), "an average that failed had changed the weights")
                return
            raise CheckFailed("averaging with a missing file raised nothing")

    in_each(subject.envs(), ask)


def perturbing(subject: AgentSubject) -> None:
    """Noise of scale 0 changes nothing; a small scale changes finite weights to finite ones."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        agent = subject.make(subject.envs()[kind])
        for index in range(subject.windows_to_change(kind)):
            feed(agent, subject.window(kind, seed=index))
        before = weights_of(agent)
        try:
            agent.perturb_weights(0.0)
        except NotImplementedError:
            raise NotApplicable(f"{kind}: the agent does not perturb weights") from None
        require(same(before, weights_of(agent)), "perturb_weights(0.0) changed the weights")
        agent.perturb_weights(0.01)
        require(not same(before, weights_of(agent)), "perturb_weights(0.01) changed nothing")
        require(all_finite(weights_of(agent)), "perturb_weights(0.01) made weights that are not finite")

    in_each(subject.learning_envs(), ask)


def onnx(subject: AgentSubject) -> None:
    """An exported ONNX file chooses the greedy actions of the agent."""
    claims = subject.spec is not None and "export:onnx" in subject.spec.capabilities
    if not claims:
        raise NotApplicable("the spec does not claim export:onnx")
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")  # untyped, and not always there
    except ImportError:
        raise NotApplicable("onnxruntime is not installed") from None

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent, seen = subject.make(env), stacked(probe_observations(env))
        with tempfile.TemporaryDirectory(prefix="optix-check-") as folder:
            path = str(Path(folder) / "policy.onnx")
            agent.export_onnx(path)
            session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        if len(session.get_inputs()) != 1 or not ("action" in names or kind == "discrete"):
            raise NotApplicable(f"{kind}: what the graph takes and gives is not known to this check")
        values = session.run(None, {session.get_inputs()[0].name: seen.astype(np.float32)})
        chosen = (
            np.asarray(values[names.index("action")])
            if "action" in names
            else np.asarray(values[0]).argmax(axis=1)
        )
        expected = np.stack(greedy(agent, seen))
        require(
            chosen.shape == expected.shape and np.allclose(chosen, expected, rtol=1e-4, atol=1e-5),
            "the exported graph chooses other actions",
        )

    in_each(subject.envs(), ask)


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="capability-average", run=averaging, summary="Averaging equal weights changes nothing."),
    Check(id="capability-perturb", run=perturbing, summary="Perturbing scales with its argument."),
    Check(id="capability-onnx", run=onnx, summary="An exported graph acts as the agent does."),
)
