"""Studies that outlive a process: continued, shared, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dial
import optuna
import pytest

from optix_core.errors import ConfigError, SearchError
from optix_core.search.owners import OWNER, VOID, WORKER, Owner, started
from optix_core.search.storage import RepairingLock, open_storage, repair_tail

TOYS = Path(__file__).parent / "toys"
RUNNING, FAIL = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.FAIL


@pytest.fixture
def url(folder):
    return f"journal:{folder}/deep/t.log"


def dead_owner():
    """A process that was here and is gone."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = Owner(machine=Owner.here().machine, pid=child.pid, started=started(child.pid) or "")
    assert owner.is_dead() is False
    child.kill()
    while started(child.pid) is not None:
        time.sleep(0.01)
    assert owner.is_dead() is True  # although nobody has waited for it yet
    child.communicate()
    assert owner.is_dead() is True
    return owner


def good_params(one):
    return [t.params for t in one.report.trials if t.state in {"complete", "pruned"}]


# --- continuing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite:///{}/deep/t.db", "journal:{}/deep/t.log"])
def test_a_study_continued_by_name_proposes_what_it_would_have_proposed(search, folder, kind):
    url = kind.format(folder)
    whole = search(n_trials=9)
    whole.run()
    assert len({params["setting"] for params in good_params(whole)}) == 9
    for n_trials in (4, 9):
        part = search(n_trials=n_trials, storage=url, study_name="s")
        part.run()
    assert good_params(part) == good_params(whole)
    assert part.best_params == whole.best_params
    assert part.best_score == whole.best_score


@pytest.mark.parametrize("at", [0, 4, 7])
def test_an_interrupted_trial_is_repeated_and_the_search_goes_on_as_if_nothing_had_been(search, folder, at):
    whole = search(n_trials=8, pruner="none")
    whole.run()
    calls = []

    def interrupt(agent):
        calls.append(agent)
        if len(calls) == 3 + 5 * at:  # in the middle of a training
            raise KeyboardInterrupt

    def make(params, seed=0):
        return dial.DialAgent(params, seed, on_learn=interrupt)

    url = f"journal:{folder}/t.log"
    options = {"n_trials": 8, "storage": url, "study_name": "s", "pruner": "none"}
    broken = search(make, **options)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    assert list(search.temporary.glob("*")) == [whole.run_ckpt_dir]
    states = [t.state.name for t in broken.study.trials]
    assert states.count("FAIL") == 1
    assert states[-1] == "WAITING"
    again = search(**options)
    again.run()
    assert good_params(again) == good_params(whole)
    assert again.report.count("returned") == 1
    assert again.report.count("waiting", "running") == 0
    assert len(good_params(again)) == 8
    assert again.best_score == whole.best_score


def test_a_dead_process_leaves_a_trial_that_is_repeated(search, url):
    whole = search(n_trials=6)
    whole.run()
    part = search(n_trials=3, storage=url, study_name="s")
    part.run()
    study = part.study
    trial = study.ask()  # as if a process had begun the fourth trial, and died
    trial.set_user_attr(OWNER, dead_owner().data())
    trial.suggest_float("setting", -1.0, 1.0)
    again = search(n_trials=6, storage=url, study_name="s")
    again.run()
    states = [t.state for t in again.study.trials]
    assert states[3] is FAIL
    assert again.study.user_attrs[f"{VOID}3"] == "stale"
    assert good_params(again) == good_params(whole)


def test_a_trial_that_died_before_it_had_all_its_parameters_is_drawn_again(search, url):
    space = {"setting": ("float", -1.0, 1.0), "gamma": ("log_complement", 0.9, 0.999)}
    whole = search(n_trials=6, space=space)
    whole.run()
    part = search(n_trials=1, storage=url, study_name="s", space=space)
    part.run()
    trial = part.study.ask()
    trial.set_user_attr(OWNER, dead_owner().data())
    trial.suggest_float("setting", -1.0, 1.0)
    again = search(n_trials=6, storage=url, study_name="s", space=space)
    again.run()
    assert good_params(again) == good_params(whole)


def test_a_process_that_died_before_it_signed_its_trial_is_found_too(search, url):
    part = search(n_trials=2, storage=url, study_name="s")
    part.run()
    part.study.ask()
    dead = dead_owner()
    part.study.set_user_attr(WORKER + dead.key, dead.data())
    again = search(n_trials=4, storage=url, study_name="s")
    again.run()
    assert again.report.count("complete", "pruned") == 4
    assert again.report.count("returned") == 1


def test_the_trials_of_other_machines_are_given_up_after_a_silence(search, url):
    part = search(n_trials=2, storage=url, study_name="s")
    part.run()
    trial = part.study.ask()
    trial.set_user_attr(OWNER, {"machine": "elsewhere", "pid": 1, "started": "1"})
    trial.suggest_float("setting", -1.0, 1.0)
    patient = search(n_trials=3, storage=url, study_name="s", timeout=0.5, stale_after=3600.0)
    patient.run()
    assert [t.state for t in patient.study.trials][2] is RUNNING
    time.sleep(0.3)
    impatient = search(n_trials=3, storage=url, study_name="s", stale_after=0.2)
    impatient.run()
    assert impatient.report.count("complete", "pruned") == 3


def test_fresh_results_are_not_trained_twice_but_weights_can_be_made_again(search, url):
    agents = []

    def make(params, seed=0):
        agents.append(dial.DialAgent(params, seed))
        return agents[-1]

    noisy = dial.pipeline_factory(noise=0.3)
    options = {"n_trials": 4, "storage": url, "study_name": "s"}
    first = search(make, noisy, **options)
    first.run()
    weights = first.winner_weights()
    assert weights == first.best_weights_path
    before = len(agents)
    again = search(make, noisy, **options)
    again.run()
    assert len(agents) == before
    assert again.report.candidates == first.report.candidates
    assert again.report.steps == first.report.steps
    assert again.best_weights_path is None
    assert again.winner_weights().read_text() == weights.read_text()
    assert len(agents) == before + 1
    assert again.best_weights_path == again.winner_weights()


@pytest.mark.parametrize("change", [
    {"trial_steps": 50},
    {"n_seeds": 2},
    {"seed": 2},
    {"aggregate": "iqm"},
    {"space": {"setting": ("float", -1.0, 0.9)}},
])  # fmt: skip
def test_a_study_is_not_continued_with_other_settings(search, folder, change):
    url = f"journal:{folder}/t.log"
    search(n_trials=1, top_k=0, storage=url, study_name="s").run()
    with pytest.raises(ConfigError, match=f"{next(iter(change))} was"):
        search(n_trials=2, storage=url, study_name="s", **change).run()


def test_a_study_of_somebody_else_is_left_alone(search, folder):
    url = f"journal:{folder}/t.log"
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.tell(study.ask(), 1.0)
    with pytest.raises(ConfigError, match="not made by optix"):
        search(storage=url, study_name="s").run()
    assert len(study.trials) == 1


def test_studies_have_names_of_their_own(search):
    names = {search().study_name for _ in range(20)}
    assert len(names) == 20
    assert search(study_name="x", seed=None).seed == search(study_name="x", seed=None).seed


# --- several processes --------------------------------------------------------------------------------------------


def worker(url, name, slow, marker, temporary):
    command = [sys.executable, str(TOYS / "study_worker.py"), url, name, slow, str(marker)]
    # a killed process cannot remove its files, so they go where the test's own are
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_share_a_journal_and_one_is_killed(folder):
    url = f"journal:{folder}/study.log"
    slow = worker(url, "s", "slow", folder / "marker", folder)
    deadline = time.monotonic() + 120
    while not (folder / "marker").exists():  # it is in the middle of its first training now
        assert time.monotonic() < deadline
        assert slow.poll() is None, slow.communicate()
        time.sleep(0.02)
    quick = worker(url, "s", "quick", folder / "unused", folder)
    storage = open_storage(url)

    def finished():
        trials = optuna.load_study(study_name="s", storage=storage).get_trials(deepcopy=False)
        return sum(t.state.is_finished() for t in trials)

    while finished() < 5:  # the quick one has done all but the trial that the slow one is on
        assert time.monotonic() < deadline
        assert quick.poll() is None, quick.communicate()
        time.sleep(0.05)
    time.sleep(0.5)
    assert quick.poll() is None, "it must wait for the trial under way"
    slow.kill()
    with (folder / "study.log").open("ab") as journal:
        journal.write(b'{"op_code":9,"worker_id":"half a li')  # and it was killed while it wrote
    out, err = quick.communicate(timeout=120)
    slow.communicate()
    assert quick.returncode == 0, err
    report = json.loads(out)
    states = [trial["state"] for trial in report["trials"]]
    assert sum(state in {"complete", "pruned"} for state in states) == 6
    assert states.count("returned") == 1
    assert set(states) <= {"complete", "pruned", "returned"}
    lost = next(t for t in report["trials"] if t["state"] == "returned")
    repeated = [t for t in report["trials"] if t["params"] == lost["params"] and t is not lost]
    assert [t["state"] in {"complete", "pruned"} for t in repeated] == [True]
    assert float((folder / "marker").read_text()) == lost["params"]["setting"]


def test_processes_that_begin_the_last_trial_together_do_not_make_one_too_many(search, url, monkeypatch):
    part = search(n_trials=3, storage=url, study_name="s", top_k=0)
    part.run()
    study = part.study
    other = Owner.here()
    taken = []
    ask = optuna.Study.ask

    def ask_late(self, *args, **kwargs):
        if not taken:  # between our look at the study and our ask, somebody else asks
            taken.append(ask(study))
            taken[0].set_user_attr(OWNER, other.data())
            taken[0].suggest_float("setting", -1.0, 1.0)
        return ask(self, *args, **kwargs)

    waits = []

    def finish(seconds):
        waits.append(seconds)
        study.tell(taken[0], -1.0)

    monkeypatch.setattr(optuna.Study, "ask", ask_late)
    monkeypatch.setattr("optix_core.search.trials.wait", finish)
    again = search(n_trials=4, storage=url, study_name="s", top_k=0)
    again.run()
    assert len(waits) == 1
    assert again.report.count("complete", "pruned") == 4
    assert again.study.user_attrs[f"{VOID}4"] == "surplus"


def test_a_signal_gives_the_trial_back(search, scripted, folder):
    def interrupt(agent):
        if agent.params["setting"] == 0.5:
            os.kill(os.getpid(), signal.SIGTERM)

    one = search(
        lambda params, seed=0: dial.DialAgent(params, seed, on_learn=interrupt),
        sampler=scripted(0.1, 0.5),
        storage=f"journal:{folder}/t.log",
    )
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        one.run()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert [t.state.name for t in one.study.trials] == ["COMPLETE", "FAIL", "WAITING"]
    assert list(search.temporary.iterdir()) == []
    assert dial.DialAgent.open == 0


def test_a_signal_while_confirming_ends_it_too(search, folder):
    learned = []

    def interrupt(agent):
        learned.append(agent)
        if len(learned) == 2 * 5 + 3:
            os.kill(os.getpid(), signal.SIGINT)

    one = search(lambda params, seed=0: dial.DialAgent(params, seed, on_learn=interrupt), n_trials=2)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert list(search.temporary.iterdir()) == []
    assert len(learned) == 13


# --- storages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage, says", [
    ("trials.db", "sqlite:///trials.db"),
    ("journal:", "names no file"),
    ("nosql://somewhere", "cannot be opened"),
    (3, "must be a URL"),
])  # fmt: skip
def test_a_storage_that_cannot_be_says_what_can(search, storage, says):
    with pytest.raises(ConfigError, match=says):
        search(storage=storage).run()


def test_an_optuna_storage_is_taken_as_it_is(search):
    storage = optuna.storages.InMemoryStorage()
    one = search(storage=storage, study_name="mine", n_trials=2)
    one.run()
    assert [s.study_name for s in optuna.get_all_study_summaries(storage)] == ["mine"]


@pytest.mark.parametrize("cut", [1, 7, 15])
def test_a_torn_journal_is_repaired_before_it_is_written_to(search, folder, cut):
    url = f"journal:{folder}/t.log"
    search(n_trials=3, storage=url, study_name="s").run()
    log = folder / "t.log"
    log.write_bytes(log.read_bytes()[:-cut])
    again = search(n_trials=5, storage=url, study_name="s")
    again.run()
    assert again.report.count("complete", "pruned") == 5
    for line in log.read_text().splitlines():
        json.loads(line)
    third = search(n_trials=5, storage=url, study_name="s")
    third.run()
    assert third.report.count("complete", "pruned") == 5


@pytest.mark.parametrize("content, kept", [
    (b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"a", b""), (b"a\n" + b"x" * 10_000, b"a\n"),
    (b"y" * 5000 + b"\n" + b"x" * 5000, b"y" * 5000 + b"\n"),
])  # fmt: skip
def test_repairing_keeps_whole_lines(folder, content, kept):
    path = folder / "log"
    path.write_bytes(content)
    assert repair_tail(path) == len(content) - len(kept)
    assert path.read_bytes() == kept
    assert repair_tail(folder / "missing") == 0


def test_the_journals_lock_excludes_and_is_released_by_death(folder):
    path = str(folder / "log")
    code = (
        "import sys, time; import json; sys.path[:] = json.loads(sys.argv[2])\n"
        "from optix_core.search.storage import RepairingLock\n"
        "lock = RepairingLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, path, json.dumps(sys.path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    import fcntl

    fd = os.open(f"{path}.flock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    holder.kill()
    holder.communicate()
    lock = RepairingLock(path)
    assert lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_search_that_finds_nothing_to_do_needs_a_completed_trial(search, folder):
    with pytest.raises(SearchError, match="there were no trials"):
        one = search(storage=f"journal:{folder}/t.log")
        one.stop()
        one.run()


def test_importing_the_room_does_not_import_optuna():
    code = "import sys, optix_core.search, optix_core; optix_core.RLOptimizer; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
