"""A GEM model in the formats of other libraries: sentence-transformers, plain transformers, a peft adapter.

Safetensors only. Each format is written by the library that reads it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal, get_args

from gem_core.errors import GemError
from gem_core.method import model_folder
from gem_core.method.model import DTYPES, GemModel
from gem_core.method.model_parts import query_template
from gem_core.method.read_out import text_tokens
from gem_core.method.special_tokens import token_names

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from gem_core.method.model_folder import Description
    from gem_core.settings import Settings

Format = Literal["sentence-transformers", "transformers", "adapter"]
FORMATS: tuple[str, ...] = get_args(Format)

MAX_LENGTH = 512
"""Tokens of a text in a sentence-transformers folder, the default of :meth:`GemModel.encode`."""
MODULE = "gem_sentence_transformer"
"""The custom module that k > 1 needs, in the exported folder."""

USE = {
    "sentence-transformers": """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER"{trust})
embeddings = model.encode(["a text", "another text"])
```

Every text is ended by the tokenizer in {tokens}, whose last-layer state{s} {are} the embedding. {remote}""",
    "transformers": """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

Generates as any causal language model. To embed, append {tokens} to the text and read {its} last-layer state{s}.""",
    "adapter": """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
base = AutoModelForCausalLM.from_pretrained("BASE")  # {base}
if base.get_input_embeddings().weight.shape[0] < len(tokenizer):
    base.resize_token_embeddings(len(tokenizer))  # the adapter brings the rows of {tokens}
model = PeftModel.from_pretrained(base, "FOLDER")
```

To embed, append {tokens} to the text and read {its} last-layer state{s}.{activated}""",
}
"""What the card of each format says."""

ACTIVATED = """

The adapter is an activated LoRA: it acts from {tokens} on to the end of a row, so let nothing but pads follow. Any
other text runs on the base, whose logits of its own tokens stay what they are. Do not merge it."""
"""What the card of an adapter in lossless mode adds."""


def export(source: Path, target: Path, form: Format, *, settings: Settings, dtype: str = "float32") -> None:
    """Write the GEM model in ``source`` to the new folder ``target``.

    * ``sentence-transformers``: ``SentenceTransformer(target)`` gives the vectors of :meth:`GemModel.encode`. With one
      special token the folder holds stock modules alone; with several, or in lossless mode, it holds a module of its
      own, which draws the mask, adds the adapter at the special tokens and has to be trusted
      (``trust_remote_code=True``).
    * ``transformers``: merged weights for ``AutoModelForCausalLM``; still a model folder of this project.
    * ``adapter``: what ``PeftModel.from_pretrained`` puts on the base; in lossless mode as peft's activated LoRA, which
      embeds alike.

    Args:
        source: A model folder.
        target: Must not exist.
        form: One of :data:`FORMATS`.
        settings: Where the base of an adapter is looked for.
        dtype: Of merged weights, ``float32`` or ``bfloat16``; an adapter stays as it is.

    Raises:
        GemError: No GEM model, one in lossless mode to be merged, no adapter in it, a target that exists, or a
            tokenizer that cannot append tokens.
    """
    if target.exists():
        raise GemError(f"{target} exists: give a folder that does not, or remove it")
    description = model_folder.read(source)
    if description is None:
        raise GemError(f"{source} is a plain base model without special tokens; there is nothing to convert")
    if form == "transformers" and description.scope == "special":
        raise GemError(
            "in lossless mode there is nothing to merge: the language model is the base itself "
            f"({description.base.reference}); export the embedder as sentence-transformers or adapter"
        )
    if form == "adapter" and description.weights != "adapter":
        raise GemError("the model was fully fine-tuned and has no adapter; export it as transformers")
    with model_folder.written_whole(target) as draft:
        if form == "adapter" and description.scope == "all":
            shutil.copytree(source, draft, dirs_exist_ok=True)
        else:
            model = GemModel.load(source, settings=settings, device="cpu")
            if form == "adapter":
                _activated_adapter(model, draft)
            elif form == "transformers":
                _merged(model).to(DTYPES[dtype]).save_pretrained(draft, safe_serialization=True)
                model_folder.write_tokenizer(draft, model.tokenizer)
                model_folder.write(draft, description.model_copy(update={"weights": "full"}))
            else:
                _sentence_transformer(model, DTYPES[dtype], draft)
        (draft / "README.md").write_text(_card(form, description), encoding="utf-8")


def _merged(model: GemModel) -> PreTrainedModel:
    """The network as transformers alone knows it; its adapter is merged already. ``model`` is of no use afterwards."""
    from peft import PeftModel

    network = model.network
    return network.unload() if isinstance(network, PeftModel) else network


def _activated_adapter(model: GemModel, folder: Path) -> None:
    from peft import PeftModel

    from gem_core.method.activated_export import as_peft

    assert isinstance(model.network, PeftModel)  # noqa: S101 - for the type checker: lossless models are
    as_peft(model.network, model.special_ids).save_pretrained(folder, save_embedding_layers=False)
    model_folder.write_tokenizer(folder, model.tokenizer)


def _sentence_transformer(model: GemModel, dtype: torch.dtype, folder: Path) -> None:
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from gem_core import sentence_transformer_module as own
    from gem_core.method.activated_export import base_with_rows, updates

    adapter: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    if model.lossless and isinstance(model.network, PeftModel):
        adapter = updates(model.network)
        network = base_with_rows(model.network, model.special_ids)
    else:
        network = _merged(model)
    network.to(dtype).save_pretrained(folder, safe_serialization=True)
    ending_tokenizer(model).save_pretrained(folder)
    stock = _stock(model.description)
    if stock:
        transformer = Transformer(str(folder))
        modules = [transformer, Pooling(transformer.get_embedding_dimension(), "lasttoken"), Normalize()]
    else:
        reader = own.GemTransformer(
            str(folder),
            special_count=model.k,
            special_pooling=model.pooling,
            special_blind=model.blind and model.k > 1,
            special_adapter=bool(adapter),
        )
        reader.adapt({place: (down.to(dtype), up.to(dtype)) for place, (down, up) in adapter.items()})
        modules = [reader, Normalize()]
    before, _, after = query_template(model.description).partition("{text}")
    prompts = {"query": before, "document": ""} if before and not after else None  # a prompt stands before its text
    encoder = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="cosine", prompts=prompts)
    encoder.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    if not stock:
        shutil.copyfile(own.__file__, folder / f"{MODULE}.py")
        listing = folder / "modules.json"
        listing.write_text(listing.read_text().replace(f"{own.__name__}.", f"{MODULE}."))


def _stock(description: Description | None) -> bool:
    """Whether plain causal attention and the last token make the embedding, with the same weights for every token."""
    if description is None:
        return True
    special = description.special_tokens
    causal = special.count == 1 or (special.pooling == "last" and not special.blind)
    return causal and description.scope == "all"


def ending_tokenizer(model: GemModel) -> PreTrainedTokenizerFast:
    """A tokenizer that ends every text in the model's special tokens, a truncated one too.

    What the model's own tokenizer puts before a text (BOS) stays, what it puts behind one goes, as in training.

    Raises:
        GemError: The model's tokenizer is none of the ``tokenizers`` library.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    own = model.tokenizer
    if not own.is_fast:
        raise GemError("the model's tokenizer cannot append tokens by itself; export the model as transformers")
    plain = own("a", add_special_tokens=False)["input_ids"]
    whole = text_tokens(own, ["a"], MAX_LENGTH)[0]
    front = own.convert_ids_to_tokens(whole[: len(whole) - len(plain)])
    names = [*front, "$A", *token_names(model.k)]
    ids = {name: own.convert_tokens_to_ids(name) for name in names if name != "$A"}
    backend = Tokenizer.from_str(own.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.post_processor = processors.TemplateProcessing(single=names, special_tokens=list(ids.items()))
    kept = {f"{role}_token": getattr(own, f"{role}_token") for role in ("bos", "eos", "unk", "pad")}
    kept["pad_token"] = kept["pad_token"] or kept["eos_token"] or token_names(model.k)[-1]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=min(model.max_length, MAX_LENGTH),
        padding_side="right",
        truncation_side="right",
        **{name: token for name, token in kept.items() if token is not None},
    )


def _card(form: Format, description: Description) -> str:
    count, base = description.special_tokens.count, description.base
    several = count > 1
    tokens = ", ".join(f"`{name}`" for name in token_names(count))
    does = ["draws their mask"] * several + ["adds the adapter there alone"] * (description.scope == "special")
    does.append("reads them" if several else "reads it")
    use = USE[form].format(
        tokens=tokens,
        s="s" if several else "",
        are="are" if several else "is",
        its="their" if several else "its",
        base=f"{base.reference} at {base.revision[:12]}",
        trust="" if _stock(description) else ", trust_remote_code=True",
        remote="" if _stock(description) else f"`{MODULE}.py` in this folder {' and '.join(does)}.",
        activated=ACTIVATED.format(tokens=tokens) if description.scope == "special" else "",
    )
    head = {
        "library_name": "peft" if form == "adapter" else form,
        "pipeline_tag": "sentence-similarity" if form == "sentence-transformers" else "text-generation",
        "license": base.license,
    }
    front = "\n".join(f"{key}: {value}" for key, value in head.items() if value is not None)
    title = f"# A GEM model of {base.reference}"
    return f"---\n{front}\n---\n{title}\n\nPost-trained by GEM (arXiv 2506.04344) to embed text.\n\n{use.strip()}\n"
