"""An environment as a live source: it steps when an action comes, in the thread of the source."""

from __future__ import annotations

import copy
import queue
from collections.abc import Iterator
from typing import Any

from optix_core.pipelines.factories import Env, check_env
from optix_core.seeding import Domain, derive_seed, fresh_root_seed


class EnvSource:
    """Yields what an environment shows and waits for the action; for tests, simulators and as a pattern to follow.

    Episodes have the same seeds as those of ``BatchPipeline(env, seed=seed)``. Every item carries ``seq`` and
    ``answers``, so that an action can never be taken for that of another observation.

    Args:
        env: The environment; closed by :meth:`close`.
        seed: Root seed of its episodes; a fresh one if None.
    """

    def __init__(self, env: Env, *, seed: int | None = None) -> None:
        check_env(env)
        self.env = env
        self.seed = fresh_root_seed() if seed is None else int(seed)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._actions: queue.SimpleQueue[tuple[Any, int] | None] = queue.SimpleQueue()
        self._streaming = self._closing = False

    def stream(self) -> Iterator[tuple[Any, float, bool, bool, dict[str, Any]]]:
        """Episodes without end, from the first one."""
        self._actions = queue.SimpleQueue()
        self._streaming, self._closing = True, False
        try:
            yield from self._episodes()
        finally:
            self._streaming = False
            if self._closing:
                self.env.close()

    def send(self, action: Any, seq: int) -> None:
        """Let the environment take a step."""
        self._actions.put((action, seq))

    def close(self) -> None:
        """End the stream; safe to call twice."""
        self._closing = True
        self._actions.put(None)
        if not self._streaming:
            self.env.close()

    def _episodes(self) -> Iterator[tuple[Any, float, bool, bool, dict[str, Any]]]:
        self.env.action_space.seed(derive_seed(self.seed, Domain.ACTION_SPACE, 0))
        number = episode = 0
        while True:
            seed = derive_seed(self.seed, Domain.ENV, 0, episode)
            observation, info = self.env.reset(seed=seed)
            yield copy.deepcopy(observation), 0.0, False, False, {**info, "seq": number, "seed": seed}
            number, episode, over = number + 1, episode + 1, False
            while not over:
                told = self._actions.get()
                if told is None:
                    return
                action, answered = told
                observation, reward, terminated, truncated, info = self.env.step(action)
                over = bool(terminated or truncated)
                facts = {**info, "seq": number, "answers": answered}
                yield copy.deepcopy(observation), float(reward), bool(terminated), bool(truncated), facts
                number += 1
