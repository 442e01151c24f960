"""The rivals of a GEM model on its own base: other ways to make one vector of a text, none of them with special tokens.

Each has the two things that evaluation asks of an encoder: ``encode`` and ``read_out``
(:class:`gem_core.evaluation.mteb.Embedder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from gem_core.errors import GemError
from gem_core.method.batches import padded
from gem_core.method.encoding import CALL_TOKENS, calls
from gem_core.method.model_parts import BARE
from gem_core.method.network import causal_lm, hidden_states
from gem_core.method.products import fast_products
from gem_core.method.read_out import text_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from gem_core.method.model import GemModel

Pooling = Literal["mean", "weighted-mean", "last"]
HASHED = 4096
"""Numbers of a vector of hashed words."""


class HashedWords:
    """The floor: words and character 4-grams hashed into a fixed vector. No model, nothing learnt."""

    read_out = "hashed"

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        max_length: int = 512,
        template: str = BARE,
        refuse_blank: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Unit vectors [N, 4096]; instructions are no words of a text, and the other options mean nothing here."""
        from sklearn.feature_extraction.text import HashingVectorizer

        kinds = ({"analyzer": "word", "token_pattern": r"(?u)\b\w+\b"}, {"analyzer": "char_wb", "ngram_range": (4, 4)})
        parts = [HashingVectorizer(n_features=HASHED, norm="l2", **kind).transform(texts) for kind in kinds]
        vectors = np.asarray(sum(part.toarray() for part in parts), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-12)


@dataclass(frozen=True)
class Template:
    """What a text is wrapped in, and which of the tokens are read."""

    before: str = ""
    between: str | None = None
    """The text stands a second time behind this (Echo)."""
    after: str = ""
    pooling: Pooling = "mean"
    read: Literal["all", "echo"] = "all"
    """Every token, or those of the second time alone."""


TEMPLATES = {
    "mean": Template(),
    "weighted-mean": Template(pooling="weighted-mean"),
    "last": Template(pooling="last"),
    "prompt-eol": Template(before='This sentence: "', after='" means in one word: "', pooling="last"),
    "echo": Template(before="Rewrite the sentence: ", between="\nRewritten sentence: ", read="echo"),
}
"""Poolings of the bare text (weighted mean: Muennighoff 2022, arXiv 2202.08904), PromptEOL (Jiang et al. 2023, arXiv
2307.16645), Echo (Springer et al. 2024, arXiv 2402.15449)."""


class TemplateEncoder:
    """A causal language model read through a :class:`Template`."""

    def __init__(self, model: GemModel, template: Template) -> None:
        self._model = model
        self._template = template
        self.read_out: str = template.pooling
        """For people: how states become a vector."""

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        max_length: int = 512,
        template: str = BARE,
        refuse_blank: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Unit vectors [N, D] in the order of the texts; a text is cut so that the whole baseline template fits.

        Raises:
            GemError: No room for a token of the text, or a text without one that is refused.
        """
        rows = [self._row(template.replace("{text}", text), max_length) for text in texts]
        if refuse_blank and not all(row for row, _ in rows):
            raise GemError("a blank text has no token to read here (no BOS or EOS); leave it out")
        vectors = np.zeros((len(rows), self._model.dimension), dtype=np.float32)
        overhead = CALL_TOKENS.get(self._model.device.type)
        for cut in calls([len(row) for row, _ in rows], batch_size, overhead):
            chosen = [i for i in cut if rows[i][0]]
            if not chosen:
                continue
            ids, lengths = padded([rows[i][0] for i in chosen], filler=0)
            with fast_products(self._model.device, causal_lm(self._model.network).dtype):
                states = hidden_states(self._model.network, torch.from_numpy(ids).to(self._model.device)).float()
            first = torch.tensor([rows[i][1] for i in chosen])
            read = pooled(states.cpu(), first, torch.from_numpy(lengths), self._template.pooling)
            vectors[chosen] = functional.normalize(read, dim=-1).numpy()
        return vectors

    def _row(self, text: str, max_length: int) -> tuple[list[int], int]:
        """Token ids and the first one that is read."""
        template, tokenizer = self._template, self._model.tokenizer
        front = text_tokens(tokenizer, [template.before], max_length)[0] if template.before else []
        middle, back = (
            tokenizer(part, add_special_tokens=False)["input_ids"] if part else []
            for part in (template.between, template.after)
        )
        times = 1 if template.between is None else 2
        room = (min(max_length, self._model.max_length) - len(front) - len(middle) - len(back)) // times
        if room < 1:
            raise GemError(f"max_length={max_length} leaves no room for the text beside the prompt; raise it")
        if template.before:
            own = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:room]
        else:
            own = text_tokens(tokenizer, [text], room)[0]
        if times == 1:
            return [*front, *own, *back], 0
        row = [*front, *own, *middle, *own]
        return row, len(row) - max(1, len(own)) if template.read == "echo" else 0


def pooled(states: Tensor, first: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """One vector a row [B, D] from states [B, L, D] of the tokens ``first`` to ``lengths - 1``.

    ``weighted-mean`` weighs the n-th of them n: under causal attention later tokens have seen more.
    """
    if pooling == "last":
        return states[torch.arange(len(lengths), device=states.device), lengths - 1]
    position = torch.arange(states.shape[1], device=states.device)
    read = (position >= first[:, None]) & (position < lengths[:, None])
    weights = read * (position - first[:, None] + 1 if pooling == "weighted-mean" else 1)
    return (states * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
