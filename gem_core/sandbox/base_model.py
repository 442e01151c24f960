"""The sandbox's base model: a byte-level BPE tokenizer and a small Llama, pre-trained on the world's own text.

It is meant to take about a minute on two cores: bfloat16 autocast where the CPU has its instructions, a high rate for
the embeddings (with a low one a model this small learns templates but no words), and rows packed without padding.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gem_core.sandbox.store import ModelSize

PAD, END = "<|pad|>", "<|end|>"
MAX_POSITIONS = 512
"""Longest input in tokens; a 5-shot exam has about 200."""

_RATE, _EMBEDDING_RATE, _WEIGHT_DECAY = 2e-3, 1e-2, 0.1
_WARM_UP, _DECAY = 0.05, 0.8
"""Shares of the steps over which the learning rate rises at the start and falls to zero at the end."""

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# A small base model of an invented world

A Llama-architecture language model with {parameters:.1f} M parameters, trained for {seconds:.0f} seconds on
{tokens:,} tokens of generated English about a world drawn from seed {seed}. It knows that world and nothing else: it is
the offline default on which GEM post-training is tried and tested, not a model for real text.
"""


@dataclass(frozen=True)
class PreTraining:
    """What pre-training took and reached. `loss` is in nats per token, over the last tenth of the steps."""

    seconds: float
    tokens: int
    loss: float
    parameters: int


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over `texts`; a text never yields an unknown token, and no token is added at its ends."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, model_max_length=MAX_POSITIONS
    )


def pack(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], row_length: int) -> Tensor:
    """All texts, each closed by the end token, cut into rows: int64 of shape (rows, row_length)."""
    ids = tokenizer(list(texts))["input_ids"]
    stream = list(itertools.chain.from_iterable([*one, tokenizer.eos_token_id] for one in ids))
    whole = len(stream) // row_length * row_length
    return torch.tensor(stream[:whole]).view(-1, row_length)


def pretrain(
    folder: Path,
    seed: int,
    texts: Sequence[str],
    size: ModelSize,
    progress: Callable[[float], None],
) -> PreTraining:
    """Train tokenizer and model on `texts`, in their order, and write both to `folder`.

    The number of steps is `size.steps`; `texts` that are shorter are read again from their beginning.

    Raises:
        ValueError: `texts` do not fill one step.
    """
    tokenizer = train_tokenizer(texts[: max(2000, len(texts) // 8)], size.vocabulary)
    rows = pack(tokenizer, texts, size.row_length)
    if len(rows) < size.rows_per_step:
        raise ValueError(f"{len(rows)} rows of {size.row_length} tokens do not fill a step of {size.rows_per_step}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_model(tokenizer, size)
    started = time.perf_counter()
    losses = _train(model, rows, size, progress)
    seconds = time.perf_counter() - started
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    result = PreTraining(
        seconds=round(seconds, 1),
        tokens=size.steps * size.rows_per_step * size.row_length,
        loss=round(sum(losses[-max(1, size.steps // 10) :]) / max(1, size.steps // 10), 4),
        parameters=model.num_parameters(),
    )
    card = _CARD.format(parameters=result.parameters / 1e6, seconds=seconds, tokens=result.tokens, seed=seed)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return result


def _new_model(tokenizer: PreTrainedTokenizerFast, size: ModelSize) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            intermediate_size=size.feed_forward,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.eos_token_id,
        )
    )


def _train(model: LlamaForCausalLM, rows: Tensor, size: ModelSize, progress: Callable[[float], None]) -> list[float]:
    """Next-token training over `rows` in their order; the loss of every step, in nats per token."""
    embeddings = [value for name, value in model.named_parameters() if "embed" in name]
    others = [value for name, value in model.named_parameters() if "embed" not in name]
    groups = [{"params": others, "rate": _RATE}, {"params": embeddings, "rate": _EMBEDDING_RATE, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=_WEIGHT_DECAY, fused=True)
    bfloat16 = torch.cpu._is_avx512_bf16_supported()  # twice as fast with its instructions, slower without
    losses = []
    model.train()
    for step in range(size.steps):
        index = torch.arange(size.rows_per_step) + step * size.rows_per_step
        batch = rows[index % len(rows)]
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(input_ids=batch, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _schedule(step, size.steps)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss of pre-training step {step} is {losses[-1]}")
        progress((step + 1) / size.steps)
    return losses


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, a plateau, and a linear fall to zero."""
    return min(1.0, (step + 1) / (_WARM_UP * steps), (steps - step) / (_DECAY * steps))
