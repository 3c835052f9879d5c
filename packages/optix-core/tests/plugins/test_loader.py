"""Does a plugin that is broken, in whatever way, harm nobody else and say what is wrong with it?"""

from __future__ import annotations

import itertools
import sys
import warnings

import pytest

from optix_core.plugins.records import CORE

HEALTHY = """
    from optix_core.plugin import AgentSpec, hookimpl
    OPTIX_API = "1.0"
    @hookimpl
    def optix_agents():
        return [AgentSpec(name="Fine", framework="torch", action_spaces={"discrete"}, factory="PACKAGE.agent:build")]
"""
HEAD = "from optix_core.plugin import AgentSpec, TunerSpec, hookimpl\nOPTIX_API = '1.0'\n"
AGENT = "AgentSpec(name='A', framework='torch', action_spaces={'discrete'}, factory='a.b:c')"

BROKEN = {
    "raises-at-import": ("1/0", "failed", "import", "ZeroDivisionError: division by zero"),
    "missing-module": (
        "import surely_not_installed",
        "failed",
        "import",
        "ModuleNotFoundError: No module named 'surely_not_installed'",
    ),
    "syntax-error": ("def (", "failed", "import", "SyntaxError: invalid syntax (plugin.py, line 1)"),
    "exits-at-import": ("import sys\nsys.exit(3)", "failed", "import", "SystemExit: 3"),
    "no-api": (
        "X = 1",
        "failed",
        "api",
        'it does not say OPTIX_API; add OPTIX_API = "1.0" to the plugin module',
    ),
    "odd-api": (
        "OPTIX_API = 1.0",
        "failed",
        "api",
        'OPTIX_API is 1.0; it must read "major.minor", for example "1.0"',
    ),
    "newer-api": (
        "OPTIX_API = '2.0'",
        "incompatible",
        "api",
        "written for plugin API 2.0, this optix-core has 1.0; upgrade optix-core",
    ),
    "newer-minor": (
        "OPTIX_API = '1.7'",
        "incompatible",
        "api",
        "written for plugin API 1.7, this optix-core has 1.0; upgrade optix-core",
    ),
    "older-api": (
        "OPTIX_API = '0.9'",
        "incompatible",
        "api",
        "written for plugin API 0.9, this optix-core has 1.0; upgrade the plugin",
    ),
    "unknown-argument": (
        HEAD + "@hookimpl\ndef optix_agents(env): return []",
        "failed",
        "validate",
        "optix_agents",
    ),
    "misspelt-hook": (
        HEAD + "@hookimpl\ndef optix_agent(): return []",
        "failed",
        "register",
        "unknown hook 'optix_agent'; did you mean 'optix_agents'?",
    ),
    "unmarked-hook": (
        HEAD + "def optix_agents(): return []",
        "failed",
        "register",
        "optix_agents() is not marked; put @hookimpl above it",
    ),
    "returns-none": (
        HEAD + "@hookimpl\ndef optix_agents(): pass",
        "failed",
        "register",
        "optix_agents() returned None; return a list",
    ),
    "returns-a-spec": (
        HEAD + f"@hookimpl\ndef optix_agents(): return {AGENT}",
        "failed",
        "register",
        "optix_agents() returned AgentSpec; it must return a list of AgentSpec",
    ),
    "returns-a-number": (
        HEAD + "@hookimpl\ndef optix_tuners(): return 3",
        "failed",
        "register",
        "optix_tuners() returned int; it must return a list of TunerSpec",
    ),
    "wrong-item": (
        HEAD + f"@hookimpl\ndef optix_agents(): return [{AGENT}, TunerSpec(name='t', factory='a:b')]",
        "failed",
        "register",
        "optix_agents()[1] is TunerSpec; it must be AgentSpec",
    ),
    "bad-spec": (
        HEAD + "@hookimpl\ndef optix_tuners(): return [TunerSpec(name='t', factory='a.b')]",
        "failed",
        "register",
        "TunerSpec 't': factory is 'a.b'; it must read 'package.module:attribute'",
    ),
    "two-of-one-name": (
        HEAD + "@hookimpl\ndef optix_tuners(): return [TunerSpec(name=n, factory='a:b') for n in ('t', 'T')]",
        "failed",
        "register",
        "two tuner specs are called 'T'; names must differ",
    ),
    "wrapper": (
        HEAD + "@hookimpl(wrapper=True)\ndef optix_agents():\n    return (yield)",
        "failed",
        "register",
        "optix_agents() is a wrapper; it must be a plain function",
    ),
    "raises-in-hook": (
        HEAD + "@hookimpl\ndef optix_agents(): raise RuntimeError('no luck')",
        "failed",
        "register",
        "RuntimeError: no luck",
    ),
    "raises-while-iterated": (
        HEAD + f"@hookimpl\ndef optix_agents():\n    yield {AGENT}\n    raise KeyError('late')",
        "failed",
        "register",
        "KeyError: 'late'",
    ),
    "second-hook-bad": (
        HEAD + f"@hookimpl\ndef optix_agents(): return [{AGENT}]\n@hookimpl\ndef optix_tuners(): return None",
        "failed",
        "register",
        "optix_tuners() returned None; return a list",
    ),
}


def names(registry):
    return {c.qualified for c in registry.components() if c.record.name != CORE}


@pytest.mark.parametrize("fault", BROKEN)
def test_each_fault_is_recorded_with_its_phase_and_reason(workshop, fault) -> None:
    source, state, phase, error = BROKEN[fault]
    workshop.distribution("optix-broken", source)
    workshop.distribution("optix-fine", HEALTHY)
    registry = workshop.registry()
    record = registry.record("optix-broken")
    assert (record.state, record.phase) == (state, phase)
    assert error in record.error
    assert "\n" not in record.error
    assert record.exception is not None
    assert record.traceback.startswith(("Traceback", "  File", "optix_core.plugins.loader.PluginFault"))
    assert record.specs == ()
    assert not registry.manager.has_plugin("optix-broken")
    with pytest.warns(match=r"plugin optix-broken 0.1.0 did not load"):
        assert names(registry) == {"optix-fine:Fine"}


def test_with_all_faults_at_once_everything_healthy_still_works(workshop) -> None:
    for fault, (source, *_) in BROKEN.items():
        workshop.distribution(f"a-{fault}", source)
    workshop.distribution("m-fine", HEALTHY)
    workshop.distribution("z-fine", HEALTHY.replace("Fine", "Good"))
    registry = workshop.registry()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert names(registry) == {"m-fine:Fine", "z-fine:Good"}
        names(registry)
    assert len(caught) == len(BROKEN)  # one line each, once
    for fault, (_, state, phase, error) in BROKEN.items():
        record = registry.record(f"a-{fault}")
        assert (record.state, record.phase) == (state, phase)
        assert error in record.error


def test_a_loaded_plugin_is_described_in_full(workshop) -> None:
    package = workshop.distribution("Optix_Fine.Plugin", HEALTHY, version="2.5")
    record = workshop.registry().record("optix-fine-plugin")
    assert (record.name, record.dist, record.version) == ("optix-fine-plugin", "Optix_Fine.Plugin", "2.5")
    assert (record.state, record.phase, record.api, record.error) == ("ok", "register", "1.0", None)
    assert record.target == f"{package}.plugin"
    assert record.location == str(workshop.folder)
    assert record.import_cpu_ms >= 0.0
    assert record.provides == {"agent": ["Fine"]}
    assert record.provides_text == "1 agent"
    assert not record.first_party
    described = record.to_dict()
    assert described["specs"][0]["name"] == "Fine"
    assert set(described) == set(type(record).__dataclass_fields__) - {"exception"} | {
        "provides",
        "first_party",
    }


@pytest.mark.parametrize(
    "requires, state, error",
    [
        (["optix-core>=0.1,<1"], "ok", None),
        (["optix_core >= 0.1"], "ok", None),
        (["numpy"], "ok", None),
        ([], "ok", None),
        (
            ["optix-core>=9", 'optix-core<1; extra == "dev"'],
            "incompatible",
            "needs optix-core>=9, found 0.4.0",
        ),
        (["optix-core<0.3,>=0.1"], "incompatible", "needs optix-core<0.3,>=0.1, found 0.4.0"),
        (["optix-core>>1"], "failed", "InvalidRequirement"),
        (['optix-core>=9; extra == "dev"'], "ok", None),
        (['optix-core>=9; python_version < "3"'], "ok", None),
        (["optix-core-extras>=9"], "ok", None),
    ],
)
def test_the_core_version_is_checked_before_import(workshop, requires, state, error) -> None:
    package = workshop.distribution("optix-x", HEALTHY, requires=requires)
    registry = workshop.registry(core_version="0.4.0")
    record = registry.record("optix-x")
    assert record.state == state
    if error is not None:
        assert error in record.error
        assert record.phase == "requires"
        assert f"{package}.plugin" not in sys.modules


def test_a_development_version_of_core_satisfies_what_its_base_would(workshop) -> None:
    workshop.distribution("optix-x", HEALTHY, requires=["optix-core>=0.4,<1"])
    assert workshop.registry(core_version="0.4.0.dev3").record("optix-x").state == "ok"
    assert workshop.registry(core_version="0.4.0+local").record("optix-x").state == "ok"


def test_an_older_minor_api_is_accepted(workshop) -> None:
    workshop.distribution("optix-x", HEALTHY)
    assert workshop.registry(api_version="1.4").record("optix-x").state == "ok"
    assert workshop.registry(api_version="2.0").record("optix-x").state == "incompatible"


def test_a_plugin_module_that_pulls_in_something_heavy_is_told_so(workshop, monkeypatch) -> None:
    workshop.distribution("optix-heavy", "import optuna\n" + HEAD)
    (workshop.folder / "optuna.py").write_text("")  # stands for the real one
    monkeypatch.delitem(sys.modules, "optuna", raising=False)
    record = workshop.registry().record("optix-heavy")
    sys.modules.pop("optuna", None)
    assert record.state == "ok!"
    assert record.heavy == ("optuna",)
    assert "imports optuna; move that behind the factory string" in record.warnings[0]


def test_a_slow_plugin_module_is_told_so_by_cpu_time(workshop) -> None:
    spin = "import time\nend = time.thread_time() + 0.2\nwhile time.thread_time() < end: pass\n"
    workshop.distribution("optix-slow", spin + HEAD)
    workshop.distribution("optix-sleepy", "import time\ntime.sleep(0.3)\n" + HEAD)  # waits, but costs nothing
    registry = workshop.registry()
    assert registry.record("optix-slow").state == "ok!"
    assert "slow import: 2" in registry.record("optix-slow").warnings[0]
    assert registry.record("optix-sleepy").state == "ok"


def test_a_plugin_without_components_is_valid(workshop) -> None:
    workshop.distribution("optix-shell", "OPTIX_API = '1.0'")
    record = workshop.registry().record("optix-shell")
    assert (record.state, record.provides_text) == ("ok", "")


def test_an_object_can_be_the_target(workshop) -> None:
    source = (
        HEAD
        + f"class P:\n    OPTIX_API = '1.0'\n    @hookimpl\n    def optix_agents(self): return [{AGENT}]\np = P()"
    )
    workshop.distribution("optix-x", source, entry="[optix_core.plugins]\nwhatever = PACKAGE.plugin:p\n")
    record = workshop.registry().record("optix-x")
    assert record.provides == {"agent": ["A"]}
    assert record.name == "optix-x"  # the distribution's name, not the entry point's


def test_a_second_entry_point_is_refused_and_the_first_works(workshop) -> None:
    entry = "[optix_core.plugins]\naaa = PACKAGE.other\noptix-x = PACKAGE.plugin\n"
    package = workshop.distribution("optix-x", HEALTHY, entry=entry)
    registry = workshop.registry()
    assert registry.record("optix-x").state == "ok"
    second = registry.record("optix-x/aaa")
    assert (second.state, second.phase) == ("failed", "discover")
    assert second.error == (
        f"optix-x has a second entry point 'aaa' in optix_core.plugins; only one is loaded, '{package}.plugin'"
    )


def test_two_distributions_with_equal_entry_point_names_both_work(workshop) -> None:
    for dist in ("optix-a", "optix-b"):
        workshop.distribution(dist, HEALTHY, entry="[optix_core.plugins]\nname_of_plugin = PACKAGE.plugin\n")
    registry = workshop.registry()
    assert names(registry) == {"optix-a:Fine", "optix-b:Fine"}


def test_metadata_without_a_name_is_a_fault_of_that_plugin_only(workshop, kit) -> None:
    nameless = kit.FakePoint("optix-odd", kit.plugin())
    nameless.dist.name = None
    registry = kit.registry(nameless, kit.FakePoint("optix-fine", kit.plugin(kit.agent())))
    assert registry.record("optix-odd").error == "its metadata has no name; reinstall it"
    assert registry.record("optix-fine").state == "ok"


def test_an_interrupt_is_passed_on(kit) -> None:
    registry = kit.registry(kit.FakePoint("optix-x", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        registry.load()
    assert not registry._loading


def test_records_do_not_depend_on_the_order_of_the_path(kit) -> None:
    points = [kit.FakePoint(f"optix-{n}", kit.plugin(kit.agent(n))) for n in ("c", "a", "b")]
    seen = {tuple(r.name for r in kit.registry(*order).records) for order in itertools.permutations(points)}
    assert seen == {(CORE, "optix-a", "optix-b", "optix-c")}


def test_discovery_alone_imports_nothing(workshop) -> None:
    package = workshop.distribution("optix-x", HEALTHY)
    workshop.distribution("optix-y", HEALTHY, requires=["optix-core>=9"])
    states = {r.name: r.state for r in workshop.registry().discover()}
    assert states == {CORE: "found", "optix-x": "found", "optix-y": "incompatible"}
    assert not any(name.startswith(package) for name in sys.modules)


def test_a_plugin_that_uses_the_registry_while_it_is_imported_is_refused(workshop) -> None:
    source = "from optix_core.plugins.registry import default_registry\ndefault_registry().records\n" + HEAD
    workshop.distribution("optix-eager", source)
    from optix_core.plugins.registry import use_registry

    with use_registry(workshop.registry()) as registry:
        record = registry.record("optix-eager")
    assert record.phase == "import"
    assert "a plugin module may only declare specs" in record.error
