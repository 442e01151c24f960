"""Which tokens of many sequences need to be computed only once. Pure: token ids in, a plan out.

Questions of one subject begin with the same worked examples, and the choices of one question with the same question.
Two devices share them. A *prefix* is computed once, and every row of its group attends to its keys and values. A *row*
holds one question: its *trunk* and, behind it, each choice as a *branch* that sees the trunk and itself but no other
branch. A trunk ``a b`` with branches ``c d`` and ``e``::

      a b c d e
    a #
    b # #
    c # # #
    d # # # #
    e # #     #

A branch's positions go on where the trunk ends: 0 1 2 3 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Tokens = tuple[int, ...]

LEAST_PREFIX = 32
"""Tokens below which a prefix of its own saves less than its keys and values cost to carry along."""
LEAST_ROWS = 8
"""Sequences below which a group of its own would make batches too small."""
MOST_BRANCHING = 2048
"""Tokens of a row that holds several sequences at most: its mask grows with their square."""


@dataclass(frozen=True)
class Row:
    """One or several sequences that begin alike, the prefix of their group left out."""

    tokens: Tokens
    """Trunk, then one branch behind the other."""
    trunk: int
    """Tokens that all its sequences share."""
    branches: tuple[int, ...]
    """Tokens of each branch, in the order of ``members``; empty where the only sequence is the trunk."""
    members: tuple[int, ...]
    """Which of the planned sequences it holds."""

    def columns(self, member: int) -> NDArray[np.int64]:
        """Where in the row the tokens of its `member`-th sequence lie."""
        trunk = np.arange(self.trunk)
        if not self.branches:
            return trunk
        start = self.trunk + sum(self.branches[:member])
        return np.concatenate([trunk, np.arange(start, start + self.branches[member])])

    def segments(self) -> NDArray[np.int64]:
        """0 for each token of the trunk, then 1, 2 ... for each token of a branch."""
        return np.repeat(np.arange(len(self.branches) + 1), [self.trunk, *self.branches])

    def positions(self) -> NDArray[np.int64]:
        """Each token's place in its sequence, the group's prefix not counted."""
        return np.concatenate([np.arange(self.trunk), *(self.trunk + np.arange(size) for size in self.branches)])


@dataclass(frozen=True)
class Group:
    """Rows that all begin with the same prefix."""

    prefix: Tokens
    rows: tuple[Row, ...]


def plan_rows(sequences: Sequence[Tokens], private: Sequence[int], *, share: bool = True) -> list[Group]:
    """Plan the computation of distinct sequences.

    Args:
        sequences: Distinct, none empty.
        private: For each, how many tokens at its end must not lie in a prefix (their outputs are wanted); at least one.
        share: False plans every sequence as a row of its own, for networks that cannot do otherwise.

    Returns:
        Groups in which each sequence occurs in exactly one row.
    """
    if not share:
        return [Group((), tuple(Row(tokens, len(tokens), (), (i,)) for i, tokens in enumerate(sequences)))]
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    common = [_common(sequences[a], sequences[b]) for a, b in pairwise(order)]
    groups, alone = [], []
    for begin, end, size in _prefixes(common, order, sequences, private, 0, len(order)):
        if size:
            prefix = sequences[order[begin]][:size]
            groups.append(Group(prefix, tuple(_rows(sequences, order[begin:end], size))))
        else:
            alone += order[begin:end]
    return [*groups, *([Group((), tuple(_rows(sequences, alone, 0)))] if alone else [])]


def _common(one: Tokens, two: Tokens) -> int:
    """How many tokens two sequences share at their beginning."""
    width = min(len(one), len(two))
    if one[:width] == two[:width]:
        return width
    return next(i for i in range(width) if one[i] != two[i])


def _prefixes(
    common: list[int],
    order: list[int],
    sequences: Sequence[Tokens],
    private: Sequence[int],
    begin: int,
    end: int,
    least: int = LEAST_PREFIX,
) -> Iterator[tuple[int, int, int]]:
    """Cut ``order[begin:end]``, which is sorted, into runs ``(begin, end, prefix)``; prefix 0 where none is worth it.

    A run whose neighbours share at least `least` tokens is either taken as it is, by what all of them share, or cut
    further by twice as much, whichever computes fewer tokens. Doubling keeps the depth below the logarithm of a length.
    """
    cut = begin
    for i in range(begin, end):
        if i + 1 < end and common[i] >= least:
            continue
        run, cut = (cut, i + 1), i + 1
        count = run[1] - run[0]
        if count < LEAST_ROWS:
            yield (*run, 0)
            continue
        open_tokens = min(len(sequences[j]) - private[j] for j in order[run[0] : run[1]])
        size = min(open_tokens, *common[run[0] : run[1] - 1])
        finer = list(_prefixes(common, order, sequences, private, *run, least=2 * least))
        saved = sum((b - a - 1) * prefix for a, b, prefix in finer)
        if size >= LEAST_PREFIX and (count - 1) * size >= saved:
            yield (*run, size)
        elif saved:
            yield from finer
        else:
            yield (*run, 0)


def _rows(sequences: Sequence[Tokens], order: Sequence[int], prefix: int) -> Iterator[Row]:
    """Rows of sorted sequences: a sequence joins the row before it when it shares at least half of its tokens."""
    members: list[int] = []
    trunk = total = 0
    for i in order:
        tokens = sequences[i]
        size = len(tokens) - prefix
        if members:
            shared = min(trunk, _common(sequences[members[-1]], tokens) - prefix)
            grown = total + len(members) * (trunk - shared) + size - shared
            if 2 * shared >= size and grown <= min(MOST_BRANCHING, total + size):
                members.append(i)
                trunk, total = shared, grown
                continue
            yield _row(sequences, members, prefix, trunk)
        members, trunk, total = [i], size, size
    if members:
        yield _row(sequences, members, prefix, trunk)


def _row(sequences: Sequence[Tokens], members: list[int], prefix: int, trunk: int) -> Row:
    branches = [sequences[i][prefix + trunk :] for i in members]
    tokens = sequences[members[0]][prefix : prefix + trunk] + tuple(token for part in branches for token in part)
    sizes = tuple(map(len, branches)) if len(members) > 1 else ()
    return Row(tokens, trunk, sizes, tuple(members))
