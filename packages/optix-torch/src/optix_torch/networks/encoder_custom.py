"""Encoders of the user: a module, or a function that makes one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optix_core.errors import ConfigError
from optix_core.rl.spaces import SpaceInfo

_PROBE_ROWS = 2


def custom_encoder(
    space: Any, info: SpaceInfo, encoder: Any, *, generator: torch.Generator
) -> tuple[nn.Module, int]:
    """The module that ``encoder`` means, one of its own for every call, and the number of its features.

    A module is copied. A function gets the observation space; whatever it draws from PyTorch's global generator while
    it makes its module comes from ``generator`` instead, and the global one stays as it was.

    Args:
        space: Observations.
        info: The facts about ``space``.
        encoder: An ``nn.Module`` or a callable ``(observation_space) -> nn.Module``.
        generator: Where randomness comes from.

    Raises:
        ConfigError: It is none of these, it cannot be imported or called, or the module does not turn observations
            into ``[B, F]``.
    """
    if isinstance(encoder, nn.Module):
        module = copy.deepcopy(encoder)
    elif callable(encoder):
        module = _made(encoder, space, generator)
    else:
        raise ConfigError(
            f"encoder is {encoder!r}; it must be an nn.Module, a callable that makes one from the observation space, "
            "its name as 'package.module:callable', or 'flatten'"
        )
    return module, _features(module, info)


def _made(factory: Callable[[Any], Any], space: Any, generator: torch.Generator) -> nn.Module:
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            module = factory(space)
        except Exception as error:
            raise ConfigError(
                f"encoder: {_name(factory)} failed for {type(space).__name__} observations: "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"encoder: {_name(factory)} returned {type(module).__name__}, expected an nn.Module"
        )
    return module


def _features(module: nn.Module, info: SpaceInfo) -> int:
    """The width of what ``module`` gives for observations of zeros (choices: the first of each)."""
    first = next(iter(module.parameters()), None)
    dtype = torch.float32 if first is None else first.dtype
    device = None if first is None else first.device
    probe = _probe(info, dtype, device)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            features: Any = module(probe)
    except Exception as error:
        raise ConfigError(
            f"the encoder {type(module).__name__} cannot read observations of {info.label}: it was given "
            f"{_described(probe)} and raised {type(error).__name__}: {error}"
        ) from error
    finally:
        module.train(was_training)
    if not isinstance(features, Tensor):
        raise ConfigError(
            f"the encoder {type(module).__name__} returned {type(features).__name__} for observations of "
            f"{info.label}, expected a tensor of features [B, F]"
        )
    if features.ndim != 2 or len(features) != _PROBE_ROWS or not features.is_floating_point():
        raise ConfigError(
            f"the encoder {type(module).__name__} gave {features.dtype} features of shape {tuple(features.shape)} "
            f"for {_PROBE_ROWS} observations of {info.label}; expected floating ones of shape ({_PROBE_ROWS}, F). "
            "An nn.Flatten() as its last layer often helps"
        )
    return int(features.shape[1])


def _probe(info: SpaceInfo, dtype: torch.dtype, device: torch.device | None) -> Any:
    if info.fields:
        return {name: _probe(part, dtype, device) for name, part in info.fields}
    lowest = np.zeros(info.shape) if info.kind == "box" else np.asarray(info.low)
    row = torch.from_numpy(np.array(lowest, np.float64)).to(device, dtype)
    return row.expand(_PROBE_ROWS, *row.shape).contiguous()


def _described(probe: Any) -> str:
    if isinstance(probe, dict):
        return "a dict of " + ", ".join(f"{name}: {_described(part)}" for name, part in probe.items())
    return f"a {probe.dtype} tensor of shape {tuple(probe.shape)}"


def _name(factory: Any) -> str:
    return str(getattr(factory, "__qualname__", None) or type(factory).__name__)
