"""Is it Adam while nothing changes, and does every slot keep what belongs to it when something does?"""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optix_neuroevo.training.adam import TopologyAwareAdam


def parameters(seed: int = 0) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((7,), (4, 9))]


def gradients(step: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draw) for shape in ((7,), (4, 9))]


def run(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for p, g in zip(params, gradients(step), strict=True):
            p.grad = torch.zeros_like(p)
            p.grad[: len(g)] = g
        optimizer.step()


def delta(**values: Any) -> Any:
    empty = {"added": {}, "removed": {}, "changed": {}, "transfers": (), "capacity": {}}
    return SimpleNamespace(**{**empty, **values})


def transfer(slot: int, source: int, scale: float = 1.0) -> Any:
    return SimpleNamespace(parameter="theta", slot=slot, source=source, scale=scale)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"amsgrad": True}, {"betas": (0.5, 0.9)}])
def test_it_is_adam_while_nothing_changes(options: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    run(TopologyAwareAdam(ours, lr=0.01, **options), ours, range(20))
    run(torch.optim.Adam(theirs, lr=0.01, **options), theirs, range(20))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_the_slot_by_slot_form_is_the_same_formula() -> None:
    ours, theirs = parameters(), parameters()
    mixed = TopologyAwareAdam(ours, lr=0.01)
    run(mixed, ours, range(5))
    mixed.follow(delta(added={"theta": np.array([2])}), {"theta": ours[0]})
    run(mixed, ours, range(5, 9))
    plain = torch.optim.Adam(theirs, lr=0.01)
    run(plain, theirs, range(9))
    keep = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(ours[0][keep], theirs[0][keep], rtol=1e-6, atol=1e-7)
    assert not torch.allclose(ours[0][2], theirs[0][2])
    # the slot that was new at step 5 moved as by an Adam that began there
    fresh = nn.Parameter(ours[0].detach()[2:3].clone())
    with torch.no_grad():
        replay = parameters()
    again = TopologyAwareAdam(replay, lr=0.01)
    run(again, replay, range(5))
    fresh = nn.Parameter(replay[0].detach()[2:3].clone())
    alone = torch.optim.Adam([fresh], lr=0.01)
    for step in range(5, 9):
        fresh.grad = gradients(step)[0][2:3]
        alone.step()
    torch.testing.assert_close(ours[0][2:3], fresh, rtol=1e-6, atol=1e-7)


def test_more_slots_leave_the_old_ones_alone() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = TopologyAwareAdam(ours, lr=0.01)
    run(optimizer, ours, range(4))
    ours[0].data = torch.cat([ours[0].data, torch.zeros(5)])
    optimizer.follow(delta(added={"theta": np.array([7])}), {"theta": ours[0]})
    run(optimizer, ours, range(4, 8))
    run(torch.optim.Adam(theirs, lr=0.01), theirs, range(8))
    torch.testing.assert_close(ours[0][:7], theirs[0], rtol=1e-6, atol=1e-7)
    assert torch.equal(ours[0][7:], torch.zeros(5))  # no gradient, no movement


def test_a_slot_that_continues_another_takes_over_its_moments() -> None:
    ours = parameters()
    optimizer = TopologyAwareAdam(ours, lr=0.01)
    run(optimizer, ours, range(3))
    before = {k: v.clone() for k, v in optimizer.state[ours[0]].items()}
    optimizer.follow(
        delta(
            added={"theta": np.array([1, 5])},
            removed={"theta": np.array([0])},
            transfers=(transfer(1, 0, 0.5), transfer(5, 3)),
        ),
        {"theta": ours[0]},
    )
    state = optimizer.state[ours[0]]
    assert state["exp_avg"][0] == state["exp_avg_sq"][0] == state["step"][0] == 0
    assert state["exp_avg"][1] == 0.5 * before["exp_avg"][0]
    assert state["exp_avg_sq"][1] == 0.25 * before["exp_avg_sq"][0]
    assert state["step"][1] == before["step"][0] == 3
    assert state["exp_avg"][5] == before["exp_avg"][3]
    for name in ("exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(state[name][[2, 3, 4, 6]], before[name][[2, 3, 4, 6]])


def test_without_transport_slots_begin_anew() -> None:
    ours = parameters()
    optimizer = TopologyAwareAdam(ours, lr=0.01, transport=False)
    run(optimizer, ours, range(3))
    optimizer.follow(delta(added={"theta": np.array([1])}, transfers=(transfer(1, 0),)), {"theta": ours[0]})
    assert optimizer.state[ours[0]]["step"].tolist() == [3, 0, 3, 3, 3, 3, 3]


def test_new_parameters_join_and_schedulers_accept_it() -> None:
    ours = parameters()
    optimizer = TopologyAwareAdam(ours[:1], lr=0.01)
    optimizer.follow(delta(), {"theta": ours[0], "gru": ours[1]})
    assert optimizer.param_groups[0]["params"] == ours
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    run(optimizer, ours, range(1))
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.005


def test_notify_clears_what_is_named() -> None:
    ours = parameters()
    optimizer = TopologyAwareAdam(ours, lr=0.01)
    run(optimizer, ours, range(3))
    reference = SimpleNamespace(array=SimpleNamespace(parameter=lambda: ours[0]), slot=2)
    optimizer.notify_topology_change([reference])  # pyright: ignore[reportArgumentType]
    assert optimizer.state[ours[0]]["step"].tolist() == [3, 3, 0, 3, 3, 3, 3]
    optimizer.notify_topology_change(ours[1:])
    assert ours[1] not in optimizer.state
    assert ours[0] in optimizer.state


def test_saved_and_loaded_it_goes_on_bit_for_bit() -> None:
    straight, first = parameters(), parameters()
    one, two = TopologyAwareAdam(straight, lr=0.01), TopologyAwareAdam(first, lr=0.01)
    change = delta(added={"theta": np.array([2])})
    for optimizer, params in ((one, straight), (two, first)):
        run(optimizer, params, range(5))
        optimizer.follow(change, {"theta": params[0]})
        run(optimizer, params, range(5, 7))
    buffer = io.BytesIO()
    torch.save(two.state_dict(), buffer)
    buffer.seek(0)
    second = [nn.Parameter(p.detach().clone()) for p in first]
    again = TopologyAwareAdam(second, lr=0.5)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    run(one, straight, range(7, 12))
    run(again, second, range(7, 12))
    for a, b in zip(straight, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}, {"weight_decay": -1.0}])
def test_numbers_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 0|in \[0, 1\)"):
        TopologyAwareAdam(parameters(), **bad)
