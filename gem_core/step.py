"""One training step's losses and gradients: what is run for which objective, and in which calls.

Work of no weight is not done: a step with a = 0 runs no views, one with a = 1 and no ``keep_language`` nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gem_core import data_parallel
from gem_core.attention_mask import Mask, for_network, visible
from gem_core.batches import length_buckets, padded, share
from gem_core.network import adapter_off, causal_lm, hidden_states, output_layer
from gem_core.objectives import contrastive_loss, divergence, next_token_loss
from gem_core.precision import computing
from gem_core.read_out import special_states, view_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gem_core.batches import Batch, TokenSequence
    from gem_core.model import GemModel


@dataclass(frozen=True)
class Weights:
    """What each loss weighs in a step."""

    next_token: float
    contrastive: float
    divergence: float


@dataclass
class Losses:
    """This worker's part of a step's losses; the parts of all workers add up to the whole."""

    next_token: float = 0.0
    contrastive: float = 0.0
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


class StepRunner:
    """Runs this worker's share of a step and adds its gradients up in the parameters.

    They are gradients of a *sum over workers*: add them up, divide nothing.
    """

    def __init__(self, model: GemModel, log_scale: Tensor, autocast: torch.dtype | None) -> None:
        self._model = model
        self._network = model.network
        self._log_scale = log_scale
        self._autocast = autocast
        self._rank, self._world = data_parallel.rank(), data_parallel.world()

    def run(self, batch: Batch, weights: Weights) -> Losses:
        """Forward and backward over the step's batch."""
        losses = Losses()
        with computing(self._model.device, self._autocast):
            if weights.next_token > 0 or weights.divergence > 0:
                self._language(batch, weights, losses)
            if weights.contrastive > 0 and len(batch.same) > 1:
                self._contrastive(batch, weights.contrastive, losses)
        return losses

    def _calls(self, sequences: Sequence[TokenSequence]) -> list[Call]:
        device = self._model.device
        calls = []
        for part in length_buckets(share(sequences, self._rank, self._world)):
            ids, lengths = padded([sequence.tokens for sequence in part], filler=0)
            prefix = torch.tensor([sequence.prefix for sequence in part], device=device)
            indices = [sequence.index for sequence in part]
            calls.append(Call(torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device), prefix, indices))
        return calls

    def _language(self, batch: Batch, weights: Weights, losses: Losses) -> None:
        """Next-token loss of raw and special rows, and the divergence from the base on raw rows."""
        k = self._model.k
        raw_count = sum(max(0, len(sequence) - 1) for sequence in batch.raw)
        count = raw_count + sum(len(sequence) - 1 - k for sequence in batch.special)
        if weights.next_token > 0:
            for call in self._calls(batch.special):
                predicted = _predicted(call, k)
                states = self._states(call, self._gem_mask(call), losses)
                loss = self._next_token(states, call, predicted)
                losses.next_token += loss.item() / count
                (weights.next_token / count * loss).backward()
        calls = self._calls(batch.raw)
        base_states = self._base_states(calls) if weights.divergence > 0 else []
        for number, call in enumerate(calls):
            predicted = _predicted(call, 0)
            states = self._states(call, None, losses)
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

    def _contrastive(self, batch: Batch, weight: float, losses: Losses) -> None:
        k, pooling = self._model.k, self._model.pooling
        parts, indices = [], []
        for call in self._calls(batch.views):
            width = call.ids.shape[1]
            mask = view_mask(self._config, call.lengths, k, width, self._mask_dtype)
            parts.append(special_states(self._states(call, mask, losses), call.lengths, k, pooling).float())
            indices += call.indices
        own = torch.cat(parts) if parts else self._log_scale.new_zeros(0, self._model.dimension)
        counts = [len(share(batch.views, rank, self._world)) for rank in range(self._world)]
        first, second = data_parallel.gather_rows(own, indices, counts).chunk(2)
        # every worker computes the whole loss: the scale's gradient, and the number reported, are to count once
        scale = self._log_scale if self._rank == 0 else self._log_scale.detach()
        same = torch.from_numpy(batch.same).to(own.device)
        loss = contrastive_loss(first, second, scale, same)
        losses.contrastive += loss.item() if self._rank == 0 else 0.0
        if loss.requires_grad:  # a worker may have no view of a tiny batch
            (weight * loss).backward()

    def _states(self, call: Call, mask: Mask | None, losses: Losses) -> Tensor:
        losses.tokens += int(call.lengths.sum())
        return hidden_states(self._network, call.ids, mask)

    def _next_token(self, states: Tensor, call: Call, predicted: Tensor) -> Tensor:
        head = output_layer(self._network)
        return next_token_loss(states[:, :-1][predicted], call.ids[:, 1:][predicted], head, self._vocabulary)

    def _divergence(self, states: Tensor, base_states: Tensor) -> Tensor:
        head, base_head = output_layer(self._network), output_layer(self._network, base=True)
        return divergence(states, base_states, head, base_head, self._vocabulary)

    def _base_states(self, calls: list[Call]) -> list[Tensor]:
        with torch.no_grad(), adapter_off(self._network):
            return [hidden_states(self._network, call.ids)[:, :-1][_predicted(call, 0)] for call in calls]

    def _gem_mask(self, call: Call) -> Mask:
        seen = visible(call.prefix, call.lengths, self._model.k, call.ids.shape[1])
        return for_network(self._config, seen, self._mask_dtype)

    @property
    def _config(self) -> object:
        return causal_lm(self._network).config

    @property
    def _vocabulary(self) -> int:
        return int(causal_lm(self._network).get_input_embeddings().weight.shape[0])

    @property
    def _mask_dtype(self) -> torch.dtype:
        return self._autocast or torch.float32


def _predicted(call: Call, count: int) -> Tensor:
    """Which tokens of columns 1..L-1 are predicted, [B, L-1]: all but pads and ``count`` special tokens.

    The slot of the last special token predicts the first suffix token.
    """
    column = torch.arange(1, call.ids.shape[1], device=call.ids.device)
    prefix = call.prefix[:, None]
    special = (column >= prefix) & (column < prefix + count)
    return (column < call.lengths[:, None]) & ~special
