"""Thread settings last as long as their context."""

from __future__ import annotations

import pytest
import torch

from optix_core.errors import ConfigError
from optix_torch.training.threads import SMALL_NETWORKS, Threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "setting,size,device,inside",
    [
        ("auto", SMALL_NETWORKS - 1, "cpu", 1),
        ("auto", SMALL_NETWORKS, "cpu", 2),
        ("auto", 10, "cuda", 2),
        (3, 10, "cpu", 3),
        (1, 10**9, "cpu", 1),
    ],
)
def test_the_number_of_threads_inside_and_afterwards(setting, size, device, inside):
    threads = Threads(setting, size, device)
    for _ in range(2):
        with threads:
            assert torch.get_num_threads() == inside
            with threads:
                assert torch.get_num_threads() == inside
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2


def test_it_is_put_back_after_an_error():
    with pytest.raises(KeyError), Threads(1, 10):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("setting", [0, -1, True, 1.5, "all", None])
def test_other_settings_are_refused(setting):
    with pytest.raises(ConfigError, match=r"threads is .*'auto' or a whole number"):
        Threads(setting, 10)
