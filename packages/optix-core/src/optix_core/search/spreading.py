"""One study, many processes: whoever an executor finds helps until there are enough trials."""

from __future__ import annotations

import functools
from collections.abc import Callable

import optuna

from optix_core.errors import ConfigError
from optix_core.executor import Executor
from optix_core.search.orchestrator import TrialOrchestrator


def spread_search(
    make_search: Callable[[], TrialOrchestrator], executor: Executor, *, workers: int | None = None
) -> TrialOrchestrator:
    """Search with several processes, and name the winner here.

    Every process makes its own search and works on the study that they share through their storage, as it would if it
    were started by hand. The trial of one that dies is failed and its hyperparameters are queued again, at the latest
    when this function returns or raises: nothing stays in the state RUNNING. Fresh seeds are trained by this process.

    Args:
        make_search: Makes the search; it travels to other processes by value. All must have the same ``study_name``
            and a ``storage`` that all can reach, by an absolute path if it is a file.
        executor: Makes the calls.
        workers: How many processes; None: as many as the executor has room for.

    Returns:
        The search that named the winner, for its report and weights; :meth:`TrialOrchestrator.cleanup` is yours.

    Raises:
        ConfigError: The searches cannot share a study.
        SearchError: Too many trials in a row failed, or none completed.
        Exception: What the executor raises if its processes die too often.
    """
    search = make_search()
    n = executor.workers if workers is None else workers
    if n < 1:
        raise ConfigError(f"workers is {workers}; it must be at least 1")
    if search.storage is None or isinstance(search.storage, optuna.storages.InMemoryStorage):
        raise ConfigError(
            "a search that is spread needs a storage that all processes can reach, such as "
            "'journal:/shared/trials.log' or the URL of a database"
        )
    if search.study_name != make_search().study_name:
        raise ConfigError("make_search makes a study of another name every time; give it a study_name")
    seats = [f"{search.study_name}/{k}" for k in range(n)]
    try:
        executor.map(functools.partial(_work, make_search), seats)
    finally:
        search.give_back(seats)
    search.run()
    return search


def _work(make_search: Callable[[], TrialOrchestrator], seat: str) -> None:
    make_search().work(seat)
