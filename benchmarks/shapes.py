"""Llamas of random weights in the shape of real ones, for measuring speed and memory without a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from gem_core.sources.models import ResolvedModel

SHAPES = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
    "english-12m": {
        "hidden_size": 320,
        "intermediate_size": 864,
        "num_hidden_layers": 8,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "vocab_size": 8192,
    },
    "llama-3.2-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
        "rope_theta": 500_000.0,
    },
}


def random_base(shape: str, folder: Path) -> ResolvedModel:
    """A Llama of random weights, whose tokenizer knows the words ``w0``, ``w1`` ...; ``w1`` pads and ends a text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from gem_core.identity import content_digest
    from gem_core.sources.models import ResolvedModel

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPES[shape])).save_pretrained(folder)
    vocabulary = {f"w{number}": number for number in range(int(SHAPES[shape]["vocab_size"]))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))  # noqa: S106 - no secret
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w1", eos_token="w1").save_pretrained(folder)  # noqa: S106
    digest = content_digest(folder)
    return ResolvedModel(str(folder), digest, folder, digest, None)


def random_rows(shape: str, count: int, shortest: int, longest: int) -> list[list[int]]:
    """Rows of random tokens, their lengths uniform."""
    generator, known = np.random.default_rng(0), int(SHAPES[shape]["vocab_size"])
    return [generator.integers(2, known, size=generator.integers(shortest, longest + 1)).tolist() for _ in range(count)]


def training_flops(shape: str, method: str, length: float) -> float:
    """FLOPs of a forward and a backward pass for a token of rows of this length, as utilisation is counted.

    2 for each weight that multiplies (the embedding matrix once, as output layer) forward, as many for the gradient of
    states and, in full training, of weights; attention over half of the row (Chowdhery et al. 2022, arXiv 2204.02311,
    appendix B, causal). What is computed twice or for pads does not count.
    """
    one = SHAPES[shape]
    hidden, layers = one["hidden_size"], one["num_hidden_layers"]
    keys = hidden * one["num_key_value_heads"] / one["num_attention_heads"]
    weights = layers * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * one["intermediate_size"])
    weights += hidden * one["vocab_size"]
    passes = 3 if method == "full" else 2
    return 2 * passes * weights + 3 * 2 * layers * hidden * length


def utilisation(tokens_a_second: float, flops_a_token: float, peak_tflops: float | None) -> str:
    """TFLOP/s and, where the device's peak is told, the share of it."""
    rate = tokens_a_second * flops_a_token / 1e12
    return f"{rate:.3g} TFLOP/s" + (f", {100 * rate / peak_tflops:.1f} % of {peak_tflops:g}" if peak_tflops else "")
