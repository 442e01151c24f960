"""The one module of its own that an exported model needs in sentence-transformers where stock ones do not do.

This file is copied into the exported folder as it is and loaded from there (``trust_remote_code=True``), so it knows
sentence-transformers and torch, and nothing of this project. A model with one special token does without it, unless it
is lossless.

The tokenizer of the folder ends every text in its special tokens. Here they are made blind to each other, if they were
so in training (drawn in ``gem_core/method/attention_mask.py``), and their last-layer states become an embedding. In
lossless mode the weights of the folder are the base's, and a LoRA adapter is added here at the special tokens alone.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

ADAPTER = "special_adapter.safetensors"
"""In the folder: ``<layer>.down`` [r, in] and ``<layer>.up`` [out, r], the scale included."""

_where: ContextVar[Tensor | None] = ContextVar("_where", default=None)
"""The special tokens among all tokens of the pass of this thread: several may run one model at a time."""


class GemTransformer(Transformer):
    """A causal transformer that reads an embedding from the last ``special_count`` tokens of a text."""

    config_keys = [  # noqa: RUF012 - as its parent has it
        *Transformer.config_keys,
        *(f"special_{name}" for name in ("count", "pooling", "blind", "adapter")),
    ]

    def __init__(
        self,
        model_name_or_path: str,
        *,
        special_count: int,
        special_pooling: str,
        special_blind: bool,
        special_adapter: bool = False,
        **options: Any,  # noqa: ANN401 - those of Transformer
    ) -> None:
        super().__init__(model_name_or_path, **options)
        self.special_count = special_count
        """k."""
        self.special_pooling = special_pooling
        """``mean``, ``last`` or ``concat``."""
        self.special_blind = special_blind
        """Whether they are hidden from each other."""
        self.special_adapter = special_adapter
        """Whether an adapter acts at them alone: :meth:`adapt`."""
        self._updates = nn.ParameterDict()

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **options: Any) -> Self:  # noqa: ANN401 - its parent's
        """The module of a folder or a hub repository, its adapter with it."""
        module = super().load(model_name_or_path, *args, **options)
        if module.special_adapter:
            named = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
            place = {name: options[name] for name in named if name in options}
            path = cls.load_file_path(model_name_or_path, filename=ADAPTER, **place)
            if path is None:
                raise ValueError(f"{model_name_or_path} lacks {ADAPTER}; export or fetch it again")
            factors = load_file(path)
            layers = {name.rpartition(".")[0] for name in factors}
            module.adapt({name: (factors[f"{name}.down"], factors[f"{name}.up"]) for name in layers})
        return module

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - its parent's
        """Save the transformer, and the adapter beside it."""
        super().save(output_path, *args, **kwargs)
        if self.special_adapter:
            factors = {name.replace("/", "."): factor.detach() for name, factor in self._updates.items()}
            save_file({name: factors[name].cpu().contiguous() for name in sorted(factors)}, Path(output_path) / ADAPTER)

    def adapt(self, updates: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Add ``up @ down`` to layers, by their names in the transformer, at the special tokens alone."""
        for name, factors in updates.items():
            for part, factor in zip(("down", "up"), factors, strict=True):
                self._updates[f"{name}.{part}".replace(".", "/")] = nn.Parameter(factor, requires_grad=False)
            self.model.get_submodule(name).register_forward_hook(partial(self._updated, name.replace(".", "/")))

    def _updated(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        tokens = inputs[0].flatten(end_dim=-2)
        where = _where.get()
        if where is None:
            return output
        down, up = (self._updates[f"{name}/{part}"].to(tokens) for part in ("down", "up"))
        update = tokens[where] @ down.T @ up.T
        flat = output.flatten(end_dim=-2)
        return flat.index_add(0, where, update.to(flat)).view_as(output)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as its parent
        """Add ``sentence_embedding``, [B, D] or [B, kD], to what the transformer makes of right-padded features."""
        tokens = features["attention_mask"]
        lengths = tokens.sum(dim=1)
        if self.special_blind:
            features["attention_mask"] = self._mask(lengths, tokens.shape[1])
        where = (lengths - self.special_count)[:, None] + torch.arange(self.special_count, device=lengths.device)
        rows = torch.arange(len(lengths), device=lengths.device)[:, None]
        noted = _where.set((rows * tokens.shape[1] + where).flatten())
        try:
            features = super().forward(features, **kwargs)
        finally:
            _where.reset(noted)
        features["attention_mask"] = tokens
        states = features["token_embeddings"][rows, where]
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
