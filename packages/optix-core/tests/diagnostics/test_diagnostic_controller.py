"""First aid: the right rule, once, within bounds, and undone again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from optix_core.diagnostics import DiagnosticController
from optix_core.diagnostics.choice import chosen_controller
from optix_core.errors import ConfigError
from optix_core.testing.fakes import ScriptedAgent
from optix_core.types import HyperparamSet


class Patient(ScriptedAgent):
    default_param_bounds = {"learning_rate": (1e-5, 1e-2), "entropy_coef": (0.0, 0.1)}  # noqa: RUF012

    def __init__(self, **params):
        super().__init__(hyperparams={"learning_rate": 1e-3, "entropy_coef": 0.01} | params)

    def __getitem__(self, name):
        return self.get_hyperparams().params[name]


def run(controller, agent, numbers, *, start=0, **more):
    """The rules that fired, per window."""
    found = []
    for i, one in enumerate(numbers):
        found.append([rule for rule, _ in controller.step(start + i, agent, {**one, **more})])
    return found


def losses(*values, name="loss"):
    return [{name: v} for v in values]


@pytest.mark.parametrize("name", ["loss", "policy_loss", "actor_loss", "value_loss"])
def test_a_loss_spike_halves_the_learning_rate_once(name):
    agent, controller = Patient(), DiagnosticController()
    fired = run(controller, agent, losses(1.0, 1.2, 0.9, 1.1, 1.0, 9.0, 9.0, name=name))
    assert fired == [[], [], [], [], [], ["LOSS_SPIKE"], []]
    assert agent["learning_rate"] == 0.0005
    firing = controller.firings[0]
    assert firing == ("LOSS_SPIKE", firing[1])
    assert (firing.window, firing.param, firing.before, firing.after) == (5, "learning_rate", 1e-3, 5e-4)


def test_losses_around_zero_have_a_size_too():
    agent, controller = Patient(), DiagnosticController()
    signed = [0.01 * (-1) ** i for i in range(10)]
    assert run(controller, agent, losses(*signed, 0.04, name="policy_loss")) == [[]] * 11
    assert run(controller, agent, losses(0.5, name="policy_loss")) == [["LOSS_SPIKE"]]
    zero = DiagnosticController()
    assert run(zero, agent, losses(*[0.0] * 9, 1.0))[-1] == []  # nothing to compare with
    assert run(zero, agent, losses(100.0, name="loss"))[-1] == ["LOSS_SPIKE"]


def test_no_rule_fires_before_the_fifth_window():
    controller = DiagnosticController(min_episodes=5)
    fired = run(controller, Patient(), [{"loss": v, "approx_kl": 1.0} for v in (1.0, 1.0, 99.0, 1.0)])
    assert fired == [[]] * 4


def test_a_high_kl_halves_the_rate_down_to_its_bound_and_quiet_brings_it_back():
    agent, controller = Patient(), DiagnosticController(target_kl=0.02)
    run(controller, agent, [{"approx_kl": 0.05}] * 200)
    assert agent["learning_rate"] == pytest.approx(1e-5)
    assert len(controller.firings) == 7
    rules = [r for fired in run(controller, agent, [{"approx_kl": 0.005}] * 200) for r in fired]
    assert set(rules) == {"LEARNING_RATE_BACK"}
    assert agent["learning_rate"] == pytest.approx(1e-3)
    assert run(controller, agent, [{"approx_kl": 0.005}] * 50) == [[]] * 50  # and never above


def test_a_kl_near_the_target_is_left_alone():
    agent, controller = Patient(), DiagnosticController()
    assert run(controller, agent, [{"approx_kl": v} for v in (0.04, 0.011, 0.039) * 20]) == [[]] * 60


def test_what_somebody_else_set_is_theirs():
    agent, controller = Patient(), DiagnosticController()
    run(controller, agent, [{"approx_kl": 0.05}] * 5)
    assert agent["learning_rate"] == 5e-4
    agent.set_hyperparams(HyperparamSet({"learning_rate": 2e-4}))
    assert run(controller, agent, [{"approx_kl": 0.001}] * 50) == [[]] * 50
    assert agent["learning_rate"] == 2e-4


def test_diagnostic_controller_leaves_entropy_coef_of_a_gaussian_policy_alone():
    """A standard deviation of 0.1 has a differential entropy of -0.88 per dimension."""
    gaussian = 0.5 * math.log(2 * math.pi * math.e * 0.1**2)
    assert gaussian < 0
    for entropies in ([gaussian], [0.04], [3.0, 1.0, 0.3, 0.04, 0.01], [-2.0, 0.01]):
        for facts in ({"discrete_actions": False}, {}):
            agent, controller = Patient(), DiagnosticController()
            fired = run(controller, agent, [{"entropy": e} for e in entropies * 20], **facts)
            assert fired == [[]] * len(fired)
            assert agent["entropy_coef"] == 0.01


def test_an_agent_that_offers_probabilities_and_once_had_a_negative_entropy_is_continuous():
    class Offers(Patient):
        def action_probs(self, observation):
            return np.ones(1)

    assert run(DiagnosticController(), Offers(), [{"entropy": e} for e in (0.6,) * 5 + (0.01,)])[-1] == [
        "ENTROPY_COLLAPSE"
    ]
    assert (
        run(DiagnosticController(), Offers(), [{"entropy": e} for e in (0.6, -0.1, 0.6, 0.6, 0.6, 0.01)])[-1]
        == []
    )


def test_a_collapse_of_choices_doubles_the_entropy_coefficient_within_its_bounds():
    agent, controller = Patient(), DiagnosticController()
    fired = run(controller, agent, [{"entropy": 0.69}] * 10 + [{"entropy": 0.02}] * 40, discrete_actions=True)
    assert [r for f in fired for r in f] == ["ENTROPY_COLLAPSE"] * 4
    assert fired[10] == ["ENTROPY_COLLAPSE"]
    assert agent["entropy_coef"] == 0.1  # 0.01, 0.02, 0.04, 0.08, and then the bound


def test_the_floor_is_a_share_of_what_was_there():
    """Two actions have an entropy of at most 0.69, so one of 0.04 is 6 %; of 1,000 actions it is nothing."""
    small, large = DiagnosticController(), DiagnosticController()
    facts = {"discrete_actions": True}
    assert run(small, Patient(), [{"entropy": e} for e in (0.69,) * 5 + (0.04,)], **facts)[-1] == []
    assert run(large, Patient(), [{"entropy": e} for e in (6.9,) * 5 + (0.04,)], **facts)[-1] == [
        "ENTROPY_COLLAPSE"
    ]


def explorer(**params):
    return ScriptedAgent(hyperparams={"epsilon": 1.0, "epsilon_min": 0.05} | params)


def test_a_stuck_explorer_gets_another_chance_and_then_its_minimum_back():
    agent, controller = explorer(), DiagnosticController()
    early = [{"epsilon": 0.5, "score": s} for s in (10.0, 200.0, 30.0)]
    late = [{"epsilon": 0.05, "score": 12.0}] * 20
    assert run(controller, agent, early + late)[-1] == ["EPSILON_RESET"]
    assert agent.get_hyperparams().params == {"epsilon": 1.0, "epsilon_min": 0.3}
    fired = run(controller, agent, [{"epsilon": 0.3, "score": 12.0}] * 20)
    assert [r for f in fired for r in f] == ["EPSILON_BACK"]
    assert agent.get_hyperparams().params["epsilon_min"] == 0.05


@pytest.mark.parametrize("unit, zero", [(1.0, 0.0), (1e3, 0.0), (1e-3, -500.0)])
def test_who_is_stuck_depends_on_neither_unit_nor_zero(unit, zero):
    def play(scores):
        numbers = [
            {"epsilon": 0.5, "score": 0.0 * unit + zero},
            {"epsilon": 0.5, "score": 100.0 * unit + zero},
        ]
        numbers += [{"epsilon": 0.05, "score": s * unit + zero} for s in scores]
        return run(DiagnosticController(), explorer(), numbers)[-1]

    assert play([10.0] * 20) == ["EPSILON_RESET"]
    assert play([30.0] * 20) == []
    assert play([10.0] * 19) == []


def test_an_epsilon_that_decays_by_itself_is_reset_itself():
    agent, controller = explorer(epsilon=0.05), DiagnosticController()
    assert run(controller, agent, [{"episode_reward": 5.0}] * 20)[-1] == ["EPSILON_RESET"]
    assert agent.get_hyperparams().params == {"epsilon": 0.3, "epsilon_min": 0.05}


def test_an_agent_without_the_hyperparameter_is_left_alone():
    agent = ScriptedAgent(hyperparams={"other": 1.0})
    numbers = [{"loss": 1.0, "entropy": 1.0}] * 6 + [{"loss": 99.0, "approx_kl": 9.0, "entropy": 1e-9}]
    assert run(DiagnosticController(), agent, numbers, discrete_actions=True) == [[]] * 7


def test_a_change_that_does_not_take_is_not_reported_as_one(caplog):
    class Frozen(Patient):
        def set_hyperparams(self, hyperparams):
            pass

    controller = DiagnosticController()
    assert run(controller, Frozen(), [{"approx_kl": 1.0}] * 6) == [[]] * 6
    assert "stayed 0.001" in caplog.text


def test_firings_are_bounded_and_numbers_that_are_not_finite_are_no_sign():
    agent, controller = Patient(), DiagnosticController(min_episodes=1)
    assert (
        run(controller, agent, [{"approx_kl": math.nan, "loss": math.inf, "entropy": math.nan}] * 9)
        == [[]] * 9
    )
    for _ in range(150):
        agent.set_hyperparams(HyperparamSet({"learning_rate": 1e-3}))
        run(controller, agent, [{"approx_kl": 1.0}])
    assert len(controller.firings) == 100


def test_its_state_continues_exactly():
    rng = np.random.default_rng(5)
    numbers = [
        {
            "loss": float(abs(rng.standard_cauchy())),
            "approx_kl": float(abs(rng.normal(0, 0.03))),
            "entropy": float(rng.choice([0.6, 0.01])),
            "epsilon": 0.05,
            "score": float(rng.normal()),
        }
        for _ in range(120)
    ]
    whole, patient = DiagnosticController(epsilon_score_threshold=60), Patient(epsilon=1.0, epsilon_min=0.05)
    expected = run(whole, patient, numbers, discrete_actions=True)
    assert {r for f in expected for r in f} >= {
        "LOSS_SPIKE",
        "KL_TOO_HIGH",
        "ENTROPY_COLLAPSE",
        "EPSILON_RESET",
    }
    found, agent, controller = [], Patient(epsilon=1.0, epsilon_min=0.05), None
    for i, one in enumerate(numbers):
        fresh = DiagnosticController(epsilon_score_threshold=60)
        if controller is not None:
            fresh.load_state_dict(json.loads(json.dumps(controller.state_dict())))
        controller = fresh
        found += run(controller, agent, [one], start=i, discrete_actions=True)
    assert found == expected
    assert agent.get_hyperparams().params == patient.get_hyperparams().params
    assert [(f.window, f.after) for f in controller.firings] == [(f.window, f.after) for f in whole.firings]


@pytest.mark.parametrize(
    "options",
    [
        {"loss_spike_factor": 1.0},
        {"loss_window": 1},
        {"entropy_floor": 1.0},
        {"target_kl": 0.0},
        {"epsilon_patience": 0},
        {"epsilon_reset_value": 0.0},
        {"epsilon_score_threshold": 101},
        {"min_episodes": 0},
    ],
    ids=lambda o: next(iter(o)),
)
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DiagnosticController(**options)


# ------------------------------------------------------------------ in a run


def test_how_a_run_asks_for_it():
    assert chosen_controller(None) is None
    assert chosen_controller(False) is None
    assert isinstance(chosen_controller(True), DiagnosticController)
    assert isinstance(chosen_controller(None, target_kl=0.5), DiagnosticController)
    assert chosen_controller(None, target_kl=0.02) is None
    own = object()
    assert chosen_controller(own) is own
    for controller in (own, False):
        with pytest.raises(ConfigError, match="diag_target_kl"):
            chosen_controller(controller, target_kl=0.5)


def test_a_run_logs_what_fired_and_stores_its_state(tmp_path):
    from optix_core.loop_callback import LoopCallback
    from optix_core.rl_optimizer import RLOptimizer
    from optix_core.runs.decision_log import DecisionLog
    from optix_core.testing.fakes import ScriptedEvaluator, ScriptedPipeline

    class Updates(LoopCallback):
        seen = ()

        def on_hyperparam_update(self, old_params, new_params):
            self.seen = (*self.seen, (old_params["learning_rate"], new_params["learning_rate"]))

    spiky = [{"loss": v} for v in (1.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0)]
    agent = ScriptedAgent(diagnostics=spiky, hyperparams={"learning_rate": 1e-3})
    updates = Updates()
    run_dir = tmp_path / "run"

    def optimizer(**more):
        return RLOptimizer(
            agent=agent, pipeline=ScriptedPipeline(), evaluator=ScriptedEvaluator(range(100)), optimizer="fixed",
            run_dir=run_dir, diagnostic_controller=True, callbacks=[updates], handle_signals=False,
            checkpoint_every=1, **more,
        )  # fmt: skip

    optimizer(max_episodes=7).run()
    told = [e.numbers for e in DecisionLog(run_dir / "events.jsonl").read() if e.kind == "diagnostic"]
    assert [t["rule"] for t in told] == ["LOSS_SPIKE"]
    assert (told[0]["param"], told[0]["before"], told[0]["after"]) == ("learning_rate", 1e-3, 5e-4)
    assert updates.seen == ((1e-3, 5e-4),)
    again = optimizer(max_episodes=8, resume=True)
    again.run()
    assert [f.window for f in again.controller.cycle.diagnostics.firings] == [5]


def test_it_sees_no_window_of_an_experiment(tmp_path):
    """Neither branches nor windows in which a tuner probes: it would change what they measure."""
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.loop_controller import LoopController
    from optix_core.testing.fakes import ScriptedEvaluator, ScriptedPipeline

    class Probing(BaseOptimizer):
        probing = False

        def suggest(self, current_hyperparams, metrics_history):
            self.probing = not self.probing
            return current_hyperparams

        @property
        def is_probing(self):
            return self.probing

    class Watching:
        windows = ()

        def step(self, episode_id, agent, diagnostics):
            self.windows = (*self.windows, episode_id)
            assert diagnostics["discrete_actions"] is True
            assert diagnostics["score"] == 0.0

    watching = Watching()
    loop = LoopController(
        ScriptedAgent(), ScriptedEvaluator(range(100)), Probing(), ScriptedPipeline(), CheckpointRegistry(tmp_path),
        BackoffScheduler(), max_episodes=6, diagnostic_controller=watching, handle_signals=False,
    )  # fmt: skip
    loop.run()
    assert watching.windows == (0, 2, 4)
    loop.tuning._tuner.probing = False
    window = loop.trainer.train()
    loop.cycle.observe(window, branch=True)
    assert watching.windows == (0, 2, 4)
    loop.cycle.observe(window, branch=False)
    assert watching.windows == (0, 2, 4, 6)
