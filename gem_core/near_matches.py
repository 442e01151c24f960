"""What a mistyped name may have meant, asked the same way wherever a name is refused."""

import difflib
from collections.abc import Collection

SIMILAR = 0.6
"""How alike two names have to be, by difflib's ratio: its own default."""


def did_you_mean(name: str, known: Collection[str], otherwise: str = "") -> str:
    """A question with up to three known names that `name` may be meant for, the closest first.

    Upper and lower case are alike.

    Args:
        name: Nobody knows it.
        known: Names that there are.
        otherwise: What to say when none of them is near.
    """
    by_lower = {one.lower(): one for one in sorted(known)}
    near = [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=SIMILAR)]
    return f"did you mean {' or '.join(near)}?" if near else otherwise
