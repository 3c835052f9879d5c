"""Faults: every one ends as it should, in time, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from actor_envs import CartPole, Make, Misbehaving
from conftest import eventually, held, is_there, shared_memory, weights

from optix_core.errors import ConfigError, EnvironmentFault
from optix_distributed import ActorDiedError, ActorError, AsyncActorLearner

DRIVER = Path(__file__).with_name("fault_driver.py")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def counting(learner, networks):
    """Learners of environments with two numbers to see."""
    return lambda env, **options: learner(env, nets=networks(2), **options)


def pids_of(one):
    return [*one.collection.backend.pids, one.collection.backend._held.guard.pid]


def replaced(one, kills):
    """Whether every death was noticed and two actors are there.

    A signal takes effect when the system comes to it: two living actors alone may be two of which one
    is about to go.
    """
    one.collection.backend.poll(0.05)
    return one.stats()["restarts"] == kills and len(one.collection.backend.pids) == 2


# ------------------------------------------------------------------ actors that are killed


@pytest.mark.timeout(900)
@pytest.mark.parametrize("n_kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_actors_killed_at_random_moments_are_replaced_and_every_row_is_whole(learner, n_kills):
    one = learner(max_restarts=1000, restart_window_s=1e-9, checkpoint_dir=None, slots_per_actor=2)
    rng, kills, seen = random.Random(0), 0, []
    real = one.update.batch

    def looked_at(window):
        batch, found = real(window)
        seen.append(float(np.abs(found.rhos - 1.0).max()))
        assert np.isfinite(window.observations).all()
        assert (window.rewards == 1.0).all()  # CartPole's; anything else is a row that was not written
        return batch, found

    one.update.batch = looked_at
    one._networks.training.set_learning_rate(1e-9)  # so that ratios stay 1 if rows belong together
    one.run(200)
    for _ in range(n_kills):
        time.sleep(rng.random() * 0.05)
        os.kill(rng.choice(one.collection.backend.pids), signal.SIGKILL)
        kills += 1
        before = one.total_steps
        began = time.monotonic()
        one.run(before + 256)  # the other one goes on meanwhile
        assert time.monotonic() - began < 20
        assert eventually(partial(replaced, one, kills))
    stats = one.stats()
    assert stats["restarts"] == kills
    assert max(seen) < 1e-3
    collected = stats["steps_trained"] + stats["steps_lost"] + stats["discarded"]
    assert (
        collected
        <= stats["steps_collected"]
        <= collected + 4 * one.settings.slot_steps + 2 * one.settings.slot_steps
    )
    one.close()
    assert stats["actors_alive"] == 2


def test_an_actor_killed_while_it_fetches_large_weights_disturbs_nobody(learner):
    import torch
    from torch import nn

    actor = nn.Sequential(nn.Linear(4, 1500), nn.Tanh(), nn.Linear(1500, 1500), nn.Tanh(), nn.Linear(1500, 2))
    critic = nn.Linear(4, 1)
    one = learner(
        nets=(actor, critic, torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-6)),
        max_restarts=100, restart_window_s=1e-9, trajectory_len=2, envs_per_actor=1,
    )  # fmt: skip
    one.run(4)
    for k in range(3):
        os.kill(one.collection.backend.pids[k % 2], signal.SIGKILL)
        one.run(one.total_steps + 10)
        assert eventually(partial(replaced, one, k + 1))
    assert np.isfinite(weights(one)).all()


def test_an_actor_that_cannot_live_ends_the_run_within_its_limits(counting):
    one = counting(Make(Misbehaving, "exit", 3), max_restarts=2, on_env_error="restart")
    began = time.monotonic()
    with pytest.raises(ActorDiedError, match="ended with status 7, after") as caught:
        one.run(10_000)
    assert time.monotonic() - began < 30
    assert "last words" in str(caught.value)
    assert caught.value.restarts == 2
    assert one.collection.backend.closed


def test_fewer_actors_go_on_if_that_is_allowed(learner, tmp_path):
    one = learner(max_restarts=0, min_actors=1)
    one.run(200)
    gone = one.collection.backend.pids[0]
    os.kill(gone, signal.SIGKILL)
    assert eventually(lambda: not is_there(gone))
    one.run(one.total_steps + 600)
    assert one.stats()["actors_alive"] == 1
    os.kill(one.collection.backend.pids[0], signal.SIGKILL)
    with pytest.raises(ActorDiedError, match="SIGKILL"):
        one.run(one.total_steps + 10_000)


# ------------------------------------------------------------------ environments that fail


def test_an_exception_is_raised_here_with_its_traceback(counting):
    one = counting(Make(Misbehaving, "raise", 20))
    with pytest.raises(ActorError) as caught:
        one.run(10_000)
    text = str(caught.value)
    assert "ValueError: the wheel fell off in step 20" in text
    assert "actor_envs.py" in text
    assert caught.value.actor_id in {0, 1}
    assert one.collection.backend.closed


def test_with_restart_the_environment_is_rebuilt_and_the_fault_counted(counting, tmp_path):
    one = counting(Make(Misbehaving, "raise", 20, str(tmp_path / "once")), on_env_error="restart")
    result = one.run(1000)
    assert result["env_errors"] == 1
    assert result["restarts"] == 0  # core rebuilds the environment inside the actor


def test_a_factory_that_fails_fails_in_the_constructor(learner):
    with pytest.raises(RuntimeError, match="no such thing"):
        learner(_raises)


def _raises():
    raise RuntimeError("no such thing")


def test_a_factory_that_cannot_travel_says_what_it_holds(learner):
    handle = threading.Lock()

    def make():
        handle.locked()
        return CartPole()()

    with pytest.raises(ConfigError, match=r"it uses handle"):
        learner(make)


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_a_stuck_environment_is_replaced_and_its_stack_is_shown(counting, tmp_path, caplog, how):
    one = counting(Make(Misbehaving, how, 30, str(tmp_path / "once")), actor_timeout_s=2.0, n_actors=1)
    with caplog.at_level("WARNING", logger="optix.distributed"):
        result = one.run(2500)
    assert result["restarts"] == 1
    assert "actor_envs.py" in caplog.text
    assert "in step" in caplog.text
    assert result["steps_lost"] > 0


def test_rewards_that_are_no_numbers_are_dropped_and_counted(counting):
    one = counting(Make(Misbehaving, "nan", 200), on_nonfinite="truncate")
    result = one.run(4000)
    assert result["nonfinite"] > 0
    assert np.isfinite(weights(one)).all()
    with pytest.raises(ActorError, match="E-ENV-NONFINITE"):
        counting(Make(Misbehaving, "nan", 200)).run(10_000)


def test_a_slow_actor_does_not_hold_up_the_others(learner, tmp_path):
    """One of three is a hundred times slower; the others' trajectories are learned from meanwhile."""
    one = learner([CartPole()][0], n_actors=3, slots_per_actor=2)
    one.run(300)
    slow = one.collection.backend.pids[0]
    os.kill(slow, signal.SIGSTOP)
    try:
        before = one.collection.backend.totals()[:, 0].copy()
        one.run(one.total_steps + 1500)
        gained = one.collection.backend.totals()[:, 0] - before
        assert gained[0] <= one.settings.slot_steps * 2
        assert gained[1:].sum() >= 1000
    finally:
        os.kill(slow, signal.SIGCONT)


# ------------------------------------------------------------------ the learner's own end


def drive(tmp_path, *words, **popen):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(tmp_path), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **popen,
    )  # fmt: skip


def started(process):
    """The driver's actors and guard, once it trains."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def test_a_killed_learner_takes_its_actors_and_their_children_with_it(tmp_path):
    before = shared_memory()
    process = drive(tmp_path, "child")
    told = started(process)
    everyone = [*told["pids"], told["child"]]
    assert all(map(is_there, everyone))
    process.kill()
    process.communicate()
    assert eventually(lambda: not any(map(is_there, everyone)), 3.0)
    assert shared_memory() == before


def test_training_goes_on_after_the_learner_was_killed(tmp_path):
    process = drive(tmp_path, "train")
    started(process)
    assert eventually(lambda: len(list((tmp_path / "checkpoints").glob("ckpt-*"))) >= 2, 30)
    process.kill()
    process.communicate()
    again = drive(tmp_path, "train", "2000")
    told = started(again)
    assert told["resumed_at"] > 0
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    end = json.loads(out.splitlines()[-1])
    assert end["total_steps"] >= told["resumed_at"] + 2000
    assert end["total_updates"] > told["updates"]
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_run_with_everything_saved(tmp_path, number):
    process = drive(tmp_path, "train")
    told = started(process)
    time.sleep(0.3)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    end = json.loads(out.splitlines()[-1])
    assert end["interrupted"]
    assert end["signal"] == number
    assert any((tmp_path / "checkpoints").glob("ckpt-*"))
    assert eventually(lambda: not any(map(is_there, told["pids"])))


def test_a_second_signal_ends_it_at_once(tmp_path):
    process = drive(tmp_path, "stuck")
    told = started(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert eventually(lambda: not any(map(is_there, told["pids"])), 5.0)


def test_control_c_of_the_terminal_does_not_reach_actors(learner):
    one = learner()
    one.run(200)
    for pid in one.collection.backend.pids:
        assert os.getpgid(pid) == pid
        os.kill(pid, signal.SIGINT)
    one.run(one.total_steps + 300)
    assert one.stats()["restarts"] == 0


def test_a_full_disk_stops_nothing_and_spoils_nothing(tmp_path):
    process = drive(tmp_path, "full")
    told = started(process)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    end = json.loads(out.splitlines()[-1])
    assert end["failed"] >= 1
    assert end["loadable"]
    assert end["total_steps"] >= 3000
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not any(map(is_there, told["pids"]))


def test_too_little_memory_is_an_error_at_construction(learner):
    with pytest.raises(OSError, match="MiB of shared memory"):
        learner(trajectory_len=10**10)


def test_faults_leave_nothing(learner):
    one = learner(max_restarts=100, restart_window_s=1e-9)
    one.run(200)
    one.close()
    before = held()
    for _ in range(2):
        one = learner(max_restarts=100, restart_window_s=1e-9)
        one.run(200)
        pids = pids_of(one)
        os.kill(pids[0], signal.SIGKILL)
        one.run(400)
        pids += pids_of(one)
        one.close()
        assert not any(map(is_there, pids))
    assert held() == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_learners_one_after_another_leave_nothing(networks):
    def cycle():
        with AsyncActorLearner(*networks(), CartPole(), n_actors=2, envs_per_actor=2) as one:
            one.run(100)
            return pids_of(one)

    for _ in range(20):  # what is loaded once
        pids = cycle()
    before, memory = held(), resident()
    for _ in range(200):
        pids += cycle()
    assert eventually(lambda: not any(map(is_there, pids)))
    assert held() == before
    assert resident() <= 1.02 * memory


def resident():
    """Memory of this process, in bytes, after what is unused was given back."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_faults_of_environments_have_core_s_class_inside_the_process(counting):
    with pytest.raises(EnvironmentFault):
        counting(Make(Misbehaving, "raise", 20), backend="inline").run(1000)
