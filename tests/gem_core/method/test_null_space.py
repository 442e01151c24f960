import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training import Reports, recipe, rows_for, weights_of

from gem_core.method.model import GemModel
from gem_core.method.null_space import NullSpace, quiet_directions
from gem_core.method.training import train
from gem_core.recipe.method import Adaptation, SpecialTokens


@given(st.integers(1, 12), st.integers(0, 2**31 - 1), st.floats(0.0, 1.0), st.floats(0.0, 3.0))
def test_quiet_directions_are_as_many_as_hold_the_share(size, seed, share, decay):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(40, size, generator=generator, dtype=torch.float64) * torch.arange(1, size + 1) ** -decay
    moments = inputs.T @ inputs
    projector = quiet_directions(moments, share).double()
    torch.testing.assert_close(projector, projector.T)
    torch.testing.assert_close(projector @ projector, projector, atol=1e-5, rtol=0)
    whole, read = float(moments.trace()), float((projector @ moments).trace())
    assert read <= share * whole + 1e-5 * whole
    count = round(float(projector.trace()))
    held = torch.linalg.eigvalsh(moments).cumsum(0)
    assert count == size or held[count] > share * held[-1] * (1 - 1e-9), "one more direction would not have fitted"


def test_directions_that_are_never_used_are_free_and_all_are_read_at_the_end():
    moments = torch.diag(torch.tensor([4.0, 0.0, 1.0]))
    torch.testing.assert_close(quiet_directions(moments, 0.01), torch.diag(torch.tensor([0.0, 1.0, 0.0])))
    torch.testing.assert_close(quiet_directions(moments, 0.3), torch.diag(torch.tensor([0.0, 1.0, 1.0])))
    torch.testing.assert_close(quiet_directions(moments, 1.0), torch.eye(3))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "phi"])
def test_a_confined_adapter_moves_ordinary_text_less_and_special_tokens_still(bases, tmp_path, family):
    """Random updates of one size: what counts is where they read, and not how a training came to them."""
    base = bases(family)
    rows = rows_for(base, tmp_path)

    def moved(share):
        model = GemModel.from_base(
            base, special_tokens=SpecialTokens(start="zero"), adaptation=Adaptation(rank=8), seed=1
        )
        network = model.network.eval()
        generator = torch.Generator().manual_seed(0)
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.data = 0.02 * torch.randn(weight.shape, generator=generator)
        if share is not None:
            NullSpace(network, rows, share).confine()
        ids = torch.tensor([[*rows[5], *model.special_ids]])
        with torch.no_grad():
            adapted = network(ids).logits
            with network.disable_adapter():
                plain = network(ids).logits
        change = (adapted - plain)[..., : min(model.special_ids)].abs().mean(dim=-1)[0]
        return float(change[:-1].mean()), float(change[-1])

    (text, special), (confined_text, confined_special) = moved(None), moved(0.02)
    assert 0 < confined_text < 0.3 * text
    assert confined_special / special > 1.5 * confined_text / text


def test_every_step_leaves_the_adapter_confined(bases, tmp_path):
    base = bases("llama")
    rows = rows_for(base, tmp_path / "data")
    chosen = recipe(adaptation__null_space=0.01, training__muon=0.02)
    train(chosen, base, rows, report=Reports(tmp_path), output=tmp_path / "model")
    model = GemModel.from_base(
        base, special_tokens=chosen.special_tokens, adaptation=chosen.adaptation, seed=chosen.seed
    )
    own = {name: weight for name, weight in model.network.named_parameters() if "lora_A" in name}
    trained = {name.replace(".weight", ".default.weight"): w for name, w in weights_of(tmp_path / "model").items()}
    for name, weight in own.items():
        weight.data.copy_(trained[name])
    NullSpace(model.network, rows, 0.01).confine()
    for name, weight in own.items():
        torch.testing.assert_close(weight.data, trained[name], atol=1e-6, rtol=1e-5)
        assert weight.abs().sum() > 0, name


def test_without_raw_rows_all_rows_are_the_ordinary_text(bases, tmp_path):
    from gem_core.sources.rows import CONTRASTIVE, Row, Rows

    base = bases("llama")
    plain = rows_for(base, tmp_path / "plain")
    other = Rows.write(tmp_path / "other", [Row([plain[i]], CONTRASTIVE) for i in range(len(plain))])
    model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=Adaptation(rank=4), seed=1)
    weights = [w for name, w in model.network.named_parameters() if "lora_A" in name]
    first = [w.detach().clone() for w in weights]
    NullSpace(model.network, plain, 0.05).confine()
    confined = [w.detach().clone() for w in weights]
    for weight, value in zip(weights, first, strict=True):
        weight.data.copy_(value)
    NullSpace(model.network, other, 0.05).confine()
    assert all(torch.equal(weight, value) for weight, value in zip(weights, confined, strict=True))
