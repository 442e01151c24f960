"""Many prompts at once write what each would write alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from gem_core.errors import GemError
from gem_core.method.batched_generation import SharedNoise, generate_all
from gem_core.method.model import GemModel

PROMPTS = ["The old fox", "The quick horse waits", "The small otter sings by the cold river", "In", "A field of wheat"]


@pytest.fixture
def model(bases, settings):
    return GemModel.load(bases().folder, settings=settings)


def test_a_batch_writes_what_each_prompt_writes_alone(bases, family, settings):
    model = GemModel.load(bases(family).folder, settings=settings)
    together = generate_all(model, PROMPTS, max_new_tokens=6, batch_size=3)
    assert together == [model.generate(prompt, max_new_tokens=6) for prompt in PROMPTS]


def test_a_draw_depends_on_seed_and_prompt_and_not_on_the_batch(model):
    def drawn(**options):
        return generate_all(model, PROMPTS, max_new_tokens=6, temperature=1.0, **options)

    assert drawn(batch_size=2) == drawn(batch_size=5)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn() != generate_all(model, PROMPTS, max_new_tokens=6)


def test_draws_have_the_distribution_of_the_model():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5])
    numbers = list(range(4000))
    noisy = SharedNoise(3, numbers, 7, 0.7)(torch.zeros(4000, 9, dtype=torch.long), logits.expand(4000, -1))
    counts = np.bincount(noisy.argmax(dim=1).numpy(), minlength=5)
    assert chisquare(counts, 4000 * torch.softmax(logits / 0.7, dim=0).double().numpy()).pvalue > 0.01


def test_models_that_think_alike_write_alike_whatever_else_they_know():
    """A special token more, which is never drawn, moves no draw."""
    ids = torch.zeros(64, 4, dtype=torch.long)
    logits = torch.randn(64, 30, generator=torch.Generator().manual_seed(0))
    more = torch.cat([logits, torch.full((64, 1), -torch.inf)], dim=1)
    noise = SharedNoise(0, range(64), 2, 1.0)
    assert torch.equal(noise(ids, more)[:, :30], noise(ids, logits))
    assert torch.equal(noise(ids, more).argmax(dim=1), noise(ids, logits).argmax(dim=1))
    closer = logits + 0.05 * torch.randn(64, 30, generator=torch.Generator().manual_seed(1))
    assert (noise(ids, closer).argmax(dim=1) == noise(ids, logits).argmax(dim=1)).float().mean() > 0.85


def test_nothing_to_begin_with(model):
    model.tokenizer.bos_token = model.tokenizer.eos_token = None
    with pytest.raises(GemError, match="a blank prompt"):
        generate_all(model, ["The old fox", ""], max_new_tokens=2)
