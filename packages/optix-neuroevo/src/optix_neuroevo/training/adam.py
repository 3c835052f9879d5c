"""Adam for parameters whose numbers come and go.

Adam in the paper's form (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; epsilon outside the root, as PyTorch has it)
with one difference: the count of steps, which the bias corrections need, is kept for every slot. A slot that is new
begins at step 1 with moments of zero, a slot that continues another may take over its moments and its count, and all
others go on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from optix_neuroevo.graph.delta import GraphDelta, Transfer
    from optix_neuroevo.graph.elements import ParamRef

_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class TopologyAwareAdam(torch.optim.Optimizer):
    """Adam that keeps one count of steps per slot (the first axis of each parameter) and migrates its state by slot.

    While nothing changes it computes what ``torch.optim.Adam`` does.

    Args:
        params: Parameters or groups of them, as for every PyTorch optimizer.
        lr: Step size, at least 0.
        betas: Decay of both moments, in [0, 1).
        eps: Added to the root, above 0.
        weight_decay: Times the parameter, added to the gradient (L2, as in ``torch.optim.Adam``).
        amsgrad: Use the largest second moment so far (Reddi et al. 2018, arXiv:1904.09237).
        transport: Let slots that continue others take over their moments; otherwise they begin anew.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        transport: bool = True,
    ) -> None:
        if not lr >= 0.0 or not weight_decay >= 0.0 or not eps > 0.0:
            raise ValueError(
                f"lr and weight_decay are at least 0 and eps above 0: {lr}, {weight_decay}, {eps}"
            )
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"betas are in [0, 1), got {betas}")
        self._transport = transport
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on the gradients that there are; parameters without one stay.

        Args:
            closure: Computes the loss anew, and gradients with it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, group)
        return loss

    def _step(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self._fitting(p, amsgrad=group["amsgrad"])
        (beta1, beta2), grad = group["betas"], p.grad
        assert grad is not None
        if group["weight_decay"]:
            grad = grad.add(p, alpha=group["weight_decay"])
        count, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
        count += 1
        m.lerp_(grad, 1.0 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        if group["amsgrad"]:
            v = torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        fewest, most = (float(count.min()), float(count.max())) if count.numel() else (1.0, 1.0)
        if fewest == most:
            denominator = (v.sqrt() / (1.0 - beta2**most) ** 0.5).add_(group["eps"])
            p.addcdiv_(m, denominator, value=-group["lr"] / (1.0 - beta1**most))
            return
        steps = count.double().view(-1, *(1,) * (p.ndim - 1))
        first = (group["lr"] / (1.0 - beta1**steps)).to(p.dtype)
        second = (1.0 - beta2**steps).sqrt().to(p.dtype)
        p.sub_(first * m / ((v.sqrt() / second).add_(group["eps"])))

    def _fitting(self, p: Tensor, *, amsgrad: bool = False) -> dict[str, Any]:
        """The parameter's state, with as many slots as it has."""
        state = self.state[p]
        if "step" not in state:
            state["step"] = torch.zeros(p.shape[:1] or (1,), dtype=torch.float32, device=p.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        if amsgrad and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = torch.zeros_like(p)
        slots = p.shape[0] if p.ndim else 1
        more = slots - len(state["step"])
        for name in ("step", *_MOMENTS) if more else ():
            if name in state:  # slots that are new have seen no gradient yet
                old = state[name]
                state[name] = torch.cat([old[:slots], old.new_zeros(max(0, more), *old.shape[1:])])
        return state

    @torch.no_grad()
    def follow(self, delta: GraphDelta, parameters: Mapping[str, nn.Parameter]) -> None:
        """Migrate after a change of a graph: new slots begin anew or continue others, all others keep their state.

        Args:
            delta: The change.
            parameters: The graph's parameters by name, as they are after it. Those that are new are added to the first
                group.
        """
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for parameter in parameters.values():
            if id(parameter) not in known:
                self.param_groups[0]["params"].append(parameter)
        for name, parameter in parameters.items():
            if parameter not in self.state:
                continue
            state = self._fitting(parameter)
            tensors = {key: state[key] for key in ("step", *_MOMENTS) if key in state}
            before = {key: tensor.clone() for key, tensor in tensors.items()}
            for slots in (delta.added.get(name), delta.removed.get(name)):
                if slots is not None and len(slots):
                    index = torch.as_tensor(slots, dtype=torch.long)
                    index = index[index < len(state["step"])]  # a smaller graph was loaded
                    for tensor in tensors.values():
                        tensor[index] = 0.0
            if self._transport:
                _take_over([t for t in delta.transfers if t.parameter == name], before, tensors)

    @torch.no_grad()
    def notify_topology_change(self, params: Iterable[Tensor | ParamRef]) -> None:
        """Forget the moments and counts of these parameters, or of these single slots of parameters."""
        for item in params:
            if isinstance(item, Tensor):
                self.state.pop(item, None)
                continue
            parameter = item.array.parameter()
            if parameter in self.state:
                state = self._fitting(parameter)
                for name in ("step", *_MOMENTS):
                    if name in state:
                        state[name][item.slot] = 0.0


def _take_over(transfers: list[Transfer], before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Copy state between slots; a gradient of ``scale`` times the old one has moments of its powers."""
    if not transfers:
        return
    to = torch.tensor([t.slot for t in transfers])
    source = torch.tensor([t.source for t in transfers])
    scale = torch.tensor([t.scale for t in transfers])
    for name, tensor in after.items():
        factor = {"step": torch.ones_like(scale), "exp_avg": scale}.get(name, scale * scale)
        values = before[name][source]
        tensor[to] = values * factor.to(values.dtype).view(-1, *(1,) * (values.ndim - 1))
