"""The random streams of an agent, each with a use of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.state import State, generator_state, restore_generator


class Streams:
    """Independent generators from one root seed; None draws one from the operating system.

    Attributes:
        policy: Actions that are learned from (``act_batch``).
        single: Actions of ``act``, apart, so that asking the agent for an action changes nothing in training.
        minibatch: The order of samples.
        perturbation: Noise on weights.
    """

    def __init__(self, seed: int | None) -> None:
        if seed is None:
            seed = fresh_root_seed()
        self.policy = generator(seed, Domain.POLICY, 0)
        self.single = generator(seed, Domain.POLICY, 1)
        self.minibatch = generator(seed, Domain.MINIBATCH)
        self.perturbation = generator(seed, Domain.PERTURBATION)

    def state_dict(self) -> State:
        """Where each stream stands."""
        return {name: generator_state(rng) for name, rng in self._all().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue each stream from :meth:`state_dict`."""
        for name, rng in self._all().items():
            restore_generator(rng, state[name])

    def acting_state(self) -> State:
        """Where the two streams stand that acting moves."""
        return {"policy": generator_state(self.policy), "single": generator_state(self.single)}

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Continue both from :meth:`acting_state`."""
        restore_generator(self.policy, state["policy"])
        restore_generator(self.single, state["single"])

    def _all(self) -> dict[str, np.random.Generator]:
        return dict(vars(self))
