"""Action masks: which actions an agent may choose now, as a part of the observation.

Where an environment says which actions are allowed, observations are records with exactly the two fields
``observation`` and ``action_mask`` (``bool [A]``, True: allowed). So the masks of true successors, of boundaries and
of replayed transitions are there wherever the observations are. A Dict space with exactly these two keys means the
same. A is ``n`` for Discrete(n), and ``sum(nvec)`` for MultiDiscrete: the components' masks one after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import SpaceError
from optix_core.rl.spaces import SpaceInfo, record_dtype
from optix_core.rl.structured import empty

OBSERVATION, ACTION_MASK = "observation", "action_mask"
_FIELDS = {OBSERVATION, ACTION_MASK}


def mask_size(actions: SpaceInfo) -> int | None:
    """A, the length of a mask for these actions; None where masks have no meaning (Box, MultiBinary, Dict, Tuple)."""
    if actions.kind == "discrete":
        return actions.n
    if actions.kind == "multi_discrete":
        assert actions.nvec is not None
        return int(actions.nvec.sum())
    return None


def is_masked(dtype: np.dtype[Any]) -> bool:
    """Whether elements of ``dtype`` are an observation and an action mask, and nothing else."""
    return dtype.names is not None and set(dtype.names) == _FIELDS


def masked_dtype(dtype: np.dtype[Any], shape: tuple[int, ...], n_actions: int) -> np.dtype[Any]:
    """The dtype of an observation (of ``dtype`` and ``shape``) with a mask of ``n_actions``."""
    return np.dtype([(OBSERVATION, dtype, shape), (ACTION_MASK, np.bool_, (n_actions,))], align=True)


def masked_info(observation: SpaceInfo, actions: SpaceInfo) -> SpaceInfo:
    """The space of observations with a mask for ``actions``.

    Raises:
        SpaceError: These actions cannot be masked.
    """
    size = mask_size(actions)
    if size is None:
        raise SpaceError(
            f"the environment offers action masks, but its action space {actions.label} has no separate choices; masks "
            "go with Discrete and MultiDiscrete"
        )
    mask = SpaceInfo(
        kind="multi_binary",
        shape=(size,),
        dtype=np.dtype(np.bool_),
        low=np.zeros(size, np.bool_),
        high=np.ones(size, np.bool_),
        flat_dim=size,
        label=f"MultiBinary({size},)",
    )
    fields = ((OBSERVATION, observation), (ACTION_MASK, mask))
    return SpaceInfo(
        kind="dict",
        shape=(),
        dtype=record_dtype(fields),
        fields=fields,
        flat_dim=observation.flat_dim,
        label=f"{observation.label} with action masks",
    )


def split_masks(observations: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Observations ``[..., *obs]`` and their masks ``[..., A]`` (views); None for observations without masks."""
    if not is_masked(observations.dtype):
        return observations, None
    masks = observations[ACTION_MASK]
    return observations[OBSERVATION], masks if masks.dtype == np.bool_ else masks != 0


def with_masks(observations: NDArray[Any], masks: NDArray[Any]) -> NDArray[Any]:
    """Records of observations ``[..., *obs]`` and masks ``[..., A]``; a fresh array ``[...]``.

    Raises:
        ValueError: The leading axes differ.
    """
    lead = masks.shape[:-1]
    if observations.shape[: len(lead)] != lead:
        raise ValueError(
            f"masks of shape {masks.shape} do not go with observations of shape {observations.shape}: their leading "
            "axes must be equal"
        )
    dtype = masked_dtype(observations.dtype, observations.shape[len(lead) :], masks.shape[-1])
    packed = empty(lead, dtype)
    packed[OBSERVATION], packed[ACTION_MASK] = observations, masks != 0
    return packed


def allowed(masks: NDArray[np.bool_], actions: NDArray[Any], space: SpaceInfo) -> NDArray[np.bool_]:
    """``[N]``: whether environment actions ``[N, *act]`` are all allowed by ``masks`` ``[N, A]``."""
    if space.kind == "discrete":
        return np.take_along_axis(masks, (actions - space.start)[:, None], axis=1)[:, 0]
    assert space.nvec is not None
    assert space.low is not None
    choices = (actions - space.low).reshape(len(masks), -1)
    found = np.take_along_axis(masks, choices + component_offsets(space), axis=1)
    return np.asarray(found.all(axis=1))


def nothing_allowed(masks: NDArray[np.bool_], space: SpaceInfo) -> NDArray[np.bool_]:
    """``[N]``: whether a mask ``[N, A]`` leaves nothing to choose (of a MultiDiscrete: in some component)."""
    if space.kind == "discrete":
        return np.asarray(~masks.any(axis=1))
    some = np.logical_or.reduceat(masks, component_offsets(space), axis=1)
    return np.asarray(~some.all(axis=1))


def component_offsets(space: SpaceInfo) -> NDArray[np.int64]:
    """``[K]``: where the choices of each component of a MultiDiscrete begin in a mask."""
    assert space.nvec is not None
    sizes = space.nvec.reshape(-1)
    return np.cumsum(sizes) - sizes


def sample_allowed(masks: NDArray[np.bool_], space: SpaceInfo, rng: np.random.Generator) -> NDArray[np.int64]:
    """Environment actions ``[N, *act]``, uniform over what ``masks`` ``[N, A]`` allow."""
    if space.kind == "discrete":
        return _uniform(masks, rng) + space.start
    assert space.nvec is not None
    assert space.low is not None
    pieces = np.split(masks, component_offsets(space)[1:], axis=1)
    choices = np.stack([_uniform(piece, rng) for piece in pieces], axis=1)
    return choices.reshape(len(masks), *space.shape) + space.low


def _uniform(masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    if not masks.any(axis=1).all():
        raise ValueError("a mask allows nothing: there is no action to draw")
    # The largest of independent uniform numbers is equally likely to be any of those that count.
    return np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
