"""Do specs survive JSON and pickle, and are wrong ones refused with the exact reason?"""

from __future__ import annotations

import inspect
import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

import optix_core.plugin
from optix_core.factory import make_agent
from optix_core.loop_callback import LoopCallback
from optix_core.plugin import (
    AgentSpec,
    CallbackSpec,
    Check,
    CommandSpec,
    EnvProviderSpec,
    EvaluatorSpec,
    ExporterSpec,
    GrowthGateSpec,
    Hyper,
    MutatorSpec,
    NeuronTypeSpec,
    Option,
    PipelineSpec,
    PlasticityRuleSpec,
    RunnerSpec,
    SpecError,
    TunerSpec,
)
from optix_core.plugins.hookspecs import CALL_HOOKS, REGISTRATION_HOOKS, Specs
from optix_core.plugins.hyper import RESERVED
from optix_core.plugins.specs import EVENTS, SPEC_TYPES, spec_from_dict

AGENT = {"name": "SAC", "factory": "a.b:c", "framework": "torch", "action_spaces": {"box"}}
EXAMPLES = [
    AgentSpec(
        **AGENT,
        answers_to=("SoftActorCritic",),
        requires=("torch>=2.6", 'numpy>=1.26; python_version < "4"'),
        capabilities=frozenset({"recurrent", "x-own"}),
        hyperparams=(
            Hyper("lr", 3e-4, low=0, low_open=True, tune=(1e-4, 1e-3), log=True),
            Hyper("on", True, "bool"),
        ),
        options=(Option("hidden_sizes", [64, [3]]), Option("mapping", {"a": [1, None]})),
        extra={"paper": ["x", 1]},
        policy="deterministic",
        on_policy=False,
        default_rank=10,
    ),
    PipelineSpec(name="vector", factory="a:b", vectorized=True),
    TunerSpec(name="spsa", factory="a:b.c", signal="paired"),
    CallbackSpec(name="rich", factory="a:b", events=frozenset({"on_dormant"})),
    MutatorSpec(
        name="split",
        factory="a:b",
        operation="split",
        function_preserving=True,
        target="brain",
        needs={"activity"},
    ),
    EvaluatorSpec(name="mean", factory="a:b"),
    ExporterSpec(name="onnx", factory="a:b", format="onnx", frameworks=frozenset({"torch"})),
    RunnerSpec(name="actors", factory="a:b"),
    EnvProviderSpec(namespace="ALE", register="ale_py:register"),
    CommandSpec(name="play", factory="a:b", help="watch an agent"),
    NeuronTypeSpec(name="leaky", factory="a:b", recurrent=True),
    GrowthGateSpec(name="patience", factory="a:b"),
    PlasticityRuleSpec(name="bcm", factory="a:b"),
]


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda s: s.kind)
def test_a_spec_survives_json_and_pickle(spec) -> None:
    text = json.dumps(spec.to_dict())
    again = spec_from_dict(json.loads(text))
    assert again == spec
    assert type(again) is type(spec)
    assert json.dumps(again.to_dict()) == text
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(pickle.loads(pickle.dumps(spec))) == hash(spec)


def test_every_kind_of_spec_has_an_example_and_a_hook() -> None:
    assert {spec.kind for spec in EXAMPLES} == set(SPEC_TYPES) == set(REGISTRATION_HOOKS.values())
    declared = {name for name in vars(Specs) if name.startswith("optix_")}
    assert declared == {*REGISTRATION_HOOKS, *CALL_HOOKS}


def test_specs_cannot_be_changed_nor_given_unknown_attributes() -> None:
    with pytest.raises(FrozenInstanceError):
        EXAMPLES[0].name = "other"
    assert not hasattr(EXAMPLES[0], "__dict__")


def test_lists_become_tuples_and_names_get_their_defaults() -> None:
    spec = EXAMPLES[0]
    assert spec.options[0].default == (64, (3,))
    assert spec.algorithm == "SAC"
    assert spec.names == ("SAC", "SAC", "SoftActorCritic")
    assert spec.accepted == ("lr", "on", "hidden_sizes", "mapping")
    provider = EXAMPLES[8]
    assert (provider.name, provider.factory) == ("ALE", "ale_py:register")
    assert EXAMPLES[9].summary == "watch an agent"


@pytest.mark.parametrize(
    "fields, text",
    [
        (
            {"name": ""},
            "AgentSpec: name is ''; it must start with a letter and hold only letters, digits and _ . + -",
        ),
        ({"name": "a:b"}, "AgentSpec: name is 'a:b'"),
        ({"name": None}, "AgentSpec: name is None"),
        (
            {"factory": "a.b.c"},
            "AgentSpec 'SAC': factory is 'a.b.c'; it must read 'package.module:attribute'",
        ),
        ({"factory": make_agent}, "it must read 'package.module:attribute'"),
        ({"summary": "a\nb"}, "AgentSpec 'SAC': summary must be one line of text"),
        ({"requires": "torch"}, "requires is 'torch'; it must be a collection of str"),
        ({"requires": ["torch >> 2"]}, "requires has 'torch >> 2', which is not a requirement"),
        ({"capabilities": {"recurent"}}, "did you mean 'recurrent'? A word of your own can be 'x-recurent'"),
        ({"capabilities": {"Recurrent"}}, "words are lower case"),
        ({"hyperparams": [Option("a", 1)]}, "every item must be a Hyper"),
        ({"hyperparams": Hyper("a", 1.0)}, "it must be a collection of Hyper"),
        ({"hyperparams": [Hyper("a", 1.0)], "options": [Option("a", 1)]}, "'a' is declared twice"),
        ({"extra": {"a": object()}}, "extra holds object; it must be plain data that JSON can hold"),
        ({"extra": {"a": float("nan")}}, "numbers must be finite"),
        ({"framework": "PyTorch"}, "framework is 'PyTorch'; it must be a lower-case word such as 'torch'"),
        (
            {"action_spaces": set()},
            "action_spaces is empty; it must hold at least one of: box, dict, discrete",
        ),
        (
            {"action_spaces": {"dicrete"}},
            "action_spaces has 'dicrete'. Did you mean 'discrete'? Allowed: box, dict",
        ),
        ({"action_spaces": "box"}, "action_spaces is 'box'; it must be a collection of str"),
        ({"observation_spaces": {"image"}}, "observation_spaces has 'image'."),
        ({"policy": "random"}, "policy is 'random'. Allowed: stochastic, deterministic"),
        ({"on_policy": 1}, "on_policy is 1; it must be True or False"),
        ({"default_rank": True}, "default_rank is True; it must be an int or None"),
        ({"default_rank": 1.5}, "default_rank is 1.5; it must be an int or None"),
        ({"answers_to": ["a b"]}, "'a b' is no name for an algorithm"),
    ],
)
def test_a_wrong_agent_spec_is_refused_with_the_reason(fields, text) -> None:
    with pytest.raises(SpecError) as caught:
        AgentSpec(**{**AGENT, **fields})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: TunerSpec(name="a", factory="a:b", signal="scores"),
            "Did you mean 'score'? Allowed: score, paired",
        ),
        (lambda: TunerSpec(name="a", factory="a:b", needs_population=2), "needs_population is 2"),
        (
            lambda: PipelineSpec(name="a", factory="a:b", live="yes"),
            "live is 'yes'; it must be True or False",
        ),
        (
            lambda: CallbackSpec(name="a", factory="a:b", events={"on_stop"}),
            "events has 'on_stop'. Did you mean",
        ),
        (lambda: MutatorSpec(name="a", factory="a:b", operation="add"), "operation is 'add'."),
        (lambda: ExporterSpec(name="a", factory="a:b", format="ONNX"), "format is 'ONNX'"),
        (lambda: EnvProviderSpec(namespace="A", register="a:b", factory="c:d"), "give one of them"),
        (lambda: EnvProviderSpec(namespace="A/B", name="a", register="a:b"), "namespace is 'A/B'"),
        (lambda: CommandSpec(name="a", factory="a:b", help="x\ny"), "must be one line of text"),
        (lambda: Option("env", 1), "Option 'env': make_agent has a parameter of that name"),
        (lambda: Option("a", {1: 2}), "a mapping whose keys are not all strings"),
        (lambda: Check(name="a", status="fine"), "status is 'fine'; it must be ok, warning or error"),
    ],
)
def test_wrong_specs_of_other_kinds_are_refused(make, text) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert text in str(caught.value)


def test_json_of_another_kind_or_of_a_newer_core_is_refused() -> None:
    with pytest.raises(SpecError, match="this describes a tuner, not a pipeline"):
        PipelineSpec.from_dict(EXAMPLES[2].to_dict())
    with pytest.raises(SpecError, match="unknown field 'colour'; it may come from a newer optix-core"):
        spec_from_dict({**EXAMPLES[2].to_dict(), "colour": "red"})
    with pytest.raises(SpecError, match="kind is 'planet'; it must be one of: agent, pipeline"):
        spec_from_dict({"kind": "planet"})
    with pytest.raises(SpecError, match="missing"):
        spec_from_dict({"kind": "tuner", "name": "a"})
    with pytest.raises(SpecError, match="Hyper: expected a mapping, found 3"):
        spec_from_dict({**EXAMPLES[2].to_dict(), "hyperparams": [3]})


def test_vocabularies_match_what_they_speak_of() -> None:
    assert set(EVENTS) == {name for name in vars(LoopCallback) if name.startswith("on_")}
    parameters = set(inspect.signature(make_agent).parameters) - {"options"}
    assert parameters <= RESERVED


def test_everything_public_can_be_imported() -> None:
    for name in optix_core.plugin.__all__:
        assert getattr(optix_core.plugin, name) is not None


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
data = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(data, st.dictionaries(st.text(), data, max_size=3))
def test_any_plain_data_in_a_spec_survives_json(default, extra) -> None:
    spec = AgentSpec(**AGENT, options=(Option("o", default),), extra=extra)
    assert AgentSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
