"""Going on with many prompts, for measuring: what a model draws depends on seed, prompt and itself alone.

Tokens are drawn by the Gumbel-max trick: the likeliest token after noise was added to the logits is a draw from their
distribution. The noise follows from the seed, the prompt's number and the step, not from batch or model, so that two
models which think alike write alike (common random numbers), and a paired test sees where they differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from gem_core.errors import GemError
from gem_core.method.generation import check_room, decoding
from gem_core.method.network import causal_lm
from gem_core.method.read_out import text_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gem_core.method.model_parts import ModelParts


class SharedNoise(LogitsProcessor):
    """Makes greedy decoding a draw at a temperature.

    Args:
        seed: Of the noise.
        numbers: Of the prompts in the batch.
        width: Tokens before the first that is drawn.
        temperature: Above 0.
    """

    def __init__(self, seed: int, numbers: Sequence[int], width: int, temperature: float) -> None:
        self.seed = seed
        self.numbers = numbers
        self.width = width
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits [B, V] with their noise. A larger vocabulary has the same noise on the tokens that both have."""
        step, size = input_ids.shape[1] - self.width, scores.shape[1]
        drawn = np.stack(
            [np.random.default_rng([self.seed, number, step]).standard_exponential(size) for number in self.numbers]
        )
        gumbel = torch.from_numpy(-np.log(drawn)).to(scores.device, torch.float32)
        return scores.float() / self.temperature + gumbel


@torch.inference_mode()
def generate_all(
    model: ModelParts,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> list[str]:
    """The continuations of many prompts, prompts of similar length together.

    Args:
        model: Whose.
        prompts: None of them blank, unless the tokenizer has a BOS or EOS.
        max_new_tokens: At most.
        temperature: 0 takes the likeliest token.
        seed: Of the draws.
        batch_size: Prompts a batch.

    Returns:
        What was written behind each prompt, white space included, in the order of the prompts.

    Raises:
        GemError: Nothing to begin with, or no room for the new tokens.
    """
    rows = text_tokens(model.tokenizer, prompts, max(1, model.max_length - max_new_tokens), to_go_on=True)
    if not all(rows):
        raise GemError("a blank prompt, and no BOS or EOS to begin with; write a few words")
    check_room(model, max(map(len, rows), default=0), max_new_tokens)
    config, tokenizer = decoding(model, max_new_tokens, 0.0), model.tokenizer
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    texts = [""] * len(rows)
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        width = len(rows[batch[0]])
        pads = [width - len(rows[number]) for number in batch]  # on the left: all begin to write at one place
        filler = config.pad_token_id or 0
        ids = torch.tensor([[filler] * pad + rows[number] for pad, number in zip(pads, batch, strict=True)])
        seen = torch.arange(width) >= torch.tensor(pads)[:, None]
        noise = [SharedNoise(seed, batch, width, temperature)] if temperature > 0 else []
        written = causal_lm(model.network).generate(
            ids.to(model.device),
            attention_mask=seen.long().to(model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList(noise),
        )
        for number, line in zip(batch, written.tolist(), strict=True):
            # Decoded with its prompt: some tokenizers drop the space that a slice begins with.
            whole = tokenizer.decode(rows[number] + line[width:], skip_special_tokens=True)
            texts[number] = whole[len(tokenizer.decode(rows[number], skip_special_tokens=True)) :]
    return texts
