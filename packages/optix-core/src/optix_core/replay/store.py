"""Where replay keeps what happened: one record per environment step, in a ring.

A record holds observation, action, reward, what truly followed, and whether the episode terminated or was cut there.
Records of all environments lie in time order: the row behind row ``i`` in the same environment is ``i + N``. One record
is one piece of memory because a draw then touches few cache lines (256 rows of 400,000: 24 against 26 microseconds
with one array per field, and one segment instead of five for a checkpoint to share).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import ConfigError
from optix_core.replay.memory import require_memory
from optix_core.replay.rows import (
    CUT,
    TERMINATED,
    TRUNCATED,
    dtype_from_text,
    dtype_to_text,
    row_dtype,
    same_rows,
)
from optix_core.replay.segments import SEGMENT_ROWS, Segments
from optix_core.state import State

FIELDS = ("observation", "action", "reward", "next_observation", "flags")
"""What a row has; ``flags`` are the bits of :mod:`optix_core.replay.rows`."""

_WHOLE_ROWS = 4096
"""Up to this many bytes a row is read as a whole and taken apart; larger ones are read field by field."""


class RowStore:
    """The last ``capacity`` environment steps; see :class:`~optix_core.replay.ring.ReplayBuffer` for drawing.

    Args:
        capacity: Rows in total, over all environments.
        memory_fraction: Share of the available memory (container limits count) that the rows may take, in (0, 1].

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(self, capacity: int, *, memory_fraction: float = 0.8) -> None:
        if int(capacity) != capacity or capacity < 1:
            raise ConfigError(
                f"capacity is {capacity}; a replay buffer holds a whole number of rows, at least 1"
            )
        if not 0.0 < memory_fraction <= 1.0:
            raise ConfigError(f"memory_fraction is {memory_fraction}; it must lie in (0, 1]")
        self.capacity, self.memory_fraction = int(capacity), float(memory_fraction)
        self._total = self._n_envs = 0
        self._rows: NDArray[Any] | None = None
        self._expected = b""

    def __len__(self) -> int:
        return min(self._total, self.capacity)

    @property
    def total(self) -> int:
        """Rows ever added; row number ``g`` lies at ``g % capacity``."""
        return self._total

    @property
    def n_envs(self) -> int:
        """N, the number of environments; 0 before the first :meth:`add`."""
        return self._n_envs

    @property
    def nbytes(self) -> int:
        """Bytes of memory held; 0 before the first :meth:`add`."""
        return 0 if self._rows is None else self._rows.nbytes

    @property
    def dtypes(self) -> tuple[np.dtype[Any], np.dtype[Any]]:
        """Of observations and of actions, as stored.

        Raises:
            ValueError: Nothing was stored yet.
        """
        self._require_rows()
        return self._obs_dtype, self._act_dtype

    def column(self, name: str) -> NDArray[Any]:
        """The view ``[capacity, ...]`` of one field of all rows, to read from.

        Args:
            name: ``observation``, ``next_observation``, ``action``, ``reward`` or ``flags``.

        Raises:
            ValueError: Nothing was stored yet.
        """
        self._require_rows()
        return self._fields[name]

    def add(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: ArrayLike,
        terminated: ArrayLike,
        truncated: ArrayLike,
    ) -> None:
        """Store one vector step, N rows.

        If a row does not begin where the previous row of its environment ended (the environment was reset from
        outside, or training went back to an earlier state), that previous row is cut: returns end there, with the
        value of what followed.

        Args:
            observations: ``[N, *obs]``.
            actions: ``[N, *act]`` as the policy emitted them.
            rewards: ``[N]``, kept as float32.
            next_observations: ``[N, *obs]`` what truly followed, before any reset.
            terminated: ``[N]`` bool.
            truncated: ``[N]`` bool.

        Raises:
            ConfigError: At the first call: the buffer would not fit into memory, or holds fewer than N rows.
            ValueError: Shapes or dtypes are not those of the rows before.
        """
        seen, acted, after = np.asarray(observations), np.asarray(actions), np.asarray(next_observations)
        if self._rows is None:
            self._begin(seen, acted)
        n, fields = self._n_envs, self._fields
        gained = np.asarray(rewards)
        over, cut = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
        if (
            seen.shape != self._obs_shape
            or after.shape != self._obs_shape
            or acted.shape != self._act_shape
            or not gained.shape == over.shape == cut.shape == (n,)
            or seen.dtype != self._obs_dtype
            or after.dtype != self._obs_dtype
            or acted.dtype != self._act_dtype
        ):
            raise self._misfit(seen, acted, gained, after, over, cut)
        if self._total and seen.tobytes() != self._expected:
            self._cut_where_broken(seen)
        flags = over * TERMINATED + cut * TRUNCATED
        columns = (
            ("observation", seen),
            ("next_observation", after),
            ("action", acted),
            ("reward", gained),
            ("flags", flags),
        )
        head = self._total % self.capacity
        first = min(n, self.capacity - head)
        self._segments.release(head, head + first)
        for name, values in columns:
            fields[name][head : head + first] = values[:first]
        if first < n:
            self._segments.release(0, n - first)
            for name, values in columns:
                fields[name][: n - first] = values[first:]
        self._total += n
        self._expected = after.tobytes()

    def cut(self) -> None:
        """The rows to come do not continue the last ones: returns end there, with the value of what followed."""
        if self._total:
            self._mark_cut(np.ones(self._n_envs, np.bool_))

    def clear(self) -> None:
        """Forget all rows. The memory is kept for those to come."""
        self._total, self._expected = 0, b""

    def fields_of(self, indices: NDArray[np.int64], *names: str) -> list[NDArray[Any]]:
        """Fresh arrays ``[B, ...]``: the fields ``names`` (see :meth:`column`) of rows ``indices`` ``[B]``."""
        assert self._rows is not None
        if self._rows.dtype.itemsize > _WHOLE_ROWS:
            return [self._fields[name][indices] for name in names]
        taken = self._rows.take(indices)
        return [np.ascontiguousarray(taken[name]) for name in names]

    def state_dict(self) -> State:
        """Everything, at the cost of what changed: full segments are handed out sealed and shared, not copied."""
        state: State = {"capacity": self.capacity, "total": self._total, "n_envs": self._n_envs}
        if self._rows is None:
            return {**state, "row": None, "segments": [], "open": None}
        kept = self._kept()
        low, high = self._open_span()
        return {
            **state,
            "row": dtype_to_text(self._rows.dtype),
            "segments": [self._segments.seal(k) if whole else None for k, whole in enumerate(kept)],
            "open": self._segments.copy(low, high),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from :meth:`state_dict`; segments that are in place already are not touched.

        Raises:
            ValueError: The state is of a buffer with another capacity or other rows; nothing is changed then.
            ConfigError: Its rows do not fit into memory.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the stored replay buffer has capacity {state['capacity']}, this one {self.capacity}; "
                f"build it with capacity={state['capacity']} to continue"
            )
        if state["row"] is None:
            self.clear()
            return
        dtype = dtype_from_text(state["row"])
        if self._rows is not None and (self._rows.dtype != dtype or self._n_envs != state["n_envs"]):
            raise ValueError(
                f"the stored replay buffer has rows {dtype} of {state['n_envs']} environments, this one "
                f"{self._rows.dtype} of {self._n_envs}; build the agent for the same environment to continue"
            )
        before = self._total
        fresh = self._rows is None
        if fresh:
            self._allocate(dtype, int(state["n_envs"]))
        self._total = int(state["total"])
        try:
            self._check_content(state)
        except ValueError:
            self._total = before
            if fresh:
                self._rows, self._n_envs = None, 0
            raise
        for k, segment in enumerate(state["segments"]):
            if segment is not None:
                self._segments.load(k, segment)
        self._segments.write(self._open_span()[0], np.asarray(state["open"]))
        self._expected = self._last("next_observation").tobytes() if self._total else b""

    @property
    def _extra_bytes(self) -> int:
        """Bytes per row that a subclass keeps beside the rows."""
        return 0

    def _begin(self, seen: NDArray[Any], acted: NDArray[Any]) -> None:
        if not seen.ndim or not len(seen) or acted.shape[:1] != seen.shape[:1]:
            raise ValueError(
                f"expected observations [N, *obs] and actions [N, *act] of N environments, got {seen.shape} and "
                f"{acted.shape}"
            )
        if len(seen) > self.capacity:
            raise ConfigError(
                f"a replay buffer of {self.capacity} rows cannot hold one step of {len(seen)} environments; "
                "use a larger capacity"
            )
        self._allocate(row_dtype(seen, acted), len(seen))

    def _allocate(self, dtype: np.dtype[Any], n_envs: int) -> None:
        require_memory(
            self.capacity * (dtype.itemsize + self._extra_bytes),
            fraction=self.memory_fraction,
            what=f"a replay buffer of {self.capacity:,} rows of {dtype.itemsize + self._extra_bytes:,} bytes",
            advice=(
                "Use a smaller buffer (buffer_size, capacity), smaller observations (uint8 images, fewer or "
                "smaller frames), or raise memory_fraction if you know better."
            ),
        )
        rows = np.zeros(self.capacity, dtype)  # untouched pages cost nothing until they are written
        fields = {name: rows[name] for name in FIELDS}
        self._rows, self._fields, self._n_envs = rows, fields, n_envs
        self._segments = Segments(rows.view(np.uint8).reshape(self.capacity, dtype.itemsize))
        self._obs_shape = (n_envs, *fields["observation"].shape[1:])
        self._act_shape = (n_envs, *fields["action"].shape[1:])
        self._obs_dtype, self._act_dtype = fields["observation"].dtype, fields["action"].dtype

    def _require_rows(self) -> None:
        if self._rows is None or not self._total:
            raise ValueError("the replay buffer is empty: add() rows before drawing from it")

    def _last(self, name: str) -> NDArray[Any]:
        """``[N, ...]``: a field of the newest row of every environment."""
        return self._fields[name][np.arange(self._total - self._n_envs, self._total) % self.capacity]

    def _cut_where_broken(self, seen: NDArray[Any]) -> None:
        """Bytes differ; values may not (negative zeros, padding), and behind an episode's end they need not agree."""
        going_on = self._last("flags") == 0
        if going_on.any():
            broken = going_on & ~same_rows(seen, self._last("next_observation"))
            if broken.any():
                self._mark_cut(broken)

    def _mark_cut(self, which: NDArray[np.bool_]) -> None:
        for n in np.flatnonzero(which).tolist():
            row = (self._total - self._n_envs + n) % self.capacity
            self._segments.release(row, row + 1)
            self._fields["flags"][row] |= CUT

    def _open_span(self) -> tuple[int, int]:
        """The rows of the segment that is being filled, as far as they are in use; empty if none is."""
        head = self._total % self.capacity
        low, high = self._segments.span(head // SEGMENT_ROWS)
        if head == low:
            return low, low
        return low, (high if self._total >= self.capacity else head)

    def _kept(self) -> list[bool]:
        """Which segments are full and not being written."""
        low, high = self._open_span()
        size = len(self)
        spans = [self._segments.span(k) for k in range(len(self._segments))]
        return [b <= size and not (a == low and high > low) for a, b in spans]

    def _check_content(self, state: Mapping[str, Any]) -> None:
        assert self._rows is not None
        width, kept = self._rows.dtype.itemsize, self._kept()
        segments, rest = state["segments"], np.asarray(state["open"])
        low, high = self._open_span()
        right = len(segments) == len(kept) and rest.shape == (high - low, width) and rest.dtype == np.uint8
        for k, segment in enumerate(segments if right else ()):
            a, b = self._segments.span(k)
            shape = None if segment is None else (segment.shape, segment.dtype)
            right &= shape == (((b - a, width), np.dtype(np.uint8)) if kept[k] else None)
        if not right:
            raise ValueError("the stored replay buffer is damaged: its segments are not those of its rows")

    def _misfit(self, *given: NDArray[Any]) -> ValueError:
        n = self._n_envs
        expected = (
            ("observations", self._obs_shape, self._obs_dtype),
            ("actions", self._act_shape, self._act_dtype),
            ("rewards", (n,), None),
            ("next_observations", self._obs_shape, self._obs_dtype),
            ("terminated", (n,), None),
            ("truncated", (n,), None),
        )
        wrong = [
            f"{name} is {array.dtype}{list(array.shape)} instead of {dtype or ''}{list(shape)}"
            for (name, shape, dtype), array in zip(expected, given, strict=True)
            if array.shape != shape or (dtype is not None and array.dtype != dtype)
        ]
        return ValueError(
            "these rows are not like those before: "
            + "; ".join(wrong)
            + ". A buffer holds one kind of row of a "
            "fixed number of environments; use another buffer for another environment"
        )
