"""A GEM model: a decoder language model that embeds text and keeps generating.

It embeds by appending its special tokens to a text and reading their last-layer states; it generates as the ordinary
decoder it still is. How it is trained is in :mod:`gem_core.method.training`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.method import decompression, encoding, generation, model_folder
from gem_core.method.model_parts import BARE, ModelParts
from gem_core.method.network import causal_lm, load_network, load_tokenizer, with_adapter
from gem_core.method.read_out import READ_OUTS
from gem_core.method.special_tokens import add_special_tokens, first_rows, initialise_rows, special_token_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedModel

    from gem_core.method.decompression import Compressed
    from gem_core.method.generation import Reading
    from gem_core.recipe import Adaptation, SpecialTokens
    from gem_core.settings import Settings
    from gem_core.sources.models import ResolvedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class GemModel(ModelParts):
    """A model to train, to embed with and to generate with.

    Make one with :meth:`from_base` (to train), :meth:`load` (a folder) or :meth:`open` (any MODEL argument).
    """

    @classmethod
    def from_base(
        cls,
        base: ResolvedModel,
        *,
        special_tokens: SpecialTokens,
        adaptation: Adaptation,
        seed: int,
        dtype: torch.dtype = torch.float32,
        attention: str | None = None,
    ) -> Self:
        """A base model with new special tokens and, for LoRA, an adapter that changes nothing yet.

        Raises:
            GemError: The folder does not load, or its vocabulary holds the tokens already.
        """
        tokenizer = load_tokenizer(base.folder)
        ids = add_special_tokens(tokenizer, special_tokens.count)
        network = load_network(base.folder, dtype=dtype, attention=attention)
        if adaptation.scope == "all":
            initialise_rows(network, ids, special_tokens, seed=seed)
        if adaptation.method == "lora":
            network = with_adapter(network, adaptation, ids, seed=seed, reference=base.reference)
        if adaptation.scope == "special":
            from gem_core.method.activated_adapter import activate

            activate(network, ids, first_rows(causal_lm(network), ids, special_tokens, seed=seed))
        description = model_folder.Description(
            weights="adapter" if adaptation.method == "lora" else "full",
            scope=adaptation.scope,
            base=model_folder.BaseReference(
                reference=base.reference, revision=base.revision, digest=base.digest, license=base.license
            ),
            special_tokens=special_tokens,
            seed=seed,
        )
        return cls(network, tokenizer, special_ids=ids, read_out="special", description=description)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        settings: Settings,
        read_out: str | None = None,
        device: torch.device | str | None = None,
        dtype: str = "float32",
        attention: str | None = None,
    ) -> Self:
        """A model folder, ready to embed and to generate; an adapter is merged into its base (and can be unmerged).

        Args:
            folder: With ``gem.json`` a GEM model (its base is found and checked); without, a plain base (k = 0).
            settings: Where a base is looked for.
            read_out: ``special`` (default of a GEM model), ``mean`` (default of a base) or ``last``.
            device: Default: CUDA where there is one.
            dtype: ``float32`` or ``bfloat16``.
            attention: ``sdpa`` or ``eager``; when None, the one that the architecture runs on.

        Raises:
            GemError: Damaged folder, a base that is gone or another one, or a read-out it does not have.
        """
        description = model_folder.read(folder)
        chosen = read_out or ("mean" if description is None else "special")
        if chosen not in READ_OUTS or (chosen == "special" and description is None):
            offered = READ_OUTS if description is not None else READ_OUTS[1:]
            raise GemError(f"no read-out {chosen!r} for {folder}; it has {', '.join(offered)}")
        tokenizer = load_tokenizer(folder)
        if description is None:
            ids: tuple[int, ...] = ()
            network = load_network(folder, dtype=DTYPES[dtype], attention=attention)
        else:
            ids = special_token_ids(tokenizer, description.special_tokens.count)
            network = model_folder.load_weights(folder, description, ids, settings, DTYPES[dtype], attention)
        network.eval().requires_grad_(False)
        network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        digest = content_digest(folder)
        return cls(network, tokenizer, special_ids=ids, read_out=chosen, description=description, digest=digest)

    @classmethod
    def open(
        cls,
        reference: str,
        *,
        settings: Settings,
        read_out: str | None = None,
        device: torch.device | str | None = None,
        dtype: str = "float32",
    ) -> Self:
        """Any MODEL argument of the command; the rest as for :meth:`load`."""
        from gem_core.sources.models import locate

        folder = locate(reference, settings)
        return cls.load(folder, settings=settings, read_out=read_out, device=device, dtype=dtype)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        max_length: int = 512,
        normalize: bool = True,
        size: int | None = None,
        template: str = BARE,
        refuse_blank: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Embeddings [N, D] in the order of the texts.

        Each distinct text is computed once, in batches of similar length. A text longer than ``max_length`` is cut so
        that its special tokens still fit. A blank text is embedded as the special tokens alone (after BOS, where the
        tokenizer begins a text with it).

        Args:
            texts: At least one.
            batch_size: Texts a batch at most; fewer where padding would cost more than another batch.
            max_length: Tokens a text, special tokens included.
            normalize: To length 1.
            size: Only the first so many numbers of each (Matryoshka), all when unset; cut before normalizing.
            template: What each text is wrapped in; queries in ``model.query_template``. A base's mean leaves out what
                stands before the text.
            refuse_blank: Else a text without a token (blank, for a base without BOS and EOS) gives zeros, as in
                sentence-transformers.
            progress: Called with texts done and all (distinct) texts.

        Raises:
            GemError: No texts, a blank one that is refused, or no room for a single token.
        """
        return encoding.encode(
            self, texts, batch_size=batch_size, max_length=max_length, normalize=normalize, size=size,
            template=template, refuse_blank=refuse_blank, progress=progress,
        )  # fmt: skip

    def read(self, text: str) -> Reading:
        """Read a text once, for its embedding and to go on from: :func:`gem_core.method.generation.read`."""
        return generation.read(self, text)

    def generate(
        self, prompt: str | Reading, *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> str:
        """The continuation of a prompt, as an ordinary decoder: :func:`gem_core.method.generation.generate`."""
        return generation.generate(self, prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)

    def decompress(self, text: str | Compressed) -> str:
        """Restore a text from its special tokens' keys and values alone, as reconstruction rows train it.

        Args:
            text: A text, compressed first; or what :func:`gem_core.method.decompression.compress` left of one.

        Raises:
            GemError: No special tokens, or nothing to compress.
        """
        return decompression.decompress(self, text)

    def causal_lm(self) -> PreTrainedModel:
        """The model as lm-eval's ``HFLM(pretrained=...)`` takes it: adapter merged, or asleep (lossless)."""
        return causal_lm(self.network)

    def save(self, folder: Path, *, recipe: dict[str, Any] | None = None) -> None:
        """Write the model folder whole or not at all; equal models give equal bytes.

        Args:
            folder: Replaced if it exists.
            recipe: What shaped the weights, for ``gem.json``.

        Raises:
            GemError: It is a plain base model: there is nothing to save.
        """
        if self.description is None:
            raise GemError("a plain base model is not saved as a GEM model; copy its folder")
        with model_folder.written_whole(folder) as draft:
            model_folder.write_weights(draft, self.network, self.description)
            model_folder.write_tokenizer(draft, self.tokenizer)
            model_folder.write(draft, self.description.model_copy(update={"recipe": recipe or self.description.recipe}))
