"""One training step's losses and gradients: what is run for which objective, and in which calls.

Work of no weight is not done: a step with a = 0 runs no views, one with a = 1 and no ``keep_language`` nothing else,
and in lossless mode raw rows and the prefixes' own tokens, from which nothing can be learnt, have no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gem_core.method import data_parallel, frozen_prefix, gradient_cache
from gem_core.method.attention_mask import for_network, visible
from gem_core.method.bag_of_words import bag_of_words_loss, bags
from gem_core.method.batches import OVERHEAD_TOKENS, length_buckets, padded, share
from gem_core.method.folded_adapter import FoldedAdapter
from gem_core.method.network import adapter_off, causal_lm, hidden_states, output_layer
from gem_core.method.objectives import contrastive_loss, divergence, next_token_loss
from gem_core.method.precision import computing
from gem_core.method.read_out import special_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gem_core.method.batches import Batch, TokenSequence
    from gem_core.method.model import GemModel
    from gem_core.method.schedule import Weights
    from gem_core.recipe.method import Objective, Training


@dataclass
class Losses:
    """This worker's part of a step's losses; the parts of all workers add up to the whole."""

    next_token: float = 0.0
    contrastive: float = 0.0
    bag_of_words: float = 0.0
    divergence: float = 0.0
    tokens: int = 0
    """Read by the network, pads not counted."""


@dataclass(frozen=True)
class Call:
    """Sequences that go through the network together, right-padded."""

    ids: Tensor
    """[B, L]"""
    lengths: Tensor
    """[B]"""
    prefix: Tensor
    """Tokens before the special tokens, [B]."""
    indices: list[int]
    """Which sequences of the global batch these are."""
    hidden: Tensor | None = None
    """Tokens that no other sees, [B, L]."""
    suffixes: bool = False
    """Whether a row goes on behind its special tokens."""


class StepRunner:
    """Runs this worker's share of a step and adds its gradients up in the parameters.

    They are gradients of a *sum over workers*: add them up, divide nothing.
    """

    def __init__(
        self,
        model: GemModel,
        objective: Objective,
        training: Training,
        log_scale: Tensor,
        autocast: torch.dtype | None,
        word_vectors: Tensor | None = None,
    ) -> None:
        self._model = model
        self._objective = objective
        self._rows_at_once = training.rows_at_once
        self._network = model.network
        self._frozen = frozen_prefix.applies(model.network)  # asks every layer, and does not change
        self._adapter = FoldedAdapter(model.network)
        self._log_scale = log_scale
        self._autocast = autocast
        self._word_vectors = word_vectors
        self._rank, self._world = data_parallel.rank(), data_parallel.world()

    def run(self, batch: Batch, weights: Weights) -> Losses:
        """Forward and backward over the step's batch."""
        losses = Losses()
        language = weights.next_token > 0 or weights.divergence > 0
        contrasts = weights.contrastive > 0 and len(batch.same) > 1
        views = contrasts or (weights.bag_of_words > 0 and len(batch.views) > 0)
        parts = ((batch.raw, language), (batch.special, weights.next_token > 0), (batch.views, views))
        tokens = sum(len(sequence) for sequences, run in parts if run for sequence in sequences) // self._world
        with computing(self._model.device, self._autocast), self._adapter.folded(tokens, self._autocast):
            if language:
                self._language(batch, weights, losses)
            if views:
                self._views(batch, weights, losses, contrasts=contrasts)
        return losses

    def _calls(self, sequences: Sequence[TokenSequence]) -> list[Call]:
        device = self._model.device
        calls = []
        overhead = frozen_prefix.OVERHEAD_TOKENS if self._frozen else OVERHEAD_TOKENS
        own = share(sequences, self._rank, self._world)
        for part in length_buckets(own, self._rows_at_once, overhead=overhead):
            ids, lengths = (torch.from_numpy(x).to(device) for x in padded([s.tokens for s in part], filler=0))
            prefix = torch.tensor([sequence.prefix for sequence in part], device=device)
            hidden = None
            if any(sequence.hidden is not None for sequence in part):
                nothing = np.zeros(0, dtype=np.bool_)
                dropped = padded([nothing if s.hidden is None else s.hidden for s in part], filler=0)[0]
                hidden = torch.from_numpy(dropped).to(device).bool()
            suffixes = any(len(sequence) > sequence.prefix + self._model.k for sequence in part)
            calls.append(Call(ids, lengths, prefix, [sequence.index for sequence in part], hidden, suffixes))
        return calls

    def _language(self, batch: Batch, weights: Weights, losses: Losses) -> None:
        """Next-token loss of raw and special rows, and the divergence from the base on raw rows."""
        k, lossless = self._model.k, self._model.lossless
        raw = () if lossless else batch.raw
        raw_count = sum(max(0, len(sequence) - 1) for sequence in raw)
        count = raw_count + sum(len(s) - k - (s.prefix if lossless else 1) for s in batch.special)
        if weights.next_token > 0:
            for call in self._calls(batch.special):
                losses.tokens += int(call.lengths.sum())
                rows, states = self._special(call)
                loss = self._next_token(states, rows, _predicted(rows, k, suffix_alone=lossless))
                losses.next_token += loss.item() / count
                (weights.next_token / count * loss).backward()
        calls = self._calls(raw)
        base_states = self._base_states(calls) if weights.divergence > 0 else []
        for number, call in enumerate(calls):
            predicted = _predicted(call, 0)
            states = hidden_states(self._network, call.ids)
            losses.tokens += int(call.lengths.sum())
            total = states.new_zeros((), dtype=torch.float32)
            if weights.next_token > 0:
                loss = self._next_token(states, call, predicted)
                losses.next_token += loss.item() / max(1, count)
                total = total + weights.next_token / max(1, count) * loss
            if weights.divergence > 0:
                loss = self._divergence(states[:, :-1][predicted], base_states[number])
                losses.divergence += loss.item() / max(1, raw_count)
                total = total + weights.divergence / max(1, raw_count) * loss
            total.backward()

    def _views(self, batch: Batch, weights: Weights, losses: Losses, *, contrasts: bool) -> None:
        """The losses of the views' embeddings: which text is which, and which words are in it."""
        calls, settings = self._calls(batch.views), self._objective.contrastive
        k, pooling = self._model.k, self._model.pooling
        counts = [len(share(batch.views, rank, self._world)) for rank in range(self._world)]
        # every worker computes the whole loss: the scale's gradient, and the number reported, are to count once
        scale = self._log_scale if self._rank == 0 else self._log_scale.detach()
        same = torch.from_numpy(batch.same).to(self._model.device)

        def embed(call: Call) -> Tensor:
            rows, states = self._special(call)
            return special_states(states, rows.lengths, k, pooling).float()

        def loss(own: Tensor, indices: list[int]) -> Tensor:
            total = own.new_zeros(())
            if contrasts:
                whole = data_parallel.gather_rows(own, indices, counts)
                first, second = whole.split([len(same), len(whole) - len(same)])
                found = contrastive_loss(first, second, scale, same, settings.dimensions)
                losses.contrastive += found.item() if self._rank == 0 else 0.0
                total = total + weights.contrastive * found
            if self._word_vectors is not None and indices:
                targets = bags([batch.texts[index] for index in indices], self._word_vectors)
                states = own.unflatten(1, (-1, targets.shape[1])).mean(dim=1)  # concatenated states: their mean
                words = bag_of_words_loss(states, targets) / len(batch.views)
                losses.bag_of_words += words.item()
                total = total + weights.bag_of_words * words
            return total

        for group in [calls] if contrasts else [[call] for call in calls]:  # words are asked of each text by itself
            indices = [index for call in group for index in call.indices]
            if group:
                cached = self._rows_at_once is not None
                gradient_cache.backward(group, embed, partial(loss, indices=indices), cached=cached)
            else:  # a worker may have no view of a tiny batch; it still takes part in the gathering
                loss(self._log_scale.new_zeros(0, self._model.dimension), indices)
        losses.tokens += sum(int(call.lengths.sum()) for call in calls)

    def _special(self, call: Call) -> tuple[Call, Tensor]:
        """Rows with special tokens and their last-layer states, without prefixes where those need no gradient."""
        k, blind, bottleneck = self._model.k, self._model.blind, self._objective.bottleneck
        if self._frozen:
            states, ids, lengths = frozen_prefix.tail_states(
                self._network, call.ids, call.prefix, call.lengths, k, self._mask_dtype,
                blind=blind, bottleneck=bottleneck, hidden=call.hidden,
            )  # fmt: skip
            return Call(ids, lengths, torch.zeros_like(call.prefix), call.indices), states
        mask = None  # where the rows are plain causal: the views of one special token, or the control
        if (blind and k > 1) or (bottleneck and call.suffixes) or call.hidden is not None:
            width = call.ids.shape[1]
            seen = visible(call.prefix, call.lengths, k, width, blind=blind, bottleneck=bottleneck, hidden=call.hidden)
            mask = for_network(causal_lm(self._network).config, seen, self._mask_dtype)
        return call, hidden_states(self._network, call.ids, mask)

    def _next_token(self, states: Tensor, call: Call, predicted: Tensor) -> Tensor:
        head = output_layer(self._network)
        return next_token_loss(states[:, :-1][predicted], call.ids[:, 1:][predicted], head, self._vocabulary)

    def _divergence(self, states: Tensor, base_states: Tensor) -> Tensor:
        head, base_head = output_layer(self._network), output_layer(self._network, base=True)
        return divergence(states, base_states, head, base_head, self._vocabulary)

    def _base_states(self, calls: list[Call]) -> list[Tensor]:
        # by the very attention that the model is run with: another's rounding would be fined as a divergence
        with torch.no_grad(), adapter_off(self._network):
            return [hidden_states(self._network, call.ids)[:, :-1][_predicted(call, 0)] for call in calls]

    @property
    def _vocabulary(self) -> int:
        return int(causal_lm(self._network).get_input_embeddings().weight.shape[0])

    @property
    def _mask_dtype(self) -> torch.dtype:
        return self._autocast or torch.float32


def _predicted(call: Call, count: int, *, suffix_alone: bool = False) -> Tensor:
    """Which tokens of columns 1..L-1 are predicted, [B, L-1]: all but pads and ``count`` special tokens.

    The slot of the last special token predicts the first suffix token. With ``suffix_alone`` no prefix is predicted.
    """
    column = torch.arange(1, call.ids.shape[1], device=call.ids.device)
    prefix = call.prefix[:, None]
    special = (column >= (0 if suffix_alone else prefix)) & (column < prefix + count)
    return (column < call.lengths[:, None]) & ~special
