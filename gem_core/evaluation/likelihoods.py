"""How likely a causal language model finds given continuations: what every multiple-choice task comes down to.

Gives the numbers of lm-eval's own ``hf`` model and computes less for them: each distinct input once, shared beginnings
once (:mod:`gem_core.evaluation.shared_prefixes`), rows of similar length together, and the output layer only where a
token's likelihood is asked for. Likelihoods are always computed in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from gem_core.evaluation.shared_prefixes import Group, Row, plan_rows
from gem_core.method.batches import padded
from gem_core.method.network import output_layer
from gem_core.method.products import fast_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

LOGITS = 2**24
"""Logits computed at a time: 64 MB of float32."""


class Likelihoods:
    """A network that scores continuations.

    Whether it can share beginnings is tested once on a few tokens: an architecture that cannot (positions that are not
    told to it, a window shorter than the row, states instead of keys and values) gets every sequence as a row of its
    own, which is slower and right.
    """

    def __init__(self, network: PreTrainedModel, batch_size: int) -> None:
        self.network = network
        self.batch_size = batch_size
        self.shares = self._can_share()

    @torch.inference_mode()
    def score(self, requests: Sequence[tuple[Sequence[int], int]]) -> list[tuple[float, bool]]:
        """Score the ends of token sequences.

        Args:
            requests: Each a whole sequence and how many of its last tokens are asked about: fewer than all.

        Returns:
            For each, the summed natural log-likelihood of the tokens asked about, each given all before it, and whether
            greedy decoding would have chosen every one of them.
        """
        inputs: dict[tuple[int, ...], int] = {}
        asked: list[list[tuple[int, int]]] = []
        private: list[int] = []
        for number, (tokens, count) in enumerate(requests):
            index = inputs.setdefault(tuple(tokens[:-1]), len(inputs))
            if index == len(asked):
                asked.append([])
                private.append(0)
            asked[index].append((number, count))
            private[index] = max(private[index], count)
        sums, greedy = np.zeros(len(requests)), np.ones(len(requests), dtype=bool)
        with fast_products(self.network.device, self.network.dtype):
            for group in plan_rows(list(inputs), private, share=self.shares):
                cache = self._prefix(group)
                rows = sorted(group.rows, key=lambda row: -len(row.tokens))  # too little memory shows at once
                for begin in range(0, len(rows), self.batch_size):
                    batch = rows[begin : begin + self.batch_size]
                    self._score_batch(group, cache, batch, requests, asked, sums, greedy)
        return list(zip(sums.tolist(), greedy.tolist(), strict=True))

    def _score_batch(
        self,
        group: Group,
        cache: list[tuple[Tensor, Tensor]],
        batch: list[Row],
        requests: Sequence[tuple[Sequence[int], int]],
        asked: list[list[tuple[int, int]]],
        sums: NDArray[np.float64],
        greedy: NDArray[np.bool_],
    ) -> None:
        places: list[NDArray[np.int64]] = []  # of each token asked about, and below what it is and who asked
        targets: list[int] = []
        owners: list[int] = []
        width = max(len(row.tokens) for row in batch)
        for line, row in enumerate(batch):
            for member, index in enumerate(row.members):
                columns = row.columns(member)
                for number, count in asked[index]:
                    places.append(line * width + columns[-count:])
                    targets += requests[number][0][-count:]
                    owners += [number] * count
        wanted, where = np.unique(np.concatenate(places), return_inverse=True)
        states = self._states(group, cache, batch).flatten(0, 1)
        chosen = states[torch.from_numpy(wanted).to(states.device)]
        likely, best = self._tokens(chosen, torch.from_numpy(where), torch.tensor(targets))
        np.add.at(sums, owners, likely)
        np.logical_and.at(greedy, owners, best)

    def _tokens(self, states: Tensor, where: Tensor, targets: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Log-likelihood of each target [N] at ``states[where]``, and whether it is the likeliest token there."""
        output = output_layer(self.network)
        where, targets = where.to(states.device), targets.to(states.device)
        likely = torch.empty(len(targets), dtype=torch.float32, device=states.device)
        best = torch.empty(len(targets), dtype=torch.bool, device=states.device)
        step = max(1, LOGITS // output.weight.shape[0])
        for begin in range(0, len(states), step):
            logits = output(states[begin : begin + step]).float()
            (here,) = torch.nonzero((where >= begin) & (where < begin + step), as_tuple=True)
            line, target = where[here] - begin, targets[here]
            likely[here] = logits[line, target] - logits.logsumexp(dim=-1)[line]
            best[here] = logits.argmax(dim=-1)[line] == target
        return likely.double().cpu().numpy(), best.cpu().numpy()

    def _prefix(self, group: Group) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the group's prefix, layer by layer, [1, heads, P, head size]; none without a prefix."""
        if not group.prefix:
            return []
        ids = torch.tensor([group.prefix], device=self.network.device)
        cache = self.network.get_decoder()(input_ids=ids, use_cache=True).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _states(self, group: Group, cache: list[tuple[Tensor, Tensor]], batch: list[Row]) -> Tensor:
        """Last-layer states [B, L, D] of right-padded rows behind their prefix."""
        padding, lengths = padded([list(row.tokens) for row in batch], filler=0)
        size, (lines, width) = len(group.prefix), padding.shape
        ids = torch.from_numpy(padding)
        device = self.network.device
        options = {}
        if cache:
            # A copy for each row would be made anyway: every layer joins the old keys and values with the new.
            rows = [(keys.expand(lines, -1, -1, -1), values.expand(lines, -1, -1, -1)) for keys, values in cache]
            options = {"past_key_values": DynamicCache(rows)}
        if any(row.branches for row in batch):
            seen, positions = _tree(batch, lengths, size, width)
            mask = torch.zeros(lines, 1, width, size + width, dtype=self.network.dtype)
            mask.masked_fill_(~torch.from_numpy(seen)[:, None], torch.finfo(mask.dtype).min)
            options |= {"attention_mask": mask.to(device), "position_ids": torch.from_numpy(positions).to(device)}
        # Without branches the rows are plain causal: no token sees the pads, which lie to its right.
        decoder = self.network.get_decoder()
        return decoder(input_ids=ids.to(device), use_cache=bool(cache), **options).last_hidden_state

    @torch.inference_mode()
    def _can_share(self) -> bool:
        """Compare a row with branches behind a prefix with each of its sequences alone."""
        config = self.network.config
        types = set(getattr(config, "layer_types", None) or ())
        if types - {"full_attention"} or (not types and getattr(config, "sliding_window", None)):
            return False
        vocabulary = self.network.get_input_embeddings().weight.shape[0]
        drawn = [int(token) for token in np.random.default_rng(0).integers(vocabulary, size=12)]
        prefix, trunk, one, two = (tuple(drawn[a:b]) for a, b in ((0, 4), (4, 7), (7, 10), (10, 12)))
        row = Row(trunk + one + two, 3, (3, 2), (0, 1))
        group = Group(prefix, (row,))
        try:
            together = self._states(group, self._prefix(group), [row])[0].float()
        except (AttributeError, TypeError, ValueError, RuntimeError):  # takes no cache, mask or positions of this kind
            return False
        for member, branch in enumerate((one, two)):
            tokens = prefix + trunk + branch
            alone = self._states(Group((), ()), [], [Row(tokens, len(tokens), (), (0,))])[0, len(prefix) :].float()
            if not torch.allclose(
                together[row.columns(member)], alone, rtol=0.02, atol=0.02 * float(alone.abs().max())
            ):
                return False
        return True


def _tree(
    batch: list[Row], lengths: NDArray[np.int64], prefix: int, width: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """What each token sees [B, L, P + L], and its position [B, L]; pads see themselves, and what lies left of them."""
    segments = np.zeros((len(batch), width), dtype=np.int64)
    positions = np.zeros((len(batch), width), dtype=np.int64)
    for line, row in enumerate(batch):
        segments[line, : lengths[line]] = row.segments()
        positions[line, : lengths[line]] = row.positions()
    causal = np.tri(width, dtype=bool)
    own = segments[:, None, :] == segments[:, :, None]
    seen = causal & (own | (segments[:, None, :] == 0))
    return np.concatenate([np.ones((len(batch), width, prefix), dtype=bool), seen], axis=2), positions + prefix
