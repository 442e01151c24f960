"""The little that data-parallel workers have to tell each other.

No ``DistributedDataParallel``: a step runs the network over several sub-batches, some of them only on some steps, and
sums their gradients; losses are divided by *global* counts, which every worker knows from the common plan. What is left
is one sum of all trainable gradients after the last backward pass: a single flat all-reduce, small with LoRA, that is
right whichever parameters took part.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer


def rank() -> int:
    """This worker's number in the default process group; 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """Workers in the default process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_gradients(parameters: Sequence[nn.Parameter], numbers: Tensor) -> Tensor:
    """Sum gradients, in place, and some numbers over all workers.

    A parameter no part of the step used gets a gradient of zeros, on one worker as on many, so that the optimizer
    treats it alike everywhere.

    Args:
        parameters: In the same order on every worker.
        numbers: [M] float32.

    Returns:
        The sums of ``numbers``.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if world() == 1:
        return numbers
    parts = [*(parameter.grad for parameter in parameters if parameter.grad is not None), numbers]
    flat = summed(torch.cat([part.reshape(-1).float() for part in parts]))
    sums = flat.split([part.numel() for part in parts])
    for part, total in zip(parts[:-1], sums[:-1], strict=True):
        part.copy_(total.view_as(part))
    return sums[-1]


def gather_rows(own: Tensor, indices: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Every worker's rows in their global order, of which only this worker's carry a gradient.

    A loss computed from the result *on every worker* has, summed over the workers, exactly the gradient of one process:
    each worker contributes the part that runs through its own rows, and no collective is needed on the way back.

    Args:
        own: This worker's rows, [n, D].
        indices: Their places in the whole.
        counts: Rows of each worker, by rank.

    Returns:
        [N, D], N the sum of ``counts``.
    """
    place = torch.tensor(indices, dtype=torch.int64, device=own.device)
    whole = own.new_zeros(sum(counts), own.shape[1])
    if world() > 1:
        width = max(counts)  # all_gather wants equal shapes
        rows = own.new_zeros(width, own.shape[1])
        rows[: len(own)] = own.detach()
        places = torch.full((width,), -1, dtype=torch.int64, device=own.device)
        places[: len(place)] = place
        all_rows = [torch.empty_like(rows) for _ in counts]
        all_places = [torch.empty_like(places) for _ in counts]
        dist.all_gather(all_rows, rows)
        dist.all_gather(all_places, places)
        for count, part, where in zip(counts, all_rows, all_places, strict=True):
            whole[where[:count]] = part[:count]
    return whole.index_copy(0, place, own)


def shared_out(kind: type[Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """An optimizer at rate 0 whose work and state the workers share: each steps its part of the weights, for all.

    For one whose steps cost as much as a backward pass. Its state has to be gathered before it is asked for.
    """
    rate: dict[str, Any] = {"lr": 0.0}
    if world() == 1:
        return kind(groups, **rate)
    from torch.distributed.optim import ZeroRedundancyOptimizer  # a second to import

    return ZeroRedundancyOptimizer(groups, optimizer_class=kind, **rate)


def gather_state(optimizer: Optimizer) -> None:
    """Bring all that the workers know of an optimizer together on rank 0; called by every worker."""
    if world() > 1 and hasattr(optimizer, "consolidate_state_dict"):  # one that is shared out
        optimizer.consolidate_state_dict(to=0)


def summed(value: Tensor) -> Tensor:
    """Its sum over all workers, on each of them; changed in place."""
    if world() > 1:
        dist.all_reduce(value)
    return value


def as_first_has(value: Tensor) -> Tensor:
    """Rank 0's tensor on every worker, for what each computes but other processors may round otherwise.

    Args:
        value: Of one shape on all of them; changed in place.
    """
    if world() > 1:
        dist.broadcast(value, src=0)
    return value


def from_first(value: str | None) -> str:
    """Rank 0's value, on every worker; waits for all of them."""
    if world() > 1:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        value = box[0]
    return value or ""
