"""The bag of words that a text's special tokens are taught to carry: a weak base carries too few words into them.

The target is a strong embedding that needs no training (Arora, Liang and Ma 2017, "A simple but tough-to-beat baseline
for sentence embeddings"): a text's distinct words, rare ones weighing more, as vectors. The vectors are the base's own
embedding rows, whitened: their common directions, which tell frequent from rare and little else, are taken out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gem_core.sources.rows import Tokens

SMOOTHING = 1e-3
"""A word weighs ``SMOOTHING / (SMOOTHING + its share of all words)``."""
SMALLEST = 1e-5
"""Directions of less variance than this share of the largest are not blown up."""


@torch.no_grad()
def word_vectors(embeddings: Tensor, frequencies: Tensor) -> Tensor:
    """What each token adds to a bag: its whitened direction times its weight, [V, D]; nothing if it never occurs.

    Args:
        embeddings: The base's embedding matrix, [V, D].
        frequencies: Each token's share of the training text, [V].
    """
    occurs = frequencies > 0
    known = embeddings.detach()[occurs].double()
    centred = known - known.mean(dim=0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(known)))
    scales = variances.clamp(min=SMALLEST * float(variances.max())).rsqrt()
    # the symmetric root: of all whitenings the one that stays closest to the vectors as they were
    white = functional.normalize(centred @ (directions * scales) @ directions.T, dim=1)
    weights = SMOOTHING / (SMOOTHING + frequencies[occurs].double())
    vectors = embeddings.new_zeros(embeddings.shape, dtype=torch.float32)
    vectors[occurs] = (white * weights[:, None]).float()
    return vectors


def bags(texts: Sequence[Tokens], vectors: Tensor) -> Tensor:
    """The sums of the texts' distinct words, [N, D].

    Args:
        texts: Token ids, none of them beyond the vocabulary.
        vectors: Of all words, [V, D].
    """
    words = [torch.from_numpy(np.unique(text)).to(vectors.device) for text in texts]
    return torch.stack([vectors[own].sum(dim=0) for own in words])


def bag_of_words_loss(states: Tensor, targets: Tensor) -> Tensor:
    """Summed ``1 - cosine`` of states and their texts' bags, both [N, D]."""
    return (1 - functional.cosine_similarity(states.float(), targets.float(), dim=-1)).sum()
