from __future__ import annotations

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gem_core.sandbox import Sandbox, build, builder


def test_the_base_model_loads_and_its_tokenizer_is_complete(sandbox):
    model = AutoModelForCausalLM.from_pretrained(sandbox.base_model)
    tokenizer = AutoTokenizer.from_pretrained(sandbox.base_model)
    assert tokenizer.pad_token_id is not None
    assert tokenizer.eos_token_id is not None
    assert model.config.max_position_embeddings == 512
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.decode(tokenizer("The port, as ever: ω").input_ids) == "The port, as ever: ω"
    assert "license: apache-2.0" in (sandbox.base_model / "README.md").read_text()


def test_rows_and_record_are_written(sandbox, miniature):
    assert pq.read_table(sandbox.training_rows).column_names == ["text"]
    record = json.loads((sandbox.folder / "sandbox.json").read_text())
    assert record["seed"] == 3
    assert record["pretraining"]["tokens"] == miniature.model.steps * 4 * 128


def test_a_second_build_comes_from_the_cache(sandbox, miniature):
    stages = []
    home = sandbox.folder.parent.parent
    assert build(home, 3, spec=miniature, progress=lambda *stage: stages.append(stage)) == sandbox
    assert stages == []


def test_a_cache_hit_loads_no_torch(sandbox):
    code = (
        "import sys, pathlib, gem_core.sandbox as s; "
        "assert not {'torch', 'mteb', 'lm_eval', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_failed_build_leaves_nothing_and_can_be_repeated(tmp_path, miniature, monkeypatch):
    def fail(*_arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(builder, "pretrain", fail)
        with pytest.raises(OSError, match="no space"):
            build(tmp_path, 1, spec=miniature)
    assert [path.suffix for path in (tmp_path / "sandbox").iterdir()] in ([], [".lock"])
    assert build(tmp_path, 1, spec=miniature).base_model.is_dir()


def test_leavings_of_a_killed_build_are_removed(tmp_path, miniature):
    folder = Sandbox.at(tmp_path / "sandbox" / f"1-{miniature.digest()}", 1).folder
    partial = folder.with_name(f".{folder.name}.partial")
    (partial / "base_model").mkdir(parents=True)
    assert build(tmp_path, 1, spec=miniature).folder == folder
    assert not partial.exists()
