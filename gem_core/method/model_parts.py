"""What a loaded model consists of, for those that send texts through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gem_core.errors import GemError
from gem_core.method.network import causal_lm
from gem_core.method.read_out import PLAIN, TOGETHER

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from gem_core.method.model_folder import Description
    from gem_core.method.network import Network

BARE = "{text}"
"""The template of a text that is wrapped in nothing."""


class ModelParts:
    """A network, its tokenizer, and how an embedding is read from them."""

    def __init__(
        self,
        network: Network,
        tokenizer: PreTrainedTokenizerBase,
        *,
        special_ids: tuple[int, ...],
        read_out: str,
        description: Description | None = None,
        digest: str | None = None,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.special_ids = special_ids
        self.read_out = read_out
        """``special``, ``mean`` or ``last``."""
        self.description = description
        self.digest = digest
        """Content digest of the folder it was loaded from."""

    @property
    def k(self) -> int:
        """Special tokens."""
        return len(self.special_ids)

    @property
    def lossless(self) -> bool:
        """The adapter acts at the special tokens alone: a text without them runs on the untouched base."""
        return self.description is not None and self.description.scope == "special"

    @property
    def pooling(self) -> str:
        """How k states become one embedding."""
        return "mean" if self.description is None else self.description.special_tokens.pooling

    @property
    def blind(self) -> bool:
        """Whether the special tokens are hidden from each other."""
        return self.description is None or self.description.special_tokens.blind

    @property
    def query_template(self) -> str:
        """What queries are wrapped in: the template that the model's pairs were trained with; :data:`BARE` if none.

        Raises:
            GemError: It was trained with several.
        """
        return query_template(self.description)

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        hidden = int(causal_lm(self.network).config.hidden_size)
        if self.read_out == "special":
            return hidden * self.k if self.pooling == "concat" else hidden
        return hidden * len(PLAIN) if self.read_out == TOGETHER else hidden

    @property
    def max_positions(self) -> int | None:
        """The longest sequence the network takes, special tokens included."""
        return getattr(causal_lm(self.network).config, "max_position_embeddings", None)

    @property
    def max_length(self) -> int:
        """Tokens of a text at most, with its special tokens."""
        return int(min(self.max_positions or self.tokenizer.model_max_length, self.tokenizer.model_max_length))

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device


def query_template(description: Description | None) -> str:
    """See :attr:`ModelParts.query_template`."""
    recipe = (description.recipe if description is not None else None) or {}
    sources = recipe.get("data", {}).get("sources", ())
    found = dict.fromkeys(str(source.get("query_template", BARE)) for source in sources if source.get("pairs"))
    if len(found) > 1:
        raise GemError(f"the model was trained with several templates for queries ({', '.join(map(repr, found))})")
    return next(iter(found), BARE)
