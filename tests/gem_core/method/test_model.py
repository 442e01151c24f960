import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from tiny_models import gem

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.method.batched_generation import generate_all
from gem_core.method.model import GemModel
from gem_core.method.network import (
    adapter_off,
    causal_lm,
    check_output_layer,
    hidden_states,
    load_network,
    output_layer,
)
from gem_core.method.read_out import text_tokens
from gem_core.settings import Settings

TEXTS = ["The old fox sleeps.", "An owl", "The quick horse waits by the cold river in a field of wheat.", "", "An owl"]


@pytest.mark.parametrize(("method", "count"), [("lora", 3), ("full", 1)])
def test_save_and_load_give_the_same_embeddings(bases, family, method, count, tmp_path, settings):
    model = gem(bases(family), count=count, method=method)
    model.save(tmp_path / "model")
    loaded = GemModel.load(tmp_path / "model", settings=settings)
    assert np.allclose(model.encode(TEXTS), loaded.encode(TEXTS), atol=1e-4)
    assert loaded.digest == content_digest(tmp_path / "model")
    assert loaded.k == count
    assert not {path.suffix for path in (tmp_path / "model").rglob("*")} & {".bin", ".pt"}
    ids = torch.tensor([[5, 6, 7, 8]])
    one, two = (causal_lm(m.network)(input_ids=ids).logits for m in (model, loaded))
    assert torch.allclose(one, two, atol=1e-3)


def test_a_model_is_its_bytes_in_every_process(bases, tmp_path):
    program = (
        "import sys; from pathlib import Path;"
        "from gem_core.sources.models import ResolvedModel; from gem_core.method.model import GemModel;"
        "from gem_core.recipe import Adaptation, SpecialTokens; from gem_core.identity import content_digest;"
        "folder, output = Path(sys.argv[1]), Path(sys.argv[2]);"
        "base = ResolvedModel('somewhere', 'r', folder, 'd', None);"
        "model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=Adaptation(), seed=1);"
        "model.save(output); print(content_digest(output))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(bases("llama").folder), str(tmp_path / salt)],
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True,
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


@pytest.mark.parametrize(("scope", "method"), [("all", "lora"), ("special", "lora"), ("all", "full")])
def test_a_model_that_was_used_and_loaded_is_saved_as_it_was(bases, scope, method, tmp_path, settings):
    model = gem(bases("llama"), count=2, scope=scope, method=method)
    model.save(tmp_path / "first")
    loaded = GemModel.load(tmp_path / "first", settings=settings)
    for used in (model, loaded):
        used.encode(TEXTS)
        used.save(tmp_path / "again")
        assert content_digest(tmp_path / "again") == loaded.digest


def test_saving_replaces_a_model_whole(bases, tmp_path):
    target = tmp_path / "model"
    gem(bases("llama"), count=2).save(target)
    (target / "left over").touch()
    gem(bases("llama")).save(target, recipe={"seed": 7})
    assert not (target / "left over").exists()
    assert json.loads((target / "gem.json").read_text())["recipe"] == {"seed": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("read_out", ["special", "mean", "last"])
def test_an_embedding_does_not_depend_on_its_neighbours(bases, count, read_out):
    model = gem(bases("llama"), count=count)
    model.read_out = read_out
    texts = ["The old fox sleeps.", "An owl", "The quick horse waits by the cold river in a field of wheat."]
    together = model.encode(texts)
    for batch_size in (1, 2):
        assert np.allclose(model.encode(texts, batch_size=batch_size), together, atol=1e-5)
    for text, embedding in zip(texts, together, strict=True):
        assert np.allclose(model.encode([text])[0], embedding, atol=1e-5)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_any_texts_are_embedded_in_order(bases, texts):
    model = GemModel.load(bases("llama", begin=True).folder, settings=Settings())
    embeddings = model.encode(texts)
    assert embeddings.shape == (len(texts), 32)
    assert np.isfinite(embeddings).all()
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert np.allclose(embeddings[::-1], model.encode(texts[::-1]), atol=1e-5)


def test_equal_texts_are_computed_once_and_progress_is_told(bases):
    calls = []
    embeddings = gem(bases("llama")).encode(TEXTS, batch_size=3, progress=lambda done, all_: calls.append((done, all_)))
    assert calls == [(3, 4), (4, 4)]
    assert np.array_equal(embeddings[1], embeddings[4])


def test_special_tokens_are_blind_to_each_other(bases):
    model = gem(bases("llama"), count=2, pooling="concat")
    assert model.dimension == 64
    before = model.encode(["The old fox"], normalize=False)
    delta = causal_lm(model.network).get_input_embeddings().token_adapter.trainable_tokens_delta["default"]
    with torch.no_grad():
        delta[0] += 1.0
    after = model.encode(["The old fox"], normalize=False)
    assert np.array_equal(before[:, 32:], after[:, 32:])
    assert not np.allclose(before[:, :32], after[:, :32], atol=1e-2)


def test_one_special_token_is_plain_causal_and_last_token(bases):
    model = gem(bases("llama"))
    ids = [*model.tokenizer("The old fox")["input_ids"], *model.special_ids]
    with torch.no_grad():
        states = causal_lm(model.network)(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    assert np.allclose(model.encode(["The old fox"], normalize=False)[0], states[0, -1].numpy(), atol=1e-5)


def test_a_long_text_is_cut_so_that_its_special_tokens_fit(bases):
    model = gem(bases("llama"), count=3)
    long = "The old fox sleeps. " * 100
    assert np.isfinite(model.encode([long])).all()  # max_length is 512, the network takes 128
    text = model.tokenizer.decode(model.tokenizer(long)["input_ids"][:5])
    assert np.allclose(model.encode([long], max_length=8), model.encode([text], max_length=8), atol=1e-5)
    with pytest.raises(GemError, match="leaves no room"):
        model.encode(["a"], max_length=3)


def test_nothing_to_embed(bases):
    with pytest.raises(GemError, match="no text"):
        gem(bases("llama")).encode([])


def test_a_base_is_read_by_mean_or_last(bases, settings):
    folder = bases("llama").folder
    assert GemModel.load(folder, settings=settings).read_out == "mean"
    last = GemModel.open(str(folder), settings=settings, read_out="last")
    assert (last.k, last.dimension, last.max_length) == (0, 32, 128)
    ids = torch.tensor([last.tokenizer("An owl")["input_ids"]])
    states = hidden_states(last.network, ids)[0].detach().numpy()
    assert np.allclose(last.encode(["An owl"], normalize=False)[0], states[-1], atol=1e-5)
    mean = GemModel.load(folder, settings=settings, read_out="mean").encode(["An owl"], normalize=False)[0]
    assert np.allclose(mean, states.mean(axis=0), atol=1e-5)
    with pytest.raises(GemError, match="no read-out 'special'"):
        GemModel.load(folder, settings=settings, read_out="special")


def test_the_adapter_off_is_the_base_and_training_starts_from_it(bases, family):
    base = bases(family)
    model = gem(base)
    plain = GemModel.load(base.folder, settings=Settings())
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        expected = hidden_states(plain.network, ids)
        with adapter_off(model.network):
            assert torch.allclose(hidden_states(model.network, ids), expected, atol=1e-5)
            base_logits = output_layer(model.network, base=True)(expected)
        known = causal_lm(plain.network)(input_ids=ids).logits
        assert torch.allclose(base_logits[..., : known.shape[-1]], known, atol=1e-4)
        assert not torch.allclose(hidden_states(model.network, ids), expected, atol=1e-2)


def test_our_output_layer_is_the_networks_own(bases, family):
    model = gem(bases(family))
    check_output_layer(model.network, 320)


def plain_logits(base, ids):
    network = load_network(base.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return network(ids, attention_mask=torch.ones_like(ids)).logits


def test_lossless_logits_are_the_bases_bit_for_bit(bases, family, tmp_path, settings):
    """The output layer, too, is the base's: k more logits would change every probability."""
    base, ids = bases(family), torch.randint(320, (3, 40), generator=torch.Generator().manual_seed(0))
    model, expected = gem(base, count=2, scope="special"), plain_logits(base, ids)
    model.save(tmp_path / "model")
    for lossless in (model, GemModel.load(tmp_path / "model", settings=settings)):
        before, inside = lossless.encode(TEXTS), lossless.causal_lm()
        with torch.no_grad():
            assert torch.equal(inside(ids, attention_mask=torch.ones_like(ids)).logits, expected)
        assert lossless.generate("The old fox", max_new_tokens=8) == GemModel.load(
            base.folder, settings=settings
        ).generate("The old fox", max_new_tokens=8)
        assert np.allclose(lossless.encode(TEXTS), before, atol=1e-6)
    assert np.allclose(model.encode(TEXTS), lossless.encode(TEXTS), atol=1e-6)
    untrained = gem(base, count=2, scope="special", seed=1)
    assert not np.allclose(GemModel.load(base.folder, settings=settings).encode(["a fox"])[0], before[0], atol=1e-2)
    with torch.no_grad(), adapter_off(untrained.network):
        assert not np.allclose(untrained.encode(TEXTS), before, atol=1e-3)  # the adapter does something


def test_in_lossless_mode_only_the_special_tokens_are_adapted(bases):
    model = gem(bases("llama"), count=2, scope="special")
    row = torch.tensor([[5, 6, 7, *model.special_ids, 8, 9, 10]])
    layers = [layer for layer in causal_lm(model.network).modules() if isinstance(layer, LoraLayer)]
    changed = []
    for layer in layers:
        layer.register_forward_hook(
            lambda layer, args, out: changed.append((out != layer.base_layer(args[0])).any(-1)[0].tolist())
        )
    with torch.no_grad():
        hidden_states(model.network, row)
    assert len(changed) == len(layers) == 14
    assert changed == [[False] * 3 + [True] * 2 + [False] * 3] * 14


def test_a_layer_given_other_tokens_is_refused(bases):
    model = gem(bases("llama"), scope="special")
    layer = causal_lm(model.network).model.layers[1].mlp.up_proj
    layer.register_forward_pre_hook(lambda _, args: (args[0][:, :1],))
    with pytest.raises(GemError, match="regroups its tokens"):
        model.encode(["a fox"])


def test_two_threads_run_one_lossless_model_at_their_own_places(bases):
    model, ids = gem(bases("llama"), scope="special"), torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        alone, logits = model.encode(["The old fox"]), causal_lm(model.network)(ids).logits
    entered, compared, found = threading.Event(), threading.Event(), []

    def wait(*_):
        if threading.current_thread() is other:
            entered.set()
            compared.wait(10)

    other = threading.Thread(target=lambda: found.append(model.encode(["The old fox"])))
    causal_lm(model.network).model.layers[0].register_forward_pre_hook(wait)
    other.start()
    entered.wait(10)
    with torch.no_grad():
        assert torch.equal(causal_lm(model.network)(ids).logits, logits)
    compared.set()
    other.join()
    assert np.array_equal(found[0], alone)


@pytest.mark.parametrize("scope", ["all", "special"])
@pytest.mark.parametrize(("family", "count"), [("llama", 1), ("mistral", 3), ("gpt2", 2), ("gemma3", 2), ("gemma3", 1)])
def test_one_reading_serves_embedding_and_generation(bases, family, count, scope):
    model = gem(bases(family), count=count, scope=scope)
    for text in ("The quick horse waits by the cold river in a field of wheat.", "a"):
        reading = model.read(text)
        assert np.allclose(reading.embedding, model.encode([text])[0], atol=1e-5)
        for options in ({}, {"temperature": 1.0, "seed": 3}, {}):  # a reading can be gone on from again
            written = model.generate(reading, max_new_tokens=10, **options)
            assert written == model.generate(text, max_new_tokens=10, **options)
        assert reading.cache.get_seq_length() == len(reading.tokens) - 1


@pytest.mark.parametrize("begin", [True, False])
def test_a_blank_reading_has_the_embedding_of_a_blank_text(bases, begin):
    """Without a tokenizer's own BOS that of the special tokens alone, while generation begins with the BOS."""
    for count in (1, 3):
        model = gem(bases("llama", begin=begin), count=count)
        reading = model.read("")
        assert np.allclose(reading.embedding, model.encode([""])[0], atol=1e-6)
        assert model.generate(reading, max_new_tokens=8) == model.generate("", max_new_tokens=8)


def test_generation_beyond_the_networks_positions_is_refused_in_one_line(bases):
    model = gem(bases("gpt2"))
    text = "The old fox sleeps. " * 40
    assert isinstance(model.generate(text, max_new_tokens=20), str)  # cut to make room
    with pytest.raises(GemError, match=r"20 new tokens do not fit behind 127: the model takes 128 .* ask for 1 or"):
        model.generate(model.read(text), max_new_tokens=20)
    assert isinstance(model.generate(model.read(text), max_new_tokens=1), str)
    with pytest.raises(GemError, match="300 new tokens do not fit behind 1"):
        model.generate(text, max_new_tokens=300)
    with pytest.raises(GemError, match="300 new tokens do not fit behind 1"):
        generate_all(model, [text], max_new_tokens=300)


def test_a_long_prompt_is_continued_from_its_end(bases):
    """It lost its end, as a text to be embedded does, and the continuation went on in its middle."""
    for base in (bases("llama"), bases("llama", begin=True)):
        model = gem(base)
        text = "The old fox sleeps. " * 40 + "The quick owl sings by the cold"
        whole = model.tokenizer(text)["input_ids"]
        kept = text_tokens(model.tokenizer, [text], 108, to_go_on=True)[0]
        begin = [0] if whole[0] == 0 else []
        assert kept == begin + whole[len(whole) - 108 + len(begin) :]
        assert text_tokens(model.tokenizer, ["The old"], 108, to_go_on=True) == text_tokens(
            model.tokenizer, ["The old"], 108
        )
        tail = model.tokenizer.decode(kept, skip_special_tokens=True)
        assert model.tokenizer(tail)["input_ids"] == kept
        assert model.generate(text, max_new_tokens=20) == model.generate(tail, max_new_tokens=20)
        assert generate_all(model, [text], max_new_tokens=20) == generate_all(model, [tail], max_new_tokens=20)


def test_a_base_cannot_read(bases, settings):
    with pytest.raises(GemError, match="no special tokens to read"):
        GemModel.load(bases("llama").folder, settings=settings).read("a fox")


def test_the_last_special_token_may_be_the_embedding(bases):
    last, every = (gem(bases("llama"), count=3, pooling=pooling) for pooling in ("last", "concat"))
    assert last.dimension == 32
    vectors = every.encode(TEXTS, normalize=False)
    assert np.allclose(last.encode(TEXTS, normalize=False), vectors[:, -32:], atol=1e-6)


def test_special_tokens_that_see_each_other_are_plain_causal(bases):
    model = gem(bases("llama"), count=2, pooling="concat", blind=False)
    ids = torch.tensor([[*model.tokenizer("The old fox")["input_ids"], *model.special_ids]])
    with torch.no_grad():
        states = hidden_states(model.network, ids)[0, -2:].flatten().numpy()
    assert np.allclose(model.encode(["The old fox"], normalize=False)[0], states, atol=1e-5)
    assert not np.allclose(gem(bases("llama"), count=2, pooling="concat").encode(["The old fox"], normalize=False),
                           states, atol=1e-2)  # fmt: skip


def test_an_embedding_may_be_shortened(bases):
    model = gem(bases("llama"))
    short, whole = model.encode(TEXTS, size=8), model.encode(TEXTS, normalize=False)
    assert short.shape == (5, 8)
    assert np.allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-6)


def test_an_architecture_that_does_more_to_its_logits_is_refused(bases):
    model = gem(bases("llama"))
    causal_lm(model.network).config.logit_scale = 3.0  # which Llama does not know
    with pytest.raises(GemError, match="changes its logits"):
        check_output_layer(model.network, 320)


def test_generation_is_the_plain_decoders_and_never_special(bases, settings, tmp_path):
    gem(bases("llama")).save(tmp_path / "model")
    model = GemModel.load(tmp_path / "model", settings=settings)
    written = model.generate("The old", max_new_tokens=12)
    assert written == model.generate("The old", max_new_tokens=12)
    ids = torch.tensor([model.tokenizer("The old")["input_ids"]])
    greedy = model.causal_lm().generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        suppress_tokens=[*model.special_ids],
    )
    assert written == model.tokenizer.decode(greedy[0, ids.shape[1] :], skip_special_tokens=True)
    sampled = {model.generate("The old", max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 2, 2, 1)}
    assert len(sampled) == 2
    assert isinstance(model.generate("", max_new_tokens=3), str)
    head = causal_lm(model.network).get_output_embeddings()
    with torch.no_grad():  # make the special token by far the likeliest
        causal_lm(model.network).get_input_embeddings().original_module.weight[model.special_ids[0]] *= 1000
    assert head is not None
    assert "<|gem_0|>" not in model.generate("The old", max_new_tokens=12, temperature=1.0)


def test_damaged_folders_are_told_in_one_line(bases, tmp_path, settings):
    gem(bases("llama")).save(tmp_path / "model")
    (tmp_path / "model" / "gem.json").write_text('{"format": 2}')
    with pytest.raises(GemError, match=r"gem\.json: format") as error:
        GemModel.load(tmp_path / "model", settings=settings)
    assert "\n" not in str(error.value)
    with pytest.raises(GemError, match="cannot load"):
        GemModel.load(tmp_path, settings=settings)


def test_another_base_under_the_same_name_is_refused(bases, tmp_path, settings):
    import shutil
    from dataclasses import replace

    copy = tmp_path / "base"
    shutil.copytree(bases("llama").folder, copy)
    gem(replace(bases("llama"), folder=copy, reference=str(copy))).save(tmp_path / "model")
    GemModel.load(tmp_path / "model", settings=settings)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    with pytest.raises(GemError, match="restore the base it was trained on"):
        GemModel.load(tmp_path / "model", settings=settings)


def test_an_adapter_for_other_ids_is_refused(bases, tmp_path, settings):
    gem(bases("llama"), count=2).save(tmp_path / "model")
    path = tmp_path / "model" / "adapter_config.json"
    path.write_text(path.read_text().replace("320", "310").replace("321", "311"))
    with pytest.raises(GemError, match=r"the ids \(320, 321\), the adapter was trained with \(310, 311\)"):
        GemModel.load(tmp_path / "model", settings=settings)
