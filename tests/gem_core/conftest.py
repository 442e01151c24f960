"""Tiny random models of several families, made offline from configurations, with a tiny trained tokenizer."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings as hypothesis_settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

from gem_core.identity import content_digest
from gem_core.settings import Settings
from gem_core.sources.models import ResolvedModel

hypothesis_settings.register_profile("shared machine", deadline=None)
hypothesis_settings.load_profile("shared machine")

SENTENCES = [
    f"The {adjective} {animal} {verb} {place}."
    for adjective in ("old", "small", "quick", "quiet")
    for animal in ("fox", "owl", "horse", "otter", "heron")
    for verb in ("sleeps", "sings", "waits", "hides")
    for place in ("under the bridge", "by the cold river", "in a field of wheat")
]

COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
GATED = {**COMMON, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 128}
MIXED = ["sliding_attention", "full_attention"]
FAMILIES = {
    "llama": ("llama", {**GATED, "tie_word_embeddings": True}),
    "llama-untied": ("llama", {**GATED, "tie_word_embeddings": False}),
    "mistral": ("mistral", {**GATED, "sliding_window": 8}),
    "qwen2": ("qwen2", {**GATED, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "qwen3": ("qwen3", {**GATED, "head_dim": 8}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}),
    "gemma": ("gemma", {**GATED, "head_dim": 8}),
    "gemma2": ("gemma2", {**GATED, "head_dim": 8, "sliding_window": 8, "layer_types": MIXED}),
    "gemma3": ("gemma3_text", {**GATED, "head_dim": 8, "sliding_window": 8, "layer_types": MIXED}),
    "phi": ("phi", {**GATED, "partial_rotary_factor": 0.5}),
    "gpt_neox": ("gpt_neox", {**COMMON, "intermediate_size": 48, "max_position_embeddings": 128}),
}  # fmt: skip


def make_tokenizer(*, begin: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 320 tokens; with ``begin`` every text gets a BOS, as Llama's and Gemma's do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=128
    )


def make_base(folder: Path, family: str = "llama", *, begin: bool = False) -> ResolvedModel:
    """A base model folder of random weights."""
    tokenizer = make_tokenizer(begin=begin)
    kind, options = FAMILIES[family]
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CONFIG_MAPPING[kind](vocab_size=len(tokenizer), **options, **ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digest = content_digest(folder)
    return ResolvedModel(reference=str(folder), revision=digest, folder=folder, digest=digest, license=None)


@pytest.fixture(autouse=True)
def _one_thread():
    """Tests share the machine, and one thread makes sums repeatable."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    """Each family of models in turn."""
    return request.param


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Base models by family, each made once."""
    made = {}

    def base(family: str = "llama", *, begin: bool = False) -> ResolvedModel:
        key = (family, begin)
        if key not in made:
            made[key] = make_base(tmp_path_factory.mktemp("base") / family, family, begin=begin)
        return made[key]

    return base


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Settings:
    """Settings of a SQLite store that tests share; each uses a registered model of its own."""
    return Settings(home=tmp_path_factory.mktemp("gem"), tracking_uri=None)


@pytest.fixture(scope="session")
def registry(store):
    """The registry in that store."""
    from gem_core.records.registry import Registry

    return Registry(store)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Settings with a home of the test's own."""
    return Settings(home=tmp_path / "home")
