"""The one module of its own that an exported model with several special tokens needs in sentence-transformers.

This file is copied into the exported folder as it is and loaded from there (``trust_remote_code=True``), so it knows
sentence-transformers and torch, and nothing of this project. A model with one special token does without it.

The tokenizer of the folder ends every text in its special tokens. Here they are made blind to each other, if they were
so in training (drawn in ``gem_core/method/attention_mask.py``), and their last-layer states become an embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor


class GemTransformer(Transformer):
    """A causal transformer that reads an embedding from the last ``special_count`` tokens of a text."""

    config_keys = [*Transformer.config_keys, "special_count", "special_pooling", "special_blind"]  # noqa: RUF012 - as its parent has it

    def __init__(
        self,
        model_name_or_path: str,
        *,
        special_count: int,
        special_pooling: str,
        special_blind: bool,
        **options: Any,  # noqa: ANN401 - those of Transformer
    ) -> None:
        super().__init__(model_name_or_path, **options)
        self.special_count = special_count
        """k."""
        self.special_pooling = special_pooling
        """``mean``, ``last`` or ``concat``."""
        self.special_blind = special_blind
        """Whether they are hidden from each other."""

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as its parent
        """Add ``sentence_embedding``, [B, D] or [B, kD], to what the transformer makes of right-padded features."""
        tokens = features["attention_mask"]
        lengths = tokens.sum(dim=1)
        if self.special_blind:
            features["attention_mask"] = self._mask(lengths, tokens.shape[1])
        features = super().forward(features, **kwargs)
        features["attention_mask"] = tokens
        where = (lengths - self.special_count)[:, None] + torch.arange(self.special_count, device=lengths.device)
        states = features["token_embeddings"][torch.arange(len(lengths), device=lengths.device)[:, None], where]
        if self.special_pooling == "concat":
            features["sentence_embedding"] = states.flatten(start_dim=1)
        else:
            features["sentence_embedding"] = states[:, -1] if self.special_pooling == "last" else states.mean(dim=1)
        return features

    def get_embedding_dimension(self) -> int:
        """Numbers of an embedding."""
        return super().get_embedding_dimension() * (self.special_count if self.special_pooling == "concat" else 1)

    def _mask(self, lengths: Tensor, width: int) -> Tensor | dict[str, Tensor]:
        """Additive masks, one for each type of layer where the architecture has several."""
        position = torch.arange(width, device=lengths.device)
        query, key = position[None, :, None], position[None, None, :]
        length = lengths[:, None, None]
        special = (query >= length - self.special_count) & (key >= length - self.special_count)
        seen = torch.where(query >= length, query == key, (key <= query) & ~(special & (query != key)))
        config = self.model.config
        window = getattr(config, "sliding_window", None) or width
        types = set(getattr(config, "layer_types", None) or ())
        near = self._additive(seen & (query - key < window))
        if types and types <= {"full_attention", "sliding_attention"} and types != {"full_attention"}:
            return {"full_attention": self._additive(seen), "sliding_attention": near}
        applies = getattr(config, "use_sliding_window", True) and not types
        return near if applies else self._additive(seen)

    def _additive(self, seen: Tensor) -> Tensor:
        """[B, 1, L, L]: floats, since ``eager`` attention misreads booleans."""
        dtype = self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
