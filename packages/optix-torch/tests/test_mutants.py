"""Slips that published implementations have made, planted one at a time: every one of them is caught.

A row says what goes wrong, where it is planted, what stands there instead, and which check must notice. The checks
themselves pass on the code as it is.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import planted
import pytest
import torch

PER = {"per_alpha": 0.6, "n_step": 3}
LATE = {"per_beta_steps": 40}
CHECKS: dict[str, Any] = {
    "ppo": lambda m: planted.ppo_update(m, value_clip=0.2),
    "ppo masked": lambda m: planted.ppo_update(m, "ragged", masked=True),
    "ppo discrete masked": lambda m: planted.ppo_update(m, masked=True),
    "ppo bits": lambda m: planted.ppo_update(m, "bits"),
    "ppo autograd": lambda m: planted.ppo_update(m, engine="autograd", value_clip=0.2),
    "ppo scaled": lambda m: planted.ppo_update(m, scaled=True),
    "gaussian": lambda m: planted.ppo_update(m, "gaussian"),
    "recurrent": planted.recurrent_update,
    "first policy": lambda m: planted.first_policy_is_nearly_uniform(),
    "initial": lambda m: planted.layers_begin_as_published(),
    "target kl": lambda m: planted.a_divergence_limit_ends_the_update("closed_form"),
    "target kl autograd": lambda m: planted.a_divergence_limit_ends_the_update("autograd"),
    "asking": lambda m: [planted.asking_changes_nothing(kind) for kind in ("PPO", "DQN", "SAC")],
    "normalized ppo": lambda m: planted.ppo_update(m, normalized=True),
    "normalized gaussian": lambda m: planted.ppo_update(m, "gaussian", normalized=True),
    "normalized recurrent": lambda m: planted.recurrent_update(m, normalized=True),
    "normalized dqn": lambda m: planted.replay_update("DQN", normalized=True),
    "normalized td3": lambda m: planted.replay_update("TD3", normalized=True),
    "sequences": lambda m: planted.every_sequence_is_learned_from(),
    "one sample": planted.one_sample_is_no_catastrophe,
    "statistics": lambda m: planted.ratio_is_one_with_statistics(planted.ppo, planted.Discrete(5)),
    "statistics gaussian": lambda m: planted.ratio_is_one_with_statistics(planted.gaussian_ppo, planted.BOX),
    "reward discount": lambda m: planted.reward_discount_follows(),
    "dqn": lambda m: planted.replay_update("DQN"),
    "dqn n-step": lambda m: planted.replay_update("DQN", dueling=True, masked=True, **PER, **LATE),
    "dqn autograd": lambda m: planted.replay_update("DQN", engine="autograd", **PER),
    "rainbow": lambda m: planted.replay_update("Rainbow", gamma=1.0, n_step=1),
    "rainbow masked": lambda m: planted.replay_update("Rainbow", masked=True),
    "rainbow autograd": lambda m: planted.replay_update("Rainbow", engine="autograd", sharp=True),
    "sac": lambda m: planted.replay_update("SAC"),
    "sac n-step": lambda m: planted.replay_update("SAC", **PER),
    "sac autograd": lambda m: planted.replay_update("SAC", engine="autograd"),
    "td3": lambda m: planted.replay_update("TD3", target_noise=0.6),
    "td3 autograd": lambda m: planted.replay_update("TD3", target_noise=0.6, engine="autograd"),
    **{
        f"warm-up {kind}": lambda m, kind=kind: planted.warm_up_is_uniform(kind)
        for kind in ("DQN", "Rainbow", "SAC", "TD3")
    },
    **{
        f"greedy {kind}": lambda m, kind=kind: planted.greedy_draws_nothing(kind)
        for kind in ("Rainbow", "SAC", "TD3")
    },
    "greedy Rainbow autograd": lambda m: planted.greedy_draws_nothing("Rainbow", engine="autograd"),
    "masks DQN": lambda m: planted.masked_actions_are_never_taken("DQN"),
    "box": lambda m: planted.actions_stay_in_the_box(),
    "new noise": lambda m: planted.noise_is_new_for_every_action(),
    "epsilon": lambda m: planted.epsilon_explores(),
    "far out": lambda m: planted.density_is_exact_far_out(),
    "support": lambda m: planted.clipped_targets_are_warned_about(),
    "hindsight": lambda m: planted.hindsight(),
}


class Slip(NamedTuple):
    what: str
    where: str
    edits: list[tuple[str, str]]
    check: str


GAE = "rewards, values, following, terminated, boundary"
GAE_SLIPPED = "rewards, values, following, boundary, boundary"
ADD = "_replay.add(observations, actions, rewards, next_observations, terminated, truncated)"
ADD_SLIPPED = (
    "_replay.add(observations, actions, rewards, next_observations, terminated | truncated, truncated)"
)

SLIPS = [
    # --- PPO
    Slip("a time limit taken for an end, PPO", "torch.ppo:TorchPPOAgent._learn", [(GAE, GAE_SLIPPED)], "ppo"),
    Slip("a time limit taken for an end, Gaussian PPO", "torch.gaussian_ppo:TorchGaussianPPOAgent._learn",
         [(GAE, GAE_SLIPPED)], "gaussian"),
    Slip("a time limit taken for an end, recurrent PPO", "torch.recurrent_ppo:TorchRecurrentPPOAgent._learn",
         [(GAE, GAE_SLIPPED)], "recurrent"),
    Slip("bootstrap from the state after the reset", "torch.ppo:next_values",
         [("if len(successor_values) > n:", "if False:")], "ppo"),
    Slip("the end of a window taken for an end", "torch.ppo:next_values",
         [("following[-1] = successor_values[:n]", "following[-1] = 0.0")], "ppo"),
    Slip("lambda-returns that flow over time limits", "torch.ppo:generalized_advantage_estimation",
         [("_backward_sums(deltas, cuts | ends,", "_backward_sums(deltas, ends,")], "ppo"),
    Slip("advantages that are not standardised", "torch.ppo:TorchPPOAgent._learn",
         [("standardize(advantages)", "advantages")], "ppo"),
    Slip("advantages of one sample divided by their deviation", "torch.ppo:standardize",
         [("if x.size < 2:", "if False:"), ("if deviation <= eps * float(np.abs(x).max()):", "if False:")],
         "one sample"),
    Slip("the last, smaller minibatch dropped", "torch.policy_gradient.engine:minibatch_indices",
         [("range(0, n, size)", "range(0, n - size + 1, size)")], "ppo"),
    Slip("one order of samples for all epochs", "torch.policy_gradient.closed_form:epoch_order",
         [("minibatch_indices(n, size, rng)", "minibatch_indices(n, size, np.random.default_rng(0))")], "ppo"),
    Slip("the last minibatch of sequences dropped", "torch.policy_gradient.sequences:Sequences.minibatches",
         [("for piece in range(pieces):", "for piece in range(pieces - 1):")], "sequences"),
    Slip("the density of the clipped action", "torch.gaussian_ppo:TorchGaussianPPOAgent._learn",
         [('actions = rows(window, "actions")', 'actions = rows(window, "actions").clip(-1.0, 1.0)')], "gaussian"),
    Slip("ratio to the policy of this very step, closed form", "torch.policy_gradient.closed_form:ClosedFormEngine.update",
         [("advantages, targets, old_values = epoch_columns[:, part]",
           "advantages, targets, old_values = epoch_columns[:, part]; old_log_probs = self.log_probs(epoch_obs[part], "
           + "epoch_actions[part])")], "ppo"),
    Slip("ratio to the policy of this very step, autograd", "torch.policy_gradient.autograd:AutogradEngine.update",
         [("old_values = column", "old_values = column; old_log_probs = log_probs.detach()")], "ppo autograd"),
    Slip("no entropy bonus, closed form", "torch.policy_gradient.surrogates:_categorical",
         [('if coef := hp["entropy_coef"]:', "if coef := 0.0:")], "ppo"),
    Slip("no entropy bonus, autograd", "torch.policy_gradient.autograd:AutogradEngine.update",
         [('.sub(entropies, alpha=hp["entropy_coef"])', "")], "ppo autograd"),
    Slip("no entropy bonus, Gaussian", "torch.policy_gradient.surrogates:_Gaussian.__call__",
         [(' - hp["entropy_coef"] / n', "")], "gaussian"),
    Slip("no entropy bonus, bits", "torch.policy_gradient.surrogates:_bernoulli",
         [('hp["entropy_coef"] / len(actions)', "0.0")], "ppo bits"),
    Slip("Gaussian log-probabilities averaged over dimensions", "torch.policy_gradient.closed_form:ClosedFormEngine.log_probs",
         [("self._distribution.log_probs(outputs, actions)", "0.5 * self._distribution.log_probs(outputs, actions)")],
         "gaussian"),
    Slip("a surrogate with the maximum", "torch.policy_gradient.surrogates:clipped_surrogate",
         [("(unclipped <= clipped)", "(unclipped >= clipped)")], "ppo"),
    Slip("a surrogate without a clip", "torch.policy_gradient.autograd:ppo_clip_loss",
         [("torch.clamp(log_probs - old_log_probs, low, high).exp()", "(log_probs - old_log_probs).exp()")],
         "ppo autograd"),
    Slip("the smaller of both value losses", "torch.policy_gradient.closed_form:ClosedFormEngine._value",
         [("squared >= clipped_squared", "squared <= clipped_squared"), ("| (np.abs(moved) <= clip)", "")], "ppo"),
    Slip("no weight of the value loss", "torch.policy_gradient.closed_form:ClosedFormEngine._value",
         [('2.0 * hp["vf_coef"]', "2.0")], "ppo"),
    Slip("a gradient that is not clipped", "torch.policy_gradient.closed_form:ClosedFormEngine.update",
         [('min(1.0, hp["max_grad_norm"] / (grad_norm + 1e-6))', "1.0")], "ppo"),
    Slip("Adam with another epsilon", "torch.training.adam:NumpyAdam.__init__", [('group["eps"]', "1e-8")], "ppo"),
    Slip("Adam without bias correction", "torch.training.adam:NumpyAdam.step", [("(1.0 - self._beta1**t)", "1.0")], "ppo"),
    Slip("masks that learning forgets", "torch.policy_gradient.closed_form:ClosedFormEngine._surrogate",
         [("outputs, actions, masks, old", "outputs, actions, None, old")], "ppo masked"),
    Slip("masks that old probabilities forget", "torch.policy_gradient.closed_form:ClosedFormEngine.log_probs",
         [("if masks is not None:", "if False:")], "ppo discrete masked"),
    Slip("a policy head as large as the other layers", "torch.policy_gradient.standard:mlp",
         [("output_gain if last else math.sqrt(2.0)", "math.sqrt(2.0)")], "first policy"),
    Slip("statistics that move before the window is learned from", "torch.ppo:TorchPPOAgent._learn",
         [("observations = self._normalizers.observations(seen)",
           "self._normalizers.after_window(seen); observations = self._normalizers.observations(seen)")],
         "statistics"),
    Slip("statistics that move too early, Gaussian PPO", "torch.gaussian_ppo:TorchGaussianPPOAgent._learn",
         [('observations = self._normalizers.observations(rows(window, "observations"))',
           'self._normalizers.after_window(rows(window, "observations")); '
           + 'observations = self._normalizers.observations(rows(window, "observations"))')], "statistics gaussian"),
    Slip("a discount of reward scaling that stays behind", "torch.stored.normalizing:Normalizers.set_gamma",
         [("self.reward.gamma = gamma", "pass")], "reward discount"),
    Slip("reward scaling that runs on over time limits", "torch.ppo:TorchPPOAgent._learn",
         [('window.time_major("rewards"), boundary)', 'window.time_major("rewards"), terminated)')], "ppo scaled"),
    Slip("rewards scaled before their statistics move", "torch.stored.normalizing:Normalizers.rewards",
         [("self.reward.update(raw, boundary)", "pass")], "ppo scaled"),
    Slip("rewards that are centred", "core.normalizers:RewardNormalizer.normalize",
         [("np.asarray(rewards, np.float64) / scale",
           "(np.asarray(rewards, np.float64) - np.mean(rewards)) / scale")], "ppo scaled"),
    Slip("a divergence that may be negative", "torch.policy_gradient.closed_form:ClosedFormEngine.update",
         [("(np.expm1(clamped) - together)", "(-together)")], "ppo"),
    Slip("a divergence that may be negative, by autograd", "torch.policy_gradient.autograd:approximate_kl",
         [("log_ratios.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).expm1() - log_ratios", "-log_ratios")],
         "ppo autograd"),
    # --- recurrent PPO
    Slip("memory that is not reset inside a sequence", "torch.policy_gradient.sequences:Sequences.cut",
         [("ends[:-1, n]", "ends[:0, n]")], "recurrent"),
    Slip("sequences that begin with an empty memory", "torch.policy_gradient.sequence_engine:SequenceEngine._minibatches",
         [("self._memory[first]", "0.0 * self._memory[first]")], "recurrent"),
    Slip("what followed a time limit seen with the memory after the reset", "torch.recurrent_ppo:memory_of_successors",
         [("after[window.boundary_steps[:, 0], window.boundary_steps[:, 1]]",
           "0.0 * after[window.boundary_steps[:, 0], window.boundary_steps[:, 1]]")], "recurrent"),
    Slip("the last value seen with the memory before the last step",
         "torch.recurrent_ppo:TorchRecurrentPPOAgent._learn",
         [("memory_of_successors(window, after)", "memory_of_successors(window, memory)")], "recurrent"),
    # --- how things begin, and what goes in
    Slip("Adam with 1e-8", "torch.ppo:ppo_parts", [("eps=1e-5", "eps=1e-8")], "initial"),
    Slip("a forget gate that begins half open", "torch.networks.recurrent:recurrent_layer", [("] = 1.0", "] = 0.0")], "initial"),
    Slip("recurrent matrices that are not orthogonal", "torch.networks.recurrent:recurrent_layer",
         [("nn.init.orthogonal_(gate, generator=generator)", "nn.init.uniform_(gate, -0.5, 0.5, generator=generator)")],
         "initial"),
    Slip("noise of one size for all layers", "torch.networks.noisy:NoisyLinear.__init__",
         [("sigma_0 * bound", "sigma_0")], "initial"),
    Slip("noise that is not factorised as published", "torch.networks.noisy:factors",
         [("np.copysign(np.sqrt(np.abs(drawn)), drawn)", "drawn")], "initial"),
    Slip("a divergence limit that is not kept", "torch.policy_gradient.closed_form:ClosedFormEngine.update",
         [('> hp["target_kl"]', "> 1e9")], "target kl"),
    Slip("a divergence limit that is not kept, by autograd", "torch.policy_gradient.autograd:AutogradEngine.update",
         [('> hp["target_kl"]', "> 1e9")], "target kl autograd"),
    Slip("questions that move training, PPO", "torch.ppo:TorchPPOAgent.act",
         [("self._streams.single", "self._streams.policy")], "asking"),
    Slip("questions that move training, DQN and Rainbow", "torch.action_values.value_agent:ValueAgent.act",
         [("self._streams.single", "self._streams.policy")], "asking"),
    Slip("questions that move training, SAC and TD3", "torch.continuous.continuous_agent:ContinuousAgent.act",
         [("self._streams.single", "self._streams.policy")], "asking"),
    Slip("what followed as it is beside standardised observations, PPO", "torch.ppo:TorchPPOAgent._learn",
         [("self._normalizers.observations(split_masks(successors(window))[0])",
           "split_masks(successors(window))[0]")], "normalized ppo"),
    Slip("what followed as it is, Gaussian PPO", "torch.gaussian_ppo:TorchGaussianPPOAgent._learn",
         [("self._normalizers.observations(successors(window))", "successors(window)")], "normalized gaussian"),
    Slip("what followed as it is, recurrent PPO", "torch.recurrent_ppo:TorchRecurrentPPOAgent._learn",
         [("self._normalizers.observations(split_masks(successors(window))[0])",
           "split_masks(successors(window))[0]")], "normalized recurrent"),
    Slip("what followed as it is, DQN and Rainbow", "torch.action_values.value_agent:ValueAgent._draw",
         [("normal(following)", "following")], "normalized dqn"),
    Slip("what followed as it is, SAC and TD3", "torch.continuous.continuous_agent:ContinuousAgent._draw",
         [("normal(batch.next_observations)", "batch.next_observations")], "normalized td3"),
    # --- experience
    Slip("a time limit taken for an end, DQN", "torch.action_values.value_agent:ValueAgent.observe", [(ADD, ADD_SLIPPED)], "dqn"),
    Slip("a time limit taken for an end, Rainbow", "torch.action_values.value_agent:ValueAgent.observe", [(ADD, ADD_SLIPPED)],
         "rainbow"),
    Slip("a time limit taken for an end, SAC", "torch.continuous.continuous_agent:ContinuousAgent.observe",
         [(ADD, ADD_SLIPPED)], "sac"),
    Slip("a time limit taken for an end, TD3", "torch.continuous.continuous_agent:ContinuousAgent.observe",
         [(ADD, ADD_SLIPPED)], "td3"),
    Slip("an end that is bootstrapped", "torch.action_values.value_agent:ValueAgent.observe",
         [(ADD, ADD.replace("terminated,", "terminated & False, terminated |"))], "dqn"),
    Slip("n-step returns over a reset", "core.replay.ring:ReplayBuffer.path",
         [('(self._fields["flags"][at] != 0) | ', "")], "dqn n-step"),
    Slip("n-step returns over the newest row", "core.replay.ring:ReplayBuffer.path",
         [(" | (newer[:, None] < ahead + self._n_envs)", "")], "dqn n-step"),
    Slip("an n-step value discounted by n where fewer were summed", "core.replay.ring:n_step_targets",
         [("powers[last + 1]", "powers[n]")], "dqn n-step"),
    Slip("an n-step value discounted once", "core.replay.ring:n_step_targets",
         [("powers[last + 1]", "powers[1]")], "sac n-step"),
    Slip("gradient steps counted in calls instead of environment steps", "core.replay.cadence:Cadence.advance",
         [("self.env_steps += n_steps", "self.env_steps += 1")], "dqn"),
    Slip("weights without beta", "core.replay.prioritized:PrioritizedReplay.weights",
         [("** -beta", "** -1.0")], "sac n-step"),
    Slip("a beta that stays", "torch.action_values.value_agent:ValueAgent._beta",
         [('linear(self._hp["per_beta"], 1.0, self._hp["per_beta_steps"])(self._cadence.env_steps)',
           'self._hp["per_beta"]')], "dqn n-step"),
    Slip("priorities without alpha", "core.replay.prioritized:PrioritizedReplay._powers",
         [("** self._alpha", "** 1.0")], "dqn n-step"),
    Slip("new rows with the priority 1", "core.replay.prioritized:PrioritizedReplay._catch_up",
         [("leaf = self._powers(np.asarray([self._largest]))", "leaf = 1.0")], "dqn n-step"),
    Slip("priorities that are never updated", "core.replay.prioritized:PrioritizedReplay.update_priorities",
         [("self._raw[indices] = given", "pass")], "dqn n-step"),
    # --- DQN
    Slip("targets from the online network, DQN", "torch.dqn:TorchDQNAgent._gradient_step",
         [("engine.target(following)", "engine.online(following)")], "dqn"),
    Slip("no double Q-learning", "torch.dqn:TorchDQNAgent._gradient_step",
         [('if hp["double"]', "if False")], "dqn"),
    Slip("weights after the mean, DQN", "torch.action_values.q_learning:ClosedFormQ.gradient",
         [("slopes * weights / n", "slopes * weights.mean() / n")], "dqn n-step"),
    Slip("weights after the mean, DQN by autograd", "torch.action_values.q_learning:AutogradQ.gradient",
         [("(each * self._flat.tensor(weights)).mean()", "each.mean() * self._flat.tensor(weights).mean()")],
         "dqn autograd"),
    Slip("a squared error instead of Huber's", "torch.action_values.q_learning:ClosedFormQ.gradient",
         [("slopes = np.minimum(np.maximum(errors, -1.0), 1.0)", "slopes = errors")], "dqn"),
    Slip("masks that targets forget, DQN", "torch.dqn:double_q_targets",
         [("if masks is not None:", "if False:")], "dqn n-step"),
    Slip("masks that acting forgets", "torch.dqn:best",
         [("values if masks is None else", "values if True else")], "masks DQN"),
    Slip("priorities with a sign", "torch.dqn:TorchDQNAgent._gradient_step",
         [("np.abs(errors)", "np.maximum(errors, 0.0)")], "dqn n-step"),
    Slip("a target copied one vector step late", "torch.action_values.value_agent:ValueAgent.observe",
         [("self._cadence.env_steps // freq != before // freq",
           "before // freq != (before - len(rewards)) // freq")], "dqn"),
    Slip("a dueling head without its mean", "torch.action_values.q_learning:dueling_values",
         [("- advantages.mean(axis=1, keepdims=True)", "")], "dqn n-step"),
    Slip("a gradient norm that is not clipped", "torch.training.descent:Descent.step",
         [("if norm > max_norm:", "if False:")], "dqn"),
    Slip("no random actions", "torch.dqn:TorchDQNAgent._explore",
         [("rng.random(n) < self.epsilon", "rng.random(n) < 0.0")], "epsilon"),
    Slip("no warm-up, DQN", "torch.action_values.value_agent:ValueAgent._choose",
         [('self._cadence.env_steps < self._hp["learning_starts"]', "False")], "warm-up DQN"),
    Slip("no warm-up, Rainbow", "torch.action_values.value_agent:ValueAgent._choose",
         [('self._cadence.env_steps < self._hp["learning_starts"]', "False")], "warm-up Rainbow"),
    # --- Rainbow
    Slip("targets from the online network, Rainbow", "torch.action_values.noisy_learning:ClosedFormNoisy.target_probabilities",
         [("self._target.forward(observations)", "self._online.mlp.forward(observations)")], "rainbow"),
    Slip("no double Q-learning, Rainbow", "torch.rainbow:TorchRainbowDQNAgent._gradient_step",
         [("engine.online_values(following, self._atoms)",
           "np.stack([engine.target_probabilities(following, np.full(len(following), a)) @ self._atoms "
           + "for a in range(self._n_actions)], axis=1)")], "rainbow"),
    Slip("a projection that loses atoms that fall on atoms", "torch.rainbow:project",
         [("(probabilities - upper_mass).ravel()", "(probabilities * (np.ceil(position) - position)).ravel()")],
         "rainbow"),
    Slip("a projection that does not use the discount of the row", "torch.rainbow:project",
         [("discounts[:, None].astype(np.float64) * atoms", "discounts.max() * atoms")], "rainbow"),
    Slip("a support that clips unnoticed", "torch.action_values.categorical:Clipping.share",
         [("if share > MOST_CLIPPED and not self.warned:", "if False:")], "support"),
    Slip("weights after the mean, Rainbow", "torch.action_values.noisy_learning:ClosedFormNoisy.gradient",
         [("(weights / n)[:, None]", "(weights.mean() / n)")], "rainbow"),
    Slip("the logarithm of a clamped probability", "torch.action_values.noisy_learning:AutogradNoisy.gradient",
         [("torch.log_softmax(logits, dim=-1)", "torch.softmax(logits, dim=-1).clamp(min=1e-5).log()")],
         "rainbow autograd"),
    Slip("priorities that count the target's own entropy", "torch.rainbow:TorchRainbowDQNAgent._gradient_step",
         [("entropies - entropy(targets)", "entropies")], "rainbow"),
    Slip("masks that targets forget, Rainbow", "torch.rainbow:TorchRainbowDQNAgent._gradient_step",
         [("self._atoms), masks)", "self._atoms), None)")], "rainbow masked"),
    Slip("noise that is kept on in greedy acting", "torch.action_values.noisy_learning:ClosedFormNoisy.act_values",
         [("outputs(observations, rng)", "outputs(observations, rng or np.random.default_rng())")],
         "greedy Rainbow"),
    Slip("noise that is kept on, by autograd", "torch.action_values.noisy_learning:AutogradNoisy.act_values",
         [("if rng is not None:", "if rng := rng or np.random.default_rng():")], "greedy Rainbow autograd"),
    Slip("noise that is not drawn anew for learning", "torch.action_values.noisy_learning:ClosedFormNoisy.resample",
         [("_fill(noise, self._spec, rng)", "_fill(noise, self._spec, np.random.default_rng(0))")], "rainbow"),
    Slip("noise that is not drawn anew for acting", "torch.action_values.noisy_learning:ClosedFormNoisy.act_values",
         [("outputs(observations, rng)", "outputs(observations, rng and np.random.default_rng(0))")], "new noise"),
    Slip("one noise for online and target network", "torch.action_values.noisy_learning:ClosedFormNoisy.resample",
         [("_fill(noise, self._spec, rng)",
           "_fill(noise, self._spec, rng) if weights is self._weights else np.copyto(noise, self._noise)")],
         "rainbow"),
    Slip("a gradient of deviations without their noise", "torch.action_values.noisy_learning:ClosedFormNoisy.gradient",
         [("np.multiply(self._gradient, self._noise, out=self._by_deviations)",
           "self._by_deviations[:] = self._gradient")], "rainbow"),
    Slip("dueling atoms without their mean", "torch.action_values.noisy_learning:_log_probs_of",
         [("- advantages.mean(axis=1)", "")], "rainbow"),
    # --- SAC
    Slip("targets from the online critics, SAC", "torch.sac:TorchSACAgent._gradient_step",
         [("critics.target_values(", "critics.values(")], "sac"),
    Slip("the larger of two target values, SAC", "torch.sac:TorchSACAgent._gradient_step",
         [(".min(axis=0)", ".max(axis=0)")], "sac"),
    Slip("targets without entropy", "torch.sac:TorchSACAgent._gradient_step",
         [("alpha * following.log_probs", "0.0 * following.log_probs")], "sac"),
    Slip("no correction for tanh", "torch.continuous.squashed:sample", [("- log_std - correction", "- log_std")], "sac"),
    Slip("a correction that stops at -13.8", "torch.continuous.squashed:sample",
         [("correction = 2.0 * (_LOG_2 - size - np.log1p(np.exp(-2.0 * size)))",
           "correction = np.log(1.0 - np.tanh(u) ** 2 + 1e-6)")], "far out"),
    Slip("standard deviations without a bound", "torch.continuous.squashed:sample",
         [("np.minimum(np.maximum(raw, LOG_STD_BOUNDS[0]), LOG_STD_BOUNDS[1])", "raw + 0.0")], "far out"),
    Slip("an actor that climbs one critic", "torch.sac:TorchSACAgent._gradient_step",
         [("critics.least(", "critics.first(")], "sac"),
    Slip("an actor without entropy", "torch.sac:TorchSACAgent._gradient_step",
         [("alpha / len(values))", "0.0)")], "sac"),
    Slip("a gradient that treats actions as constants in their density", "torch.continuous.squashed:Sample.gradient",
         [(" + (2.0 * by_log_probs) * a", "")], "sac"),
    Slip("one noise for both draws", "torch.sac:TorchSACAgent._gradient_step",
         [("squashed.sample(outputs, noise[1])", "squashed.sample(outputs, noise[0])")], "sac"),
    Slip("a temperature that runs the wrong way", "torch.sac:TorchSACAgent._gradient_step",
         [("entropy - target_entropy)", "target_entropy - entropy)")], "sac"),
    Slip("a target entropy with the wrong sign", "torch.sac:TorchSACAgent._gradient_step",
         [('hp["target_entropy_per_dim"] * self._action_dim', '-hp["target_entropy_per_dim"] * self._action_dim')],
         "sac"),
    Slip("a target entropy that forgets the dimensions", "torch.sac:TorchSACAgent._gradient_step",
         [('hp["target_entropy_per_dim"] * self._action_dim', 'hp["target_entropy_per_dim"]')], "sac"),
    Slip("slow critics that jump", "torch.sac:TorchSACAgent._gradient_step",
         [('critics.target.polyak(hp["tau"])', "critics.target.copy()")], "sac"),
    Slip("critic errors averaged", "torch.continuous.continuous_agent:ContinuousAgent._critic_step",
         [("(2.0 / len(targets)) * weighted", "(1.0 / len(targets)) * weighted")], "sac"),
    Slip("weights that critics forget", "torch.continuous.continuous_agent:ContinuousAgent._critic_step",
         [("errors if batch.weights is None else errors * batch.weights", "errors")], "sac n-step"),
    Slip("weights after the mean, SAC and TD3", "torch.continuous.continuous_agent:ContinuousAgent._critic_step",
         [("errors * batch.weights", "errors * batch.weights.mean()")], "sac n-step"),
    Slip("gradients that accumulate, SAC", "torch.continuous.twin:_backward", [("flat.grad.zero_()", "pass")], "sac autograd"),
    Slip("greedy actions that are drawn", "torch.continuous.continuous_agent:ContinuousAgent.act_batch",
         [("self._policy_actions(observations, None)", "self._policy_actions(observations, self._streams.policy)")],
         "greedy SAC"),
    Slip("no warm-up, SAC", "torch.continuous.continuous_agent:ContinuousAgent.act_batch",
         [('self._cadence.env_steps < self._hp["learning_starts"]', "False")], "warm-up SAC"),
    Slip("no warm-up, TD3", "torch.continuous.continuous_agent:ContinuousAgent.act_batch",
         [('self._cadence.env_steps < self._hp["learning_starts"]', "False")], "warm-up TD3"),
    # --- TD3
    Slip("targets from the online critics, TD3", "torch.td3:TorchTD3Agent._gradient_step",
         [("critics.target_values(", "critics.values(")], "td3"),
    Slip("targets from the online actor", "torch.td3:TorchTD3Agent._gradient_step",
         [("actor.target_outputs(batch.following)", "actor.outputs(batch.following)")], "td3"),
    Slip("no smoothing", "torch.td3:TorchTD3Agent._gradient_step",
         [("+ smoothing)", "+ 0.0 * smoothing)")], "td3"),
    Slip("smoothing that is not clipped", "torch.td3:TorchTD3Agent._gradient_step",
         [('.clip(-hp["target_noise_clip"], hp["target_noise_clip"])', "")], "td3"),
    Slip("smoothed actions that leave the box", "torch.td3:TorchTD3Agent._gradient_step",
         [(".clip(-1.0, 1.0)", "")], "td3"),
    Slip("actions clipped before smoothing", "torch.td3:TorchTD3Agent._gradient_step",
         [("(actor.target_outputs(batch.following) + smoothing).clip(-1.0, 1.0)",
           "actor.target_outputs(batch.following).clip(-1.0, 1.0) + smoothing")], "td3"),
    Slip("the larger of two target values, TD3", "torch.td3:TorchTD3Agent._gradient_step",
         [(".min(axis=0)", ".max(axis=0)")], "td3"),
    Slip("an actor that climbs the smaller critic", "torch.td3:TorchTD3Agent._gradient_step",
         [("critics.first(", "critics.least(")], "td3"),
    Slip("gradients that accumulate, TD3", "torch.continuous.twin:_backward", [("flat.grad.zero_()", "pass")], "td3 autograd"),
    Slip("an actor that descends", "torch.td3:TorchTD3Agent._gradient_step",
         [("slopes * (-1.0 / len(values))", "slopes * (1.0 / len(values))")], "td3"),
    Slip("targets that move at every step", "torch.td3:TorchTD3Agent._gradient_step",
         [("self._steps.count += 1",
           'self._steps.count += 1; critics.target.polyak(hp["tau"]); self._target_actor.polyak(hp["tau"])')], "td3"),
    Slip("no delay", "torch.td3:TorchTD3Agent._gradient_step",
         [('if self._steps.count % hp["policy_delay"]:', "if False:")], "td3"),
    Slip("a target actor that stands still", "torch.td3:TorchTD3Agent._gradient_step",
         [('self._target_actor.polyak(hp["tau"])', "pass")], "td3"),
    Slip("greedy actions with noise", "torch.continuous.continuous_agent:ContinuousAgent.act_batch",
         [("self._policy_actions(observations, None)", "self._policy_actions(observations, self._streams.policy)")],
         "greedy TD3"),
    Slip("explored actions that leave the box", "torch.td3:TorchTD3Agent._policy_actions",
         [("actions.clip(-1.0, 1.0)", "actions")], "box"),
    # --- hindsight
    Slip("a goal from the past", "core.replay.her:HindsightReplay._goal_rows",
         [("offset = rng.integers(after + 1)", "offset = -rng.integers(before + 1)")], "hindsight"),
    Slip("a goal of another episode", "core.replay.her:HindsightReplay._goal_rows",
         [("offset = rng.integers(after + 1)", "offset = rng.integers(after + 11)")], "hindsight"),
    Slip("rewards for the goal that was asked for", "core.replay.her:HindsightReplay._relabel",
         [("rewards[changed[which], when] = self._reward(achieved, desired)", "pass")], "hindsight"),
    Slip("rewards for what was achieved before the step", "core.replay.her:HindsightReplay._relabel",
         [('self.replay.column("next_observation")', 'self.replay.column("observation")')], "hindsight"),
    Slip("another goal in the next observation", "core.replay.her:HindsightReplay.draw",
         [('seen["desired_goal"][changed] = after["desired_goal"][changed] = goals',
           'seen["desired_goal"][changed] = goals')], "hindsight"),
    Slip("the wrong share of relabelled rows", "core.replay.her:HindsightReplay.draw",
         [("self.k / (self.k + 1)", "1 / (self.k + 1)")], "hindsight"),
    Slip("a time limit taken for an end, hindsight", "core.replay.her:HindsightReplay.draw",
         [('(replay.column("flags")[at] & TERMINATED)', '(replay.column("flags")[at] != 0)')], "hindsight"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Products of a few dozen numbers take longest where threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", list(CHECKS))
def test_checks_pass(name, monkeypatch):
    CHECKS[name](monkeypatch)


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.what)
def test_slips_are_caught(slip, monkeypatch):
    planted.plant(monkeypatch, slip.where, *slip.edits)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with pytest.raises(AssertionError):
            CHECKS[slip.check](monkeypatch)


def test_every_check_is_needed():
    assert {slip.check for slip in SLIPS} == set(CHECKS)


def test_a_slip_that_cannot_be_planted_is_no_success(monkeypatch):
    with pytest.raises(AssertionError, match="write this slip anew"):
        planted.plant(monkeypatch, "torch.ppo:TorchPPOAgent._learn", ("no such piece", ""))
