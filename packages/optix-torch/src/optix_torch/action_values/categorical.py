"""Distributions of returns on fixed atoms (Bellemare et al. 2017, arXiv:1707.06887): projection and support."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.agents.experience import rows_of
from optix_core.replay import HindsightReplay, ReplayBuffer
from optix_core.state import State

Array = NDArray[Any]

LONGEST = 1000
"""Steps after which rewards no longer count when the support is chosen."""
MARGIN = 0.1
"""So much wider than what was observed a chosen support is."""
MOST_CLIPPED = 0.01
"""A larger share of the targets' probability outside of the support is warned about."""
_SAMPLED_ROWS = 1024


def project(
    rewards: Array, discounts: Array, probabilities: Array, v_min: float, v_max: float
) -> tuple[NDArray[np.float32], float]:
    """The distribution of ``r + discount * Z`` brought back to the atoms of Z (the paper's eq. 7).

    Each shifted atom is clipped to the support and gives its probability to the two atoms beside it, in proportion to
    its nearness. An atom that falls on another gives it everything: ``upper`` is ``lower + 1`` there with the share 0,
    not ``ceil(b) = floor(b)`` with shares that vanish.

    Args:
        rewards: ``[B]``.
        discounts: ``[B]``, 0 where nothing follows.
        probabilities: ``[B, Z]`` of what follows; rows sum to 1.
        v_min: The lowest atom.
        v_max: The highest atom.

    Returns:
        ``[B, Z]`` float32, rows sum to 1; and the mean probability that was clipped.
    """
    n, z = probabilities.shape
    step = (v_max - v_min) / (z - 1)
    atoms = v_min + step * np.arange(z)
    shifted = rewards[:, None].astype(np.float64) + discounts[:, None].astype(np.float64) * atoms
    position = (shifted - v_min) / step
    slack = 1e-6 * z  # rounding puts an atom of the very end a little outside
    outside = (position < -slack) | (position > z - 1 + slack)
    clipped = float(probabilities[outside].sum()) / n if outside.any() else 0.0
    np.clip(position, 0.0, z - 1, out=position)
    lower = position.astype(np.int64)
    share = position - lower
    lower += (np.arange(n) * z)[:, None]
    upper_mass = probabilities * share
    # one cell more than there are atoms takes the vanishing share behind the very last one
    mass = np.bincount(lower.ravel(), (probabilities - upper_mass).ravel(), minlength=n * z + 1)
    mass += np.bincount(lower.ravel() + 1, upper_mass.ravel(), minlength=n * z + 1)
    return mass[:-1].reshape(n, z).astype(np.float32), clipped


def entropy(probabilities: Array) -> Array:
    """``[B]`` entropies of distributions ``[B, Z]``."""
    tiny = np.finfo(probabilities.dtype).tiny
    return -(probabilities * np.log(np.maximum(probabilities, tiny))).sum(axis=1)


def support_of(
    replay: ReplayBuffer | HindsightReplay, gamma: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Bounds of returns, judged by the experience there is.

    The largest and smallest of: discounted returns of up to 1,000 steps that were seen, what the mean reward would add
    up to if it went on for 1,000 steps (episodes of a better policy may last longer), and 0; then a tenth more. If
    rewards have both signs, good and bad luck are taken to be equally large. Without any reward it is -1 to 1.
    Hindsight replay counts with the goals that were asked for and with those that it draws (from ``rng``).
    """
    plain = rows_of(replay)
    n = len(plain)
    rows = np.unique(np.linspace(0, n - 1, _SAMPLED_ROWS).astype(np.int64))
    seen = [(plain.column("reward")[:n], plain.batch(rows, n_step=LONGEST, gamma=gamma).rewards)]
    if isinstance(replay, HindsightReplay):
        one, many = (
            replay.sample(_SAMPLED_ROWS, rng, n_step=steps, gamma=gamma).rewards for steps in (1, LONGEST)
        )
        seen.append((one, many))
    longest = float((gamma ** np.arange(LONGEST)).sum())
    low = min(
        0.0, *(min(returns.min(), rewards.mean(dtype=np.float64) * longest) for rewards, returns in seen)
    )
    high = max(
        0.0, *(max(returns.max(), rewards.mean(dtype=np.float64) * longest) for rewards, returns in seen)
    )
    if min(rewards.min() for rewards, _ in seen) < 0.0 < max(rewards.max() for rewards, _ in seen):
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        return -1.0, 1.0
    return float(low) * (1.0 + MARGIN), float(high) * (1.0 + MARGIN)


class Support(nn.Module):
    """The atoms. It is stored with the weights, which mean nothing without it.

    Args:
        n_atoms: Z.
        v_min: The lowest atom.
        v_max: The highest; both equal: chosen later by :meth:`choose`.
    """

    bounds: Tensor

    def __init__(self, n_atoms: int, v_min: float, v_max: float) -> None:
        super().__init__()
        self.n_atoms = n_atoms
        self.register_buffer("bounds", torch.tensor([v_min, v_max], dtype=torch.float64))
        self._ends = self.bounds.numpy()  # the same memory, quicker to read

    @property
    def v_min(self) -> float:
        """The lowest atom; as high as the highest as long as none are chosen."""
        return float(self._ends[0])

    @property
    def v_max(self) -> float:
        """The highest atom."""
        return float(self._ends[1])

    @property
    def is_chosen(self) -> bool:
        """Whether there are atoms."""
        return self.v_max > self.v_min

    def atoms(self) -> NDArray[np.float32]:
        """``[Z]``; from -1 to 1 as long as none are chosen: which action is best does not depend on them."""
        low, high = (self.v_min, self.v_max) if self.is_chosen else (-1.0, 1.0)
        return np.linspace(low, high, self.n_atoms, dtype=np.float32)

    def choose(self, replay: ReplayBuffer | HindsightReplay, gamma: float, rng: np.random.Generator) -> None:
        """Take the bounds from experience, see :func:`support_of`."""
        self.bounds.copy_(torch.tensor(support_of(replay, gamma, rng), dtype=torch.float64))


class Clipping:
    """How much of the targets lies outside of the support; says so once if it is too much.

    Attributes:
        warned: Whether it has.
    """

    def __init__(self) -> None:
        self.warned = False
        self._sum, self._count = 0.0, 0

    def add(self, clipped: float) -> None:
        """The mean probability that one batch of targets lost."""
        self._sum += clipped
        self._count += 1

    def share(self, support: Support, owner: str) -> float:
        """The mean since the last call."""
        if not self._count:
            return 0.0
        share = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if share > MOST_CLIPPED and not self.warned:
            self.warned = True
            warnings.warn(
                f"{owner}: {share:.1%} of the targets lie outside of the support, {support.v_min:g} to "
                f"{support.v_max:g}, and are clipped to its ends: returns beyond them all look the same. Give v_min "
                "and v_max that cover the discounted returns; this is said once, diagnostics have clipped_share.",
                RuntimeWarning,
                stacklevel=4,
            )
        return share

    def state_dict(self) -> State:
        """Whether the warning was given."""
        return {"warned": self.warned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.warned = bool(state["warned"])
