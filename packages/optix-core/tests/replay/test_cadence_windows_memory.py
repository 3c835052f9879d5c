"""When to learn, what a window shows, and how much memory there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.replay import Cadence, ReplayBuffer, observe_window
from optix_core.replay import memory as memory_module
from optix_core.types import EpisodeData


@given(
    st.lists(st.integers(0, 9), max_size=40),
    st.integers(0, 60),
    st.integers(1, 20),
    st.integers(1, 5) | st.just(-1),
)
def test_gradient_steps_do_not_depend_on_how_steps_are_bundled(bundles, starts, every, gradient_steps):
    cadence, one = Cadence(), Cadence()
    settings = {"learning_starts": starts, "train_freq": every, "gradient_steps": gradient_steps}
    due = sum(cadence.advance(n, **settings) for n in bundles)
    assert due == sum(one.advance(1, **settings) for _ in range(sum(bundles)))
    assert cadence.env_steps == sum(bundles)
    rounds = sum(1 for step in range(1, sum(bundles) + 1) if step > starts and step % every == 0)
    assert due == rounds * (every if gradient_steps == -1 else gradient_steps)


def test_cadence_continues_and_refuses_nonsense():
    cadence = Cadence()
    cadence.advance(7, learning_starts=0, train_freq=4, gradient_steps=1)
    again = Cadence()
    again.load_state_dict(cadence.state_dict())
    assert again.advance(1, learning_starts=0, train_freq=4, gradient_steps=3) == 3
    good = {"learning_starts": 0, "train_freq": 1, "gradient_steps": 1}
    for bad in ({"learning_starts": -1}, {"train_freq": 0}, {"gradient_steps": 0}, {"gradient_steps": -2}):
        with pytest.raises(ValueError, match="at least"):
            again.advance(1, **{**good, **bad})
    assert again.env_steps == 8


def test_steps_since_the_last_report_are_part_of_the_state():
    cadence, settings = Cadence(), {"learning_starts": 0, "train_freq": 1, "gradient_steps": 1}
    assert cadence.unreported == 0
    cadence.advance(3, **settings)
    cadence.report()
    cadence.advance(2, **settings)
    again = Cadence()
    again.load_state_dict(cadence.state_dict())
    assert (again.env_steps, again.unreported) == (5, 2)
    with pytest.raises(KeyError):
        again.load_state_dict({"env_steps": 9})
    assert (again.env_steps, again.unreported) == (5, 2)


def window(t, n=None, *, truncated_at=(), boundary=True, final=True):
    lead = (t,) if n is None else (t, n)
    obs = np.arange(int(np.prod(lead)), dtype=np.float32).reshape(*lead, 1)
    cut = np.zeros(lead, bool)
    for at in truncated_at:
        cut[at] = True
    steps = [[at, 0] if n is None else list(at) for at in truncated_at]
    return EpisodeData(
        observations=obs,
        actions=np.arange(int(np.prod(lead))).reshape(lead),
        rewards=obs[..., 0] * 2,
        terminated=np.zeros(lead, bool),
        truncated=cut,
        final_obs=np.full((*lead[1:], 1), 900.0, np.float32) if final else None,
        n_envs=n,
        boundary_steps=np.asarray(steps).reshape(-1, 2) if boundary else None,
        boundary_observations=np.full((len(steps), 1), 500.0, np.float32) if boundary else None,
    )


@pytest.mark.parametrize("n", [None, 2])
def test_a_window_is_shown_step_by_step_with_true_successors(n):
    at = 1 if n is None else (1, 1)
    buffer = ReplayBuffer(20)
    shown = observe_window(buffer.add, window(3, n, truncated_at=[at]))
    assert shown == len(buffer) == 3 * (n or 1)
    after = buffer.column("next_observation")[: len(buffer), 0].tolist()
    assert after == ([1.0, 500.0, 900.0] if n is None else [2.0, 3.0, 4.0, 500.0, 900.0, 900.0])
    assert buffer.column("reward")[: len(buffer)].tolist() == [2.0 * i for i in range(shown)]
    assert not (buffer.column("flags") & 4).any()


def test_windows_that_hold_little_are_shown_as_they_are():
    calls = []
    assert observe_window(lambda *step: calls.append(step), window(0)) == 0
    assert not calls
    buffer = ReplayBuffer(20)
    observe_window(buffer.add, window(1))  # shorter than n
    assert buffer.sample(4, np.random.default_rng(0), n_step=5).rewards.tolist() == [0.0] * 4
    observe_window(buffer.add, window(4, truncated_at=[0, 1, 2, 3]))  # nothing but ends
    batch = buffer.batch(np.arange(1, 5), n_step=5, gamma=0.5)
    assert batch.rewards.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert batch.discounts.tolist() == [0.5] * 4


@pytest.mark.parametrize("broken", [{"final": False}, {"truncated_at": [1], "boundary": False}])
def test_a_window_that_does_not_say_what_followed_is_refused_whole(broken):
    buffer = ReplayBuffer(20)
    with pytest.raises(ValueError, match=r"final_obs|boundary_observations"):
        observe_window(buffer.add, window(4, **broken))
    assert len(buffer) == 0


# --- memory ----------------------------------------------------------------------------------------------------------


def files(root, **contents):
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = "MemTotal: 1000000 kB\nMemFree: 10 kB\nMemAvailable: 500000 kB\n"


def test_the_smallest_room_of_machine_and_container_counts(tmp_path):
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    files(proc, **{"meminfo": MEMINFO, "self/cgroup": "0::/a/b\n"})
    assert memory_module.available_memory(proc, cgroup) == 512_000_000
    files(cgroup, **{"a/memory.max": "max\n", "a/memory.current": "9\n", "a/memory.stat": "anon 5\n"})
    assert memory_module.available_memory(proc, cgroup) == 512_000_000
    stat = "anon 7000\ninactive_file 1000\n"
    files(cgroup, **{"a/b/memory.max": "90000\n", "a/b/memory.current": "8000\n", "a/b/memory.stat": stat})
    assert memory_module.available_memory(proc, cgroup) == 83_000
    files(cgroup, **{"a/memory.max": "60000\n", "a/memory.current": "9000\n"})  # the parent is tighter
    assert memory_module.available_memory(proc, cgroup) == 51_000


def test_version_one_groups_count_also_where_only_their_root_is_mounted(tmp_path):
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    files(proc, **{"meminfo": MEMINFO, "self/cgroup": "4:cpu,memory:/docker/x\n2:cpu:/y\n"})
    files(
        cgroup / "memory",
        **{
            "memory.limit_in_bytes": "70000",
            "memory.usage_in_bytes": "30000",
            "memory.stat": "total_inactive_file 5000\n",
        },
    )
    assert memory_module.available_memory(proc, cgroup) == 45_000


def test_without_linux_files_the_system_is_asked_or_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(
        memory_module.os, "sysconf_names", {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 2}, raising=False
    )
    monkeypatch.setattr(
        memory_module.os,
        "sysconf",
        lambda name: {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name],
        raising=False,
    )
    assert memory_module.available_memory(tmp_path, tmp_path) == 40_960
    monkeypatch.setattr(memory_module.os, "sysconf_names", {}, raising=False)
    assert memory_module.available_memory(tmp_path, tmp_path) is None


def test_here_something_plausible_is_known():
    room = memory_module.available_memory()
    assert room is None or 2**20 < room < 2**50


def test_a_buffer_too_large_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory_module, "available_memory", lambda: 1_000_000)
    made = []
    plain = np.zeros
    monkeypatch.setattr(
        "optix_core.replay.store.np.zeros", lambda *a, **k: (made.append(a), plain(*a, **k))[1]
    )
    image = plain((1, 84, 84, 4), np.uint8)
    no = np.asarray([False])
    with pytest.raises(ConfigError) as raised:
        ReplayBuffer(1000).add(image, [0], [0.0], image, no, no)
    assert not made
    for part in ("1,000 rows", "53.8", "976.6 KiB", "781.2 KiB", "memory_fraction=0.8", "smaller buffer"):
        assert part in str(raised.value), part
    ReplayBuffer(14, memory_fraction=0.8).add(image, [0], [0.0], image, no, no)
    with pytest.raises(ConfigError):
        ReplayBuffer(14, memory_fraction=0.7).add(image, [0], [0.0], image, no, no)
    monkeypatch.setattr(memory_module, "available_memory", lambda: None)
    ReplayBuffer(100).add(image, [0], [0.0], image, no, no)
