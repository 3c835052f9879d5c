"""Do command line, environment and configuration switch plugins as documented?"""

from __future__ import annotations

import sys

import pytest

from optix_core.errors import ConfigError, PluginBlocked, PluginBroken, PluginNotFound
from optix_core.plugins.failures import PluginSwitchWarning
from optix_core.plugins.records import CORE
from optix_core.plugins.switches import Switches, find_config, truth


def read(config=None, environ=None, **flags):
    return Switches.read(environ=environ or {}, config=config or {}, **flags)


def on(switches, *names):
    return [name for name in names if switches.blocked(name) is None]


@pytest.mark.parametrize(
    "flags, environ, config, expected",
    [
        ({}, {}, {}, "abc"),
        ({"plugins": "a,b"}, {}, {}, "ab"),
        ({"plugins": []}, {}, {}, ""),
        ({"disable": ["a"]}, {}, {}, "bc"),
        ({"modules": ["no:a"]}, {}, {}, "bc"),
        ({}, {"OPTIX_PLUGINS": "a"}, {}, "a"),
        ({}, {"OPTIX_PLUGINS": ""}, {}, ""),
        ({}, {"OPTIX_DISABLE_PLUGINS": "a, c"}, {}, "b"),
        ({}, {"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "1"}, {}, ""),
        ({}, {"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "1", "OPTIX_PLUGINS": "b"}, {}, "b"),
        ({}, {"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "0"}, {}, "abc"),
        ({}, {}, {"plugins": {"allow": ["a"]}}, "a"),
        ({}, {}, {"plugins": {"disable": ["a"]}}, "bc"),
        ({}, {}, {"plugins": {"autoload": False}}, ""),
        # the command line beats the environment, which beats the configuration
        ({"plugins": "a"}, {"OPTIX_PLUGINS": "b"}, {"plugins": {"allow": ["c"]}}, "a"),
        ({"plugins": "a"}, {"OPTIX_DISABLE_PLUGINS": "a"}, {}, "a"),
        ({"plugins": "a"}, {"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "1"}, {}, "a"),
        ({"disable": "a"}, {"OPTIX_PLUGINS": "a,b"}, {}, "b"),
        ({}, {"OPTIX_PLUGINS": "a,b"}, {"plugins": {"disable": ["a"]}}, "ab"),
        ({}, {"OPTIX_DISABLE_PLUGINS": "a"}, {"plugins": {"allow": ["a", "b"]}}, "b"),
        # within one layer "off" beats "on"
        ({"plugins": "a,b", "disable": "a"}, {}, {}, "b"),
    ],
)
def test_precedence(flags, environ, config, expected) -> None:
    switches = read(config, environ, **flags)
    assert on(switches, "a", "b", "c") == list(expected)
    assert on(switches, CORE) == [CORE]


def test_core_cannot_be_switched_off() -> None:
    for switches in (
        read(disable=CORE),
        read(environ={"OPTIX_PLUGINS": ""}),
        read({"plugins": {"autoload": False}}),
    ):
        assert switches.blocked(CORE) is None
    assert any("cannot be disabled" in text for text in read(disable=CORE).unknown([CORE]))


def test_the_reason_names_the_switch() -> None:
    assert read(disable="a").blocked("a") == "disabled by --no-plugin"
    assert read(environ={"OPTIX_PLUGINS": "b"}).blocked("a") == "not named in OPTIX_PLUGINS"
    assert (
        read({"plugins": {"disable": ["a"]}, "path": "x.toml"}).blocked("a")
        == "disabled by plugins.disable in x.toml"
    )
    assert "OPTIX_DISABLE_PLUGIN_AUTOLOAD" in read(environ={"OPTIX_DISABLE_PLUGIN_AUTOLOAD": "yes"}).blocked(
        "a"
    )


def test_names_are_canonical_in_every_spelling() -> None:
    assert read(disable="Optix_Torch").blocked("optix-torch") is not None
    assert on(read(environ={"OPTIX_PLUGINS": "optix.torch  optix_tf"}), "optix-torch", "optix-tf", "x") == [
        "optix-torch",
        "optix-tf",
    ]


@pytest.mark.parametrize("text, expected", [("1", True), ("YES", True), ("on", True), ("true ", True)])
def test_true_texts(text, expected) -> None:
    assert truth(text, "X") is expected


@pytest.mark.parametrize("text", ["0", "false", "no", "OFF", ""])
def test_false_texts(text) -> None:
    assert truth(text, "X") is False


def test_other_texts_are_errors() -> None:
    with pytest.raises(ConfigError, match="OPTIX_STRICT_PLUGINS is 'maybe'; it must be one of 1, true"):
        read(environ={"OPTIX_STRICT_PLUGINS": "maybe"})


def test_strict_from_each_layer() -> None:
    assert not read().strict
    assert read(strict=True).strict
    assert read(environ={"OPTIX_STRICT_PLUGINS": "1"}).strict
    assert read({"plugins": {"strict": True}}).strict
    assert not read({"plugins": {"strict": True}}, {"OPTIX_STRICT_PLUGINS": "0"}).strict


@pytest.mark.parametrize(
    "config, text",
    [
        ({"plugins": {"alow": []}}, "plugins has no key 'alow'. Did you mean 'allow'?"),
        ({"plugins": {"allow": "a"}}, "plugins.allow is 'a'; it must be a list of texts"),
        ({"plugins": {"disable": [1]}}, "plugins.disable must hold texts only"),
        ({"plugins": {"strict": 1}}, "plugins.strict is 1; it must be true or false"),
        ({"plugins": 3}, "plugins must be a table, not 3"),
        ({"agents": {"prefer": []}}, "agents.prefer must be a table of names to plugins"),
        ({"agents": {"prefer": {"SAC": 1}}}, "agents.prefer.SAC is 1; it must be the name of a plugin"),
    ],
)
def test_a_wrong_configuration_is_refused(config, text) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config)
    assert text in str(caught.value)


def test_frameworks_and_preferences() -> None:
    config = {"frameworks": {"prefer": ["jax"]}, "agents": {"prefer": {"Torch:SAC": "Optix_Foo"}}}
    assert read(config).frameworks == ("jax",)
    assert read(config).prefer == {"torch:sac": "optix-foo"}
    assert read(config, {"OPTIX_FRAMEWORK": "TensorFlow, pytorch"}).frameworks == ("tf", "torch")


def test_configuration_is_found_in_the_project_and_not_beyond(tmp_path) -> None:
    inner = tmp_path / "project" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "optix.toml").write_text("[plugins]\ndisable = ['outer']\n")
    project = tmp_path / "project" / "pyproject.toml"
    project.write_text("[tool.optix.plugins]\ndisable = ['inner']\n[tool.other]\nx = 1\n")
    assert find_config(inner) == {"path": str(project), "plugins": {"disable": ["inner"]}}
    project.write_text("[tool.other]\nx = 1\n")
    assert find_config(inner) == {}
    project.unlink()
    assert find_config(inner)["plugins"] == {"disable": ["outer"]}
    (tmp_path / "project" / ".git").mkdir()
    assert find_config(inner) == {}
    project.write_text("[tool.optix\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml is not valid TOML"):
        find_config(inner)


def test_a_disabled_plugin_is_never_imported(workshop) -> None:
    package = workshop.distribution("optix-crash", "raise SystemExit")
    registry = workshop.registry(switches=read(disable="optix-crash"))
    record = registry.record("optix-crash")
    assert (record.state, record.error, record.broken) == ("disabled", "disabled by --no-plugin", False)
    registry.components()  # and nobody is warned about it
    assert f"{package}.plugin" not in sys.modules


def test_an_empty_allow_list_leaves_core_alone(workshop) -> None:
    workshop.distribution("optix-crash", "1/0")
    registry = workshop.registry(switches=read(environ={"OPTIX_PLUGINS": ""}))
    assert {c.record.name for c in registry.components()} == {CORE}
    assert {"batch", "vector", "evaluation"} == {c.spec.name for c in registry.pipelines()}


def test_names_that_nobody_has_are_warned_about_once_with_a_suggestion(kit) -> None:
    registry = kit.registry(
        kit.FakePoint("optix-torch", kit.plugin()),
        switches=read(environ={"OPTIX_DISABLE_PLUGINS": "optix-troch"}),
    )
    with pytest.warns(
        PluginSwitchWarning, match="OPTIX_DISABLE_PLUGINS names 'optix-troch', .* Did you mean 'optix-torch'"
    ):
        registry.ensure()
    registry.ensure()


@pytest.mark.parametrize(
    "required, error, text",
    [
        ("optix-torch>=0.3", PluginNotFound, "requires the plugin optix-torch>=0.3, found 0.1.0. Install: "),
        (
            "optix-absent",
            PluginNotFound,
            "requires the plugin optix-absent, which is not installed. Install: ",
        ),
        ("optix-off", PluginBlocked, "requires the plugin optix-off, which is disabled by --no-plugin"),
        ("optix-bad>=0.1", PluginBroken, "which did not load (import: ValueError: broken)"),
        ("optix-torch>=0.1,<1", None, None),
    ],
)
def test_required_plugins(kit, required, error, text) -> None:
    registry = kit.registry(
        kit.FakePoint("optix-torch", kit.plugin()),
        kit.FakePoint("optix-off", kit.plugin()),
        kit.FakePoint("optix-bad", ValueError("broken")),
        switches=read({"plugins": {"required": [required]}}, disable="optix-off"),
    )
    assert registry.records  # listing works whatever is required
    if error is None:
        with pytest.warns(match="optix-bad"):
            registry.components()
        return
    with pytest.raises(error) as caught:
        registry.components()
    assert text in str(caught.value)
