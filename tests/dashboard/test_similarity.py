import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dashboard.similarity import LONGEST_TEXT, MOST_TEXTS, cosine_similarities, pair_table, pairs, texts_of
from gem_core.errors import GemError

embeddings = arrays(
    np.float32,
    st.tuples(st.integers(2, 6), st.integers(1, 5)),
    elements=st.floats(-10, 10, width=32, allow_subnormal=False),
)


@given(embeddings)
def test_similarities_are_symmetric_and_bounded(values):
    found = cosine_similarities(values)
    assert np.all(np.abs(found) <= 1)
    np.testing.assert_allclose(found, found.T, atol=1e-6)


def test_similarity_ignores_length():
    found = cosine_similarities(np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0]], dtype=np.float32))
    np.testing.assert_allclose(found, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_a_zero_embedding_is_similar_to_nothing():
    assert cosine_similarities(np.array([[0.0, 0.0], [1.0, 0.0]], dtype=np.float32))[0, 1] == 0


@given(embeddings)
def test_models_that_agree_change_no_rank(values):
    matrix = cosine_similarities(values)
    squeezed = matrix * 0.25 + 0.75  # another scale, the same order
    found = pairs(matrix, squeezed.astype(np.float64))
    assert len(found) == len(values) * (len(values) - 1) // 2
    distinct = len({round(float(pair.left), 4) for pair in found}) == len(found)
    assert not distinct or all(pair.left_rank == pair.right_rank for pair in found)


def test_the_pair_whose_rank_changed_most_comes_first():
    left = np.array([[1, 0.9, 0.5, 0.1], [0.9, 1, 0.4, 0.3], [0.5, 0.4, 1, 0.2], [0.1, 0.3, 0.2, 1]])
    right = left.copy()
    right[0, 1] = right[1, 0] = 0.0  # from the most similar pair to the least
    first = pairs(left, right)[0]
    assert (first.first, first.second, first.left_rank, first.right_rank) == (0, 1, 1, 6)


def test_the_table_names_both_models():
    matrix = np.array([[1, 0.5], [0.5, 1]])
    table = pair_table(pairs(matrix, matrix), ["a", "b"], "base", "v2")
    assert list(table.columns) == ["Text", "Compared with", "base", "v2", "Rank, base", "Rank, v2"]
    assert table.iloc[0].tolist() == ["a", "b", 0.5, 0.5, 1, 1]


def test_texts_are_the_lines_that_hold_something():
    assert texts_of("  a cat \n\n\t\nanother\r\nähnlich ✓ ") == ["a cat", "another", "ähnlich ✓"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "no text"),
        ("  \n\t\n", "no text"),
        ("alone", "second line"),
        ("\n".join("abcdefghijklmnop"), f"at most {MOST_TEXTS}"),
        ("short\n" + "x" * (LONGEST_TEXT + 1), f"Text 2 has {LONGEST_TEXT + 1} characters"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(typed, message):
    with pytest.raises(GemError, match=message) as refused:
        texts_of(typed)
    assert "\n" not in str(refused.value)
