"""Does make_agent's choice follow the documented order, whatever is installed beside?"""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import AgentResolutionError, MissingDependencyError
from optix_core.plugin import hookimpl
from optix_core.plugins.failures import AgentPluginBroken, AmbiguousAgentError
from optix_core.plugins.resolution import resolve
from optix_core.plugins.switches import Switches

NEURO = frozenset({"neuroevo"})


def first_party(kit):
    """Our own backends as they are planned, by distribution."""
    a = kit.agent
    recurrent = frozenset({"recurrent"})
    return {
        "optix-torch": [
            a("PPO"),
            a("GaussianPPO", "PPO", action="box", default_rank=50),
            a("RecurrentPPO", "PPO", capabilities=recurrent, default_rank=None),
            a("DQN", policy="deterministic", default_rank=40),
            a("RainbowDQN", "DQN", policy="deterministic", default_rank=None),
            a("SAC", action="box", default_rank=100),
            a("TD3", action="box", policy="deterministic", default_rank=90),
        ],
        "optix-tf": [
            a("PPO", framework="tf"),
            a("GaussianPPO", "PPO", framework="tf", action="box", default_rank=50),
            a("DQN", framework="tf", policy="deterministic", default_rank=40),
            a("SAC", framework="tf", action="box", default_rank=100),
            a("TD3", framework="tf", action="box", policy="deterministic", default_rank=90),
        ],
        "optix-jax": [a("PPO", framework="jax")],
        "optix-neuroevo": [
            a(
                "GraphPPO",
                "PPO",
                action="discrete box",
                answers_to=("SAC",),
                capabilities=NEURO,
                default_rank=10,
            ),
            a(
                "RecurrentGraphPPO",
                "PPO",
                action="discrete box",
                capabilities=NEURO | recurrent,
                default_rank=None,
            ),
        ],
    }


def points(kit, table):
    return [kit.FakePoint(dist, kit.plugin(*specs)) for dist, specs in table.items()]


@pytest.fixture(scope="module")
def ours(kit):
    return kit.registry(*points(kit, first_party(kit)))


@pytest.mark.parametrize(
    "name, action, fields, expected",
    [
        (None, "discrete", {}, "optix-torch:PPO"),
        (None, "box", {}, "optix-torch:SAC"),
        (None, "box", {"deterministic": True}, "optix-torch:TD3"),
        (None, "discrete", {"deterministic": True}, "optix-torch:DQN"),
        (None, "box", {"deterministic": False}, "optix-torch:SAC"),
        (None, "discrete", {"framework": "tf"}, "optix-tf:PPO"),
        (None, "discrete", {"framework": "jax"}, "optix-jax:PPO"),
        (None, "discrete", {"recurrent": True}, "optix-torch:RecurrentPPO"),
        (None, "discrete", {"neuroevo": True}, "optix-neuroevo:GraphPPO"),
        (None, "box", {"neuroevo": True, "recurrent": True}, "optix-neuroevo:RecurrentGraphPPO"),
        ("PPO", "discrete", {}, "optix-torch:PPO"),
        ("ppo", "discrete", {}, "optix-torch:PPO"),
        ("PPO", "box", {}, "optix-torch:GaussianPPO"),
        ("GaussianPPO", "box", {}, "optix-torch:GaussianPPO"),
        ("SAC", "box", {}, "optix-torch:SAC"),
        ("SAC", "box", {"neuroevo": True}, "optix-neuroevo:GraphPPO"),
        ("SAC", "discrete", {"neuroevo": True}, "optix-neuroevo:GraphPPO"),
        ("DQN", "discrete", {}, "optix-torch:DQN"),
        ("RainbowDQN", "discrete", {}, "optix-torch:RainbowDQN"),
        ("PPO", "discrete", {"recurrent": True}, "optix-torch:RecurrentPPO"),
        ("PPO", "discrete", {"recurrent": False}, "optix-torch:PPO"),
        ("RecurrentPPO", "discrete", {}, "optix-torch:RecurrentPPO"),
        ("GraphPPO", "box", {}, "optix-neuroevo:GraphPPO"),
        ("PPO", "discrete", {"qualifier": "optix-tf"}, "optix-tf:PPO"),
        ("PPO", "discrete", {"qualifier": "Optix_TF"}, "optix-tf:PPO"),
        ("PPO", "discrete", {"qualifier": "jax"}, "optix-jax:PPO"),
        ("PPO", "discrete", {"qualifier": "flax"}, "optix-jax:PPO"),
        ("PPO", "box", {"qualifier": "tensorflow"}, "optix-tf:GaussianPPO"),
        ("PPO", "box", {"qualifier": "optix-neuroevo"}, "optix-neuroevo:GraphPPO"),
        ("PPO", "discrete", {"framework": "jax"}, "optix-jax:PPO"),
    ],
)
def test_the_table(kit, ours, name, action, fields, expected) -> None:
    assert resolve(ours, kit.request(name, action, **fields)).qualified == expected


def test_each_step_says_how_many_it_left(kit, ours) -> None:
    found = resolve(ours, kit.request("PPO", "box", deterministic=False, framework="torch"))
    assert found.steps == (
        "neuroevo=None: 13 of 15 left",
        "name 'PPO': 6 of 13 left",
        "action space box: 2 of 6 left",
        "observation space box: 2 of 2 left",
        "deterministic=False: 2 of 2 left",
        "framework torch: 1 of 2 left",
        "requirements: 1 of 1 left",
        "chosen: optix-torch:GaussianPPO",
    )


def test_frameworks_are_a_soft_order(kit) -> None:
    registry = kit.registry(*points(kit, first_party(kit)), switches=Switches(frameworks=("tf", "jax")))
    assert resolve(registry, kit.request("PPO")).qualified == "optix-tf:PPO"
    table = {k: v for k, v in first_party(kit).items() if k != "optix-tf"}
    registry = kit.registry(*points(kit, table), switches=Switches(frameworks=("tf", "jax")))
    assert resolve(registry, kit.request("PPO")).qualified == "optix-jax:PPO"
    assert resolve(registry, kit.request("SAC", "box")).qualified == "optix-torch:SAC"


CALLS = [
    (name, action, fields)
    for name in (None, "PPO", "ppo", "SAC", "TD3", "DQN", "GraphPPO", "RecurrentPPO")
    for action in ("discrete", "box")
    for fields in (
        {},
        {"deterministic": True},
        {"recurrent": True},
        {"neuroevo": True},
        {"framework": "tf"},
        *({"qualifier": q} for q in ("torch", "tf", "optix-torch", "optix-neuroevo") if name),
    )
]


def outcome(registry, kit, call):
    name, action, fields = call
    try:
        return resolve(registry, kit.request(name, action, **fields)).qualified
    except AgentResolutionError as error:
        return error


names = st.sampled_from(["PPO", "SAC", "TD3", "DQN", "ES", "GraphPPO", "Own"])
third_party_specs = st.builds(
    dict,
    name=names,
    algorithm=names | st.just(""),
    answers_to=st.lists(names, max_size=2),
    framework=st.sampled_from(["torch", "jax", "tf", "aaa", "numpy"]),
    action=st.sampled_from(["discrete", "box", "discrete box"]),
    policy=st.sampled_from(["stochastic", "deterministic"]),
    capabilities=st.sets(st.sampled_from(["recurrent", "neuroevo"])),
    default_rank=st.none() | st.integers(-10, 10_000),
)
third_parties = st.dictionaries(
    st.sampled_from(["aaa", "rival", "zzz", "torch", "tf", "optix-torch-extra"]),
    st.lists(third_party_specs, max_size=4, unique_by=lambda spec: spec["name"]),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(third_parties)
def test_installing_anything_of_others_changes_no_result_of_ours(kit, ours, others) -> None:
    selecting = hookimpl(lambda self, request, candidates: candidates[-1])
    table = {dist: [kit.agent(**spec) for spec in specs] for dist, specs in others.items()}
    installed = [
        *points(kit, first_party(kit)),
        *(kit.FakePoint(dist, kit.plugin(*specs, select_agent=selecting)) for dist, specs in table.items()),
    ]
    registry = kit.registry(*installed)
    for call in CALLS:
        before = outcome(ours, kit, call)
        if isinstance(before, str):
            assert outcome(registry, kit, call) == before, call


@settings(max_examples=25, deadline=None)
@given(third_parties, st.randoms(use_true_random=False))
def test_the_order_of_installation_changes_nothing_not_even_an_error(kit, others, rng: random.Random) -> None:
    table = {dist: [kit.agent(**spec) for spec in specs] for dist, specs in others.items()}
    installed = points(kit, {**first_party(kit), **table})
    shuffled = rng.sample(installed, len(installed))
    first, second = kit.registry(*installed), kit.registry(*shuffled)
    for call in CALLS:
        assert str(outcome(first, kit, call)) == str(outcome(second, kit, call))


def test_a_third_party_wins_when_named_or_when_nothing_of_ours_fits(kit) -> None:
    es = kit.agent("ES", framework="numpy", action="discrete tuple", default_rank=1)
    registry = kit.registry(*points(kit, {**first_party(kit), "rival": [es]}))
    assert resolve(registry, kit.request("ES")).qualified == "rival:ES"
    assert resolve(registry, kit.request(None, "tuple")).qualified == "rival:ES"
    assert resolve(registry, kit.request(None, "discrete")).qualified == "optix-torch:PPO"
    assert resolve(registry, kit.request("ES", qualifier="numpy")).qualified == "rival:ES"


def test_ranks_of_different_third_parties_are_not_compared(kit) -> None:
    a = kit.agent("ES", default_rank=999)
    b = kit.agent("ES", default_rank=1)
    registry = kit.registry(*points(kit, {"rival": [a], "rival2": [b]}))
    with pytest.raises(AmbiguousAgentError) as caught:
        resolve(registry, kit.request("ES"))
    assert caught.value.candidates == ("rival2:ES", "rival:ES")
    assert resolve(registry, kit.request("ES", qualifier="rival2")).qualified == "rival2:ES"


def test_ranks_inside_one_third_party_are_compared(kit) -> None:
    specs = [kit.agent("A", "ES", default_rank=1), kit.agent("B", "ES", default_rank=2)]
    registry = kit.registry(*points(kit, {"rival": specs}))
    assert resolve(registry, kit.request("ES")).qualified == "rival:B"
    equal = [kit.agent("A", "ES", default_rank=1), kit.agent("B", "ES", default_rank=1)]
    with pytest.raises(AmbiguousAgentError):
        resolve(kit.registry(*points(kit, {"rival": equal})), kit.request("ES"))


def test_equal_ranks_among_ours_are_a_tie_and_not_a_coin(kit) -> None:
    table = {"optix-torch": [kit.agent("A")], "optix-neuroevo": [kit.agent("B")]}
    with pytest.raises(AmbiguousAgentError):
        resolve(kit.registry(*points(kit, table)), kit.request())


def test_the_configuration_can_prefer_a_third_party(kit) -> None:
    table = {**first_party(kit), "optix-foo": [kit.agent("SAC", action="box"), kit.agent("PPO")]}
    registry = kit.registry(*points(kit, table), switches=Switches(prefer={"torch:sac": "optix-foo"}))
    assert resolve(registry, kit.request("SAC", "box")).qualified == "optix-foo:SAC"
    assert (
        resolve(registry, kit.request(None, "box")).qualified == "optix-foo:SAC"
    )  # ours would be optix-torch:SAC
    assert resolve(registry, kit.request("SAC", "box", framework="tf")).qualified == "optix-tf:SAC"
    assert resolve(registry, kit.request("PPO")).qualified == "optix-torch:PPO"
    assert (
        resolve(registry, kit.request("SAC", "box", qualifier="optix-torch")).qualified == "optix-torch:SAC"
    )


def test_the_configuration_can_settle_a_tie(kit) -> None:
    table = {"rival": [kit.agent("ES")], "rival2": [kit.agent("ES")]}
    registry = kit.registry(*points(kit, table), switches=Switches(prefer={"es": "rival2"}))
    assert resolve(registry, kit.request("ES")).qualified == "rival2:ES"


def test_what_lacks_a_requirement_is_skipped_with_one_log_line(kit, caplog) -> None:
    table = {
        "optix-torch": [kit.agent("PPO", requires=("surely-not-here>=2",))],
        "optix-tf": [kit.agent("PPO", framework="tf", requires=("pluggy>=1",))],
    }
    registry = kit.registry(*points(kit, table))
    with caplog.at_level("WARNING", logger="optix_core.plugins"):
        found = resolve(registry, kit.request("PPO"))
    assert found.qualified == "optix-tf:PPO"
    assert "skipped optix-torch:PPO: needs surely-not-here>=2" in found.steps
    assert [r.getMessage() for r in caplog.records] == [
        "optix-torch:PPO fits but is skipped: it needs surely-not-here>=2, which is not installed"
    ]
    with pytest.raises(MissingDependencyError) as caught:
        resolve(registry, kit.request("PPO", framework="torch"))
    assert isinstance(caught.value, ImportError)


def selecting(choose, **options):
    return hookimpl(**options)(choose)


def test_a_named_plugin_may_select_among_what_fits(kit) -> None:
    seen = []

    def choose(self, request, candidates):
        seen.append((request.name, [c.name for c in candidates]))
        return next(c for c in candidates if c.name == "DQN")

    others = kit.FakePoint("chooser", kit.plugin(select_agent=selecting(choose)))
    fitting = points(kit, {"optix-torch": first_party(kit)["optix-torch"]})
    merely_installed = kit.registry(*fitting, others)
    assert resolve(merely_installed, kit.request()).qualified == "optix-torch:PPO"
    assert seen == []
    named = kit.registry(
        *fitting, others, switches=Switches.read(plugins="chooser,optix-torch", environ={}, config={})
    )
    found = resolve(named, kit.request())
    assert found.qualified == "optix-torch:DQN"
    assert "selected by chooser" in found.steps
    assert seen == [(None, ["PPO", "RecurrentPPO", "DQN", "RainbowDQN"])]
    local = kit.registry(*fitting, plugins=[("mine", kit.plugin(select_agent=selecting(choose), api=None))])
    assert resolve(local, kit.request()).qualified == "optix-torch:DQN"


@pytest.mark.parametrize(
    "choose, text",
    [
        (lambda self, request: 1 / 0, "plugin mine: optix_select_agent failed: ZeroDivisionError"),
        (
            lambda self: "PPO",
            "plugin mine: optix_select_agent returned 'PPO', which is not one of the candidates",
        ),
    ],
)
def test_a_selection_that_fails_names_its_plugin(kit, choose, text) -> None:
    registry = kit.registry(
        *points(kit, first_party(kit)), plugins=[("mine", kit.plugin(select_agent=selecting(choose)))]
    )
    with pytest.raises(AgentPluginBroken) as caught:
        resolve(registry, kit.request())
    assert text in str(caught.value)
    assert "OPTIX_DISABLE_PLUGINS=mine" in str(caught.value)


def test_a_selection_of_none_leaves_the_choice(kit) -> None:
    registry = kit.registry(
        *points(kit, first_party(kit)),
        plugins=[("mine", kit.plugin(select_agent=selecting(lambda self: None)))],
    )
    assert resolve(registry, kit.request()).qualified == "optix-torch:PPO"


def test_a_wrapper_sees_and_replaces_the_selection(kit) -> None:
    seen = []

    def around(self, candidates):
        inner = yield
        seen.append(inner.name)
        return next(c for c in candidates if c.name == "RainbowDQN")

    inner = kit.plugin(select_agent=selecting(lambda self, candidates: candidates[2]))
    outer = kit.plugin(select_agent=selecting(around, wrapper=True))
    for order in itertools.permutations([("inner", inner), ("outer", outer)]):
        seen.clear()
        registry = kit.registry(
            *points(kit, {"optix-torch": first_party(kit)["optix-torch"]}), plugins=list(order)
        )
        found = resolve(registry, kit.request())
        assert found.qualified == "optix-torch:RainbowDQN"
        assert "selected by outer" in found.steps
        assert seen == ["DQN"]


@pytest.mark.parametrize("kind", ["raises-before", "raises-after", "no-yield", "two-yields"])
def test_a_wrapper_that_fails_names_its_plugin(kit, kind) -> None:
    def around(self):
        if kind == "raises-before":
            raise ValueError
        if kind != "no-yield":
            yield
        if kind == "two-yields":
            yield
        if kind == "raises-after":
            raise ValueError

    registry = kit.registry(
        *points(kit, first_party(kit)),
        plugins=[("mine", kit.plugin(select_agent=selecting(around, wrapper=True)))],
    )
    with pytest.raises(AgentPluginBroken, match="plugin mine: optix_select_agent"):
        resolve(registry, kit.request())


def test_wrappers_nest_like_pluggys_own(kit) -> None:
    seen = []

    def make(name):
        def around(self):
            seen.append(f"{name} in")
            inner = yield
            seen.append(f"{name} out")
            return inner

        return kit.plugin(select_agent=selecting(around, wrapper=True))

    registry = kit.registry(
        *points(kit, first_party(kit)), plugins=[("first", make("first")), ("last", make("last"))]
    )
    assert resolve(registry, kit.request()).qualified == "optix-torch:PPO"
    assert seen == ["last in", "first in", "first out", "last out"]


def test_the_exact_name_goes_before_a_larger_rank(kit) -> None:
    specs = [kit.agent("FastES", "ES", default_rank=50), kit.agent("ES", default_rank=1)]
    for dist in ("optix-torch", "rival"):
        registry = kit.registry(*points(kit, {dist: specs}))
        assert resolve(registry, kit.request("es")).spec.name == "ES"
        assert resolve(registry, kit.request()).spec.name == "FastES"


def test_what_has_no_rank_is_never_taken_unasked(kit) -> None:
    registry = kit.registry(*points(kit, {"optix-torch": [kit.agent("ES", default_rank=None)]}))
    assert resolve(registry, kit.request("ES")).qualified == "optix-torch:ES"
    with pytest.raises(AgentResolutionError, match="taken only when named"):
        resolve(registry, kit.request())
