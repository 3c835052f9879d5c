"""Trains on a numbered live source and remembers, in the agent's state, which items it learned from."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from optix_core import EvaluationPipeline, LivePipeline, RLOptimizer
from optix_core.testing import LinearAgent, TinyDiscrete

ITEMS = 1200


class Remembering(LinearAgent):
    """A linear agent whose state holds the numbers of all items that its updates came from."""

    trained: tuple[int, ...] = ()

    def learn(self, episode_data):
        self.trained += tuple(info["seq"] for info in episode_data.infos)
        return super().learn(episode_data)

    def state_dict(self):
        return {**super().state_dict(), "trained": np.array(self.trained, np.int64)}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.trained = tuple(int(k) for k in state["trained"])


class Numbered:
    observation_space, action_space = TinyDiscrete().observation_space, TinyDiscrete().action_space

    def __init__(self):
        self.at = 0

    def resume_from(self, seq):
        self.at = seq + 1

    def stream(self):
        for k in range(self.at, ITEMS):
            time.sleep(5e-4)
            yield np.eye(2, dtype=np.float32)[k % 2], float(k % 3), False, False, {"seq": k}


def main(folder):
    path = Path(folder)
    agent = Remembering(Numbered.observation_space, Numbered.action_space, seed=0)
    pipeline = LivePipeline(
        Numbered(),
        episode_boundary_fn=LivePipeline.every_n_steps(20),
        end_on_done=False,
        max_episode_steps=50,
        keep_infos=True,
        buffer_size=50,
        seed=0,
    )
    resume = path.exists()
    loop = RLOptimizer(
        agent,
        pipeline,
        optimizer="fixed",
        val_pipeline=EvaluationPipeline(TinyDiscrete(), episodes=2, seed=0),
        run_dir=path,
        resume=resume,
        checkpoint_every=3,
        confirm_episodes=0,
        probe_windows=0,
        min_episodes_before_dormant=10**6,
        rollback_on_degradation=False,
        seed=0,
    )
    print("running", flush=True)
    result = loop.run()
    from optix_core.checkpoints.registry import CheckpointRegistry

    last = CheckpointRegistry(path).latest_training_state()
    CheckpointRegistry(path).restore(agent, last)
    print("done", result.stop_reason.name, *agent.trained, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
