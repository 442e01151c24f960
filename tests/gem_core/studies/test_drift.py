import pytest
import torch
from transformers import AutoModelForCausalLM

from gem_core.method.model import GemModel
from gem_core.method.network import load_tokenizer
from gem_core.recipe.method import Adaptation, SpecialTokens
from gem_core.sources.rows import CONTRASTIVE, RAW, Row, Rows
from gem_core.studies.drift import drift

TEXTS = [f"The {one} {two} waits by the cold river." for one in ("old", "small", "quick") for two in ("fox", "owl")]


def changed(base, scope, size):
    """A model whose adapter does something."""
    model = GemModel.from_base(
        base, special_tokens=SpecialTokens(count=2), adaptation=Adaptation(rank=4, scope=scope), seed=1
    )
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.network.named_parameters():
        if "lora_B" in name:
            weight.data = size * torch.randn(weight.shape, generator=generator)
    model.network.eval()
    return model


@pytest.fixture
def rows_of_base(bases, tmp_path):
    def write(base):
        return Rows.write(tmp_path / "rows", load_tokenizer(base.folder)(TEXTS)["input_ids"])

    return write


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gemma2", "gpt2"])
def test_drift_is_the_divergence_of_the_logits(bases, rows_of_base, family):
    base = bases(family)
    rows, model = rows_of_base(base), changed(base, "all", 0.1)
    network = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32).eval()
    total = count = 0.0
    with torch.no_grad():
        for index in range(len(rows)):
            ids = torch.tensor(rows[index])[None].long()
            theirs = network(ids).logits[0].log_softmax(-1)
            ours = model.network(ids).logits[0, :, : theirs.shape[1]].log_softmax(-1)
            total += float((theirs.exp() * (theirs - ours)).sum())
            count += ids.shape[1]
    assert total > 0
    assert drift(model, base, rows) == pytest.approx(total / count, rel=1e-3, abs=1e-7)


def test_nothing_drifts_without_an_update_or_where_it_acts_at_special_tokens_alone(bases, rows_of_base):
    base = bases("llama")
    rows = rows_of_base(base)
    assert drift(changed(base, "all", 0.0), base, rows) == pytest.approx(0, abs=1e-6)
    assert drift(changed(base, "special", 0.5), base, rows) == 0


def test_texts_are_spread_over_the_rows_of_a_use(tmp_path):
    rows = Rows.write(tmp_path, [Row([[index]], RAW if index % 2 else CONTRASTIVE) for index in range(10)])
    assert [int(text[0]) for text in rows.spread(RAW, 3)] == [1, 5, 9]
    assert [int(text[0]) for text in rows.spread(RAW, 99)] == [1, 3, 5, 7, 9]
    none_raw = Rows.write(tmp_path / "other", [Row([[index]], CONTRASTIVE) for index in range(3)])
    assert [int(text[0]) for text in none_raw.spread(RAW, 9)] == [0, 1, 2]
