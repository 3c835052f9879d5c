"""How a search is told to end, and what it then raises."""

from __future__ import annotations

import signal

import pytest

from optix_core.search.stopping import Stopping, ended_by


def test_who_asks_wants_the_best_so_far_and_a_signal_wants_nothing():
    stopping = Stopping(handle_signals=True)
    assert not stopping()
    with stopping.listening():
        stopping.request()
        assert stopping()
        stopping.raise_signal()
        assert stopping.requested
    with pytest.raises(SystemExit) as caught, stopping.listening():
        assert not stopping()  # the request before was for the search before
        signal.raise_signal(signal.SIGTERM)
        assert stopping()
        assert not stopping.requested
        stopping.raise_signal()
        raise AssertionError("not reached")
    assert caught.value.code == 128 + signal.SIGTERM


def test_a_signal_that_nobody_asked_about_is_raised_when_the_work_is_done():
    stopping = Stopping(handle_signals=True)
    done = []
    with pytest.raises(KeyboardInterrupt), stopping.listening():
        signal.raise_signal(signal.SIGINT)
        done.append("work")
    assert done == ["work"]
    assert isinstance(ended_by(signal.SIGINT), KeyboardInterrupt)


def test_a_request_holds_until_a_search_has_heard_it_and_no_longer():
    stopping = Stopping(handle_signals=False)
    stopping.request()
    with pytest.raises(ValueError, match="work"), stopping.listening():
        assert stopping()
        raise ValueError("work")
    assert not stopping()


def test_without_permission_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    with Stopping(handle_signals=False).listening():
        assert signal.getsignal(signal.SIGTERM) is before
    with Stopping(handle_signals=True).listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
