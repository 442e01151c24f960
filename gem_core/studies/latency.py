"""How long a model takes for a text and for a token. The numbers hold for the machine that took them, and for no other.

Each is the median of several calls after some to warm up, on fixed texts, one call at a time: what a single user sees,
not what a busy server delivers.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from gem_core.method.generation import decoding
from gem_core.method.network import causal_lm
from gem_core.method.read_out import text_tokens
from gem_core.studies.diagnostics import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gem_core.method.model import GemModel

REPEATS, WARM_UP = 7, 2
TOKENS = 32
"""New tokens of a continuation."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    text_ms: float
    """A text among 32 that are embedded together."""
    single_text_ms: float
    """A text that is embedded alone."""
    first_token_ms: float
    """From a prompt of about a hundred words to the first new token."""
    token_ms: float
    """Each token behind it."""


def latency(model: GemModel) -> Latency:
    """Measure a loaded model where it lies, with the threads that torch has."""
    single = [text for part in TEXTS.values() for text in part]
    texts = [*single, *(f"{one} {two}" for one, two in zip(single, single[1:] + single[:1], strict=True))]
    prompt = " ".join(single[:8])
    first = _median_ms(lambda: _write(model, prompt, 1))
    every = _median_ms(lambda: _write(model, prompt, 1 + TOKENS))
    return Latency(
        text_ms=_median_ms(lambda: model.encode(texts, batch_size=len(texts))) / len(texts),
        single_text_ms=_median_ms(lambda: model.encode(single[:1])),
        first_token_ms=first,
        token_ms=max(0.0, every - first) / TOKENS,
    )


def machine(model: GemModel) -> str:
    """What a latency was measured on, in a few words."""
    device = model.device
    if device.type == "cuda":
        return f"{platform.node()}, {torch.cuda.get_device_name(device)}"
    return f"{platform.node()}, {platform.machine()} CPU, {torch.get_num_threads()} threads"


@torch.inference_mode()
def _write(model: GemModel, prompt: str, tokens: int) -> None:
    """Exactly so many new tokens, whatever they are."""
    (row,) = text_tokens(model.tokenizer, [prompt], max(1, model.max_length - tokens))
    ids = torch.tensor([row], device=model.device)
    config = decoding(model, tokens, 0.0)
    config.min_new_tokens = tokens
    causal_lm(model.network).generate(ids, attention_mask=torch.ones_like(ids), generation_config=config).tolist()


def _median_ms(call: Callable[[], object]) -> float:
    for _ in range(WARM_UP):
        call()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return 1000.0 * median(taken)
