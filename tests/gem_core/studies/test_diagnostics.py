import numpy as np
import pytest
import torch
from tiny_models import gem

from gem_core.errors import GemError
from gem_core.method.model import GemModel
from gem_core.method.network import causal_lm
from gem_core.studies.diagnostics import TEXTS, attention, diagnose, space, stability

SOME = [text for part in TEXTS.values() for text in part][:6]


@pytest.mark.parametrize(("family", "count"), [("llama", 1), ("llama", 3), ("gemma3", 2), ("gpt2", 1)])
def test_attention_adds_up_and_leaves_the_model_as_it_was(bases, family, count):
    model = gem(bases(family), count=count)
    before = model.encode(SOME)
    layers = attention(model, SOME)
    assert len(layers) == 2
    for layer in layers:
        assert layer.text + layer.first + layer.special == pytest.approx(1, abs=1e-4)
        assert sum(layer.quarters) == pytest.approx(1, abs=1e-4)
    assert causal_lm(model.network).config._attn_implementation == "sdpa"
    assert np.array_equal(before, model.encode(SOME))


def test_special_tokens_that_see_nothing_but_themselves_are_told(bases):
    model = gem(bases("llama"))
    layer = causal_lm(model.network).get_decoder().layers[0].self_attn
    with torch.no_grad():  # queries of nothing: attention is even over all tokens
        for name, weight in layer.q_proj.named_parameters():
            if "lora" not in name or "lora_B" in name:
                weight.zero_()
    first = attention(model, ["The old fox sleeps by the cold river."])[0]
    length = len(model.tokenizer("The old fox sleeps by the cold river.")["input_ids"]) + 1
    assert first.special == pytest.approx(1 / length, abs=1e-4)
    assert first.text == pytest.approx((length - 2) / length, abs=1e-4)


def test_neighbours_and_padding_do_not_move_an_embedding(bases):
    found = stability(gem(bases("llama"), count=2), SOME)
    assert found.neighbours == pytest.approx(1, abs=1e-5)
    assert found.half < 0.9999
    assert all(-1 <= value <= 1.0001 for value in vars(found).values())


@pytest.mark.parametrize("count", [0, 2])
def test_neighbours_are_all_others_at_once(bases, count, settings):
    """Not those that encode puts into one call, which hardly pads."""
    model = gem(bases("llama"), count=count) if count else GemModel.load(bases("llama").folder, settings=settings)
    shapes = []
    causal_lm(model.network).get_decoder().register_forward_pre_hook(
        lambda _, __, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    assert stability(model, SOME).neighbours == pytest.approx(1, abs=1e-5)
    assert (len(SOME), max(len(row) for row in model.tokenizer(SOME)["input_ids"]) + count) in shapes


def test_blank_and_repeated_texts_change_no_diagnosis(bases):
    model, once = gem(bases("llama")), {"one": SOME[:3], "two": SOME[3:]}
    twice = {"one": [*SOME[:3], " ", SOME[0]], "two": [*SOME[3:], ""]}
    assert diagnose(model, twice).space == diagnose(model, once).space
    with pytest.raises(GemError, match=r"1 different text.* too few"):
        diagnose(model, dict.fromkeys("abcd", SOME[:1]))


class Fixed:
    """Embeds by a table."""

    def __init__(self, vectors):
        self._vectors = vectors

    def encode(self, texts):
        return np.array([self._vectors[text[0]] for text in texts])


def test_the_sphere_is_measured_by_its_definitions():
    corners = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, 0.0], "d": [0.0, -1.0]}
    found = space(Fixed(corners), {"one": ["a", "b"], "two": ["c", "d"]})
    cosines = [0, -1, 0, 0, -1, 0]
    assert found.anisotropy == pytest.approx(np.mean(cosines))
    assert found.uniformity == pytest.approx(np.log(np.mean(np.exp([-2 * (2 - 2 * c) for c in cosines]))))
    assert found.alignment == 0
    assert (found.within_domains, found.between_domains) == (0, -0.5)
    same = space(Fixed({letter: [1.0, 0.0] for letter in "abcd"}), {"one": ["a", "b", "c", "d"]})
    assert (same.anisotropy, same.uniformity, same.within_domains) == (1, 0, None)


def test_a_whole_diagnosis_of_a_model_and_of_a_base(bases, settings):
    found = diagnose(gem(bases("llama")))
    assert found.texts == 16
    assert sum(part.texts for part in found.restored) > 0
    plain = diagnose(GemModel.load(bases("llama").folder, settings=settings))
    assert (plain.attention, plain.restored) == ((), ())
    with pytest.raises(GemError, match="too few"):
        diagnose(gem(bases("llama")), {"one": ["a", "b", " "]})
