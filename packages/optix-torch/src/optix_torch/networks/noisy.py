"""Networks whose weights carry learned noise, so that they explore by themselves (Fortunato et al. 2018).

"Noisy Networks for Exploration", arXiv:1706.10295, with factorised noise (its section 3, variant b): the noise of a
weight is ``f(e_out) f(e_in)`` with ``f(x) = sgn(x) sqrt(|x|)``, so a layer draws one number per input and output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting import MLPSpec
from optix_core.seeding import fresh_root_seed


class NoisyLinear(nn.Module):
    """``y = (mu_w + sigma_w * noise) x + mu_b + sigma_b * noise``; without noise in eval mode.

    The noise itself is no weight: it is neither saved nor averaged, and zero until :meth:`reset_noise`.

    Args:
        in_features: Inputs.
        out_features: Outputs.
        sigma_0: Standard deviations start at ``sigma_0 / sqrt(in_features)``.
        generator: Draws the initial means, uniform up to ``1 / sqrt(in_features)``; None: a fresh one.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sigma_0: float = 0.5,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(fresh_root_seed())
        self.in_features, self.out_features = in_features, out_features
        bound = 1.0 / math.sqrt(in_features)

        def means(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        def deviations(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.full(shape, sigma_0 * bound))

        self.mu_w, self.mu_b = means(out_features, in_features), means(out_features)
        self.sigma_w, self.sigma_b = deviations(out_features, in_features), deviations(out_features)
        self.register_buffer("noise_in", torch.zeros(in_features), persistent=False)
        self.register_buffer("noise_out", torch.zeros(out_features), persistent=False)

    @property
    def eps_w(self) -> Tensor:
        """The noise of the weights, ``[out, in]``."""
        return torch.outer(self.noise_out, self.noise_in)

    @property
    def eps_b(self) -> Tensor:
        """The noise of the biases, ``[out]``."""
        return self.noise_out

    def reset_noise(self, rng: np.random.Generator | None = None) -> None:
        """Draw new noise from ``rng``; None: from the operating system's entropy."""
        drawn = factors(
            rng or np.random.default_rng(fresh_root_seed()), (self.in_features + self.out_features,)
        )
        whole = torch.from_numpy(drawn)
        self.noise_in.copy_(whole[: self.in_features])
        self.noise_out.copy_(whole[self.in_features :])

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, in]`` to ``[B, out]``."""
        if not self.training:
            return nn.functional.linear(inputs, self.mu_w, self.mu_b)
        weight = torch.addcmul(self.mu_w, self.sigma_w, self.eps_w)
        return nn.functional.linear(inputs, weight, torch.addcmul(self.mu_b, self.sigma_b, self.noise_out))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def factors(rng: np.random.Generator, shape: Sequence[int]) -> NDArray[np.float32]:
    """``f(x) = sgn(x) sqrt(|x|)`` of standard normal numbers; their products have mean 0 and variance ``2 / pi``."""
    drawn = rng.standard_normal(shape, dtype=np.float32)
    return np.copysign(np.sqrt(np.abs(drawn)), drawn)


class RainbowQNetwork(nn.Module):
    """Log-probabilities of returns for every action, ``[B, *obs]`` to ``[B, A, n_atoms]``.

    Noisy layers with ReLU between them; the last gives the logits of a value and of advantages, which are put together
    atom by atom: ``V + A - mean_a A`` (Wang et al. 2016, eq. 9; Hessel et al. 2018, arXiv:1710.02298, section 3).

    Args:
        obs_dim: Numbers in one observation, or features that the encoder gives.
        n_actions: A.
        hidden_size: Width of the hidden layer, or widths of several.
        n_atoms: Points of the distribution of returns.
        sigma_0: Initial noise, see :class:`NoisyLinear`.
        encoder: Reads observations first; its features pass a ReLU of its own if it has one. None: they are flattened.
        generator: Draws the initial weights; None: a fresh one.
    """

    def __init__(
        self,
        obs_dim: int,
        n_actions: int,
        hidden_size: int | Sequence[int] = 128,
        n_atoms: int = 51,
        *,
        sigma_0: float = 0.5,
        encoder: nn.Module | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(fresh_root_seed())
        hidden = (hidden_size,) if isinstance(hidden_size, int) else tuple(hidden_size)
        self.n_actions, self.n_atoms, self.encoder = n_actions, n_atoms, encoder
        self.sizes = (obs_dim, *hidden, (1 + n_actions) * n_atoms)
        self.layers = nn.ModuleList(
            NoisyLinear(a, b, sigma_0, generator=generator) for a, b in pairwise(self.sizes)
        )

    @classmethod
    def build(
        cls,
        obs_dim: int,
        n_actions: int,
        hidden_size: int | Sequence[int] = 128,
        n_atoms: int = 51,
        **more: Any,
    ) -> RainbowQNetwork:
        """The same as the constructor."""
        return cls(obs_dim, n_actions, hidden_size, n_atoms, **more)

    def forward(self, observations: Tensor) -> Tensor:
        """``[B, A, n_atoms]``, each distribution's logarithms."""
        x = observations if self.encoder is None else self.encoder(observations)
        x = x.flatten(1)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < last:
                x = torch.relu(x)
        both = x.view(len(x), 1 + self.n_actions, self.n_atoms)
        advantages = both[:, 1:]
        return torch.log_softmax(both[:, :1] + advantages - advantages.mean(dim=1, keepdim=True), dim=-1)

    def reset_noise(self, rng: np.random.Generator | None = None) -> None:
        """Draw new noise for all layers."""
        reset_noise(self, rng)

    def perceptron(self) -> tuple[MLPSpec, list[nn.Parameter]] | None:
        """Shape and parameters as two equal halves, all means and then all deviations; None behind an encoder."""
        if self.encoder is not None:
            return None
        layers: list[Any] = list(self.layers)
        means = [p for layer in layers for p in (layer.mu_w, layer.mu_b)]
        deviations = [p for layer in layers for p in (layer.sigma_w, layer.sigma_b)]
        return MLPSpec.build(self.sizes, "relu"), [*means, *deviations]


def noisy_layers(network: nn.Module) -> list[NoisyLinear]:
    """Every noisy layer of ``network``, in the order of its modules."""
    return [layer for layer in network.modules() if isinstance(layer, NoisyLinear)]


def reset_noise(network: nn.Module, rng: np.random.Generator | None = None) -> None:
    """Draw new noise for every noisy layer of ``network``."""
    rng = rng or np.random.default_rng(fresh_root_seed())
    for layer in noisy_layers(network):
        layer.reset_noise(rng)


def switch_noise(network: nn.Module, *, on: bool) -> None:
    """Let the noisy layers of ``network`` use their noise or not; all other modules stay in their mode."""
    for layer in noisy_layers(network):
        layer.training = on


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The trainable ones, those of a plain noisy network in the order in which numpy evaluates them."""
    plain = network.perceptron() if isinstance(network, RainbowQNetwork) else None
    return [p for p in (plain[1] if plain else network.parameters()) if p.requires_grad]
