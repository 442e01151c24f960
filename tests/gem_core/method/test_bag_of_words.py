import numpy as np
import pytest
import torch
from torch.nn import functional

from gem_core.method.bag_of_words import bag_of_words_loss, bags, word_vectors


@pytest.fixture
def vectors():
    torch.manual_seed(0)
    common = torch.randn(8)
    embeddings = torch.randn(400, 8) * torch.tensor([9.0, 1, 1, 1, 1, 1, 1, 0.2]) + 20 * common
    frequencies = torch.full((400,), 0.5 / 398)
    frequencies[0], frequencies[1] = 0.5, 0.0
    return word_vectors(embeddings, frequencies)


def test_word_vectors_point_everywhere_alike(vectors):
    directions = functional.normalize(vectors[2:], dim=1)
    spread = torch.linalg.eigvalsh(directions.T @ directions / len(directions))
    assert float(spread.max() / spread.min()) < 2.5  # of the embeddings it is 2,000, and they share a direction
    assert float(directions.mean(dim=0).norm()) < 0.1


def test_a_frequent_word_weighs_next_to_nothing_and_an_unknown_one_nothing(vectors):
    sizes = vectors.norm(dim=1)
    assert float(sizes[0]) == pytest.approx(0.001 / 0.501, rel=1e-4)
    assert float(sizes[1]) == 0
    assert sizes[2:].tolist() == pytest.approx([0.001 / (0.001 + 0.5 / 398)] * 398, rel=1e-4)


def test_a_bag_knows_words_and_neither_order_nor_number(vectors):
    found = bags([np.array(text, dtype=np.int32) for text in ([5, 9, 7], [7, 7, 9, 5, 9], [5])], vectors)
    assert torch.allclose(found[0], vectors[[5, 7, 9]].sum(dim=0))
    assert torch.allclose(found[0], found[1])
    assert torch.equal(found[2], vectors[5])


def test_the_loss_is_the_cosine_distance_summed():
    targets = torch.tensor([[1.0, 0], [0, 2], [3, 0], [0, 0]])
    states = torch.tensor([[5.0, 0], [0, -1], [0, 1], [1, 1]])
    assert float(bag_of_words_loss(states, targets)) == pytest.approx(0 + 2 + 1 + 1)
