"""Does make_agent hand a factory exactly what was asked for, and refuse the rest before anything heavy is imported?"""

from __future__ import annotations

import json
import sys
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from optix_core.errors import ConfigError, EnvironmentFault, PluginBroken
from optix_core.factory import attach_spec_info, make_agent, resolve_agent, spec_info_of
from optix_core.hyperparams import HyperparamError, UnknownHyperparamError
from optix_core.plugin import EnvProviderSpec, hookimpl
from optix_core.plugins.envs import EnvironmentNotFound, make_env, read_spaces, space_kind, space_text
from optix_core.plugins.failures import AgentPluginBroken, PluginHookWarning
from optix_core.plugins.records import API_VERSION
from optix_core.plugins.registry import use_registry
from optix_core.types import HyperparamSet

PLUGIN = """
    from optix_core.plugin import AgentSpec, Hyper, Option, hookimpl
    OPTIX_API = "1.0"
    COMMON = dict(framework="numpy", action_spaces={"discrete"}, default_rank=None)
    @hookimpl
    def optix_agents():
        return [
            AgentSpec(
                name="PPO", framework="numpy", action_spaces={"discrete", "box"}, factory="PACKAGE.agent:build",
                default_rank=1,
                hyperparams=[
                    Hyper("learning_rate", 3e-4, low=0.0, low_open=True, high=1.0),
                    Hyper("n_epochs", 4, "int", low=1),
                ],
                options=[Option("hidden_sizes", (64, 64)), Option("activation", "tanh")],
            ),
            AgentSpec(name="Gone", factory="PACKAGE.absent:build", **COMMON),
            AgentSpec(name="Raises", factory="PACKAGE.agent:raises", **COMMON),
            AgentSpec(name="Nothing", factory="PACKAGE.agent:nothing", **COMMON),
            AgentSpec(name="Slots", factory="PACKAGE.agent:slots", **COMMON),
        ]
"""
AGENT = """
    class Agent:
        def __init__(self, ctx=None, options=None): self.ctx, self.options = ctx, options
        def act(self, observation): return 0
        def learn(self, episode_data): return {}
        def get_hyperparams(self): return None
        def set_hyperparams(self, hyperparams): pass
        def save_weights(self, path): pass
        def load_weights(self, path): pass
    class Slotted(Agent.__mro__[-1]):
        __slots__ = ()
        act = learn = get_hyperparams = set_hyperparams = save_weights = load_weights = lambda self: None
    def build(ctx, **options): return Agent(ctx, options)
    def raises(ctx): raise ValueError("no luck")
    def nothing(ctx): return None
    def slots(ctx): return Slotted()
"""


@pytest.fixture
def installed(workshop):
    """A registry with one third-party agent, as the process's own."""
    workshop.package = workshop.distribution("optix-x", PLUGIN, files={"agent": AGENT})
    with use_registry(workshop.registry()) as registry:
        registry.workshop = workshop
        yield registry


def test_the_factory_gets_all_that_it_needs(installed, kit) -> None:
    env = kit.Env()
    agent = make_agent(env)
    assert agent.ctx.observation_space is env.observation_space
    assert agent.ctx.action_space is env.action_space
    assert agent.ctx.env is env
    assert (agent.ctx.seed, agent.ctx.device) == (None, "auto")
    assert agent.ctx.hyperparams == {"learning_rate": 3e-4, "n_epochs": 4}
    assert agent.options == {"hidden_sizes": (64, 64), "activation": "tanh"}
    assert env.closed == 0


def test_options_and_hyperparameters_are_told_apart_and_checked(installed, kit) -> None:
    agent = make_agent(
        "PPO",
        kit.Env(),
        hyperparams=HyperparamSet({"learning_rate": 0.5, "n_epochs": 2.0}),
        learning_rate=1e-3,
        hidden_sizes=(8,),
        seed=np.int64(3),
        device="cuda:1",
    )
    assert agent.ctx.hyperparams == {"learning_rate": 1e-3, "n_epochs": 2}
    assert type(agent.ctx.hyperparams["n_epochs"]) is int
    assert agent.options == {"hidden_sizes": (8,), "activation": "tanh"}
    assert (agent.ctx.seed, agent.ctx.device) == (3, "cuda:1")
    assert make_agent("PPO", kit.Env(), hyperparams={"n_epochs": 9}).ctx.hyperparams["n_epochs"] == 9
    first, second = make_agent("PPO", kit.Env()), make_agent("PPO", kit.Env())
    first.ctx.hyperparams["n_epochs"] = 77
    assert second.ctx.hyperparams["n_epochs"] == 4


@pytest.mark.parametrize("call", [make_agent, resolve_agent])
def test_wrong_options_are_refused_before_the_factory_is_imported(installed, kit, call) -> None:
    with pytest.raises(TypeError) as caught:
        call("PPO", kit.Env(), lerning_rate=1e-3)
    assert isinstance(caught.value, UnknownHyperparamError)
    assert str(caught.value) == (
        "[E-UNKNOWN-OPTION] optix-x:PPO has no option 'lerning_rate'. Did you mean 'learning_rate'? "
        "It has: activation, hidden_sizes, learning_rate, n_epochs."
    )
    with pytest.raises(
        HyperparamError, match=r"optix-x:PPO: learning_rate is 2, but it must be a float in \(0, 1\]"
    ):
        call("PPO", kit.Env(), learning_rate=2)
    with pytest.raises(HyperparamError, match="n_epochs is True"):
        call("PPO", kit.Env(), hyperparams={"n_epochs": True})
    with pytest.raises(UnknownHyperparamError, match="has no hyperparameter 'hidden_sizes'"):
        call("PPO", kit.Env(), hyperparams={"hidden_sizes": (8,)})
    with pytest.raises(ConfigError, match="seed is -1"):
        call("PPO", kit.Env(), seed=-1)
    with pytest.raises(ConfigError, match="seed is True"):
        call("PPO", kit.Env(), seed=True)
    with pytest.raises(ConfigError, match=r"seed is 1\.5"):
        call("PPO", kit.Env(), seed=1.5)
    with pytest.raises(ConfigError, match="device is 'GPU'"):
        call("PPO", kit.Env(), device="GPU")
    with pytest.raises(ConfigError, match=r"neuroevo is 1; it must be True, False or None"):
        call("PPO", kit.Env(), neuroevo=1)
    assert f"{installed.workshop.package}.agent" not in sys.modules


@pytest.mark.parametrize(
    "args, text",
    [
        (
            ("PPO",),
            "make_agent('PPO') got no environment. If 'PPO' is an agent: make_agent('PPO', env). If it is an",
        ),
        ((3,), "int has not. Pass an environment, a callable that makes one"),
        (([],), "the list of environments is empty"),
        ((lambda: 3,), "made int, which has no observation_space and action_space"),
        ((":PPO", "env"), "a qualified name reads 'plugin:Name' or 'framework:Name'"),
        (("torch:", "env"), "a qualified name reads"),
        (("", "env"), "the name of the agent is empty"),
    ],
)
def test_wrong_arguments_say_what_to_write(installed, kit, args, text) -> None:
    args = tuple(kit.Env() if arg == "env" else arg for arg in args)
    with pytest.raises(ConfigError) as caught:
        make_agent(*args)
    assert text in str(caught.value)


def test_two_environments_are_one_too_many(installed, kit) -> None:
    with pytest.raises(
        ConfigError, match=r"the first is the name of an agent, not Env: make_agent\('PPO', env\)"
    ):
        make_agent(kit.Env(), kit.Env())


def test_a_callable_is_called_once_and_its_environment_closed(installed, kit) -> None:
    made = []

    def build():
        made.append(kit.Env())
        return made[-1]

    agent = make_agent("PPO", build)
    assert agent.ctx.env is None
    assert [env.closed for env in made] == [1]
    assert agent.ctx.action_space is made[0].action_space
    make_agent([build, build])
    assert [env.closed for env in made] == [1, 1]
    make_agent(kit.Env)  # a class is a callable, not an environment


def test_real_environments_in_every_form(installed) -> None:
    env = gymnasium.make("CartPole-v1")
    vector = gymnasium.make_vec("CartPole-v1", num_envs=2)
    for form in (
        env,
        vector,
        lambda: gymnasium.make("CartPole-v1"),
        [lambda: gymnasium.make("CartPole-v1")] * 2,
    ):
        agent = make_agent("PPO", form)
        assert agent.ctx.action_space == env.action_space
        assert agent.ctx.observation_space == env.observation_space
    assert make_agent("PPO", "CartPole-v1").ctx.action_space == env.action_space
    assert read_spaces(env).env_id == read_spaces(vector).env_id == "CartPole-v1"
    assert read_spaces("CartPole-v1").env is None
    env.close()
    vector.close()


def test_kinds_and_texts_of_real_spaces() -> None:
    spaces = gymnasium.spaces
    cases = {
        "box": (spaces.Box(-1, 1, (3,)), "Box(3,)"),
        "discrete": (spaces.Discrete(4), "Discrete(4)"),
        "multi_discrete": (spaces.MultiDiscrete([2, 3]), "MultiDiscrete([2 3])"),
        "multi_binary": (spaces.MultiBinary(3), "MultiBinary(3)"),
        "dict": (spaces.Dict(a=spaces.Discrete(2)), "Dict(a: Discrete(2))"),
        "tuple": (spaces.Tuple([spaces.Discrete(2)]), "Tuple(Discrete(2))"),
        "text": (spaces.Text(3), None),
    }
    for kind, (space, text) in cases.items():
        assert space_kind(space) == kind
        assert text is None or space_text(space) == text

    class Mine(spaces.Box):
        pass

    assert space_kind(Mine(-1, 1, (1,))) == "box"
    assert len(space_text(spaces.Dict({f"key{i}": spaces.Discrete(2) for i in range(99)}))) == 120


def test_unknown_environments_get_suggestions(installed) -> None:
    with pytest.raises(EnvironmentNotFound) as caught:
        make_agent("PPO", "CartPol-v1")
    assert str(caught.value).startswith(
        "[E-ENV] no environment 'CartPol-v1' is registered with gymnasium. Did you mean CartPole-v1"
    )
    assert isinstance(caught.value, EnvironmentFault)
    assert isinstance(caught.value, LookupError)
    with pytest.raises(EnvironmentNotFound, match="Did you mean CartPole-v0 or CartPole-v1"):
        make_env("CartPole-v9")
    with pytest.raises(EnvironmentNotFound, match=r"nor any other of 'Nowhere'. Install the package"):
        make_env("Nowhere/Pong-v5")
    with pytest.raises(EnvironmentNotFound, match="Environments of your own: pass the environment"):
        make_env("not an id!")
    with pytest.raises(EnvironmentFault, match="would import the module 'os', which runs its code"):
        make_env("os:CartPole-v1")


def test_a_provider_registers_its_environments_on_demand(workshop) -> None:
    workshop.distribution(
        "optix-envs",
        """
        from optix_core.plugin import EnvProviderSpec, hookimpl
        OPTIX_API = "1.0"
        @hookimpl
        def optix_env_providers():
            return [EnvProviderSpec(namespace="Shop", register="PACKAGE.envs:register")]
        """,
        files={
            "envs": """
                import gymnasium
                def register():
                    gymnasium.register("Shop/Pole-v0", "gymnasium.envs.classic_control:CartPoleEnv")
            """
        },
    )
    try:
        env = make_env("Shop/Pole-v0", registry=workshop.registry())
        assert env.spec.id == "Shop/Pole-v0"
        env.close()
    finally:
        gymnasium.registry.pop("Shop/Pole-v0", None)
    assert EnvProviderSpec(namespace="Shop", register="a:b").name == "Shop"


def test_an_agent_knows_where_it_came_from(installed, kit) -> None:
    agent = make_agent("PPO", kit.Env(), hidden_sizes=[8, 8], activation=object())
    info = spec_info_of(agent)
    assert json.loads(json.dumps(info)) == info == agent.optix_spec_info
    assert {key: info[key] for key in ("plugin", "version", "spec", "algorithm", "framework", "api")} == {
        "plugin": "optix-x",
        "version": "0.1.0",
        "spec": "PPO",
        "algorithm": "PPO",
        "framework": "numpy",
        "api": API_VERSION,
    }
    assert info["options"] == {"hidden_sizes": [8, 8]}  # what JSON cannot hold is left out
    assert installed.spec_for(info).qualified == "optix-x:PPO"
    assert spec_info_of(object()) is None
    with pytest.raises(PluginBroken, match="refuses the attribute 'optix_spec_info'"):
        attach_spec_info(object(), info)


def test_a_factory_that_cannot_be_imported_or_fails(installed, kit) -> None:
    package = installed.workshop.package
    with pytest.raises(AgentPluginBroken) as caught:
        make_agent("Gone", kit.Env())
    assert str(caught.value) == (
        f"[E-PLUGIN-BROKEN] optix-x:Gone is registered by optix-x 0.1.0, but importing "
        f"'{package}.absent:build' failed: ModuleNotFoundError: No module named '{package}.absent'. "
        "Run: optix plugins doctor optix-x"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert caught.value.candidates == ("optix-x:Gone",)
    with pytest.raises(ValueError, match="no luck") as raised:
        make_agent("Raises", kit.Env())
    assert raised.value.__notes__ == [f"while optix-x 0.1.0 built optix-x:Raises ({package}.agent:raises)"]
    with pytest.raises(PluginBroken, match="returned NoneType, which has no act, learn, get_hyperparams"):
        make_agent("Nothing", kit.Env())
    with pytest.raises(PluginBroken, match="Slotted refuses the attribute"):
        make_agent("Slots", kit.Env())


def test_resolving_equals_making(installed, kit) -> None:
    for args in (("PPO", kit.Env()), (kit.Env("box"),), ("optix-x:ppo", kit.Env())):
        found = resolve_agent(*args)
        agent = make_agent(*args)
        assert found.qualified == f"{agent.optix_spec_info['plugin']}:{agent.optix_spec_info['spec']}"
    assert found.steps[-1] == "chosen: optix-x:PPO"
    assert found.record.name == "optix-x"


def test_everybody_is_told_of_a_new_agent_and_a_failure_stops_nobody(workshop, kit) -> None:
    workshop.distribution("optix-x", PLUGIN, files={"agent": AGENT})
    told = []

    @hookimpl
    def fails(self, agent):
        raise RuntimeError("observer down")

    @hookimpl
    def listens(self, agent, spec, request):
        told.append((agent, spec.name, request.name, request.action_space))

    plugins = [
        (name, kit.plugin(agent_created=hook))
        for name, hook in (("a", listens), ("b", fails), ("c", listens))
    ]
    with use_registry(workshop.registry(plugins=plugins)), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = make_agent("ppo", kit.Env())
    assert told == [(agent, "PPO", "ppo", "discrete")] * 2
    assert [(w.category, str(w.message)) for w in caught] == [
        (PluginHookWarning, "plugin b: optix_agent_created failed: RuntimeError: observer down")
    ]


def test_a_vector_environment_counts_as_one(kit) -> None:
    one = kit.Env()
    vector = SimpleNamespace(
        single_observation_space=one.observation_space,
        single_action_space=one.action_space,
        observation_space="batched",
        action_space="batched",
    )
    found = read_spaces(vector)
    assert (found.observation_space, found.action_space) == (one.observation_space, one.action_space)
