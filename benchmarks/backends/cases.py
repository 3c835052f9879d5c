"""What is measured, by whom, and how much better ours shall be.

A case names our script and its measure, the unit, which values are better, and for each peer the peer's measure and the
goal. Scripts lie beside this file; ``python SCRIPT '{"measure": NAME}'`` prints one line of JSON: ``value``, perhaps
``first_s`` (seconds of the first call, which compiles), ``versions`` and ``machine``. A new case is an entry here and
one function in each script that takes part, registered in its ``MEASURES``.
"""

from __future__ import annotations

PEERS = {"sb3": "Stable-Baselines3", "sbx": "sbx", "tensor-optix": "tensor-optix"}
SCRIPTS = {"sb3": "peer_sb3.py", "sbx": "peer_sbx.py", "tensor-optix": "peer_reference.py"}

CASES = {
    "jax-ppo-update": {
        "label": "JAX PPO, update of 2048 samples",
        "ours": ("ours_jax.py", "ppo_update"),
        "unit": "ms",
        "better": "lower",
        "peers": {"sb3": ("ppo_update", 25.0), "sbx": ("ppo_update", 7.0)},
    },
    "jax-ppo-train-8": {
        "label": "JAX PPO, end to end, 8 environments",
        "ours": ("ours_jax.py", "ppo_train_8"),
        "unit": "steps per CPU-second",
        "better": "higher",
        "peers": {"sb3": ("ppo_train_8", 8.0), "sbx": ("ppo_train_8", None)},
    },
    "jax-act": {
        "label": "JAX PPO, act for 1 observation",
        "ours": ("ours_jax.py", "ppo_act"),
        "unit": "us",
        "better": "lower",
        "peers": {"sb3": ("ppo_act", None)},
    },
    "jax-sac-gradient": {
        "label": "JAX SAC, one gradient step",
        "ours": ("ours_jax.py", "sac_gradient"),
        "unit": "ms",
        "better": "lower",
        "peers": {"sbx": ("sac_gradient", 1.3)},
    },
    "jax-sac-train": {
        "label": "JAX SAC, one environment step with one gradient step",
        "ours": ("ours_jax.py", "sac_train"),
        "unit": "ms",
        "better": "lower",
        "peers": {"sbx": ("sac_train", 1.3)},
    },
    "tf-ppo-update": {
        "label": "TF PPO, update of 2048 samples",
        "ours": ("ours_tf.py", "ppo_update"),
        "unit": "ms",
        "better": "lower",
        "peers": {"sb3": ("ppo_update", 7.0), "tensor-optix": ("ppo_update", 100.0)},
    },
    "tf-ppo-train-8": {
        "label": "TF PPO, end to end, 8 environments",
        "ours": ("ours_tf.py", "ppo_train_8"),
        "unit": "steps per CPU-second",
        "better": "higher",
        "peers": {"sb3": ("ppo_train_8", None)},
    },
    "tf-act": {
        "label": "TF PPO, act for 1 observation",
        "ours": ("ours_tf.py", "ppo_act"),
        "unit": "us",
        "better": "lower",
        "peers": {"sb3": ("ppo_act", None), "tensor-optix": ("ppo_act", None)},
    },
    "tf-sac-gradient": {
        "label": "TF SAC, one gradient step",
        "ours": ("ours_tf.py", "sac_gradient"),
        "unit": "ms",
        "better": "lower",
        "peers": {"sb3": ("sac_gradient", 1.5)},
    },
}
