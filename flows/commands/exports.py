"""``gem export``: a model in the formats of other libraries."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.models import ModelArgument
from flows.commands.runs import JsonOption, check_new
from flows.console import out, print_json
from gem_core.settings import Settings
from gem_core.sources.models import locate


class Format(StrEnum):
    """What is written."""

    SENTENCE_TRANSFORMERS = "sentence-transformers"
    TRANSFORMERS = "transformers"
    ADAPTER = "adapter"


class Dtype(StrEnum):
    """Precision of merged weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def export(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="sentence-transformers: for SentenceTransformer(FOLDER), the same vectors. transformers: merged "
            "weights for AutoModelForCausalLM. adapter: for PeftModel, on the base.",
        ),
    ] = Format.SENTENCE_TRANSFORMERS,
    dtype: Annotated[Dtype, typer.Option(help="Of merged weights; an adapter stays as it is.")] = Dtype.FLOAT32,
    json: JsonOption = False,
) -> None:
    """Write a GEM model for other libraries; its README.md says how to load it.

    For example `gem export models:/sandbox@champion out`, then `SentenceTransformer("out")`.
    """
    from gem_core.export import export as write

    settings = Settings()
    check_new(folder)
    write(locate(model, settings), folder, form.value, settings=settings, dtype=dtype.value)
    if json:
        print_json({"folder": str(folder), "format": form.value})
    else:
        out().print(f"{folder}  {form.value}", soft_wrap=True)


COMMANDS = (export,)
