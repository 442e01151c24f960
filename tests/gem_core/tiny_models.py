"""GEM models on the tiny bases of ``conftest.py``, for tests of what is done with one."""

import torch

from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, SpecialTokens


def gem(base, *, count=1, pooling="mean", method="lora", scope="all", blind=True, seed=1):
    """A GEM model whose adapter does something."""
    model = GemModel.from_base(
        base,
        special_tokens=SpecialTokens(count=count, pooling=pooling, blind=blind),
        adaptation=Adaptation(method=method, scope=scope, rank=4),
        seed=seed,
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    model.network.eval()
    return model
