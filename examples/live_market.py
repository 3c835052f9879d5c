"""Train on a market that does not wait: a feed in a process of its own that stalls, disconnects and sends rubbish.

    python examples/live_market.py --seconds 300

The feed quotes a price that swings around its mean, fifty times a second, over a local socket. It takes orders
(short, flat, long) and pays what the position earned. Now and then it repeats or exchanges quotes, sends some that
cannot be used, falls silent, or drops the connection. Training goes on through all of it; validation happens on a
simulator. At the end the books have to balance: every quote is accounted for, and no thread, process or file is left
behind.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core import EvaluationPipeline, LivePipeline, RLOptimizer, make_agent
from optix_core.pipelines.live import LiveCounters

SPACES = gym.spaces.Box(-10.0, 10.0, (2,), np.float32), gym.spaces.Discrete(3)
DAY = 100  # quotes in an episode


class Market:
    """A price that swings around its mean, and one trader's position in it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.price, self.position = 0.0, 0

    def order(self, action: int) -> None:
        """0: be short, 1: flat, 2: long."""
        self.position = action - 1

    def move(self) -> float:
        """To the next quote; what the position earned."""
        step = -0.3 * self.price + 0.5 * self.rng.gauss(0.0, 1.0)
        self.price += step
        return self.position * step

    def seen(self) -> list[float]:
        """Price and position."""
        return [max(-10.0, min(10.0, self.price)), float(self.position)]


class MarketSimulator(gym.Env[Any, Any]):
    """The same market, waiting for its orders: for validation."""

    observation_space, action_space = SPACES

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed, options=options)
        self.market, self.k = Market(int(self.np_random.integers(2**31))), 0
        return np.array(self.market.seen(), np.float32), {}

    def step(self, action: Any) -> Any:
        self.market.order(int(action))
        earned = self.market.move()
        self.k += 1
        return np.array(self.market.seen(), np.float32), earned, False, self.k >= DAY, {}


# --- the feed, in its own process ---------------------------------------------------------------------------------


def serve(seed: int, tick: float, faults: float) -> None:
    """Quote until the parent closes our standard input; then say how often what went wrong."""
    rng, market = random.Random(seed), Market(seed)
    done = dict.fromkeys(("quotes", "stalls", "disconnects", "repeated", "exchanged", "unusable"), 0)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    quotes: list[str] = []
    client: socket.socket | None = None
    heard, cursor, answers = b"", 0, -1
    due = time.monotonic()
    while True:
        waiting = [sys.stdin, listener, *([client] if client else [])]
        for ready in select.select(waiting, [], [], max(0.0, due - time.monotonic()))[0]:
            if ready is sys.stdin:
                listener.close()
                if client:
                    client.close()
                print(json.dumps(done), flush=True)
                return
            if ready is listener:
                if client:
                    client.close()
                client, heard = listener.accept()[0], b""
                client.settimeout(30.0)
                client.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )  # a quote is small and cannot wait
                cursor = 10**9  # until it says where to begin
            elif client:
                try:
                    more = client.recv(65536)
                except OSError:
                    more = b""
                if not more:
                    client.close()
                    client = None
                    continue
                *lines, heard = (heard + more).split(b"\n")
                for said in map(json.loads, lines):
                    if "from" in said:
                        cursor = said["from"]
                    else:
                        market.order(said["action"])
                        answers = said["seq"]
        if time.monotonic() < due:
            continue
        due = max(due + tick, time.monotonic() - 1.0)
        earned = market.move()
        number = len(quotes)
        done["quotes"] += 1
        spoiled = rng.random() < 0.002 * faults
        done["unusable"] += spoiled
        seen = [float("nan"), 0.0] if spoiled else market.seen()
        quotes.append(json.dumps([seen, earned, False, False, {"seq": number, "answers": answers}]))
        if rng.random() < 0.003 * faults:
            done["stalls"] += 1
            due += rng.uniform(0.3, 1.0)
        if client is None or cursor > len(quotes):
            continue
        batch, cursor = quotes[cursor:], len(quotes)
        if len(batch) > 1 and rng.random() < 0.5 * faults:
            batch[-1], batch[-2] = batch[-2], batch[-1]
            done["exchanged"] += 1
        if rng.random() < 0.01 * faults:
            batch.append(batch[-1])
            done["repeated"] += 1
        if rng.random() < 0.001 * faults:
            batch.append('"no quote at all"')
            done["unusable"] += 1
        try:
            client.sendall("".join(f"{line}\n" for line in batch).encode())
        except OSError:
            client.close()
            client = None
        if client and rng.random() < 0.003 * faults:
            done["disconnects"] += 1
            client.close()
            client = None


# --- the source ---------------------------------------------------------------------------------------------------


class MarketFeed:
    """The client's end: what LivePipeline calls a source."""

    observation_space, action_space = SPACES

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.next, self.garbage, self.closing = 0, 0, False
        self.taken: set[int] = set()
        self.connection: socket.socket | None = None

    def stream(self) -> Iterator[Any]:
        with socket.create_connection(self.address, timeout=5.0) as connection:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # nor can an order
            self.connection = connection
            connection.sendall(json.dumps({"from": self.next}).encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    item = json.loads(line)
                    yield item
                    # We are asked for the next one, so this one was taken.
                    if isinstance(item, list):
                        self.taken.add(item[4]["seq"])
                    else:
                        self.garbage += 1
        if not self.closing:
            raise ConnectionError("the feed hung up")

    def send(self, action: Any, seq: int) -> None:
        if self.connection is not None:
            self.connection.sendall(json.dumps({"action": int(action), "seq": seq}).encode() + b"\n")

    def resume_from(self, seq: int) -> None:
        self.next = seq + 1

    def close(self) -> None:
        self.closing = True
        if self.connection is not None and self.connection.fileno() >= 0:
            self.connection.shutdown(socket.SHUT_RDWR)


# --- training -----------------------------------------------------------------------------------------------------


def open_files() -> int:
    table = Path("/proc/self/fd")
    return len(list(table.iterdir())) if table.is_dir() else 0


def check(counters: LiveCounters, feed: MarketFeed) -> None:
    """Every quote that was taken is in exactly one account, and none was passed over."""
    assert counters.balanced, counters
    assert counters.dropped == 0, counters
    assert counters.missing == 0, counters
    numbered = counters.consumed + counters.malformed + counters.buffered - feed.garbage
    assert numbered == len(feed.taken), (numbered, len(feed.taken))
    in_flight = max(feed.taken) + 1 - len(feed.taken)  # at the end, one of a pair that the feed had exchanged
    assert in_flight <= 1, in_flight


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="how long to train (default 6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tick", type=float, default=0.02, help="seconds between quotes")
    parser.add_argument("--faults", type=float, default=1.0, help="how much goes wrong; 0: nothing")
    parser.add_argument("--serve", action="store_true", help="be the feed (the example starts it by itself)")
    options = parser.parse_args()
    if options.serve:
        serve(options.seed, options.tick, options.faults)
        return

    threads, files = threading.enumerate(), open_files()
    command = [sys.executable, __file__, "--serve", "--seed", str(options.seed)]
    command += ["--tick", str(options.tick), "--faults", str(options.faults)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        feed = MarketFeed(int(process.stdout.readline()))
        counters = train(feed, options)
        feed_says, _ = process.communicate("")
    print("the feed says", feed_says.strip())
    print("the pipeline says", json.dumps(counters.to_dict()))
    check(counters, feed)
    left = [t.name for t in threading.enumerate() if t not in threads]
    assert not left, left
    assert open_files() == files, (files, open_files())
    print("nothing lost, nothing leaked")


def train(feed: MarketFeed, options: argparse.Namespace) -> LiveCounters:
    """Train for the time that was asked for; what became of the quotes."""
    pipeline = LivePipeline(
        feed,
        episode_boundary_fn=LivePipeline.every_n_steps(128),
        buffer_size=20_000,
        end_on_done=False,
        max_episode_steps=DAY,
        stall_timeout=0.25,
        max_stall=60.0,
        max_latency=options.tick,
        reconnect_delay=(0.05, 1.0),
        max_malformed_share=0.05,
        seed=options.seed,
    )
    agent = make_agent("PPO", MarketSimulator(), seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        loop = RLOptimizer(
            agent,
            pipeline,
            optimizer="fixed",
            val_pipeline=EvaluationPipeline(MarketSimulator(), episodes=10, seed=options.seed),
            checkpoint_dir=folder,
            max_seconds=options.seconds,
            min_episodes_before_dormant=10**9,  # the market never ends, so neither does training
            confirm_episodes=20,
            seed=options.seed,
        )
        result = loop.run()
    print(result.message)
    print(f"{result.steps} steps in {result.windows} windows, {result.episodes} whole episodes")
    if result.confirmation is not None:
        print(f"the best policy earns {result.confirmation.mean:.1f} a day on fresh days of the simulator")
    return pipeline.counters


if __name__ == "__main__":
    main()
