"""lm-eval's own transformers model, computing less for the same numbers and showing no progress bars."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix

from gem_core.evaluation.likelihoods import Likelihoods

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Harness(HFLM):
    """What lm-eval asks a model; only how likelihoods are computed and texts are tokenized differs from its own."""

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
        super().__init__(pretrained=network, tokenizer=tokenizer, batch_size=batch_size)
        self._likelihoods = Likelihoods(network, batch_size)
        self._known: dict[tuple[str, bool | None], list[int]] = {}

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ANN401 - the harness's types
        """Log-likelihood of each continuation after its context, and whether greedy decoding would have written it."""
        with self._tokenized([request.args for request in requests]):
            return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ANN401
        """Log-likelihood of each whole text."""
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:  # noqa: ANN401
        """Greedy or sampled continuations, as the harness makes them."""
        return super().generate_until(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:  # noqa: ANN401
        """Of ``(strings, context tokens, continuation tokens)``; a context that is too long loses its beginning."""
        room = self.max_length + 1
        return self._likelihoods.score(
            [((context + continuation)[-room:], len(continuation)) for _, context, continuation in requests]
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:  # noqa: ANN401
        """Token ids of a text; known already inside :meth:`loglikelihood`."""
        known = None if options else self._known.get((string, add_special_tokens))
        return super().tok_encode(string, add_special_tokens, **options) if known is None else known

    @contextlib.contextmanager
    def _tokenized(self, pairs: Iterable[tuple[str, str]]) -> Iterator[None]:
        """Tokenize each distinct string once and all in one call; the harness would make two calls for every answer."""
        asked: dict[bool | None, dict[str, None]] = {None: {}, False: {}}
        for context, continuation in pairs:
            if context:
                asked[None] |= {context + continuation: None, context.rstrip(): None}
            else:
                asked[False][continuation] = None
        begin = self.tokenizer.decode(self.prefix_token_id)
        for special, strings in asked.items():
            # A text that begins with a written-out BOS the harness treats by itself.
            texts = [text for text in strings if special is False or not has_bos_prefix(text, begin)]
            setting = self.add_bos_token if special is None else special
            if texts:
                rows = self.tokenizer(texts, **({} if setting is None else {"add_special_tokens": setting}))[
                    "input_ids"
                ]
                self._known |= {(text, special): row for text, row in zip(texts, rows, strict=True)}
        try:
            yield
        finally:
            self._known = {}
