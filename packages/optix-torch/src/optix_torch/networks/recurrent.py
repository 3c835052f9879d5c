"""Recurrent layers: how they begin, one step in numpy for acting, and whole sequences with gradients for learning."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from optix_core.acting import RecurrentCell, RecurrentSpec
from optix_core.errors import ConfigError
from optix_torch.acting.mirror import Mirror
from optix_torch.networks import bptt
from optix_torch.networks.blank import blank
from optix_torch.policy_gradient.sequences import Packed
from optix_torch.training.flat import FlatParameters

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
WORTH_PADDING = 0.5
"""An LSTM's sequences are padded to equal length, for which PyTorch has a fast kernel, if so much of it is filled."""


def recurrent_layer(cell: str, n_inputs: int, size: int, *, generator: torch.Generator) -> nn.LSTM | nn.GRU:
    """One layer, float32, with weights and biases uniform in plus or minus ``1 / sqrt(size)``, as PyTorch begins.

    Orthogonal gates with an open forget gate are often recommended, but memory that lasts from the start was the
    worse one here: on CartPole without velocities (settings of the preset, greedy after 100,000 steps) it gave 218, 240
    and 430 for three seeds, where uniform weights gave 500 for each.

    Raises:
        ConfigError: No such cell, or ``size`` is no positive whole number.
    """
    if cell not in CELLS:
        raise ConfigError(f"cell is {cell!r}; it must be one of {', '.join(CELLS)}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigError(f"memory_size is {size!r}; it must be a positive whole number")
    layer = blank(CELLS[cell], n_inputs, size, batch_first=True)
    bound = 1.0 / math.sqrt(size)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def recurrent_spec(module: nn.Module) -> RecurrentSpec:
    """The shape of an ``nn.LSTM`` or ``nn.GRU``.

    Raises:
        ConfigError: It is neither, or has an option that acting step by step cannot follow.
    """
    cell = next((name for name, kind in CELLS.items() if type(module) is kind), None)
    if cell is None:
        raise ConfigError(f"rnn is a {type(module).__name__}; it must be an nn.LSTM or an nn.GRU")
    assert isinstance(module, nn.RNNBase)
    for name, needed, why in (
        ("bidirectional", False, "the future is not known while acting"),
        ("dropout", 0.0, "what was remembered could not be repeated in learning"),
        ("proj_size", 0, "it is not supported"),
        ("bias", True, "it is not supported without"),
    ):
        if getattr(module, name) != needed:
            raise ConfigError(f"rnn has {name}={getattr(module, name)!r}, but it must be {needed!r}: {why}")
    if not all(p.requires_grad for p in module.parameters()):
        raise ConfigError("rnn has frozen parameters; all of them must be trainable")
    return RecurrentSpec(cell, module.input_size, module.hidden_size, module.num_layers)  # type: ignore[arg-type]


class Recurrent:
    """An encoder, if there is one, and a recurrent network behind it.

    Args:
        rnn: ``nn.LSTM`` or ``nn.GRU``.
        encoder: Observations to features ``[B, F]``; None if observations are features.
        flat: The vector that holds the parameters of both.

    Attributes:
        spec: The network's shape.
        cell: One step of it in numpy.
        has_encoder: Whether something comes before it.
    """

    def __init__(self, rnn: nn.Module, encoder: nn.Module | None, flat: FlatParameters) -> None:
        self.spec, self.has_encoder = recurrent_spec(rnn), encoder is not None
        self._rnn, self._encoder, self._flat = (
            rnn.train(),
            encoder,
            flat,
        )  # cuDNN has gradients in training mode only
        self._layers = [
            [getattr(rnn, f"{n}_l{i}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            for i in range(self.spec.layers)
        ]
        start = flat.start_of(list(rnn.parameters()))
        assert start is not None
        self._piece = slice(start, start + self.spec.layout.size)
        on_host = flat.vector.device.type == "cpu"
        self._copy = None if on_host else flat.to_numpy()[self._piece]
        self.cell = RecurrentCell(self.spec, flat.arrays()[0][self._piece] if on_host else self._copy)  # type: ignore[arg-type]
        self._mirror = None if encoder is None else Mirror(encoder, flat)

    def step(self, observations: NDArray[Any], memory: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``[N, H]`` for normalised observations ``[N, *obs]``; see ``RecurrentCell.step``."""
        if self._mirror is not None:
            observations = self._mirror.outputs(observations)
        return self.cell.step(observations, memory, after)

    def run(self, observations: Any, memory: Tensor, packed: Packed) -> Tensor:
        """Outputs ``[R, H]`` of whole sequences, differentiable in the parameters.

        Args:
            observations: ``[R, *obs]``, packed.
            memory: ``[S, M]`` before each sequence.
            packed: How they are packed.
        """
        x = observations.flatten(1) if self._encoder is None else self._encoder(observations)
        spec, counts = self.spec, packed.counts
        if x.is_cuda:
            states = self._states(memory)
            return self._rnn(PackedSequence(x, torch.tensor(counts)), states)[0].data  # cuDNN, one call
        if spec.cell == "lstm" and x.dtype == torch.float32 and packed.there.mean() > WORTH_PADDING:
            there = torch.from_numpy(packed.there)
            padded = x.new_zeros((*there.shape, spec.input_size)).index_put((there,), x)
            if self._rnn.batch_first:
                return self._rnn(padded.transpose(0, 1), self._states(memory))[0].transpose(0, 1)[there]
            return self._rnn(padded, self._states(memory))[0][there]
        layer = bptt.lstm if spec.cell == "lstm" else bptt.gru
        states = memory.view(len(memory), -1, spec.layers, spec.hidden_size)  # h, c; layer by layer
        for i, parameters in enumerate(self._layers):
            x = layer(x, states[:, :, i].reshape(len(memory), -1), counts, parameters)
        return x

    def refresh(self) -> None:
        """Bring the host's copy up to date; needed only where the weights live on another device."""
        if self._copy is not None:
            self._copy[:] = self._flat.vector.detach()[self._piece].cpu().numpy()
        if self._mirror is not None:
            self._mirror.refresh()

    def _states(self, memory: Tensor) -> Any:
        """``[L, S, H]`` h, or h and c, as PyTorch's layers take them."""
        states = (
            memory.view(len(memory), -1, self.spec.layers, self.spec.hidden_size)
            .permute(1, 2, 0, 3)
            .contiguous()
        )
        return (states[0], states[1]) if self.spec.cell == "lstm" else states[0]
