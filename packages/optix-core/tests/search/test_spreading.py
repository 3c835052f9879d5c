"""One study, several helpers: each seat is one process at a time, and nothing stays running."""

from __future__ import annotations

import dial
import optuna
import pytest

from optix_core.errors import ConfigError, SearchError
from optix_core.executor import Executor, SerialExecutor
from optix_core.search import spread_search
from optix_core.search.owners import OWNER, WORKER, Owner, dismiss, register
from optix_core.search.storage import open_storage

RUNNING, FAIL = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.FAIL
FAR = Owner(machine="elsewhere", pid=1, started="1")


@pytest.fixture
def url(folder):
    return f"journal:{folder}/t.log"


class Killing(SerialExecutor):
    """The first call dies with its process, which leaves a trial behind; it is made again, or not."""

    workers = 2

    def __init__(self, url, again):
        self.url, self.again = url, again

    def map(self, function, items):
        items = list(items)
        study = optuna.load_study(study_name="s", storage=open_storage(self.url))
        trial = study.ask({"setting": optuna.distributions.FloatDistribution(-1.0, 1.0)})
        trial.set_user_attr(OWNER, FAR.data())
        register(study, FAR, items[0])
        assert states(self.url).count(RUNNING) == 1
        if not self.again:
            raise OSError("all workers are gone")
        return super().map(function, items)


def states(url):
    study = optuna.load_study(study_name="s", storage=open_storage(url))
    return [t.state for t in study.get_trials(deepcopy=False)]


def test_a_spread_search_ends_as_one_that_is_not(search, url):
    alone = search(n_trials=6)
    alone.run()
    both = spread_search(lambda: search(n_trials=6, storage=url, study_name="s"), SerialExecutor())
    assert isinstance(SerialExecutor(), Executor)
    assert both.best_params == alone.best_params
    assert both.best_score == alone.best_score
    assert [t.params for t in both.report.trials] == [t.params for t in alone.report.trials]
    both.cleanup()


def test_helpers_name_no_winner_and_keep_nothing(search, url):
    one = search(n_trials=4, storage=url, study_name="s")
    one.work("a")
    assert one.best_params is None
    assert one.run_ckpt_dir is None
    assert len(states(url)) == 4
    assert not list(search.temporary.iterdir())


@pytest.mark.parametrize("again", [True, False])
def test_the_trial_of_a_lost_helper_on_another_machine_is_given_back_at_once(search, url, again):
    """Without a seat, its silence would have to last stale_after, ten minutes."""
    make = lambda: search(n_trials=4, storage=url, study_name="s")  # noqa: E731
    make()._shared.open()
    if again:
        one = spread_search(make, Killing(url, again))
        assert [t.state for t in one.report.trials].count("returned") == 1
        assert sum(t.state in {"complete", "pruned"} for t in one.report.trials) == 4
        one.cleanup()
    else:
        with pytest.raises(OSError, match="all workers are gone"):
            spread_search(make, Killing(url, again))
    assert RUNNING not in states(url)
    assert FAIL in states(url)
    study = optuna.load_study(study_name="s", storage=open_storage(url))
    lost = next(t for t in study.trials if t.state == FAIL)
    assert any(t.system_attrs.get("fixed_params") == lost.params for t in study.trials)  # queued again


def test_only_whoever_had_the_seat_is_dismissed(search, url):
    study = search(storage=url, study_name="s")._shared.open()
    me, other = Owner.here(), Owner(machine="elsewhere", pid=2, started="1")
    register(study, FAR, "a")
    register(study, other, "b")
    register(study, me, "a")
    known = study.user_attrs
    assert known[WORKER + FAR.key]["dead"]
    assert "dead" not in known[WORKER + other.key]
    assert "dead" not in known[WORKER + me.key]
    dismiss(study, ["a", "b"], me)
    assert study.user_attrs[WORKER + other.key]["dead"]
    assert "dead" not in study.user_attrs[WORKER + me.key]


def test_searches_that_cannot_share_a_study_are_refused(search, url):
    with pytest.raises(ConfigError, match="needs a storage"):
        spread_search(lambda: search(study_name="s"), SerialExecutor())
    with pytest.raises(ConfigError, match="needs a storage"):
        spread_search(
            lambda: search(study_name="s", storage=optuna.storages.InMemoryStorage()), SerialExecutor()
        )
    with pytest.raises(ConfigError, match="another name every time"):
        spread_search(lambda: search(storage=url), SerialExecutor())
    with pytest.raises(ConfigError, match="workers is 0"):
        spread_search(lambda: search(storage=url, study_name="s"), SerialExecutor(), workers=0)


def test_failing_trials_end_a_spread_search_within_the_error_budget(search, url):
    def broken(params, seed=0):
        if params:
            raise ValueError("no such agent")
        return dial.make_agent(params, seed=seed)

    with pytest.raises(SearchError, match="2 failures in a row"):
        spread_search(lambda: search(broken, storage=url, study_name="s", max_errors=2), SerialExecutor())
    assert RUNNING not in states(url)
    assert states(url).count(FAIL) == 2
