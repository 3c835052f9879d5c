"""Running normalisation of observations and rewards.

Statistics are float64 throughout and exact population statistics of what was seen: no pseudo-sample biases them, large
offsets are subtracted before anything is rounded, and samples with NaN or infinity are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.rl.masking import is_masked, split_masks, with_masks
from optix_core.rl.structured import Path, label, leaf_paths, part
from optix_core.state import State

Floats = NDArray[np.float64]


class RunningMeanStd:
    """Mean and variance of a stream, merged batch by batch (Chan, Golub and LeVeque 1979).

    Args:
        shape: Of one sample.
        epsilon: What :attr:`count` starts at. It has no weight in the statistics.
        min_std: Smallest standard deviation that :meth:`normalize` divides by. A constant feature becomes
            exactly 0, and noise that is small in absolute terms stays small.

    Attributes:
        mean: ``shape`` float64, 0 before the first sample.
        var: ``shape`` float64, population variance; 1 before the first sample.
        count: ``epsilon`` plus the number of samples.
        rejected: Samples left out because they were not finite.
    """

    def __init__(self, shape: Sequence[int] = (), epsilon: float = 1e-4, *, min_std: float = 1e-2) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.epsilon, self.min_std = float(epsilon), float(min_std)
        self.mean: Floats = np.zeros(self.shape)
        self.rejected = 0
        self._n = 0
        self._squares: Floats = np.zeros(self.shape)  # sum of squared deviations from the mean

    @property
    def var(self) -> Floats:
        """Population variance; 1 before the first sample."""
        return self._squares / self._n if self._n else np.ones(self.shape)

    @property
    def count(self) -> float:
        """``epsilon`` plus the number of samples."""
        return self.epsilon + self._n

    def update(self, x: ArrayLike) -> None:
        """Take in one sample ``[*shape]`` or samples ``[..., *shape]``; none at all is fine.

        Raises:
            ValueError: The trailing axes are not ``shape``.
        """
        array = np.asarray(x, dtype=np.float64)
        lead = array.ndim - len(self.shape)
        if lead < 0 or array.shape[lead:] != self.shape:
            raise ValueError(
                f"samples of shape {self.shape} expected, with any leading axes; got {array.shape}"
            )
        if array.size == 0:
            return
        samples = array.reshape(-1, *self.shape)
        finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
        if not finite.all():
            self.rejected += int((~finite).sum())
            samples = samples[finite]
        n = len(samples)
        if n == 0:
            return
        # Relative to the first sample, a constant has deviation exactly 0 and an offset costs no digits.
        shifted = samples - samples[0]
        shift_mean = shifted.mean(axis=0)
        batch_mean = samples[0] + shift_mean
        batch_squares = np.square(shifted - shift_mean).sum(axis=0)
        if self._n == 0:
            self.mean, self._squares, self._n = batch_mean, batch_squares, n
            return
        total = self._n + n
        delta = batch_mean - self.mean
        self.mean = self.mean + delta * (n / total)
        self._squares = self._squares + batch_squares + np.square(delta) * (self._n * n / total)
        self._n = total

    def normalize(self, x: ArrayLike, clip: float = 10.0) -> NDArray[np.floating[Any]]:
        """``clip((x - mean) / std, -clip, clip)``, subtracted in float64; float64 for float64 input, else float32."""
        array = np.asarray(x)
        scaled = np.clip((array.astype(np.float64) - self.mean) / self.std(), -clip, clip)
        return scaled if array.dtype == np.float64 else scaled.astype(np.float32)

    def std(self) -> Floats:
        """What :meth:`normalize` divides by: ``sqrt(var + 1e-8)``, at least ``min_std``; a fresh array."""
        return np.asarray(np.maximum(np.sqrt(self.var + 1e-8), self.min_std))

    def state_dict(self) -> State:
        """Counts, mean and sums of squares."""
        return {
            "mean": self.mean.copy(),
            "squares": self._squares.copy(),
            "n": self._n,
            "rejected": self.rejected,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ValueError: Statistics of another shape.
        """
        mean, squares = np.array(state["mean"], np.float64), np.array(state["squares"], np.float64)
        if mean.shape != self.shape or squares.shape != self.shape:
            raise ValueError(
                f"the stored statistics have shape {mean.shape}, this normaliser has {self.shape}"
            )
        self.mean, self._squares = mean, squares
        self._n, self.rejected = int(state["n"]), int(state["rejected"])


class ObsNormalizer:
    """Running normalisation of observations.

    ``normalize`` does not learn; call ``update`` between windows, so that everything computed about a window sees the
    observations that the policy saw.

    Of observations with parts (:mod:`optix_core.rl.structured`), each part of floats has statistics of its own; images
    of integers, choices, switches and masks stay as they are. Observations that come with an action mask are
    normalised beside it.

    Args:
        obs_shape: Shape of one observation; an int for a vector. The keyword ``shape`` means the same.
        clip: Bound of the output.
        shape: Alternative name of ``obs_shape``.
        dtype: Of one observation. Only floats are normalised; one with fields needs no shape. None: whatever comes is
            taken for numbers on a scale.
        min_std: See :class:`RunningMeanStd`.

    Attributes:
        parts: Statistics by the path of the part; the path is ``()`` for observations without parts.

    Raises:
        TypeError: Not exactly one of ``obs_shape``, ``shape`` and a ``dtype`` with fields.
    """

    def __init__(
        self,
        obs_shape: Sequence[int] | int | None = None,
        clip: float = 10.0,
        *,
        shape: Sequence[int] | int | None = None,
        dtype: np.dtype[Any] | None = None,
        min_std: float = 1e-2,
    ) -> None:
        self.clip = float(clip)
        given = obs_shape if obs_shape is not None else shape
        fields = dtype is not None and dtype.names is not None
        if obs_shape is not None and shape is not None:
            raise TypeError("pass either obs_shape or shape to ObsNormalizer: they mean the same")
        if (given is None) != fields and not (fields and given == ()):
            raise TypeError(
                "ObsNormalizer needs the shape of one observation, or its dtype if it has parts: pass either obs_shape "
                "or shape, or a structured dtype"
            )
        self._dtype = dtype
        self.parts: dict[Path, RunningMeanStd] = {}
        if dtype is not None and dtype.names is not None:
            for path, base, size in leaf_paths(dtype):
                if base.kind == "f":
                    self.parts[path] = RunningMeanStd(size, min_std=min_std)
        elif given is not None and (dtype is None or dtype.kind == "f"):
            self.parts[()] = RunningMeanStd((given,) if isinstance(given, int) else given, min_std=min_std)

    @property
    def statistics(self) -> RunningMeanStd:
        """The statistics of observations without parts.

        Raises:
            TypeError: They have parts, or nothing to normalise; see :attr:`parts`.
        """
        if () not in self.parts:
            raise TypeError(
                f"these observations have statistics by part: {sorted(map(label, self.parts))}; see ObsNormalizer.parts"
            )
        return self.parts[()]

    @property
    def mean(self) -> Floats:
        """Running mean of observations without parts."""
        return self.statistics.mean

    @property
    def var(self) -> Floats:
        """Running population variance of observations without parts."""
        return self.statistics.var

    def update(self, observations: ArrayLike) -> None:
        """Take in observations ``[..., *obs]``."""
        inner = self._beside_masks(np.asarray(observations))[0]
        for path, statistics in self.parts.items():
            statistics.update(part(inner, path))

    def normalize(self, observations: ArrayLike) -> NDArray[Any]:
        """Observations ``[..., *obs]`` on a common scale, within ``[-clip, clip]``.

        Returns:
            Float64 for float64, else float32; of observations with parts a copy with the same dtype.
        """
        inner, masks = self._beside_masks(np.asarray(observations))
        result = self._normalized(inner)
        return result if masks is None else with_masks(result, masks)

    def constants(self, path: Path = ()) -> tuple[Floats, Floats, float] | None:
        """Mean, deviation (copies) and clip with which one part is normalised; None if it stays as it is."""
        statistics = self.parts.get(path)
        return None if statistics is None else (statistics.mean.copy(), statistics.std(), self.clip)

    def _normalized(self, observations: NDArray[Any]) -> NDArray[Any]:
        if () in self.parts:
            return self.parts[()].normalize(observations, self.clip)
        if not self.parts:
            return observations
        result = observations.copy()
        for path, statistics in self.parts.items():
            part(result, path)[...] = statistics.normalize(part(observations, path), self.clip)
        return result

    def _beside_masks(self, observations: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        if observations.dtype.names is None or (self._dtype is not None and is_masked(self._dtype)):
            return observations, None
        return split_masks(observations)

    def state_dict(self) -> State:
        """The statistics."""
        if () in self.parts:
            return self.parts[()].state_dict()
        return {
            "parts": [label(path) for path in self.parts],
            "statistics": [statistics.state_dict() for statistics in self.parts.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ValueError: Statistics of other observations.
        """
        if () in self.parts:
            if "parts" in state:
                raise ValueError(
                    f"the stored statistics are of the parts {state['parts']}, these observations have none"
                )
            self.parts[()].load_state_dict(state)
            return
        names, stored = [label(path) for path in self.parts], list(state.get("parts", ()))
        if "parts" not in state or stored != names:
            raise ValueError(
                f"the stored statistics are of the parts {stored or 'of a single array'}, this normaliser has {names}"
            )
        fresh: dict[Path, RunningMeanStd] = {}
        for (path, old), saved in zip(self.parts.items(), state["statistics"], strict=True):
            fresh[path] = RunningMeanStd(old.shape, old.epsilon, min_std=old.min_std)
            fresh[path].load_state_dict(saved)
        self.parts = fresh


class RewardNormalizer:
    """Scales rewards by the standard deviation of the running discounted return, without shifting them.

    Args:
        gamma: Discount of the running return, in [0, 1].
        clip: Bound of the output.
        epsilon: Added to the variance.
        n_envs: Number of environments, each with a running return of its own.
    """

    def __init__(
        self, gamma: float = 0.99, clip: float = 10.0, epsilon: float = 1e-8, *, n_envs: int = 1
    ) -> None:
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(f"gamma is {gamma}; it must lie in [0, 1]")
        if n_envs < 1:
            raise ValueError(f"n_envs is {n_envs}; it must be at least 1")
        self.gamma, self.clip, self.epsilon, self.n_envs = (
            float(gamma),
            float(clip),
            float(epsilon),
            int(n_envs),
        )
        self.statistics = RunningMeanStd(())
        self._returns = np.zeros(self.n_envs)

    @property
    def running_returns(self) -> Floats:
        """``[N]`` discounted sums of the rewards so far in each running episode."""
        return self._returns.copy()

    def step(self, rewards: ArrayLike, ended: ArrayLike | None = None) -> None:
        """Take in one step: a number, or ``[N]`` rewards; ``ended`` ``[N]`` says whose episode it was the last of."""
        r = np.asarray(rewards, np.float64).reshape(-1)
        stops = np.zeros(len(r), np.bool_) if ended is None else np.asarray(ended, np.bool_).reshape(-1)
        self.update(r[None], stops[None])

    def update(self, rewards: ArrayLike, boundary: ArrayLike) -> None:
        """Take in a window ``[T, N]``; ``boundary`` ``[T, N]`` marks the last step of each episode.

        A reward that is not finite is left out (and counted in ``statistics.rejected``).

        Raises:
            ValueError: Shapes are not ``[T, N]``.
        """
        r, stops = np.asarray(rewards, np.float64), np.asarray(boundary, np.bool_)
        if r.ndim != 2 or r.shape[1] != self.n_envs or stops.shape != r.shape:
            raise ValueError(f"rewards {r.shape} and boundary {stops.shape} must both be [T, {self.n_envs}]")
        seen = np.empty_like(r)
        running = self._returns
        for t in range(len(r)):
            finite = np.isfinite(r[t])
            running = np.where(finite, self.gamma * running + r[t], running)
            seen[t] = np.where(finite, running, np.nan)
            running = np.where(stops[t], 0.0, running)
        self.statistics.update(seen)
        self._returns = running

    def normalize(self, rewards: ArrayLike) -> Floats:
        """``clip(r / sqrt(var + epsilon))``, same shape, float64; unchanged while nothing has varied yet."""
        var = float(self.statistics.var)
        scale = float(np.sqrt(var + self.epsilon)) if var > 0.0 else 1.0
        return np.clip(np.asarray(rewards, np.float64) / scale, -self.clip, self.clip)

    def reset(self) -> None:
        """Set the running returns to zero; the statistics stay."""
        self._returns = np.zeros(self.n_envs)

    def state_dict(self) -> State:
        """Statistics and running returns."""
        return {"statistics": self.statistics.state_dict(), "returns": self._returns.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ValueError: Another number of environments.
        """
        returns = np.array(state["returns"], np.float64)
        if returns.shape != (self.n_envs,):
            raise ValueError(
                f"the stored state is of {len(returns)} environment(s), this normaliser has {self.n_envs}"
            )
        self.statistics.load_state_dict(state["statistics"])
        self._returns = returns
