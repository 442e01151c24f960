"""What scores do not tell of a GEM model: where its special tokens look, and what moves an embedding but should not.

Numbers on embeddings of length 1. Anisotropy: Ethayarajh 2019 (arXiv 1909.00512); alignment and uniformity: Wang and
Isola 2020 (arXiv 2005.10242).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from gem_core.errors import GemError
from gem_core.method import decompression
from gem_core.method.encoding import embed_together
from gem_core.method.network import causal_lm
from gem_core.method.read_out import text_tokens, view_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from transformers import PreTrainedModel

    from gem_core.method.model import GemModel

TEXTS = {
    "everyday": (
        "The bus was late again this morning.",
        "She baked a loaf of bread and gave half of it to her neighbour.",
        "After three days of rain the children were glad to play outside in the garden until it got dark.",
        "He could not find his keys.",
        "We walked along the river, talked about old friends, and came home when the shops were closing.",
        "The dog barked at the postman.",
        "My grandmother keeps every letter that she was ever sent in a wooden box under the stairs.",
        "It is cheaper to mend the roof now than to wait for the winter.",
    ),
    "technical": (
        "The valve opens when the pressure exceeds four bar.",
        "A hash table answers a lookup in constant time on average, and in linear time at worst.",
        "Steel expands when it is heated, so bridges are built with joints that let their parts move a little.",
        "Enzymes lower the activation energy.",
        "The program reads the file line by line, counts the words, and writes the totals to standard output.",
        "Light bends at the edge of a lens.",
        "Measurements were repeated ten times at each temperature, and the median of the ten is reported.",
        "A transformer raises the voltage before the current is sent over long distances.",
    ),
}
"""Looked at when no texts are given: two domains, short and long."""
QUARTERS = 4
LONGEST = 512
"""Tokens of a text that are looked at, the default of :meth:`GemModel.encode`."""


@dataclass(frozen=True)
class Attention:
    """Where the special tokens of one layer look, as shares of their attention; means over heads, tokens and texts."""

    text: float
    """At the text, its first token left out: that one often takes what attention has to spare."""
    first: float
    special: float
    """At themselves, and at each other where they are not blind."""
    quarters: tuple[float, ...]
    """Of what goes to the text: at its first quarter ... its last one."""


@dataclass(frozen=True)
class Stability:
    """Cosine similarity of an embedding with itself after a change that should not matter, or not much."""

    neighbours: float
    """The least over texts: alone, and padded in a batch with all others. 1 but for rounding."""
    trailing_spaces: float
    half: float
    """With its own first half: how much comes late in a text."""
    twice: float
    """With the text said twice."""
    dropped_words: float
    """With a fifth of its words left out, as in training."""


@dataclass(frozen=True)
class Space:
    """How embeddings lie on the sphere."""

    anisotropy: float
    """Mean cosine of different texts: 0 where they spread in all directions, 1 where all are alike."""
    uniformity: float
    """log E exp(-2 |x - y|²): 0 at worst; about -4 for directions drawn at random."""
    alignment: float
    """E |x - x'|² of a text and the same with a fifth of its words left out; 0 at best."""
    within_domains: float | None
    """Mean cosine of texts of one domain ..."""
    between_domains: float | None
    """... and of two; a large gap means that the domain weighs more than what is said."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at."""

    texts: int
    attention: tuple[Attention, ...]
    """By layer, the first one first; empty for a base."""
    stability: Stability
    space: Space
    restored: tuple[decompression.Restored, ...]
    """How well texts come back from their special tokens alone; empty for a base."""


def diagnose(model: GemModel, domains: Mapping[str, Sequence[str]] = TEXTS) -> Diagnosis:
    """Look at a model through some texts.

    Args:
        model: A GEM model, or a base (then without attention and restoration).
        domains: Texts by what they are about; four different ones or more in all. Blank ones, and what a domain
            says again, are left out.

    Raises:
        GemError: Too few texts.
    """
    kept = {name: [text for text in dict.fromkeys(part) if text.strip()] for name, part in domains.items()}
    texts = [text for part in kept.values() for text in part]
    if (different := len(set(texts))) < 4:
        raise GemError(f"{different} different text(s) are too few to tell anything by; give four or more")
    special = model.read_out == "special"
    return Diagnosis(
        texts=len(texts),
        attention=attention(model, texts) if special else (),
        stability=stability(model, texts),
        space=space(model, kept),
        restored=tuple(decompression.score(model, texts)) if special else (),
    )


@torch.inference_mode()
def attention(model: GemModel, texts: Sequence[str]) -> tuple[Attention, ...]:
    """Where the special tokens look, layer by layer; one eager pass a text, since no other backend tells."""
    network, k = causal_lm(model.network), model.k
    seen = []
    with _eager(network):
        for row in text_tokens(model.tokenizer, texts, model.max_length - k):
            ids = torch.tensor([[*row, *model.special_ids]], device=model.device)
            lengths = torch.tensor([ids.shape[1]], device=model.device)
            mask = view_mask(network.config, lengths, k, ids.shape[1], network.dtype, blind=model.blind)
            layers = network.get_decoder()(
                input_ids=ids, attention_mask=mask, use_cache=False, output_attentions=True
            ).attentions
            # [heads, k, L] of each layer, averaged over heads and special tokens: [layers, L]
            seen.append(torch.stack([layer[0, :, -k:].float().mean(dim=(0, 1)) for layer in layers]).cpu().numpy())
    return tuple(_attention([layers[number] for layers in seen], k) for number in range(len(seen[0])))


def _attention(weights: Sequence[npt.NDArray[np.float32]], count: int) -> Attention:
    """One layer, from the weights [L] of each text."""
    parts, quarters = [], []
    for row in weights:
        text = row[1:-count]
        parts.append((text.sum(), row[0], row[-count:].sum()))
        if len(text) >= QUARTERS and text.sum() > 0:
            quarters.append([part.sum() / text.sum() for part in np.array_split(text, QUARTERS)])
    on_text, on_first, on_special = (float(share) for share in np.mean(parts, axis=0))
    where = tuple(float(share) for share in np.mean(quarters, axis=0)) if quarters else ()
    return Attention(on_text, on_first, on_special, where)


@contextlib.contextmanager
def _eager(network: PreTrainedModel) -> Iterator[None]:
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation(before)


def stability(model: GemModel, texts: Sequence[str]) -> Stability:
    """What moves an embedding that should not, or not much."""
    whole, together = model.encode(texts), _together(model, texts)
    alone = np.concatenate([model.encode([text]) for text in texts])

    def like(changed: Sequence[str]) -> float:
        return float((whole * model.encode(changed)).sum(axis=1).mean())

    return Stability(
        neighbours=float((together * alone).sum(axis=1).min()),
        trailing_spaces=like([f"{text}   " for text in texts]),
        half=like([text[: max(1, len(text) // 2)] for text in texts]),
        twice=like([f"{text} {text}" for text in texts]),
        dropped_words=like(_thinned(texts)),
    )


@torch.inference_mode()
def _together(model: GemModel, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """All in one call, padded to the longest: ``encode`` itself avoids calls with so many pads."""
    special = list(model.special_ids) if model.read_out == "special" else []
    room = min(LONGEST, model.max_length) - len(special)
    rows = [row + special for row in text_tokens(model.tokenizer, texts, room, blank=bool(special))]
    vectors = embed_together(model, rows, len(special))
    return torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()


def space(model: GemModel, domains: Mapping[str, Sequence[str]]) -> Space:
    """How the embeddings of texts lie on the sphere."""
    names = [name for name, part in domains.items() for _ in part]
    texts = [text for part in domains.values() for text in part]
    vectors = model.encode(texts).astype(np.float64)
    thinned = model.encode(_thinned(texts)).astype(np.float64)
    pairs = [(one, two) for one, two in combinations(range(len(texts)), 2) if texts[one] != texts[two]]
    cosines = {pair: float(vectors[pair[0]] @ vectors[pair[1]]) for pair in pairs}
    within = [cosine for (one, two), cosine in cosines.items() if names[one] == names[two]]
    between = [cosine for (one, two), cosine in cosines.items() if names[one] != names[two]]
    return Space(
        anisotropy=fmean(cosines.values()),
        uniformity=float(np.log(fmean(np.exp(-2 * (2 - 2 * cosine)) for cosine in cosines.values()))),
        alignment=float(((vectors - thinned) ** 2).sum(axis=1).mean()),
        within_domains=fmean(within) if within and between else None,
        between_domains=fmean(between) if within and between else None,
    )


def _thinned(texts: Sequence[str]) -> list[str]:
    """Each text without a fifth of its words, the same ones every time."""
    generator = np.random.default_rng(0)
    thinned = []
    for text in texts:
        words = text.split()
        kept = generator.permutation(len(words))[: max(1, round(0.8 * len(words)))]
        thinned.append(" ".join(words[i] for i in sorted(kept)))
    return thinned
