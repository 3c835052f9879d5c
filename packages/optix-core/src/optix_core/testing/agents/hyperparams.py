"""Are the hyperparameters those that were declared, do they take effect, and does a wrong one change nothing?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from optix_core.errors import HyperparamError
from optix_core.testing.agents.subject import AgentSubject, in_each, same, weights_of
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.windows import feed
from optix_core.types import HyperparamSet


def defaults(subject: AgentSubject) -> None:
    """A fresh agent has the hyperparameters of its spec, at the defaults of its spec."""
    if subject.spec is None:
        raise NotApplicable("the agent was given without a spec")

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        declared = {h.name: h.default for h in subject.spec.hyperparams}
        declared |= {name: value for name, value in subject.options.items() if name in declared}
        found = subject.make(env).get_hyperparams().params
        missing, extra = sorted(set(declared) - set(found)), sorted(set(found) - set(declared))
        require(
            not missing, f"the spec declares {', '.join(missing)}, but get_hyperparams does not return it"
        )
        require(not extra, f"get_hyperparams returns {', '.join(extra)}, which the spec does not declare")
        for name, value in declared.items():
            require(_close(found[name], value), f"{name} is {found[name]!r}; the spec says {value!r}")

    in_each(subject.envs(), ask)


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, int | float) and not isinstance(right, bool):
        return abs(left - right) <= 1e-6 * max(1.0, abs(right))  # float32 optimizers give back rounded values
    return bool(left == right)


def roundtrip(subject: AgentSubject) -> None:
    """Setting what was got changes nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        before: Any = agent.get_hyperparams()
        require(isinstance(before, HyperparamSet), f"get_hyperparams returned {type(before).__name__}")
        agent.set_hyperparams(before.copy())
        after = agent.get_hyperparams().params
        require(after == before.params, f"after setting them back, {before.params} became {after}")

    in_each(subject.envs(), ask)


def copies(subject: AgentSubject) -> None:
    """Neither the set that was got nor the one that was given is connected to the agent."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        kept = dict(agent.get_hyperparams().params)
        if not kept:
            raise NotApplicable(f"{kind}: the agent has no hyperparameters")
        got = agent.get_hyperparams()
        got.params.clear()
        require(
            agent.get_hyperparams().params == kept, "clearing what get_hyperparams returned changed the agent"
        )
        given = HyperparamSet(dict(kept))
        agent.set_hyperparams(given)
        now = dict(agent.get_hyperparams().params)
        given.params.clear()
        require(
            agent.get_hyperparams().params == now,
            "clearing what was given to set_hyperparams changed the agent",
        )

    in_each(subject.envs(), ask)


def _refuses(agent: Any, params: dict[str, Any], what: str) -> None:
    """Fail unless setting ``params`` raises HyperparamError and changes nothing."""
    before = agent.get_hyperparams().params
    try:
        agent.set_hyperparams(HyperparamSet({**before, **params}))
    except HyperparamError:
        after = agent.get_hyperparams().params
        require(after == before, f"{what} was refused, but values changed from {before} to {after}")
        return
    except Exception as error:
        raise CheckFailed(
            f"{what} raised {type(error).__name__} ({error}); HyperparamError was expected"
        ) from error
    raise CheckFailed(f"{what} was accepted; HyperparamError was expected")


def unknown(subject: AgentSubject) -> None:
    """An unknown name raises HyperparamError and changes nothing, whatever came before it in the set."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        _refuses(agent, {"no_such_hyperparameter": 1.0}, "the unknown name no_such_hyperparameter")

    in_each(subject.envs(), ask)


def invalid(subject: AgentSubject) -> None:
    """NaN and text for a number raise HyperparamError and change nothing."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        numbers = [n for n, v in agent.get_hyperparams().params.items() if isinstance(v, float)]
        if not numbers:
            raise NotApplicable(f"{kind}: no hyperparameter is a float")
        for name in numbers:
            _refuses(agent, {name: float("nan")}, f"{name} = NaN")
            _refuses(agent, {name: "much"}, f"{name} = 'much'")

    in_each(subject.envs(), ask)


def bounds(subject: AgentSubject) -> None:
    """Both ends of every tuning range are accepted and read back."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        if not agent.default_param_bounds:
            raise NotApplicable(f"{kind}: nothing is tuned by default")
        known = agent.get_hyperparams().params
        for name, (low, high) in agent.default_param_bounds.items():
            require(
                name in known, f"default_param_bounds names {name}, which get_hyperparams does not return"
            )
            require(low < high, f"the tuning range of {name} is [{low}, {high}]")
            for end in (low, high):
                value = int(end) if isinstance(known[name], int) else end
                agent.set_hyperparams(HyperparamSet({name: value}))
                now = agent.get_hyperparams().params[name]
                require(_close(now, value), f"{name} was set to {value!r} and read back as {now!r}")
            agent.set_hyperparams(HyperparamSet(dict(known)))
        for name in agent.default_log_params:
            if name.startswith("1-") and name not in agent.default_param_bounds:
                high = agent.default_param_bounds.get(name[2:], (1.0, 1.0))[1]
                require(
                    high < 1, f"{name} is tuned on a log scale, but its range ends at {high} (or is missing)"
                )
                continue
            low = agent.default_param_bounds.get(name, (0.0, 0.0))[0]
            require(low > 0, f"{name} is tuned on a log scale, but its range starts at {low} (or is missing)")

    in_each(subject.envs(), ask)


def effective(subject: AgentSubject) -> None:
    """The learning rate reaches the optimizer: equal agents with different rates learn different weights."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agents = [subject.make(env), subject.make(env)]
        params = agents[0].get_hyperparams().params
        if not isinstance(params.get("learning_rate"), float):
            raise NotApplicable(f"{kind}: there is no learning_rate")
        rate = params["learning_rate"]
        low, high = agents[0].default_param_bounds.get("learning_rate", (rate / 3, rate))
        for agent, value in zip(agents, (low, high), strict=True):
            agent.set_hyperparams(HyperparamSet({"learning_rate": value}))
            for index in range(subject.windows_to_change(kind) + 1):
                feed(agent, subject.window(kind, seed=index))
        require(
            not same(weights_of(agents[0]), weights_of(agents[1])),
            f"learning rates of {low} and {high} led to equal weights: set_hyperparams does not reach the optimizer",
        )

    in_each(subject.learning_envs(), ask)


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="hyperparams-defaults", run=defaults, summary="Names and defaults are those of the spec."),
    Check(id="hyperparams-roundtrip", run=roundtrip, summary="Setting what was got changes nothing."),
    Check(id="hyperparams-copies", run=copies, summary="Sets are copied, never shared."),
    Check(id="hyperparams-unknown", run=unknown, summary="An unknown name is refused as a whole."),
    Check(id="hyperparams-invalid", run=invalid, summary="NaN and text for numbers are refused as a whole."),
    Check(id="hyperparams-bounds", run=bounds, summary="The ends of tuning ranges are accepted."),
    Check(id="hyperparams-effective", run=effective, summary="The learning rate takes effect."),
)
