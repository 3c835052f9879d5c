"""How do I get an agent for my environment?

:func:`make_agent` chooses among the agents of installed plugins, checks every option before a framework is imported,
and builds. :func:`resolve_agent` only chooses, and says why.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from optix_core._version import __version__
from optix_core.errors import ConfigError, PluginBroken
from optix_core.hyperparams import as_mapping, merge
from optix_core.plugins import explain
from optix_core.plugins.envs import EnvSpaces, read_spaces, space_kind, space_text
from optix_core.plugins.lookup import checked_options, load_factory
from optix_core.plugins.protocol import AgentContext, AgentRequest
from optix_core.plugins.records import Component, Resolution
from optix_core.plugins.registry import Registry, default_registry
from optix_core.plugins.resolution import resolve
from optix_core.plugins.selection import announce

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.hyperparams import Params

SPEC_INFO = "optix_spec_info"
"""The attribute of a built agent that says where it came from; checkpoints store it."""
_METHODS = ("act", "learn", "get_hyperparams", "set_hyperparams", "save_weights", "load_weights")


def make_agent(
    algorithm_or_env: Any,
    env: Any = None,
    *,
    framework: str | None = None,
    deterministic: bool | None = None,
    neuroevo: bool | None = None,
    recurrent: bool | None = None,
    hyperparams: Params | None = None,
    seed: int | None = None,
    device: str | None = None,
    **options: Any,
) -> BaseAgent:
    """Build an agent that fits an environment.

    ``make_agent(env)`` takes the best agent for its spaces; ``make_agent("PPO", env)`` takes that algorithm, in the
    form that the action space needs; ``make_agent("optix-torch:GaussianPPO", env)`` leaves no choice.

    Args:
        algorithm_or_env: An environment, or the name of an agent or algorithm, with ``plugin:`` or ``framework:``
            before it if need be.
        env: The environment, if a name comes first: an environment, a gymnasium vector environment, a callable that
            makes one (called once to read its spaces, then closed), a list of callables, or a registered id.
        framework: Only agents of this framework (``"torch"``, ``"jax"``, ``"tf"``).
        deterministic: True: only agents with a deterministic policy; False: only stochastic ones.
        neuroevo: True: only agents whose network grows. They are not taken otherwise, unless named.
        recurrent: True: only agents with memory; False: only those without.
        hyperparams: Values that replace defaults: a mapping or a HyperparamSet.
        seed: Root seed of the agent's random streams, at least 0; None: drawn from the operating system.
        device: ``"auto"`` (the default), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        options: Hyperparameters and build options of the agent by name; they win over ``hyperparams``.

    Returns:
        The agent. Its attribute ``optix_spec_info`` says where it came from; see :func:`spec_info`.

    Raises:
        AgentResolutionError: No agent fits, or none is clearly the one; the message says what to do.
        UnknownHyperparamError: There is no such option; a TypeError, too.
        HyperparamError: A value is out of its range or of the wrong type.
        ConfigError: The environment, seed or device cannot be used.
    """
    registry = default_registry()
    name, spaces = _name_and_spaces(algorithm_or_env, env, registry)
    request = _request(name, spaces, framework, deterministic, neuroevo, recurrent)
    found = resolve(registry, request)
    component = Component(found.record, found.spec)
    values, build_options = _split(component, hyperparams, options)
    context = AgentContext(
        observation_space=spaces.observation_space,
        action_space=spaces.action_space,
        seed=_checked_seed(seed),
        device=_checked_device(device),
        hyperparams=values,
        env=spaces.env,
    )
    build = load_factory(component, explain.factory_broken(found.steps, found.qualified))
    try:
        agent = build(context, **build_options)
    except Exception as fault:
        fault.add_note(f"while {found.record.label} built {found.qualified} ({found.spec.factory})")
        raise
    _check_agent(agent, found)
    attach_spec_info(agent, spec_info(found, build_options))
    announce(registry, agent, found, request)
    return cast("BaseAgent", agent)


def resolve_agent(
    algorithm_or_env: Any,
    env: Any = None,
    *,
    framework: str | None = None,
    deterministic: bool | None = None,
    neuroevo: bool | None = None,
    recurrent: bool | None = None,
    hyperparams: Params | None = None,
    seed: int | None = None,
    device: str | None = None,
    **options: Any,
) -> Resolution:
    """Which agent :func:`make_agent` would build from the same arguments, checked as it would, without building it.

    Imports neither numpy nor gymnasium nor a framework, unless the environment is given by its id.

    Raises:
        OptixError: As for :func:`make_agent`.
    """
    registry = default_registry()
    name, spaces = _name_and_spaces(algorithm_or_env, env, registry)
    found = resolve(registry, _request(name, spaces, framework, deterministic, neuroevo, recurrent))
    _split(Component(found.record, found.spec), hyperparams, options)
    _checked_seed(seed)
    _checked_device(device)
    return found


def spec_info(resolution: Resolution, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where an agent came from, as plain data for a checkpoint.

    Keys: ``plugin``, ``version`` (of the plugin), ``spec``, ``algorithm``, ``framework``, ``factory``, ``api`` (the
    plugin API it was written for), ``core`` (the version of optix-core) and ``options`` (the build options that were
    used, as far as JSON can hold them). :meth:`Registry.spec_for` finds the agent again, or says what to install.
    """
    record, spec = resolution.record, resolution.spec
    return {
        "plugin": record.name,
        "version": record.version,
        "spec": spec.name,
        "algorithm": spec.algorithm,
        "framework": spec.framework,
        "factory": spec.factory,
        "api": record.api,
        "core": __version__,
        "options": {name: _as_data(value) for name, value in (options or {}).items() if _is_data(value)},
    }


def attach_spec_info(agent: Any, info: Mapping[str, Any]) -> None:
    """Write ``info`` to the agent's attribute ``optix_spec_info``.

    Raises:
        PluginBroken: The agent's class refuses new attributes.
    """
    try:
        setattr(agent, SPEC_INFO, dict(info))
    except AttributeError as fault:
        raise PluginBroken(
            f"{info.get('plugin')}:{info.get('spec')}: {type(agent).__name__} refuses the attribute {SPEC_INFO!r}, "
            "which checkpoints need; add it to __slots__"
        ) from fault


def spec_info_of(agent: Any) -> dict[str, Any] | None:
    """A copy of what :func:`attach_spec_info` wrote; None for an agent that was not made by :func:`make_agent`."""
    info = getattr(agent, SPEC_INFO, None)
    return dict(cast("Mapping[str, Any]", info)) if isinstance(info, Mapping) else None


def _name_and_spaces(first: Any, env: Any, registry: Registry) -> tuple[str | None, EnvSpaces]:
    """Sort out the two positional arguments."""
    if isinstance(first, str):
        if env is None:
            raise ConfigError(
                f"make_agent({first!r}) got no environment. If {first!r} is an agent: make_agent({first!r}, env). "
                f"If it is an environment: make_agent(gymnasium.make({first!r})).",
                code="E-NO-ENV",
            )
        if not first.strip():
            raise ConfigError(
                "the name of the agent is empty; leave it out to let optix choose", code="E-NO-ENV"
            )
        return first, read_spaces(env, registry=registry)
    if env is not None:
        raise ConfigError(
            f"with two arguments the first is the name of an agent, not {type(first).__name__}: "
            "make_agent('PPO', env), or make_agent(env) alone",
            code="E-NO-ENV",
        )
    return None, read_spaces(first, registry=registry)


def _request(
    name: str | None,
    spaces: EnvSpaces,
    framework: str | None,
    deterministic: bool | None,
    neuroevo: bool | None,
    recurrent: bool | None,
) -> AgentRequest:
    from optix_core.plugins.hints import framework_name

    qualifier: str | None = None
    if name is not None and ":" in name:
        qualifier, _, name = (part.strip() for part in name.partition(":"))
        if not qualifier or not name:
            raise ConfigError("a qualified name reads 'plugin:Name' or 'framework:Name', with both parts")
    for flag, value in (("deterministic", deterministic), ("neuroevo", neuroevo), ("recurrent", recurrent)):
        if value is not None and not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"{flag} is {value!r}; it must be True, False or None")
    return AgentRequest(
        name=name.strip() if name else None,
        qualifier=qualifier,
        action_space=space_kind(spaces.action_space),
        observation_space=space_kind(spaces.observation_space),
        action_space_text=space_text(spaces.action_space),
        observation_space_text=space_text(spaces.observation_space),
        env_id=spaces.env_id,
        framework=None if framework is None else framework_name(framework),
        deterministic=deterministic,
        neuroevo=neuroevo,
        recurrent=recurrent,
    )


def _split(
    component: Component[Any], hyperparams: Params | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters, complete, and build options, complete, from what the caller gave."""
    spec, owner = component.spec, component.qualified
    given = checked_options(component, options)
    names = {hyper.name for hyper in spec.hyperparams}
    tuned = {name: value for name, value in given.items() if name in names}
    layer = None if hyperparams is None else as_mapping(hyperparams, owner)
    values = merge(spec.hyperparams, layer, tuned, owner=owner)
    build = {option.name: given.get(option.name, option.default) for option in spec.options}
    return values, build


def _checked_seed(seed: Any) -> int | None:
    if seed is None:
        return None
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(f"seed is {seed!r}; it must be an int of at least 0, or None")
    return number


def _checked_device(device: Any) -> str:
    if device is None:
        return "auto"
    text = str(device)  # a torch.device is accepted without importing torch
    kind = text.partition(":")[0]
    if not kind or kind != kind.strip().lower():
        raise ConfigError(f"device is {device!r}; it must read like 'auto', 'cpu', 'cuda' or 'cuda:1'")
    return text


def _check_agent(agent: Any, found: Resolution) -> None:
    """A factory that returns something else is found here and not in the middle of training."""
    lacking = [name for name in _METHODS if not callable(getattr(agent, name, None))]
    if lacking:
        raise PluginBroken(
            f"{found.qualified}: {found.spec.factory!r} returned {type(agent).__name__}, which has no "
            f"{', '.join(lacking)}; an agent has {', '.join(_METHODS)}"
        )


def _is_data(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_data, cast("list[Any]", value)))
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return all(isinstance(key, str) and _is_data(item) for key, item in items)
    return value is None or isinstance(value, bool | int | float | str)


def _as_data(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {key: _as_data(item) for key, item in cast("Mapping[str, Any]", value).items()}
    return value
