"""What the listings show, on registries made for the purpose."""

from __future__ import annotations

import json
import types

import pytest

from optix_core.cli.main import main
from optix_core.plugin import AgentSpec, Hyper, Option, TunerSpec, hookimpl
from optix_core.plugins.registry import Registry, use_registry


def plugin() -> types.ModuleType:
    module = types.ModuleType("demo")
    module.OPTIX_API = "1.0"

    @hookimpl
    def optix_agents() -> list[AgentSpec]:
        rate = Hyper("learning_rate", 3e-4, low=0.0, low_open=True, tune=(1e-4, 1e-2), log=True, help="step")
        common = {"factory": "demo.agent:build", "framework": "torch", "hyperparams": (rate,)}
        return [
            AgentSpec(name="Walk", action_spaces=frozenset({"box"}), summary="walks",
                      requires=("no-such-thing>=2", "numpy>=1"),
                      options=(Option("hidden_sizes", (64, 64), help="widths"),), default_rank=3, **common),
            AgentSpec(name="Pick", action_spaces=frozenset({"discrete"}), **(common | {"framework": "jax"})),
        ]  # fmt: skip

    @hookimpl
    def optix_tuners() -> list[TunerSpec]:
        return [TunerSpec(name="Walk", factory="demo.tuner:Walk", summary="tunes")]

    module.optix_agents, module.optix_tuners = optix_agents, optix_tuners
    return module


@pytest.fixture(autouse=True)
def _registry():
    with use_registry(Registry(entry_points=(), plugins=[("demo", plugin())])):
        yield


def run(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(list(argv)) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_the_table_counts_what_is_offered(capsys) -> None:
    rows = run(capsys, "plugins", "list").splitlines()
    assert [r.split("  ")[0] for r in rows] == ["PLUGIN", "optix-core", "demo", "2 ok"]
    assert "2 agents, 1 tuner" in rows[2]


def test_the_json_document_is_stable(capsys) -> None:
    document = json.loads(run(capsys, "plugins", "list", "--json"))
    assert list(document) == ["schema", "core", "api", "python", "plugins"]
    assert document["schema"] == 1
    found = document["plugins"][1]
    assert {"name", "dist", "version", "editable", "location", "target", "api", "state", "phase", "error", "traceback",
            "import_cpu_ms", "heavy", "specs", "warnings", "provides"} <= set(found)  # fmt: skip
    assert found["provides"] == {"agent": ["Walk", "Pick"], "tuner": ["Walk"]}


def test_json_and_quiet_exclude_each_other(capsys) -> None:
    assert "not allowed with" in run(capsys, "plugins", "list", "--json", "--quiet", status=2)


def test_quiet_leaves_out_what_no_installer_knows(capsys) -> None:
    assert run(capsys, "plugins", "list", "--quiet") == "optix-core\n"


def test_info_tells_which_requirements_are_not_met(capsys) -> None:
    text = run(capsys, "plugins", "info", "demo")
    assert "no-such-thing>=2 (NOT met: not installed)" in text
    assert "numpy>=1 (met)" in text
    assert "learning_rate   0.0003   (0, inf)  0.0001 to 0.01 (log)  step" in text
    assert "hidden_sizes  (64, 64)  widths" in text
    data = json.loads(run(capsys, "plugins", "info", "demo:walk", "--json"))["plugin"]
    assert [(s["kind"], s["name"]) for s in data["specs"]] == [("agent", "Walk"), ("tuner", "Walk")]
    assert data["specs"][0]["unmet"] == [{"requirement": "no-such-thing>=2", "found": None}]


def test_info_refuses_unknown_names_with_a_suggestion(capsys) -> None:
    assert "Did you mean 'demo'?" in run(capsys, "plugins", "info", "dmo", status=2)
    assert "Did you mean 'Walk'?" in run(capsys, "plugins", "info", "demo:Wlk", status=2)


def test_components_can_be_filtered(capsys) -> None:
    everything = run(capsys, "components")
    assert "walks (torch; box)" in everything
    assert "mean_return" in everything
    boxed = run(capsys, "components", "--space", "box").splitlines()
    assert [r.split()[:3] for r in boxed[1:]] == [["agent", "Walk", "demo"]]
    assert run(capsys, "components", "agents", "--framework", "flax").splitlines()[1].split()[1] == "Pick"
    assert run(capsys, "components", "runner") == "no component fits; see: optix plugins list\n"
    rows = json.loads(run(capsys, "components", "tuner", "--json"))["components"]
    own = ("spsa", "momentum", "backoff", "pbt", "adaptive", "replay", "fixed")
    assert {r["qualified"] for r in rows} == {"demo:Walk", *(f"optix-core:{name}" for name in own)}


def test_components_refuses_what_means_nothing(capsys) -> None:
    assert "Did you mean 'agent'?" in run(capsys, "components", "agnt", status=2)
    assert "Did you mean 'box'?" in run(capsys, "components", "--space", "boxx", status=2)
    assert "not about a tuner" in run(capsys, "components", "tuner", "--space", "box", status=2)


def test_doctor_refuses_a_timeout_that_means_nothing(capsys) -> None:
    assert "--timeout is -1" in run(capsys, "plugins", "doctor", "--timeout", "-1", status=2)


def test_resolve_explains_itself(capsys) -> None:
    text = run(capsys, "agents", "resolve", "Pendulum-v1", "--algorithm", "Nope", status=2)
    assert "E-UNKNOWN-AGENT" in text
    text = run(capsys, "agents", "resolve", "CartPole-v1", "--algorithm", "demo:Pick")
    assert text.startswith("CartPole-v1: demo:Pick (demo; jax; demo.agent:build)")
    assert "action space discrete" in text
    assert "NoSuch-v0" in run(capsys, "agents", "resolve", "NoSuch-v0", status=2)
