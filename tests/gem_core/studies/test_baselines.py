import numpy as np
import pytest
import torch

from gem_core.errors import GemError
from gem_core.method.batches import Rows
from gem_core.method.model import GemModel
from gem_core.method.network import hidden_states
from gem_core.recipe import Recipe
from gem_core.sources.rows import EVERYTHING, RAW, Row
from gem_core.studies.baselines import TEMPLATES, HashedWords, TemplateEncoder, pooled
from gem_core.studies.simcse import train_simcse

TEXTS = ["The old fox sleeps.", "An owl", "The quick horse waits by the cold river in a field of wheat."]


@pytest.fixture
def base(bases, settings):
    return GemModel.load(bases("llama", begin=True).folder, settings=settings)


@pytest.mark.parametrize("name", ["mean", "last"])
def test_plain_poolings_are_those_of_a_base(base, name):
    base.read_out = name
    assert np.allclose(TemplateEncoder(base, TEMPLATES[name]).encode(TEXTS), base.encode(TEXTS), atol=1e-5)


def test_later_tokens_weigh_more():
    states = torch.tensor([[[1.0], [2.0], [4.0], [100.0]]])
    first, lengths = torch.tensor([1]), torch.tensor([3])
    assert pooled(states, first, lengths, "weighted-mean").item() == pytest.approx((1 * 2 + 2 * 4) / 3)
    assert pooled(states, first, lengths, "mean").item() == 3
    assert pooled(states, first, lengths, "last").item() == 4


@torch.inference_mode()
def test_prompts_read_what_they_should(base):
    tokenizer = base.tokenizer
    vector = TemplateEncoder(base, TEMPLATES["prompt-eol"]).encode(["An owl"])[0]
    ids = tokenizer('This sentence: "')["input_ids"]
    ids += tokenizer("An owl", add_special_tokens=False)["input_ids"]
    ids += tokenizer('" means in one word: "', add_special_tokens=False)["input_ids"]
    state = hidden_states(base.network, torch.tensor([ids]))[0, -1]
    assert np.allclose(vector, torch.nn.functional.normalize(state, dim=0).numpy(), atol=1e-5)
    own = tokenizer("An owl", add_special_tokens=False)["input_ids"]
    row, first = TemplateEncoder(base, TEMPLATES["echo"])._row("An owl", 64)
    assert row[first:] == own
    assert row[0] == tokenizer.bos_token_id


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_fits_its_room(base, name):
    encoder = TemplateEncoder(base, TEMPLATES[name])
    vectors = encoder.encode([*TEXTS, "", "The old fox sleeps. " * 60], max_length=100)
    assert vectors.shape == (5, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(encoder._row("The old fox sleeps. " * 60, 100)[0]) <= 100
    assert np.allclose(encoder.encode(TEXTS, batch_size=1), vectors[:3], atol=1e-5)
    if name == "echo":
        with pytest.raises(GemError, match="no room"):
            encoder.encode(TEXTS, max_length=10)


def test_hashed_words_know_words_and_nothing_else():
    vectors = HashedWords().encode(["a red fox", "fox red a", "the blue whale", ""])
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]
    assert np.allclose(np.linalg.norm(vectors[:3], axis=1), 1, atol=1e-5)
    assert not vectors[3].any()


def a_recipe(**changes):
    content = {
        "name": "tiny",
        "base_model": {"source": "x"},
        "data": {"sources": [{"source": "x.txt"}]},
        "adaptation": {"rank": 4},
        "objective": {"contrastive_start": 1, "contrastive": {"dropout": 0.3}},
        "training": {"steps": 12, "batch_size": 8, "contrastive_learning_rate": 3e-3, "precision": "float32"},
    }
    return Recipe.model_validate(content | changes)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_rival_learns_to_tell_texts_apart(bases, tmp_path, method):
    base = bases("llama")
    tokenizer = GemModel.load(base.folder, settings=None).tokenizer
    sentences = [f"The {what} {does} by the {where}." for what in ("fox", "owl", "otter") for does in ("sings", "hides")
                 for where in ("river", "bridge", "field of wheat")]  # fmt: skip
    rows = Rows.write(tmp_path / "rows", tokenizer(sentences)["input_ids"])
    losses = []
    recipe = a_recipe(adaptation={"method": method, "rank": 4})
    model = train_simcse(recipe, base, rows, report=lambda _, loss: losses.append(loss))
    assert len(losses) == 12
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    again = train_simcse(recipe, base, rows)
    encoders = [TemplateEncoder(each, TEMPLATES["weighted-mean"]) for each in (model, again)]
    assert np.array_equal(*(encoder.encode(TEXTS) for encoder in encoders))


def test_the_rival_passes_over_batches_without_two_texts_to_contrast_and_needs_some(bases, tmp_path):
    base, objective = bases("llama"), {"contrastive": {"rows": "none"}}
    texts = GemModel.load(base.folder, settings=None).tokenizer(
        [f"The {number} {text}" for number in range(4) for text in TEXTS]
    )["input_ids"]
    training = {"steps": 8, "batch_size": 2, "precision": "float32"}
    replay = {"source": "y.txt", "use": ["raw", "special"]}
    rows = Rows.write(tmp_path / "rows", [Row([text], EVERYTHING if number % 2 else RAW)
                                          for number, text in enumerate(texts)])  # fmt: skip
    losses = []
    train_simcse(
        a_recipe(training=training, objective=objective, data={"sources": [{"source": "x.txt"}, replay]}),
        base, rows, report=lambda _, loss: losses.append(loss),
    )  # fmt: skip
    assert len(losses) == 8
    assert min(losses) == 0 < max(losses)
    with pytest.raises(GemError, match="SimCSE needs a source"):
        train_simcse(a_recipe(objective=objective, data={"sources": [replay]}), base, rows)
