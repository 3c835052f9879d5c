"""Windows from a live source, as a closed loop: observations come in, actions go out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import BaseAgent
from optix_core.base_pipeline import BasePipeline, EpisodeBoundaryFn
from optix_core.errors import ConfigError, ResumeError
from optix_core.loop_callback import LoopCallback
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.live.actions import UncheckedActor
from optix_core.pipelines.live.boundaries import EveryNSeconds, EveryNSteps, OnDone
from optix_core.pipelines.live.buffer import ItemBuffer, Overflow
from optix_core.pipelines.live.collector import LiveCollector
from optix_core.pipelines.live.counters import LiveCounters
from optix_core.pipelines.live.options import LiveOptions
from optix_core.pipelines.live.producer import Backoff, Producer
from optix_core.pipelines.live.source import LiveSource, check_source, sender
from optix_core.rl.spaces import SpaceInfo, describe_space
from optix_core.seeding import fresh_root_seed
from optix_core.state import State
from optix_core.types import EpisodeData

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController

logger = logging.getLogger("optix.live")

NOTEWORTHY = ("dropped", "rejected", "missing", "reconnects", "gaps", "stalls", "send_errors", "mismatched")
"""Counters whose change is told at the end of a window."""


class LivePipeline(BasePipeline):
    """Windows ``[T, ...]`` from a source that runs in a thread of its own.

    Item ``t`` of the source shows observation ``t``; the agent chooses an action for it, which is sent to the source if
    it has ``send``; item ``t + 1`` brings that action's reward, whether it ended the episode, and observation
    ``t + 1``. The item behind an ending one begins the next episode, and its reward and flags belong to no action.
    Where something between two items was lost (dropped, rejected, missing, a reconnect, an action that was not
    delivered), the episode is cut before the gap: truncated, without a record, because its return is not known.

    A source that returns ends the run, after a last window with the steps since the one before. What the source is, and
    what of it is optional, says :class:`~optix_core.pipelines.live.source.LiveSource`.

    Args:
        data_source: The source.
        agent: Who acts; may be set later with :meth:`set_agent`.
        episode_boundary_fn: ``(steps, seconds, last observation) -> bool``: whether the window ends here, asked after
            every step. :meth:`every_n_steps`, :meth:`every_n_seconds`, or None for :meth:`on_done_signal`.
        buffer_size: Items that may wait for the agent.
        reconnect_on_disconnect: Open the stream again when it raises an exception.
        overflow: What happens to items beyond ``buffer_size``: ``block`` makes the source wait, ``drop_oldest`` and
            ``drop_newest`` lose some, ``error`` ends the run.
        end_on_done: A window also ends where an episode does. False: only ``episode_boundary_fn`` decides, so that
            windows of ``every_n_steps(n)`` hold exactly ``n`` steps.
        max_episode_steps: Cut episodes after so many steps (truncated, complete, with a return): the way to have scores
            from a source whose episodes never end.
        stall_timeout: Seconds without an item after which :attr:`stalled` is True and ``on_stall`` is called.
        max_stall: Seconds without an item that end the run with ``StreamStalled``; None: wait for ever.
        allow_partial: Let a stall end a window that has steps; its episode is cut there.
        on_stall: Called with the seconds of silence, once per stall, from the thread that trains.
        max_reconnects: Attempts in a row that may bring nothing before the run ends with ``StreamError``; None: no
            limit.
        reconnect_delay: Seconds before the first attempt, doubled with each, and the longest wait.
        bootstrap_on_reconnect: Treat an episode that a reconnect cut as truncated (its last state has a value); False:
            as terminated.
        max_latency: Seconds from an item's arrival to its action beyond which the action counts as stale.
        reorder_window: Items with ``seq`` that wait, at most, for one that is missing.
        reorder_wait: Seconds of silence after which they wait no longer.
        max_malformed: Malformed items in a row that are tolerated, and in all while there are few.
        max_malformed_share: Share of all items that is tolerated.
        keep_infos: Keep every step's info dict in ``EpisodeData.infos``.
        observation_space: Of one observation. None: the source's attribute of that name, else whatever the first good
            item looks like.
        action_space: Of one action. None: the source's, else actions are not checked.
        seed: Root seed of the waiting times between reconnects; a fresh one if None.
        clock: Monotonic seconds.

    Raises:
        ConfigError: ``data_source`` is no source, or options contradict each other.
        SpaceError: A space is of a kind that optix does not know.
    """

    resume_level = "restart-episode"

    def __init__(
        self,
        data_source: LiveSource,
        agent: BaseAgent | None = None,
        episode_boundary_fn: EpisodeBoundaryFn | None = None,
        buffer_size: int = 1000,
        reconnect_on_disconnect: bool = True,
        *,
        overflow: Overflow = "block",
        end_on_done: bool = True,
        max_episode_steps: int | None = None,
        stall_timeout: float = 30.0,
        max_stall: float | None = 300.0,
        allow_partial: bool = False,
        on_stall: Callable[[float], None] | None = None,
        max_reconnects: int | None = 10,
        reconnect_delay: tuple[float, float] = (0.5, 60.0),
        bootstrap_on_reconnect: bool = True,
        max_latency: float | None = None,
        reorder_window: int = 8,
        reorder_wait: float = 1.0,
        max_malformed: int = 10,
        max_malformed_share: float = 0.01,
        keep_infos: bool = False,
        observation_space: Any = None,
        action_space: Any = None,
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_source(data_source)
        boundary = OnDone() if episode_boundary_fn is None else episode_boundary_fn
        if isinstance(boundary, OnDone) and not end_on_done:
            raise ConfigError(
                "end_on_done=False and no boundary: windows would never end. Pass "
                "episode_boundary_fn=LivePipeline.every_n_steps(n), or leave end_on_done out."
            )
        if not 0 < stall_timeout <= (max_stall or float("inf")):
            raise ConfigError(
                f"stall_timeout is {stall_timeout} and max_stall {max_stall}; expected 0 < stall_timeout <= max_stall"
            )
        for name, value in (("max_episode_steps", max_episode_steps), ("max_malformed", max_malformed)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        self.source = data_source
        self.root_seed = fresh_root_seed() if seed is None else int(seed)
        self._boundary, self._agent = boundary, agent
        self._options = LiveOptions(
            boundary=boundary,
            end_on_done=end_on_done,
            max_episode_steps=max_episode_steps,
            stall_timeout=stall_timeout,
            max_stall=max_stall,
            allow_partial=allow_partial,
            on_stall=on_stall,
            bootstrap_on_reconnect=bootstrap_on_reconnect,
            max_latency=max_latency,
            max_malformed=max_malformed,
            max_malformed_share=max_malformed_share,
            keep_infos=keep_infos,
            clock=clock,
        )
        self._buffered: dict[str, Any] = {
            "capacity": buffer_size,
            "overflow": overflow,
            "reorder_window": reorder_window,
            "reorder_wait": reorder_wait,
            "clock": clock,
        }
        self._reconnecting: dict[str, Any] = {
            "reconnect": reconnect_on_disconnect,
            "max_reconnects": max_reconnects,
        }
        self._delay = reconnect_delay
        Backoff(*reconnect_delay, self.root_seed)  # complains now rather than at the first disconnection
        self.observation_space = _space(observation_space, data_source, "observation_space")
        self.action_space = _space(action_space, data_source, "action_space")
        self._run: LoopController | None = None
        self._limit: int | None = None
        self._actor: Actor | None = None
        self._loaded = self._was_set_up = False
        self._prepare()

    # ---------------------------------------------------------------- where windows end

    @staticmethod
    def every_n_steps(n: int) -> EpisodeBoundaryFn:
        """Windows of ``n`` steps (shorter where an episode ends, unless ``end_on_done=False``)."""
        return EveryNSteps(int(n))

    @staticmethod
    def every_n_seconds(seconds: float) -> EpisodeBoundaryFn:
        """Windows that end with the first step ``seconds`` after they began, by a monotonic clock."""
        return EveryNSeconds(float(seconds))

    @staticmethod
    def on_done_signal() -> EpisodeBoundaryFn:
        """Windows that end where an episode does, and nowhere else."""
        return OnDone()

    # ---------------------------------------------------------------- what others see

    @property
    def is_live(self) -> bool:
        """True: the source goes on by itself."""
        return True

    @property
    def agent(self) -> BaseAgent | None:
        """Who acts."""
        return self._agent

    @property
    def steps_per_window(self) -> int | None:
        """Steps of a window, None where that is not known beforehand."""
        fixed = isinstance(self._boundary, EveryNSteps) and not self._options.end_on_done
        return self._boundary.n if fixed and isinstance(self._boundary, EveryNSteps) else None

    @property
    def counters(self) -> LiveCounters:
        """What became of every item so far; exact at any moment, from any thread, also after :meth:`teardown`."""
        errors = 0 if self._producer is None else self._producer.error_count
        return LiveCounters(
            **self._buffer.counts(),
            **self._collector.exchange.tallies,
            source_errors=self._errors_before + errors,
        )

    @property
    def stalled(self) -> bool:
        """Whether nothing has come for ``stall_timeout``."""
        return self._collector.exchange.stalled

    @property
    def rejections(self) -> list[tuple[int, str]]:
        """The newest malformed items: their index and what was wrong."""
        return list(self._collector.exchange.rejections)

    @property
    def source_errors(self) -> list[Exception]:
        """The newest exceptions of the source, as they were raised."""
        return [] if self._producer is None else list(self._producer.errors)

    @property
    def _producer_thread(self) -> threading.Thread | None:
        return None if self._producer is None else self._producer.thread

    # ---------------------------------------------------------------- the contract of pipelines

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act from the next window on."""
        self._agent = agent
        self._actor = None

    def companion_callbacks(self, run: LoopController) -> list[LoopCallback]:
        """None; the loop says here who it is, so that a stop is noticed while the source is silent."""
        self._run = run
        return []

    def setup(self) -> None:
        """Get ready; the source is opened with the first window. A second call starts afresh.

        A state loaded before the first ``setup`` is kept.
        """
        self._was_set_up = True
        if self._loaded:
            self._loaded = False
            return
        self._halt()
        self._prepare()

    def episodes(self) -> Iterator[EpisodeData]:
        """Windows until the source ends or the pipeline is torn down."""
        if self._torn_down:
            self.setup()
        collector = self._collector
        while self._collector is collector and not self._torn_down:
            window = self.collect()
            if window is None:
                return
            yield window

    def collect(self) -> EpisodeData | None:
        """The next window; None once the source has ended.

        Raises:
            StreamError: The source failed for good, fell silent, or delivers too much that cannot be used.
            ConfigError: There is no agent.
        """
        if self._torn_down:
            self.setup()
        if self._actor is None:
            self._actor = (
                UncheckedActor(self._agent, self.observation_space)
                if self.action_space is None
                else Actor(self._agent, self.action_space, self.observation_space)
            )
        if self._producer is None:
            self._producer = self._new_producer()
            self._producer.start()
        limit, self._limit = self._limit, None
        window = self._collector.collect(self._actor, limit)
        if window is not None:
            self._border = self._state()
            counters = self.counters
            window.metadata["live"] |= {"counters": counters.to_dict()}
            if any(getattr(counters, name) != getattr(self._told, name) for name in NOTEWORTHY):
                window.metadata["log"] = [("live", counters.to_dict())]
                self._told = counters
        return window

    def limit_next_window(self, steps: int) -> bool:
        """See :meth:`BasePipeline.limit_next_window`."""
        if steps < 1:
            return False
        self._limit = int(steps)
        return True

    def teardown(self) -> None:
        """End the source's thread, within two seconds, and close the source. Safe to call twice."""
        if self._producer is None and not self._torn_down:
            self._producer = self._new_producer()  # never started: only the source is closed
        self._halt()
        self._loaded = self._was_set_up = False

    # ---------------------------------------------------------------- state

    def state_dict(self) -> State:
        """Counts and the number of the last item, as of the last window border.

        A resumed run begins with a new episode, behind that item if the source has ``resume_from``: no item is used in
        two windows.
        """
        return {
            "root_seed": self.root_seed,
            "resume_level": self.resume_level,
            "live": dict(self._border),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting, and behind the last item if the source can.

        Raises:
            ResumeError: The state is that of another kind of pipeline.
        """
        if "live" not in state:
            raise ResumeError(f"this is no state of a LivePipeline: it has {sorted(state)}")
        self._halt()
        self.root_seed = int(state["root_seed"])
        self._prepare()
        live = state["live"]
        self._collector.load(live)
        self._resume_at = self._collector.exchange.last_number
        self._buffer.continue_from(live["books"], self._resume_at)
        self._errors_before = int(live["source_errors"])
        self._border, self._told = self._state(), self.counters
        self._loaded = not self._was_set_up
        if live["window_index"] and (self._resume_at is None or not hasattr(self.source, "resume_from")):
            logger.warning(
                "%s cannot resume behind an item (it needs resume_from(seq) and info['seq']): it starts where it "
                "starts, and items may be seen again",
                type(self.source).__name__,
            )

    def _state(self) -> State:
        collector = self._collector
        books = self._buffer.counts()
        errors = 0 if self._producer is None else self._producer.error_count
        return {
            "window_index": collector.window_index,
            "total_steps": collector.total_steps,
            "tallies": dict(collector.exchange.tallies),
            "last_number": collector.exchange.last_number,
            "books": books,
            "source_errors": self._errors_before + errors,
        }

    # ---------------------------------------------------------------- inside

    def _prepare(self) -> None:
        """Empty books and a collector, without opening the source."""
        self._buffer = ItemBuffer(**self._buffered)
        self._collector = LiveCollector(
            self._buffer,
            sender(self.source),
            self.observation_space,
            self.action_space,
            self._options,
            self._stop_requested,
        )
        self._producer: Producer | None = None
        self._resume_at: int | None = None
        self._errors_before = 0
        self._torn_down = False
        self._told = LiveCounters()
        self._border = self._state()

    def _halt(self) -> None:
        """End the source's thread if there is one."""
        if self._producer is not None and not self._torn_down:
            self._torn_down = True
            self._producer.stop()
        self._torn_down, self._limit = True, None

    def _new_producer(self) -> Producer:
        return Producer(
            self.source,
            self._buffer,
            backoff=Backoff(*self._delay, self.root_seed),
            resume_at=self._resume_at,
            **self._reconnecting,
        )

    def _stop_requested(self) -> bool:
        return self._run is not None and self._run.stop_requested


def _space(given: Any, source: Any, name: str) -> SpaceInfo | None:
    chosen = getattr(source, name, None) if given is None else given
    return chosen if chosen is None or isinstance(chosen, SpaceInfo) else describe_space(chosen)
