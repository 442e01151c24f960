import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tiny_models import gem
from tokenizers import processors
from transformers import AutoTokenizer

from gem_core.errors import GemError
from gem_core.export import MODULE, export
from gem_core.identity import content_digest
from gem_core.method.model import GemModel
from gem_core.method.network import causal_lm
from gem_core.recipe import Adaptation, SpecialTokens

TEXTS = [
    "The old fox sleeps.",
    "An owl",
    "The quick horse waits by the cold river in a field of wheat.",
    "",
    "  trailing  ",
    "The quiet heron sings under the bridge. " * 30,  # longer than the network takes
]


@pytest.fixture
def saved(bases, tmp_path):
    """Makes a model folder."""

    def save(family="llama", *, begin=False, **options):
        gem(bases(family, begin=begin), **options).save(tmp_path / "model")
        return tmp_path / "model"

    return save


def embeddings(folder, settings):
    return GemModel.load(folder, settings=settings).encode(TEXTS)


def suffixes(folder):
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("family", "options"),
    [("llama", {}), ("llama", {"begin": True}), ("llama-untied", {"method": "full"}), ("gpt2", {}), ("gemma3", {})],
)
def test_one_special_token_needs_stock_modules_alone(saved, family, options, tmp_path, settings):
    folder, target = saved(family, **options), tmp_path / "out"
    export(folder, target, "sentence-transformers", settings=settings)
    loaded = SentenceTransformer(str(target), device="cpu")
    assert np.allclose(loaded.encode(TEXTS), embeddings(folder, settings), atol=1e-5)
    assert suffixes(target) <= {".json", ".safetensors", ".md"}  # no code, no pickles


def with_tokenizer(base, folder, change, **options):
    """The base with another tokenizer, which is loaded with ``options`` and given to ``change``."""
    shutil.copytree(base.folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    change(tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(folder)
    return replace(base, reference=str(folder), folder=folder, digest=content_digest(folder))


def ends_texts(backend):
    both = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    backend.post_processor = both


@pytest.mark.parametrize(("options", "change"), [({"truncation_side": "left"}, lambda _: None), ({}, ends_texts)])
def test_a_long_text_is_cut_alike_whatever_its_tokenizer_does_by_itself(bases, options, change, tmp_path, settings):
    base = with_tokenizer(bases("llama", begin=True), tmp_path / "base", change, **options)
    gem(base).save(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out", "sentence-transformers", settings=settings)
    loaded, own = SentenceTransformer(str(tmp_path / "out"), device="cpu"), embeddings(tmp_path / "model", settings)
    assert np.allclose(loaded.encode(TEXTS), own, atol=1e-5)
    gem(bases("llama", begin=True)).save(tmp_path / "usual")
    assert np.allclose(embeddings(tmp_path / "usual", settings), own, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_queries_keep_the_template_they_were_trained_with(bases, count, tmp_path, settings):
    model = gem(bases("llama"), count=count)
    source = {"pairs": True, "query_template": "Query: {text}"}
    model.save(tmp_path / "model", recipe={"data": {"sources": [source]}})
    export(tmp_path / "model", tmp_path / "out", "sentence-transformers", settings=settings)
    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=count > 1)
    ours = GemModel.load(tmp_path / "model", settings=settings)
    queries = ours.encode(TEXTS, template=ours.query_template)
    assert np.allclose(loaded.encode_query(TEXTS), queries, atol=1e-5)
    assert np.allclose(loaded.encode_document(TEXTS), ours.encode(TEXTS), atol=1e-5)
    assert not np.allclose(queries[:3], ours.encode(TEXTS)[:3], atol=1e-3)


@pytest.mark.parametrize(
    ("family", "pooling"), [("llama", "concat"), ("gpt2", "mean"), ("mistral", "mean"), ("gemma3", "mean")]
)
def test_several_special_tokens_bring_their_mask(saved, family, pooling, tmp_path, settings):
    folder, target = saved(family, count=3, pooling=pooling), tmp_path / "out"
    export(folder, target, "sentence-transformers", settings=settings)
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(target), device="cpu")
    loaded = SentenceTransformer(str(target), device="cpu", trust_remote_code=True)
    assert np.allclose(loaded.encode(TEXTS), embeddings(folder, settings), atol=1e-5)
    assert loaded.get_embedding_dimension() == (96 if pooling == "concat" else 32)
    assert suffixes(target) <= {".json", ".safetensors", ".md", ".py"}
    assert "gem_core." not in (target / f"{MODULE}.py").read_text().split('"""')[2]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_special_tokens_that_see_each_other_need_code_only_to_be_averaged(bases, pooling, tmp_path, settings):
    model = GemModel.from_base(
        bases("llama"),
        special_tokens=SpecialTokens(count=2, pooling=pooling, blind=False),
        adaptation=Adaptation(rank=4),
        seed=1,
    )
    model.save(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out", "sentence-transformers", settings=settings)
    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=pooling == "mean")
    assert np.allclose(loaded.encode(TEXTS), embeddings(tmp_path / "model", settings), atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gpt2"])
def test_merged_weights_have_the_same_logits_and_embed_alike(saved, family, tmp_path, settings):
    from transformers import AutoModelForCausalLM

    folder, target = saved(family), tmp_path / "out"
    export(folder, target, "transformers", settings=settings)
    assert not (target / "adapter_config.json").exists()
    merged, own = AutoModelForCausalLM.from_pretrained(target), GemModel.load(folder, settings=settings)
    ids = torch.tensor([AutoTokenizer.from_pretrained(target)("The old fox <|gem_0|> sleeps")["input_ids"]])
    assert own.special_ids[0] in ids
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, causal_lm(own.network)(ids).logits, atol=1e-4)
    assert np.allclose(embeddings(target, settings), embeddings(folder, settings), atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "llama-untied"])
def test_an_adapter_alone_is_put_on_its_base_by_peft(saved, bases, family, tmp_path, settings):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, target = saved(family), tmp_path / "out"
    export(folder, target, "adapter", settings=settings)
    own = GemModel.load(folder, settings=settings)
    base = AutoModelForCausalLM.from_pretrained(bases(family).folder)
    base.resize_token_embeddings(len(own.tokenizer))
    model = PeftModel.from_pretrained(base, str(target)).eval()
    ids = torch.tensor([[*own.tokenizer("An owl")["input_ids"], *own.special_ids]])
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
        logits, expected = model(input_ids=ids).logits, causal_lm(own.network)(ids).logits
    assert np.allclose(own.encode(["An owl"], normalize=False)[0], states.numpy(), atol=1e-5)
    known = own.special_ids[0]
    assert torch.allclose(logits[..., :known], expected[..., :known], atol=1e-4)


def test_weights_can_be_halved(saved, tmp_path, settings):
    folder = saved()
    export(folder, tmp_path / "out", "transformers", settings=settings, dtype="bfloat16")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert np.allclose(embeddings(tmp_path / "out", settings), embeddings(folder, settings), atol=0.05)


def test_what_cannot_be_exported_is_told_in_one_line(saved, bases, tmp_path, settings):
    folder = saved(method="full")
    with pytest.raises(GemError, match="has no adapter"):
        export(folder, tmp_path / "out", "adapter", settings=settings)
    with pytest.raises(GemError, match="exists"):
        export(folder, folder, "transformers", settings=settings)
    with pytest.raises(GemError, match="plain base"):
        export(bases("llama").folder, tmp_path / "out", "transformers", settings=settings)
    assert not (tmp_path / "out").exists()


LOSSLESS = [
    ("llama", 1, "mean"),
    ("gpt2", 3, "concat"),
    ("mistral", 2, "mean"),
    ("gemma", 1, "mean"),
    ("gemma3", 2, "last"),
]


@pytest.mark.parametrize(("family", "count", "pooling"), LOSSLESS)
def test_a_lossless_model_brings_its_adapter_with_it(saved, bases, family, count, pooling, tmp_path, settings):
    folder, target = saved(family, count=count, pooling=pooling, scope="special"), tmp_path / "out"
    export(folder, target, "sentence-transformers", settings=settings)
    loaded = SentenceTransformer(str(target), device="cpu", trust_remote_code=True)
    expected = embeddings(folder, settings)
    assert np.allclose(loaded.encode(TEXTS), expected, atol=1e-5)
    loaded.save_pretrained(str(tmp_path / "again"))
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu", trust_remote_code=True)
    assert np.allclose(again.encode(TEXTS), expected, atol=1e-5)
    for factor in loaded[0]._updates.values():
        factor.zero_()
    assert not np.allclose(loaded.encode(TEXTS), expected, atol=1e-2)  # else the adapter would do nothing
    assert suffixes(target) <= {".json", ".safetensors", ".md", ".py"}
    weights, base = load_file(target / "model.safetensors"), load_file(bases(family).folder / "model.safetensors")
    assert all(torch.equal(weights[name][: len(tensor)], tensor) for name, tensor in base.items() if name in weights)


def test_two_threads_embed_by_one_exported_lossless_model(saved, tmp_path, settings):
    export(saved(scope="special"), tmp_path / "out", "sentence-transformers", settings=settings)
    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    expected = loaded.encode(["The old fox"])
    entered, compared, found = threading.Event(), threading.Event(), []

    def wait(*_):
        if threading.current_thread() is other:
            entered.set()
            compared.wait(10)

    other = threading.Thread(target=lambda: found.append(loaded.encode(["The old fox"])))
    loaded[0].model.layers[0].register_forward_pre_hook(wait)
    other.start()
    entered.wait(10)
    loaded.encode(["An owl sings by the river"])
    compared.set()
    other.join()
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize("family", ["llama", "llama-untied", "gpt2", "gemma"])
def test_a_lossless_adapter_alone_is_an_activated_lora_of_peft(saved, bases, family, tmp_path, settings):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, target = saved(family, scope="special"), tmp_path / "out"
    export(folder, target, "adapter", settings=settings)
    own = GemModel.load(folder, settings=settings)
    base = AutoModelForCausalLM.from_pretrained(bases(family).folder)
    ids = torch.tensor([own.tokenizer("An owl by the river")["input_ids"]])
    with torch.no_grad():
        expected = base(ids).logits
    base.resize_token_embeddings(len(own.tokenizer))
    model = PeftModel.from_pretrained(base, str(target)).eval()
    whole = torch.cat([ids, torch.tensor([own.special_ids])], dim=1)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[..., : expected.shape[-1]]
        states = model(input_ids=whole, output_hidden_states=True).hidden_states[-1][0, -1]
    assert torch.allclose(logits, expected, atol=1e-5)
    assert np.allclose(own.encode(["An owl by the river"], normalize=False)[0], states.numpy(), atol=1e-5)
    assert "Do not merge it" in (target / "README.md").read_text()


def test_in_lossless_mode_there_is_nothing_to_merge(saved, bases, tmp_path, settings):
    folder = saved(scope="special")
    with pytest.raises(GemError, match=f"the language model is the base itself .{bases('llama').folder}"):
        export(folder, tmp_path / "out", "transformers", settings=settings)
    assert not (tmp_path / "out").exists()
