"""The GEM mask: what every token of a row with special tokens may look at.

For a row of three prefix tokens ``a b c``, two special tokens ``S T``, two suffix tokens ``x y`` and one pad (row: the
token that looks, column: what it looks at, ``#``: visible)::

          a b c S T x y .
        a #
        b # #
        c # # #
        S # # # #
        T # # #   #
        x       # # #
        y       # # # #
        .               #

Special tokens see the whole prefix and themselves and are blind to each other; the suffix has lost every column before
the first special token, so that what it knows of the prefix passed through them; a pad sees itself, because a token
that sees nothing turns into NaN. With one special token and no suffix this is the plain causal triangle.

``blind=False`` lets special tokens see those before them, ``bottleneck=False`` lets the suffix see the prefix (a
control: with both off a row is plain causal), and a ``hidden`` token is seen by itself alone.

A mask is handed over as additive floats, dense: boolean masks are read as +1 by ``eager`` attention. Only
``flex_attention`` gets a ``BlockMask``, and FlashAttention, which heeds no mask, is refused one.
Whether the active backend obeys is tested, not assumed: :func:`check_backend`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from gem_core.errors import GemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.nn.attention.flex_attention import BlockMask
    from transformers import PreTrainedConfig

Mask: TypeAlias = "Tensor | BlockMask | dict[str, Tensor | BlockMask]"
"""What a transformers model takes as ``attention_mask``: one 4D mask, or one for each type of layer."""


def visible(
    prefix: Tensor,
    lengths: Tensor,
    count: int,
    width: int,
    *,
    blind: bool = True,
    bottleneck: bool = True,
    hidden: Tensor | None = None,
) -> Tensor:
    """Who sees whom, by the drawing above.

    Args:
        prefix: Prefix tokens of each row, [B]; the special tokens follow at once.
        lengths: Tokens of each row without its pads, [B], at least ``prefix + count``.
        count: k.
        width: L, the padded length.
        blind: Hide special tokens from each other.
        bottleneck: Hide the prefix from the suffix.
        hidden: Tokens that no other sees, [B, L] bool.

    Returns:
        [B, L, L] bool: query, key.
    """
    position = torch.arange(width, device=prefix.device)
    query, key = position[None, :, None], position[None, None, :]
    prefix, length = prefix[:, None, None], lengths[:, None, None]

    def special(where: Tensor) -> Tensor:
        return (where >= prefix) & (where < prefix + count)

    causal = key <= query
    seen = causal
    if blind:
        seen = seen & ~(special(query) & special(key) & (query != key))
    if bottleneck:
        seen = seen & ~((query >= prefix + count) & (key < prefix))
    if hidden is not None:
        seen = seen & (~hidden[:, None, :] | (query == key))
    pad = query >= length
    return torch.where(pad, query == key, seen)


def draw(seen: Tensor, names: str) -> str:
    """A row's mask as the docstring draws it; ``names`` has a letter for each token."""
    head = "  " + " ".join(names)
    rows = [f"{name} " + " ".join("#" if cell else " " for cell in row) for name, row in zip(names, seen, strict=True)]
    return "\n".join(line.rstrip() for line in [head, *rows])


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 1, L, L]: 0 where visible, else the least number of ``dtype``. Exact under ``sdpa`` and ``eager``."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def block_mask(seen: Tensor) -> BlockMask:
    """The same for ``flex_attention``, which skips blocks of 128 x 128 where nothing is visible."""
    from torch.nn.attention.flex_attention import create_block_mask

    batch, queries, width = seen.shape
    return create_block_mask(lambda b, _, q, k: seen[b, q, k], batch, None, queries, width, device=str(seen.device))


def for_network(config: PreTrainedConfig, seen: Tensor, dtype: torch.dtype) -> Mask:
    """The mask in the form this architecture takes it, a sliding window combined.

    transformers uses a 4D mask as it is and thereby forgets the window of the model, and architectures that mix
    full and sliding layers (Gemma 2 and 3, Qwen 2) then want one mask for each type.

    Args:
        config: The network's configuration.
        seen: From :func:`visible`, [B, L, L] or the last Q of its rows, [B, Q, L].
        dtype: What attention computes in.

    Raises:
        GemError: The backend heeds no mask.
    """
    backend = str(getattr(config, "_attn_implementation", "sdpa"))
    if "flash" in backend:
        raise GemError(f"{backend} takes no mask of ours and would train plain causal rows; {INSTEAD}")

    def form(seen: Tensor) -> Tensor | BlockMask:
        return block_mask(seen) if backend == "flex_attention" else additive(seen, dtype)

    window = getattr(config, "sliding_window", None)
    types = set(getattr(config, "layer_types", None) or ())
    if types and types <= {"full_attention", "sliding_attention"} and types != {"full_attention"}:
        return {"full_attention": form(seen), "sliding_attention": form(_within(seen, window))}
    applies = getattr(config, "use_sliding_window", True) and not types
    return form(_within(seen, window) if applies else seen)


def _within(seen: Tensor, window: int | None) -> Tensor:
    queries, width = seen.shape[-2:]
    if window is None or window >= width:
        return seen
    position = torch.arange(width, device=seen.device)
    return seen & (position[width - queries :, None] - position[None, :] < window)


INSTEAD = "set training.attention to sdpa or eager"

States: TypeAlias = "Callable[[Tensor, Mask | None], Tensor]"
"""Token ids [B, L] and a mask to last-layer states [B, L, D]."""


@torch.no_grad()
def check_backend(
    states: States,
    build: Callable[[Tensor], Mask],
    *,
    ids: tuple[int, ...],
    vocabulary: int,
    blind: bool = True,
    bottleneck: bool = True,
) -> None:
    """Run small rows through the real network under the active backend and compare with what the mask promises.

    Independence is tested by perturbation (a state must not move at all when a token it cannot see changes), each time
    with its counter-test (it does move when one changes that it can see), and the prefix against a plain causal pass.

    Args:
        states: The network as it is trained.
        build: Makes the mask handed to it from ``visible`` [B, L, L].
        ids: The special tokens.
        vocabulary: Known tokens, from which the test rows are drawn.
        blind: As for :func:`visible`.
        bottleneck: Likewise.

    Raises:
        GemError: The backend ignores or misreads the mask, or does not take one.
    """
    count, prefix, suffix, pads = len(ids), 6, 5, 3
    first, after, length = prefix, prefix + count, prefix + count + suffix
    width = length + pads
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(vocabulary, (width,), generator=generator)
    row[first:after] = torch.tensor(ids)
    other = (row + 1 + torch.randint(vocabulary - 1, (width,), generator=generator)) % vocabulary
    seen = visible(torch.tensor([prefix]), torch.tensor([length]), count, width, blind=blind, bottleneck=bottleneck)
    closed = seen.clone()
    closed[:, first:after, :prefix] = False  # the specials see nothing either: no path from prefix to suffix is left

    def run(mask: Tensor | None, *changed: slice) -> Tensor:
        tokens = row.clone()
        for part in changed:
            tokens[part] = other[part]
        return states(tokens[None], None if mask is None else build(mask))[0].float()

    head, specials, tail = slice(0, prefix), slice(first, after), slice(after, length)
    try:
        plain, masked, shut = run(None), run(seen), run(closed)
        shut_prefix, shut_first = run(closed, head), run(closed, slice(first, first + 1))
        open_prefix, open_pads = run(seen, head), run(seen, slice(length, width))
    except GemError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError) as error:  # OPT counts its positions in the mask
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GemError(
            f"the attention backend does not take the GEM mask ({reason}); {INSTEAD}, or choose another base model"
        ) from error

    tolerance = 1e-6 * float(plain.abs().max())
    like_causal = 0.05 * float(plain.abs().max())

    def moved(one: Tensor, two: Tensor, part: slice) -> bool:
        return bool(((one - two)[part].abs() > tolerance).any())

    faults = {
        "the suffix sees the prefix": bottleneck and moved(shut, shut_prefix, tail),
        "the suffix does not see the prefix": not bottleneck and not moved(shut, shut_prefix, tail),
        "special tokens see what is hidden from them": moved(shut, shut_prefix, specials),
        "special tokens see each other": blind and count > 1 and moved(shut, shut_first, slice(first + 1, after)),
        "special tokens do not see the prefix": not moved(masked, open_prefix, specials),
        "the suffix does not see the special tokens": not moved(shut, shut_first, tail),
        "pads are seen": moved(masked, open_pads, slice(0, length)),
        "a prefix under the mask differs from a plain causal one": not torch.allclose(
            plain[: first + 1], masked[: first + 1], rtol=0.05, atol=like_causal
        ),
        "a state is not finite": not bool(torch.isfinite(masked).all()),
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise GemError(f"the attention backend misreads the GEM mask ({'; '.join(found)}); {INSTEAD}")
