"""Positional parameters and defaults that users write by heart do not change: what is new is keyword-only."""

from __future__ import annotations

import inspect

import pytest

import optix_core

SIGNATURES = {
    "SPSAOptimizer": "param_bounds=None, perturbation_scale=0.05, learning_rate=0.1, min_perturbation=0.0001, "
    "gradient_clip=1.0, log_params=None, warmup_episodes=0",
    "BackoffOptimizer": "param_bounds=None, perturbation_scale=0.05, min_delta=0.0001, gradient_threshold=1e-10",
    "MomentumOptimizer": "param_bounds=None, alpha=0.05, beta1=0.9, beta2=0.999, eps=1e-08, probe_scale=0.05, "
    "min_delta=1e-07",
    "PBTOptimizer": "param_bounds=None, history_size=50, exploit_percentile=0.2, top_percentile=0.2, "
    "explore_scale=0.1, exploit_scale=0.05, log_scale_params=None",
    "AdaptiveOptimizer": "param_bounds=None, log_params=None, autocorr_threshold=0.3, gap_threshold=0.2, "
    "switch_patience=3, switch_confirmation=3, min_history=10, spsa_perturbation_scale=0.05, spsa_learning_rate=0.1, "
    "spsa_warmup_episodes=0, momentum_alpha=0.05, momentum_probe_scale=0.05, backoff_perturbation_scale=0.05, "
    "pbt_history_size=50, pbt_explore_scale=0.1, pbt_exploit_scale=0.05",
    "TrialOrchestrator": "agent_factory, pipeline_factory, param_space=None, n_trials=20, trial_steps=50000, "
    "direction='maximize', n_startup_trials=10, pruner_warmup_steps=5, pruner_interval=1, optuna_verbosity=None, "
    "rloptimizer_kwargs=None, val_pipeline_factory=None, checkpoint_score_fn=None, study_name=None, storage=None",
    "PolicyManager": "registry=None, score_window=10, max_spawns=None, max_ensemble_size=None",
    "PolicyManagerCallback": "policy_manager, agent, agent_factory=None, meta_controller=None",
    "MetaController": "gap_threshold=0.2, gap_slope_threshold=0.02, improvement_threshold=0.01, window=10",
    "EnsembleAgent": "policy_manager, primary_agent",
    "RegimeDetector": "volatility_threshold=0.15, trend_threshold=0.05, window=10",
    "DiagnosticController": "loss_spike_factor=5, loss_window=10, entropy_floor=0.05, target_kl=0.02, "
    "epsilon_patience=20, epsilon_reset_value=0.3, epsilon_score_threshold=20, min_episodes=5, verbose=False",
}


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_positional_parameters_keep_their_order_and_defaults(name: str) -> None:
    parameters = inspect.signature(getattr(optix_core, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in positional]
    assert ", ".join(shown) == SIGNATURES[name]


METHODS = {
    "AdaptiveOptimizer": "active_optimizer is_probing",
    "TrialOrchestrator": "best_params best_score best_weights_path run run_ckpt_dir study trials_dataframe",
    "PolicyManager": "adaptive_noise_scale add_agent as_callback auto_update_weights boost budget_exhausted "
    "ensemble_action ensemble_size evolve prune ranked_snapshots record_agent_score set_regime spawn_variant "
    "spawns_remaining status training_report update_weights",
    "PolicyManagerCallback": "on_dormant set_stop_fn",
    "MetaController": "decide",
    "EnsembleAgent": "act learn policy_manager",
    "RegimeDetector": "detect",
    "DiagnosticController": "step",
}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_public_methods_are_there(name: str) -> None:
    public = set(dir(getattr(optix_core, name)))
    assert set(METHODS[name].split()) <= public
