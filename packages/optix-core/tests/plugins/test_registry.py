"""Does the registry hand out the right component, or say why it cannot?"""

from __future__ import annotations

import threading
import time

import pytest

from optix_core.errors import (
    MissingDependencyError,
    PluginBlocked,
    PluginBroken,
    PluginConflict,
    PluginError,
    PluginNotFound,
)
from optix_core.hyperparams import HyperparamError, UnknownHyperparamError
from optix_core.plugin import Hyper, Option, PipelineSpec, TunerSpec
from optix_core.plugins.failures import PluginLoadWarning
from optix_core.plugins.records import CORE
from optix_core.plugins.registry import Registry, configure, default_registry, register_plugin, use_registry
from optix_core.plugins.switches import Switches

CALLBACKS = ["progress", "rich", "tensorboard", "wandb"]
TUNERS = ["spsa", "momentum", "backoff", "pbt", "adaptive", "replay", "fixed"]


def tuner(name="spsa", **fields):
    fields.setdefault("factory", "made.up:Tuner")
    return TunerSpec(name=name, **fields)


def test_cores_own_components_come_through_the_same_hooks(kit) -> None:
    registry = kit.registry()
    assert [r.name for r in registry.records] == [CORE]
    assert registry.records[0].provides == {
        "pipeline": ["batch", "vector", "evaluation"],
        "tuner": TUNERS,
        "callback": CALLBACKS,
        "evaluator": ["mean_return"],
        "exporter": ["onnx", "numpy"],
        "env_provider": ["optix"],
    }
    assert registry.pipeline("vector").spec.vectorized
    assert registry.tuner("SPSA").qualified == "optix-core:spsa"
    assert registry.manager.has_plugin(CORE)


def test_lookups_of_every_kind(kit) -> None:
    registry = kit.registry()
    for kind in (
        *("agents", "topology_mutators", "runners", "commands"),
        *("neuron_types", "growth_gates", "plasticity_rules"),
    ):
        assert getattr(registry, kind)() == ()
        with pytest.raises(PluginNotFound, match="No plugin offers any"):
            getattr(registry, kind[:-1])("x")
    assert [c.spec.name for c in registry.callbacks()] == CALLBACKS
    assert registry.callback("progress").spec.kind == "callback"
    assert registry.evaluator("mean_return").spec.kind == "evaluator"
    assert [c.spec.name for c in registry.evaluators()] == ["mean_return"]
    assert [c.spec.name for c in registry.tuners()] == TUNERS
    assert [c.spec.format for c in registry.exporters()] == ["onnx", "numpy"]
    assert [c.spec.namespace for c in registry.env_providers()] == ["optix"]
    assert len(registry.components()) == sum(map(len, registry.records[0].provides.values()))
    assert registry.components("topology-mutators") == registry.components("mutator") == ()
    with pytest.raises(PluginError, match=r"no kind of component called 'tunner'. Did you mean 'tuner'"):
        registry.components("tunner")


def test_ours_win_unless_another_is_qualified_or_preferred(kit) -> None:
    points = [kit.FakePoint("rival", kit.plugin(tuners=[tuner("spsa"), tuner("bayes")]))]
    registry = kit.registry(*points)
    assert registry.tuner("spsa").record.name == CORE
    assert registry.tuner("rival:spsa").record.name == "rival"
    assert registry.tuner("bayes").record.name == "rival"
    preferring = kit.registry(*points, switches=Switches(prefer={"spsa": "rival"}))
    assert preferring.tuner("spsa").record.name == "rival"
    assert preferring.tuner("optix-core:spsa").record.name == CORE
    record = registry.record("rival")
    assert record.state == "ok!"
    assert record.warnings == (
        "tuner 'spsa' is also offered by optix-core, which is taken unless asked for 'rival:spsa'",
    )


def test_a_tie_among_others_is_an_error_that_names_both(kit) -> None:
    registry = kit.registry(*(kit.FakePoint(d, kit.plugin(tuners=[tuner("bayes")])) for d in ("b-x", "a-x")))
    with pytest.raises(PluginConflict) as caught:
        registry.tuner("bayes")
    assert str(caught.value) == (
        "[E-AMBIGUOUS] tuner 'bayes' is offered by 2 plugins: a-x:bayes, b-x:bayes. Name one of them."
    )
    assert registry.tuner("B_X:bayes").record.name == "b-x"


def test_what_is_not_found_is_explained(kit) -> None:
    registry = kit.registry(
        kit.FakePoint("optix-bad", ValueError("broken")),
        kit.FakePoint("optix-off", kit.plugin()),
        switches=Switches.read(disable="optix-off", environ={}, config={}),
    )
    with pytest.warns(PluginLoadWarning), pytest.raises(PluginNotFound) as caught:
        registry.tuner("spsaa")
    assert str(caught.value) == (
        "[E-UNKNOWN-COMPONENT] no tuner named 'spsaa'. Did you mean 'spsa'? "
        f"Available: {', '.join(sorted(f'optix-core:{name}' for name in TUNERS))}\n"
        "note: plugin optix-bad 0.1.0 did not load (import: ValueError: broken)"
    )
    with pytest.raises(PluginBroken, match=r"plugin optix-bad 0.1.0 is installed but failed") as caught:
        registry.tuner("optix-bad:spsa")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(PluginBlocked, match="is installed but disabled by --no-plugin"):
        registry.tuner("optix-off:spsa")


def test_create_builds_with_checked_options(workshop) -> None:
    workshop.distribution(
        "optix-x",
        """
        from optix_core.plugin import Hyper, Option, TunerSpec, hookimpl
        OPTIX_API = "1.0"
        @hookimpl
        def optix_tuners():
            common = dict(hyperparams=[Hyper("step", 0.1, low=0.0)], options=[Option("memory", 5)])
            return [
                TunerSpec(name="strict", factory="PACKAGE.impl:Tuner", **common),
                TunerSpec(name="free", factory="PACKAGE.impl:Tuner"),
                TunerSpec(name="lost", factory="PACKAGE.impl:Absent"),
                TunerSpec(name="gone", factory="PACKAGE.absent:Tuner"),
                TunerSpec(name="data", factory="PACKAGE.impl:DATA"),
                TunerSpec(name="needy", factory="PACKAGE.impl:Tuner", requires=["surely-not-here>=2", "pluggy<0.1"]),
            ]
        """,
        files={"impl": "DATA = 3\nclass Tuner:\n    def __init__(self, *a, **k): self.got = a, k\n"},
    )
    registry = workshop.registry()
    assert registry.create("tuner", "strict", 1, step=1).got == ((1,), {"step": 1.0})
    assert registry.create("tuners", "free", anything=2).got == ((), {"anything": 2})
    with pytest.raises(UnknownHyperparamError) as unknown:
        registry.create("tuner", "strict", stpe=1)
    assert str(unknown.value) == (
        "[E-UNKNOWN-OPTION] optix-x:strict has no option 'stpe'. Did you mean 'step'? It has: memory, step."
    )
    with pytest.raises(HyperparamError, match="step is -1, but it must be a float in \\[0, inf\\)"):
        registry.create("tuner", "strict", step=-1)
    with pytest.raises(PluginBroken, match=r"importing '.*impl:Absent' failed: AttributeError") as lost:
        registry.create("tuner", "lost")
    assert isinstance(lost.value.__cause__, AttributeError)
    with pytest.raises(
        PluginBroken, match=r"is registered by optix-x 0.1.0, but importing .*ModuleNotFoundError"
    ):
        registry.create("tuner", "gone")
    with pytest.raises(PluginBroken, match="is int, which cannot be called"):
        registry.create("tuner", "data")
    with pytest.raises(MissingDependencyError) as missing:
        registry.create("tuner", "needy")
    assert "needs surely-not-here>=2, pluggy<0.1, which this Python cannot import (found: none, 1." in str(
        missing.value
    )
    with pytest.raises(PluginError, match=r"agents need an environment"):
        workshop.registry(plugins=[("p", _agents())]).create("agent", "A")


def _agents():
    from optix_core.plugin import AgentSpec, hookimpl

    class P:
        @hookimpl
        def optix_agents(self):
            return [AgentSpec(name="A", framework="numpy", action_spaces={"box"}, factory="a:b")]

    return P()


def test_strict_mode_raises_one_group_with_all(kit) -> None:
    points = [kit.FakePoint("optix-a", ValueError("one")), kit.FakePoint("optix-b", TypeError("two"))]
    registry = kit.registry(*points, switches=Switches.read(strict=True, environ={}, config={}))
    assert [r.state for r in registry.records] == ["ok", "failed", "failed"]  # listing never raises
    with pytest.raises(ExceptionGroup) as caught:
        registry.components()
    assert caught.value.message == "optix plugins failed to load"
    assert [str(e) for e in caught.value.exceptions] == [
        "[E-PLUGIN-BROKEN] plugin optix-a 0.1.0 did not load (import: ValueError: one)",
        "[E-PLUGIN-BROKEN] plugin optix-b 0.1.0 did not load (import: TypeError: two)",
    ]
    assert isinstance(caught.value.exceptions[1].__cause__, TypeError)


def test_the_warning_says_how_to_disable(kit) -> None:
    with pytest.warns(PluginLoadWarning) as caught:
        kit.registry(kit.FakePoint("optix-a", ValueError("one"))).ensure()
    assert [str(w.message) for w in caught] == [
        (
            "plugin optix-a 0.1.0 did not load (import: ValueError: one); run: optix plugins doctor optix-a; "
            "to disable it: OPTIX_DISABLE_PLUGINS=optix-a"
        )
    ]


def test_registering_by_hand(kit) -> None:
    registry = kit.registry(kit.FakePoint("optix-x", kit.plugin()))
    record = registry.register_plugin(kit.plugin(kit.agent("Mine"), api=None))
    assert (record.name, record.origin, record.state, record.first_party) == ("local", "local", "ok", False)
    assert registry.agent("local:Mine").record is registry.record("local")
    registry.register_plugin(kit.plugin(kit.agent("Other")))  # a notebook's cell, run again
    assert [c.spec.name for c in registry.agents()] == ["Other"]
    with pytest.raises(
        PluginBroken, match=r"'bad' was not registered .register: optix_agents.. returned None"
    ):
        registry.register_plugin(_returning_none(), name="bad")
    assert registry.record("bad") is None
    with pytest.raises(PluginConflict, match="'optix-x' is loaded already"):
        registry.register_plugin(kit.plugin(), name="optix-x")
    registry.reload()
    assert [c.spec.name for c in registry.agents()] == ["Other"]


def _returning_none():
    from optix_core.plugin import hookimpl

    class P:
        @hookimpl
        def optix_agents(self):
            return None

    return P()


def test_ours_cannot_be_impersonated_by_hand(kit) -> None:
    registry = kit.registry()
    assert not registry.register_plugin(kit.plugin(kit.agent()), name="optix-torch").first_party


def test_reload_finds_what_was_installed_meanwhile(workshop) -> None:
    registry = workshop.registry()
    assert registry.record("optix-late") is None
    workshop.distribution("optix-late", "OPTIX_API = '1.0'")
    assert registry.record("optix-late") is None
    registry.reload()
    assert registry.record("optix-late").state == "ok"


def test_a_module_from_the_command_line(workshop) -> None:
    package = workshop.distribution("optix-x", "OPTIX_API = '1.0'", entry="[other]\n")
    switches = Switches.read(
        modules=[f"{package}.plugin", "absent_module"], environ={"OPTIX_PLUGINS": ""}, config={}
    )
    registry = workshop.registry(switches=switches)
    record = next(r for r in registry.records if r.target == f"{package}.plugin")
    assert (record.origin, record.state) == ("argument", "ok")
    failed = registry.record("absent_module")
    assert (failed.state, failed.phase) == ("failed", "import")


def test_many_threads_load_once(kit) -> None:
    calls = []

    def points():
        calls.append(1)
        time.sleep(0.05)  # long enough that every thread has found the registry empty
        return [kit.FakePoint("optix-x", kit.plugin(kit.agent()))]

    registry = Registry(entry_points=points, switches=Switches())
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(registry.records)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(records == seen[0] for records in seen)


def test_the_trace_has_one_line_per_plugin(kit) -> None:
    lines = []
    kit.registry(
        kit.FakePoint("optix-a", kit.plugin(kit.agent())),
        kit.FakePoint("optix-b", ValueError("x")),
        trace=lines.append,
    ).load()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "optix-core"],
        ["ok", "optix-a"],
        ["failed", "optix-b"],
    ]
    assert lines[1] == "ok           optix-a 0.1.0 from optix_a.plugin, 1 agent"


def test_the_process_has_one_registry_that_can_be_replaced(kit) -> None:
    before = default_registry()
    assert default_registry() is before
    with use_registry(kit.registry()) as mine:
        assert default_registry() is mine
        assert register_plugin(kit.plugin(kit.agent("Mine"))).name == "local"
        assert [c.spec.name for c in mine.agents()] == ["Mine"]
        assert configure(plugins="").switches.blocked("anything") is not None
        assert default_registry() is not mine
    assert default_registry() is before


def test_a_recorded_agent_is_found_again_or_the_package_to_install_is_named(kit) -> None:
    registry = kit.registry(
        kit.FakePoint("optix-torch", kit.plugin(kit.agent("PPO"))),
        kit.FakePoint("optix-bad", ValueError("x")),
    )
    with pytest.warns(PluginLoadWarning):
        assert registry.spec_for({"plugin": "optix-torch", "spec": "PPO"}).qualified == "optix-torch:PPO"
    cases = {
        "optix-foo": (
            PluginNotFound,
            r"made with optix-foo 0.3 \(agent X\), which is not installed. Install: .*optix-foo",
        ),
        "optix-bad": (PluginBroken, "which is installed but did not load .import: ValueError: x"),
        "optix-torch": (PluginNotFound, "the installed optix-torch 0.1.0 has no agent of that name"),
    }
    for name, (error, text) in cases.items():
        with pytest.raises(error, match=text):
            registry.spec_for({"plugin": name, "version": "0.3", "spec": "X"})


def test_options_of_specs_are_declared_once(kit) -> None:
    spec = PipelineSpec(name="p", factory="a:b", hyperparams=(Hyper("x", 1.0),), options=(Option("y", None),))
    registry = kit.registry(kit.FakePoint("optix-x", kit.plugin(pipelines=[spec])))
    assert registry.pipeline("p").spec.accepted == ("x", "y")
