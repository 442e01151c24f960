"""How much of a text's words can one special token carry, while the language model behind it stays as it is?

    HF_ENDPOINT=... python benchmarks/words_in_a_token.py --steps 500

An experiment on lossless mode without the limits of an adapter: the base reads texts and is not trained; a copy of its
layers reads the one special token behind each text, and is. What it learns is the words of the whole text, those that
were dropped included: the cosine to the sum of their embeddings in the base, whitened and weighted by smooth inverse
frequency (Arora et al. 2017). Nothing is contrasted. It attends almost evenly at first (``--query-scale``): as the base
attends, nearly everything goes to the first token. Llama architectures only.
"""

import argparse
import copy
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from datasets import load_dataset
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from gem_core.evaluation.statistics import spearman
from gem_core.method.batches import padded
from gem_core.method.network import load_network, load_tokenizer
from gem_core.method.products import fast_products
from gem_core.recipe import BaseModelSource
from gem_core.settings import Settings
from gem_core.sources.models import resolve

TASKS = {"STSBenchmark": "mteb/stsbenchmark-sts", "STS12": "mteb/sts12-sts", "STS13": "mteb/sts13-sts"}
MAX_TOKENS = 48
CPU = torch.device("cpu")
Cache = list[tuple[Tensor, Tensor]]
"""Keys and values [B, H, L, D] of each layer."""


class SpecialReader(nn.Module):
    """The layers of a base, to train, for one token behind each text; the text's keys and values are the base's."""

    def __init__(self, base: PreTrainedModel, query_scale: float, *, sees_first: bool) -> None:
        super().__init__()
        self.sees_first = sees_first
        decoder = base.get_decoder()
        self.rotary, self.head = [decoder.rotary_emb], base.config.head_dim  # a list: not to be trained
        self.layers = copy.deepcopy(decoder.layers).requires_grad_(True)
        self.norm = copy.deepcopy(decoder.norm).requires_grad_(True)
        for layer in self.layers:
            layer.self_attn.q_proj.weight.data *= query_scale
        rows = decoder.embed_tokens.weight
        self.row = nn.Parameter(rows.mean(0) + 0.02 * rows.std() * torch.randn(rows.shape[1]))

    def forward(self, cache: Cache, lengths: Tensor, hidden: Tensor) -> Tensor:
        """Unit embeddings [B, V, D] of texts in V views; ``hidden`` [B, V, L] says which tokens a view lacks."""
        batch, views, length = hidden.shape
        hidden = torch.where(torch.arange(length) == 0, torch.tensor(not self.sees_first), hidden)
        state = self.row.expand(batch, views, -1)
        cosine, sine = (part[:, :, None] for part in self.rotary[0](state, lengths[:, None]))  # [B, 1, 1, D]

        def heads(projected: Tensor, *, turned: bool) -> Tensor:
            split = projected.view(batch, views, -1, self.head)
            left, right = split.chunk(2, dim=-1)
            return (split * cosine + torch.cat((-right, left), -1) * sine if turned else split).transpose(1, 2)

        for layer, (keys, values) in zip(self.layers, cache, strict=True):
            own, attention = layer.input_layernorm(state), layer.self_attn
            query, key = heads(attention.q_proj(own), turned=True), heads(attention.k_proj(own), turned=True)
            to_text = (query @ keys.transpose(-1, -2)).masked_fill(hidden[:, None], -math.inf)
            to_self = (query * key).sum(-1, keepdim=True)
            share = (torch.cat((to_text, to_self), -1) / math.sqrt(self.head)).softmax(-1)
            read = share[..., :-1] @ values + share[..., -1:] * heads(attention.v_proj(own), turned=False)
            state = state + attention.o_proj(read.transpose(1, 2).reshape(batch, views, -1))
            state = state + layer.mlp(layer.post_attention_layernorm(state))
        return functional.normalize(self.norm(state), dim=-1)


@torch.no_grad()
def read(base: PreTrainedModel, rows: Sequence[Sequence[int]]) -> tuple[Cache, Tensor, Tensor]:
    """Keys and values of texts, their lengths [B], and which places are pads [B, L]."""
    ids, lengths = (torch.from_numpy(part) for part in padded(rows, filler=0))
    with fast_products(CPU, torch.float32):
        cache = base.get_decoder()(input_ids=ids, use_cache=True).past_key_values
    pads = torch.arange(ids.shape[1]) >= lengths[:, None]
    return [(layer.keys, layer.values) for layer in cache.layers], lengths, pads


@torch.no_grad()
def encode(base: PreTrainedModel, reader: SpecialReader, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Unit embeddings [N, D] of whole texts."""
    embeddings = np.empty((len(rows), base.config.hidden_size), dtype=np.float32)
    order = np.argsort([-len(row) for row in rows])
    for chosen in np.split(order, range(128, len(rows), 128)):
        cache, lengths, pads = read(base, [rows[i] for i in chosen])
        with fast_products(CPU, torch.float32):
            embeddings[chosen] = reader(cache, lengths, pads[:, None])[:, 0].numpy()
    return embeddings


def word_vectors(base: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Of each token [V, D]: its embedding, whitened by the tokens' frequencies, of the length of its SIF weight."""
    counts = np.bincount(np.concatenate(rows), minlength=base.config.vocab_size)
    share = torch.from_numpy(counts / counts.sum()).float()
    embeddings = base.get_input_embeddings().weight.detach()
    centred = embeddings - share @ embeddings
    values, vectors = torch.linalg.eigh((centred * share[:, None]).T @ centred)
    whitened = functional.normalize(centred @ vectors / values.clamp_min(1e-8).sqrt(), dim=-1)
    weights = 1e-3 / (1e-3 + share)
    weights[[base.config.bos_token_id, base.config.pad_token_id]] = 0
    return whitened * weights[:, None]


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="gem-lab/english-12m")
    parser.add_argument("--rows", type=int, default=32000, help="sentences of gem-lab/books-sentences")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--views", type=int, default=2, help="of each text, with other words dropped")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate; cosine, ten steps of warm-up")
    parser.add_argument(
        "--query-scale", type=float, default=0.1, help="of the first query weights; 1 leaves the base's"
    )
    parser.add_argument("--show-first", action="store_true", help="let the special token see the text's first token")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="steps between two scores on STSBenchmark's validation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    folder = resolve(BaseModelSource(source=options.base), Settings()).folder
    tokenizer = load_tokenizer(folder)
    base = load_network(folder, dtype=torch.float32, attention="sdpa").eval().requires_grad_(False)

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        begin = [base.config.bos_token_id]
        return [begin + row[: MAX_TOKENS - 1] for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    def score(split: str, names: Sequence[str]) -> dict[str, float]:
        scores = {}
        for name in names:
            pairs = load_dataset(TASKS[name], split=split)
            one, two = (encode(base, reader, tokens(pairs[column])) for column in ("sentence1", "sentence2"))
            scores[name] = spearman((one * two).sum(1), np.asarray(pairs["score"], dtype=float))
        return scores

    generator = np.random.default_rng(options.seed)
    texts = load_dataset("gem-lab/books-sentences", split="train")["text"]
    rows = [
        row for row in tokens([texts[i] for i in generator.permutation(len(texts))[: options.rows]]) if len(row) > 4
    ]
    words = word_vectors(base, rows)
    reader = SpecialReader(base, options.query_scale, sees_first=options.show_first)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / 10) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / options.steps))),
    )
    started, order = time.process_time(), []
    for step in range(1, options.steps + 1):
        if len(order) < options.batch_size:
            order = generator.permutation(len(rows)).tolist()
        chosen, order = order[: options.batch_size], order[options.batch_size :]
        cache, lengths, pads = read(base, [rows[i] for i in chosen])
        hidden = torch.rand(len(chosen), options.views, pads.shape[1]) < options.dropout
        target = torch.stack([words[torch.tensor(sorted(set(rows[i])))].sum(0) for i in chosen])
        with fast_products(CPU, torch.float32):
            embedded = reader(cache, lengths, hidden | pads[:, None])
            loss = 1 - (embedded * functional.normalize(target, dim=-1)[:, None]).sum(-1).mean()
            loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % options.every == 0 or step == options.steps:
            seconds = time.process_time() - started
            validation = score("validation", ["STSBenchmark"])["STSBenchmark"]
            print(
                f"step {step}: cosine {1 - loss.item():.3f}, validation {validation:.2f}, {seconds:.0f} CPU-s",
                flush=True,
            )
    found = score("test", list(TASKS))
    print(
        ", ".join(f"{name} {value:.2f}" for name, value in found.items()),
        f"average {np.mean(list(found.values())):.2f}",
    )


if __name__ == "__main__":
    main()
