"""Every error of choosing an agent, word for word: the text is what a user has in hand."""

from __future__ import annotations

import sys

import pytest

from optix_core.errors import (
    AgentResolutionError,
    MissingDependencyError,
    OptixError,
    PluginBlocked,
    PluginBroken,
    PluginConflict,
    PluginNotFound,
    SpaceError,
)
from optix_core.plugins import hints
from optix_core.plugins.failures import PluginLoadWarning, message
from optix_core.plugins.registry import Registry
from optix_core.plugins.resolution import resolve
from optix_core.plugins.switches import Switches

PIP = "/usr/bin/python3 -m pip install"
TABLE = {
    "algorithms": {
        "PPO": ["optix-torch", "optix-tf", "optix-jax"],
        "SAC": ["optix-torch", "optix-tf"],
        "RainbowDQN": ["optix-torch"],
    },
    "frameworks": {
        "torch": {"title": "PyTorch", "distribution": "optix-torch"},
        "jax": {"title": "JAX", "distribution": "optix-jax"},
        "tf": {"title": "TensorFlow", "distribution": "optix-tf"},
    },
    "framework_aliases": {"pytorch": "torch", "tensorflow": "tf"},
    "neuroevo": ["optix-neuroevo"],
}


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(hints, "_made_by_uv", lambda: False)
    monkeypatch.setattr(hints, "known_plugins", lambda: TABLE)


def torch_agents(kit):
    return kit.plugin(
        kit.agent("PPO"),
        kit.agent("GaussianPPO", "PPO", action="box"),
        kit.agent("DQN", policy="deterministic"),
        kit.agent("SAC", action="box"),
    )


def world(kit, which):
    """Installations by name: what is there when the error happens."""
    torch = kit.FakePoint("optix-torch", torch_agents(kit))
    broken = ModuleNotFoundError("No module named 'torch'")
    graph = kit.agent(
        "GraphPPO", "PPO", answers_to=("SAC",), capabilities={"neuroevo"}, action="discrete box"
    )
    off = Switches.read(disable="optix-torch", environ={}, config={})
    return {
        "nothing": kit.registry,
        "torch broken": lambda: kit.registry(kit.FakePoint("optix-torch", broken)),
        "torch disabled": lambda: kit.registry(torch, switches=off),
        "torch": lambda: kit.registry(torch),
        "torch, misspelt": lambda: kit.registry(
            torch, kit.FakePoint("optix-typo", _misspelt(), version="2.0")
        ),
        "torch, tf broken": lambda: kit.registry(torch, kit.FakePoint("optix-tf", broken)),
        "torch, shell": lambda: kit.registry(torch, kit.FakePoint("optix-tf", kit.plugin())),
        "rivals": lambda: kit.registry(
            *(kit.FakePoint(dist, kit.plugin(kit.agent("ES"))) for dist in ("optix-rival", "optix-rival2"))
        ),
        "four broken": lambda: kit.registry(*(kit.FakePoint(f"optix-{n}", broken) for n in "abcd"), torch),
        "graph only": lambda: kit.registry(kit.FakePoint("optix-neuroevo", kit.plugin(graph))),
        "graph and ppo": lambda: kit.registry(
            kit.FakePoint("optix-neuroevo", kit.plugin(graph)),
            kit.FakePoint("optix-jax", kit.plugin(kit.agent("PPO"))),
        ),
        "needy": lambda: kit.registry(
            kit.FakePoint(
                "optix-tf", kit.plugin(kit.agent("PPO", framework="tf", requires=("surely-not-here>=2.18",)))
            )
        ),
        "unranked": lambda: kit.registry(
            kit.FakePoint("rival", kit.plugin(kit.agent("ES", default_rank=None)))
        ),
    }[which]()


def _misspelt():
    from optix_core.plugin import hookimpl

    class P:
        OPTIX_API = "1.0"

        @hookimpl
        def optix_agent(self):
            return []

    return P()


CASES = {
    "nothing installed": (
        "nothing",
        {"name": "SAC", "action": "box"},
        AgentResolutionError,
        (
            "[E-NO-BACKEND] no agent backend is installed. SAC is in: optix-torch, optix-tf. "
            f"Install one, for example: {PIP} optix-torch"
        ),
    ),
    "nothing installed, nothing named": (
        "nothing",
        {},
        AgentResolutionError,
        (
            "[E-NO-BACKEND] no agent backend is installed. Agents are in: optix-jax, optix-tf, optix-torch. "
            f"Install one, for example: {PIP} optix-jax"
        ),
    ),
    "the only backend is broken": (
        "torch broken",
        {"name": "SAC", "action": "box"},
        AgentResolutionError,
        (
            "[E-NO-BACKEND] no agent backend is installed. SAC is in: optix-torch, optix-tf. "
            f"Install one, for example: {PIP} optix-tf\n"
            "note: plugin optix-torch 0.1.0 did not load (import: ModuleNotFoundError: No module named 'torch')"
        ),
    ),
    "the only backend is disabled": (
        "torch disabled",
        {"name": "RainbowDQN"},
        AgentResolutionError,
        (
            "[E-NO-BACKEND] no agent backend is installed. RainbowDQN is in: optix-torch.\n"
            "note: plugin optix-torch 0.1.0 did not load (disabled by --no-plugin)"
        ),
    ),
    "known elsewhere": (
        "graph and ppo",
        {"name": "RainbowDQN"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] no agent named 'RainbowDQN'. Available: optix-jax:PPO\n"
            f"RainbowDQN is in: optix-torch. Install: {PIP} optix-torch"
        ),
    ),
    "typo": (
        "torch",
        {"name": "PP0"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] no agent named 'PP0'. Did you mean PPO? "
            "Available: optix-torch:DQN, optix-torch:GaussianPPO, optix-torch:PPO, optix-torch:SAC"
        ),
    ),
    "nothing like it": (
        "torch",
        {"name": "Xyzzy"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] no agent named 'Xyzzy'. "
            "Available: optix-torch:DQN, optix-torch:GaussianPPO, optix-torch:PPO, optix-torch:SAC"
        ),
    ),
    "unknown, and plugins did not load": (
        "four broken",
        {"name": "Xyzzy"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] no agent named 'Xyzzy'. "
            "Available: optix-torch:DQN, optix-torch:GaussianPPO, optix-torch:PPO, optix-torch:SAC\n"
            "note: plugin optix-a 0.1.0 did not load (import: ModuleNotFoundError: No module named 'torch')\n"
            "note: plugin optix-b 0.1.0 did not load (import: ModuleNotFoundError: No module named 'torch')\n"
            "note: 2 more did not load; run: optix plugins doctor"
        ),
    ),
    "only neuro-evolution answers to it": (
        "graph and ppo",
        {"name": "SAC", "action": "box"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] no agent named 'SAC'. Available: optix-jax:PPO\n"
            "optix-neuroevo:GraphPPO answers to SAC if you pass neuroevo=True.\n"
            f"SAC is in: optix-torch, optix-tf. Install: {PIP} optix-torch"
        ),
    ),
    "not in that plugin": (
        "graph and ppo",
        {"name": "GraphPPO", "qualifier": "optix-jax"},
        AgentResolutionError,
        (
            "[E-UNKNOWN-AGENT] plugin or framework 'optix-jax' has no agent named 'GraphPPO'. "
            "Available: optix-jax:PPO\n"
            "Elsewhere: optix-neuroevo:GraphPPO"
        ),
    ),
    "wrong space": (
        "torch",
        {"name": "SAC", "env_id": "CartPole-v1"},
        SpaceError,
        (
            "[E-SPACE] SAC (optix-torch:SAC) acts in box spaces, but CartPole-v1 has Discrete(4).\n"
            "Agents that can act there: optix-torch:DQN, optix-torch:PPO"
        ),
    ),
    "unsupported space": (
        "torch",
        {"action": "tuple"},
        SpaceError,
        (
            "[E-SPACE] no loaded agent can act in a Tuple action space; this environment has "
            "Tuple(Box(2,), Discrete(2)). Try a wrapper that flattens it, for example "
            "gymnasium.wrappers.TransformAction from a Box."
        ),
    ),
    "unsupported observations": (
        "torch",
        {"name": "PPO", "observation": "dict"},
        SpaceError,
        (
            "[E-SPACE] optix-torch:PPO reads box observations, but this environment has "
            "Dict(goal: Box(2,), position: Box(3,)). Wrap it: gymnasium.wrappers.FlattenObservation(env)."
        ),
    ),
    "ambiguous": (
        "rivals",
        {"name": "ES"},
        PluginConflict,
        (
            "[E-AMBIGUOUS] ES fits 2 agents equally: optix-rival2:ES, optix-rival:ES. "
            "Name one: make_agent('optix-rival2:ES', env)"
        ),
    ),
    "qualifier installed but failed": (
        "torch, misspelt",
        {"name": "PPO", "qualifier": "optix-typo"},
        PluginBroken,
        (
            "[E-PLUGIN-BROKEN] no loaded plugin or framework is called 'optix-typo'. It is installed but failed: "
            "unknown hook 'optix_agent'; did you mean 'optix_agents'? Run: optix plugins doctor optix-typo"
        ),
    ),
    "qualifier installed but off": (
        "torch disabled",
        {"name": "PPO", "qualifier": "optix-torch"},
        PluginBlocked,
        (
            "[E-PLUGIN-BLOCKED] no loaded plugin or framework is called 'optix-torch'. "
            "It is installed but disabled by --no-plugin."
        ),
    ),
    "qualifier not installed": (
        "torch",
        {"name": "PPO", "qualifier": "optix-tf"},
        PluginNotFound,
        (
            "[E-PLUGIN-NOT-FOUND] no loaded plugin or framework is called 'optix-tf'. Loaded: optix-torch, torch. "
            f"Install: {PIP} optix-tf"
        ),
    ),
    "qualifier misspelt": (
        "torch",
        {"name": "PPO", "qualifier": "optix-troch"},
        PluginNotFound,
        (
            "[E-PLUGIN-NOT-FOUND] no loaded plugin or framework is called 'optix-troch'. Did you mean 'optix-torch'? "
            "Loaded: optix-torch, torch."
        ),
    ),
    "qualifier without agents": (
        "torch, shell",
        {"name": "PPO", "qualifier": "optix-tf"},
        PluginNotFound,
        (
            "[E-PLUGIN-NOT-FOUND] plugin optix-tf 0.1.0 is loaded, but has no agents. "
            "Agents: optix-torch:DQN, optix-torch:GaussianPPO, optix-torch:PPO, optix-torch:SAC"
        ),
    ),
    "framework absent": (
        "torch",
        {"name": "PPO", "framework": "tf"},
        AgentResolutionError,
        (
            "[E-NO-AGENT] framework='tf' has no agent that fits; these do: torch. "
            f"TensorFlow agents are in optix-tf. Install: {PIP} optix-tf"
        ),
    ),
    "framework's plugin broken": (
        "torch, tf broken",
        {"name": "PPO", "framework": "tf"},
        AgentResolutionError,
        (
            "[E-NO-AGENT] framework='tf' has no agent that fits; these do: torch.\n"
            "note: plugin optix-tf 0.1.0 did not load (import: ModuleNotFoundError: No module named 'torch')"
        ),
    ),
    "framework misspelt": (
        "torch",
        {"name": "PPO", "framework": "troch"},
        AgentResolutionError,
        "[E-NO-AGENT] framework='troch' has no agent that fits; these do: torch. Did you mean 'torch'?",
    ),
    "framework package missing": (
        "needy",
        {"name": "PPO"},
        MissingDependencyError,
        (
            "[E-MISSING-DEP] optix-tf:PPO needs surely-not-here>=2.18, which this Python cannot import (found: none).\n"
            f"Install: {PIP} 'surely-not-here>=2.18'\nPython: /usr/bin/python3"
        ),
    ),
    "no neuro-evolution": (
        "torch",
        {"name": "SAC", "action": "box", "neuroevo": True},
        AgentResolutionError,
        f"[E-NO-BACKEND] no neuro-evolution agent is loaded. Install: {PIP} optix-neuroevo",
    ),
    "only neuro-evolution": (
        "graph only",
        {},
        AgentResolutionError,
        (
            "[E-NO-BACKEND] the only agents loaded are neuro-evolution agents: optix-neuroevo:GraphPPO. "
            "Pass neuroevo=True to use one."
        ),
    ),
    "contradiction": (
        "torch",
        {"name": "PPO", "deterministic": True},
        AgentResolutionError,
        (
            "[E-NO-AGENT] deterministic=True fits none of the agents that were left: optix-torch:PPO.\n"
            "Agents that fit it here: optix-torch:DQN"
        ),
    ),
    "no such agent at all": (
        "torch",
        {"recurrent": True},
        AgentResolutionError,
        (
            "[E-NO-AGENT] recurrent=True fits none of the agents that were left: optix-torch:DQN, optix-torch:PPO.\n"
            "No loaded agent fits it here; leave it out."
        ),
    ),
    "only when named": (
        "unranked",
        {},
        AgentResolutionError,
        "[E-NO-AGENT] the agents that fit are taken only when named: rival:ES. Name one: make_agent('rival:ES', env)",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::optix_core.plugins.failures.PluginLoadWarning")
def test_word_for_word(kit, case) -> None:
    which, asked, kind, text = CASES[case]
    registry = world(kit, which)
    with pytest.raises(kind) as caught:
        resolve(registry, kit.request(**asked))
    assert str(caught.value) == text
    assert isinstance(caught.value, AgentResolutionError)
    assert isinstance(caught.value, OptixError)
    assert isinstance(caught.value, LookupError)
    assert len(text.splitlines()) <= 6
    assert isinstance(caught.value.steps, tuple)


def test_a_broken_plugin_that_would_have_it_is_the_cause(kit) -> None:
    registry = world(kit, "torch broken")
    with pytest.warns(PluginLoadWarning), pytest.raises(PluginBroken) as caught:
        resolve(registry, kit.request("SAC", "box"))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_no_message_is_longer_than_six_lines() -> None:
    assert message("a", None, "", *"bcdefgh") == "a\nb\nc\nd\ne\nf"


def test_suggestions_are_data_too(kit) -> None:
    registry = world(kit, "torch")
    with pytest.raises(AgentResolutionError) as caught:
        resolve(registry, kit.request("SAC"))
    assert caught.value.candidates == ("optix-torch:DQN", "optix-torch:PPO")
    assert caught.value.steps[-1] == "action space discrete: 0 of 1 left"
    with pytest.raises(AgentResolutionError) as caught:
        resolve(registry, kit.request("PP0"))
    assert caught.value.suggestions[0] == "PPO"


def test_the_install_hint_is_for_this_interpreter_and_its_installer(monkeypatch, tmp_path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/home/a b/bin/python")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert hints.install_command("x>=1") == "'/home/a b/bin/python' -m pip install 'x>=1'"
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.9.1\n")
    assert hints.install_command("x") == "uv pip install --python '/home/a b/bin/python' x"
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin/uv\n")
    assert "-m pip install" in hints.install_command("x")


def test_the_shipped_table_speaks_of_nothing_that_does_not_exist(monkeypatch) -> None:
    monkeypatch.undo()
    table = hints.known_plugins()
    assert set(table) == {"comment", "algorithms", "frameworks", "framework_aliases", "neuroevo"}
    assert all(name in table["frameworks"] for name in table["framework_aliases"].values())
    registry = Registry(switches=Switches())  # what is installed here; other distributions cannot be checked
    for algorithm, dists in table["algorithms"].items():
        for dist in dists:
            record = registry.record(dist)
            assert hints.canonical(dist) == dist
            assert record is None or any(
                algorithm in spec.names for spec in record.specs if spec.kind == "agent"
            )
