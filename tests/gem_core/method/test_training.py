import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from gem_core.errors import GemError
from gem_core.method.model import GemModel
from gem_core.method.network import load_tokenizer
from gem_core.method.training import train
from gem_core.recipe import Recipe
from gem_core.sources.rows import CONTRASTIVE, Row, Rows

SENTENCES = [
    f"The {one} {two} {three}."
    for one in ("old", "small", "quick", "quiet")
    for two in ("fox", "owl", "horse", "otter")
    for three in ("sleeps under the bridge", "sings by the cold river at night", "waits")
]


def recipe(**changes):
    """A whole small recipe; ``changes`` are ``section__field``."""
    content = {
        "name": "tiny",
        "base_model": {"source": "here"},
        "data": {"sources": [{"source": "here"}]},
        "special_tokens": {"count": 2},
        "adaptation": {"rank": 4},
        "objective": {"contrastive_start": 3, "contrastive_weight": 0.7, "keep_language": 0.5, "raw_share": 0.6},
        "training": {
            "steps": 8,
            "batch_size": 9,
            "learning_rate": 3e-3,
            "contrastive_learning_rate": 2e-3,
            "checkpoint_every": 3,
            "precision": "float32",
        },
    }
    for path, value in changes.items():
        *sections, name = path.split("__")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return Recipe.model_validate(content)


def rows_for(base, folder):
    return Rows.write(folder, load_tokenizer(base.folder)(SENTENCES)["input_ids"])


class Reports:
    """Keeps what is reported, and copies of the checkpoints."""

    def __init__(self, folder, stop_at=None):
        self.folder, self.stop_at, self.all = folder, stop_at, []

    def __call__(self, report):
        self.all.append(report)
        if report.checkpoint is not None:
            shutil.copytree(report.checkpoint, self.folder / str(report.step))
        if report.step == self.stop_at:
            raise KeyboardInterrupt


def weights_of(folder):
    return load_file(next(folder.glob("*model*.safetensors")))


def test_a_run_reports_every_step_and_learns(bases, tmp_path, settings):
    base = bases("llama")
    reports = Reports(tmp_path)
    result = train(
        recipe(training__steps=40, objective__contrastive_start=20, training__contrastive_learning_rate=5e-3),
        base,
        rows_for(base, tmp_path / "data"),
        report=reports,
        output=tmp_path / "model",
    )
    assert [report.step for report in reports.all] == list(range(1, 41))
    assert [report.step for report in reports.all if report.checkpoint] == [*range(3, 40, 3), 40]
    metrics = [report.metrics for report in reports.all]
    assert metrics[19]["next_token_loss"] < metrics[0]["next_token_loss"]
    assert "contrastive_loss" not in metrics[19]
    assert metrics[39]["contrastive_loss"] < metrics[20]["contrastive_loss"]
    assert metrics[0]["language_divergence"] == pytest.approx(0, abs=1e-6)
    assert result.final == metrics[39]
    model = GemModel.load(tmp_path / "model", settings=settings)
    assert model.digest == result.digest
    assert model.description.recipe["seed"] == 1
    assert model.encode(SENTENCES).shape == (48, 32)


@pytest.mark.parametrize(
    "changes",
    [
        {"adaptation__dropout": 0.1, "training__rows_at_once": 4},
        {"adaptation__method": "full", "objective__keep_language": 0.0},
        {"training__muon": 0.02, "adaptation__null_space": 0.02},
    ],
)
def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(bases, tmp_path, changes):
    base, chosen = bases("llama-untied"), recipe(**changes)
    rows = rows_for(base, tmp_path / "data")
    train(chosen, base, rows, report=Reports(tmp_path / "a"), output=tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(chosen, base, rows, report=Reports(tmp_path / "b", stop_at=5), output=tmp_path / "resumed")
    assert not (tmp_path / "resumed").exists()
    torch.randn(5)  # whatever else drew random numbers meanwhile
    last = Reports(tmp_path / "c")
    train(chosen, base, rows, report=last, checkpoint=tmp_path / "b" / "3", output=tmp_path / "resumed")
    assert [report.step for report in last.all] == [4, 5, 6, 7, 8]
    one, two = weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "resumed")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    states = [
        json.loads((tmp_path / "unbroken" / "gem.json").read_text()),
        json.loads((tmp_path / "resumed" / "gem.json").read_text()),
    ]
    assert states[0] == states[1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_that_has_learnt_nothing_diverges_by_nothing(bases, tmp_path, precision):
    """Base and model are computed alike, to the last bit: else the divergence fines rounding."""
    reports = Reports(tmp_path)
    chosen = recipe(training__steps=1, training__precision=precision, objective__contrastive_start=0)
    train(chosen, bases("llama"), rows_for(bases("llama"), tmp_path / "data"), report=reports, output=tmp_path / "m")
    assert reports.all[0].metrics["language_divergence"] == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def work(rank, world, port, chosen, base, folder, checkpoint=None):
    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    output = folder / f"model-{world}"
    kept = Reports(folder / f"kept-{world}-{rank}-{'again' if checkpoint else 'first'}")
    result = train(chosen, base, Rows.open(folder / "data"), report=kept, checkpoint=checkpoint, output=output)
    metrics = [report.metrics for report in kept.all]
    (folder / f"{world}-{rank}.json").write_text(json.dumps([metrics, result.digest]))
    if world > 1:
        dist.destroy_process_group()


forked = multiprocessing.get_context("forkserver")
# imported once for all of them
forked.set_forkserver_preload(["gem_core.method.training", "transformers.models.llama.modeling_llama", "peft"])


def run_workers(world, chosen, base, folder, checkpoint=None):
    port = free_port()
    told = (world, port, chosen, base, folder, checkpoint)
    processes = [forked.Process(target=work, args=(rank, *told)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    assert [process.exitcode for process in processes] == [0] * world
    return [json.loads((folder / f"{world}-{rank}.json").read_text()) for rank in range(world)]


def test_two_workers_do_what_one_does(bases, tmp_path):
    """Trap 11: the gathered contrastive loss, the token losses and the logit scale have the gradient of one process."""
    base = bases("llama")
    rows_for(base, tmp_path / "data")
    # plain steps, so that a wrong gradient norm is not hidden by clipping; an odd batch, so that shares are unequal
    chosen = recipe(
        training__max_gradient_norm=1e6,
        objective__contrastive_start=2,
        objective__contrastive__bag_of_words=0.5,
        training__rows_at_once=4,
        adaptation__null_space=0.02,
    )
    work(0, 1, None, chosen, base, tmp_path)
    alone, _ = json.loads((tmp_path / "1-0.json").read_text())
    (first, digest), (second, other) = run_workers(2, chosen, base, tmp_path)
    assert digest == other
    for one, two, three in zip(alone, first, second, strict=True):
        for name in one.keys() - {"tokens_per_second"}:
            assert two[name] == three[name], name
            assert one[name] == pytest.approx(two[name], rel=2e-3, abs=1e-5), name
    for name, tensor in weights_of(tmp_path / "model-1").items():
        assert torch.allclose(tensor, weights_of(tmp_path / "model-2")[name], atol=2e-4), name


def test_workers_share_the_steps_and_the_state_of_muon(bases, tmp_path):
    """What two wrote, two go on from as if nothing had been, and one goes on from as well."""
    base, chosen = bases("llama"), recipe(training__muon=0.005, training__max_gradient_norm=1e6)
    rows_for(base, tmp_path / "data")
    (whole, digest), (_, other) = run_workers(2, chosen, base, tmp_path)
    assert digest == other
    checkpoint = tmp_path / "kept-2-0-first" / "3"
    (rest, resumed), _ = run_workers(2, chosen, base, tmp_path, checkpoint)
    assert resumed == digest
    work(0, 1, None, chosen, base, tmp_path, checkpoint)
    alone, _ = json.loads((tmp_path / "1-0.json").read_text())
    for one, two, three in zip(whole[3:], rest, alone, strict=True):
        assert one["loss"] == two["loss"]
        assert one["loss"] == pytest.approx(three["loss"], rel=1e-2)


def first_error(tmp_path, base, chosen, rows, **options):
    with pytest.raises(GemError) as error:
        train(
            chosen,
            base,
            rows,
            report=options.pop("report", Reports(tmp_path / "r")),
            output=tmp_path / "model",
            **options,
        )
    assert "\n" not in str(error.value)
    return str(error.value)


def test_too_few_and_too_long_rows(bases, tmp_path):
    base = bases("llama")
    assert "1 training row" in first_error(tmp_path, base, recipe(), Rows.write(tmp_path / "one", [[3, 4]]))
    long = Rows.write(tmp_path / "long", [[5] * 127, [6] * 3])
    assert "data.max_length to 126" in first_error(tmp_path, base, recipe(), long)


def test_a_loss_that_is_not_finite_names_the_step_and_writes_nothing_after(bases, tmp_path):
    base = bases("llama")
    reports = Reports(tmp_path / "kept")
    chosen = recipe(
        training__learning_rate=1.0, training__max_gradient_norm=1e30, training__steps=200,
        training__checkpoint_every=1,
        training__warmup=0.0, objective__contrastive_start=190, adaptation__alpha=1e16, objective__keep_language=0.0,
    )  # fmt: skip
    message = first_error(tmp_path, base, chosen, rows_for(base, tmp_path / "data"), report=reports)
    assert f"at step {len(reports.all) + 1} " in message
    assert len(reports.all) >= 1
    assert len(list((tmp_path / "kept").iterdir())) == len(reports.all)
    last = load_file(tmp_path / "kept" / str(len(reports.all)) / "trainable.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in last.values())
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(bases, tmp_path):
    base = bases("llama")
    rows = rows_for(base, tmp_path / "data")
    train(recipe(), base, rows, report=Reports(tmp_path / "kept"), output=tmp_path / "model")
    kept = tmp_path / "kept" / "3"
    assert "of another run (training" in first_error(tmp_path, base, recipe(seed=2), rows, checkpoint=kept)
    weights = kept / "trainable.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "is damaged" in first_error(tmp_path, base, recipe(), rows, checkpoint=kept)


def limited(chosen, base, folder):
    """Train where no file may grow beyond a few kilobytes, which the writer is told as by a full disk."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    try:
        train(chosen, base, Rows.open(folder / "data"), report=lambda report: None, output=folder / "model")
    except GemError as error:
        (folder / "error").write_text(str(error))


def test_a_full_disk_is_told_in_one_line(bases, tmp_path):
    base = bases("llama")
    rows_for(base, tmp_path / "data")
    process = forked.Process(target=limited, args=(recipe(), base, tmp_path))
    process.start()
    process.join(timeout=120)
    message = (tmp_path / "error").read_text()
    assert message.startswith("cannot write the checkpoint of step 3")
    assert "free some space" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("objective", "runs"),
    [
        ({"contrastive_start": 0, "contrastive_weight": 1.0, "keep_language": 0.0}, {"contrastive_loss"}),
        (
            {"contrastive_start": 0, "contrastive_weight": 1.0, "keep_language": 1.0},
            {"contrastive_loss", "language_divergence"},
        ),
        ({"contrastive": {"rows": "none"}, "keep_language": 0.0}, {"next_token_loss"}),
    ],
)
def test_work_of_no_weight_is_not_done(bases, tmp_path, objective, runs):
    base = bases("llama")
    chosen = recipe(objective=objective, training__steps=2)
    reports = Reports(tmp_path)
    train(chosen, base, rows_for(base, tmp_path / "data"), report=reports, output=tmp_path / "model")
    known = {"next_token_loss", "contrastive_loss", "language_divergence"}
    assert known & reports.all[0].metrics.keys() == runs


LOSSLESS = {"adaptation__scope": "special", "objective__keep_language": 0.0, "objective__raw_share": 0.4}
SWITCHES = {
    "sliding window, checkpointing": ("qwen2", {"training__gradient_checkpointing": True}),
    "layers without linear modules": ("gpt2", {}),
    "control": ("llama", {"objective__bottleneck": False, "special_tokens__blind": False}),
    "mask dropout, Matryoshka": (
        "llama",
        {"objective__contrastive": {"dropout_kind": "mask", "dimensions": [8, 16]}, "special_tokens__pooling": "last"},
    ),
    "lossless": ("mistral", LOSSLESS),
    "bag of words": (
        "llama", LOSSLESS | {"objective__contrastive__bag_of_words": 0.3, "special_tokens__pooling": "concat"},
    ),
    "bag of words alone": (
        "llama", LOSSLESS | {"objective__contrastive__bag_of_words": 1, "special_tokens__start": "zero"},
    ),
    "Muon": ("gpt2", {"adaptation__method": "full", "objective__keep_language": 0.0, "training__muon": 0.01}),
    "plain fine-tuning": (
        "llama", {"objective__raw_share": 1.0, "objective__contrastive__rows": "none", "special_tokens__count": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("family", "changes"), SWITCHES.values(), ids=SWITCHES)
def test_every_way_trains(bases, family, changes, tmp_path, settings):
    base, reports = bases(family), Reports(tmp_path)
    result = train(
        recipe(training__steps=4, objective__contrastive_start=2, **changes),
        base,
        rows_for(base, tmp_path / "data"),
        report=reports,
        output=tmp_path / "model",
    )
    assert np.isfinite(list(result.final.values())).all()
    assert all(report.metrics["gradient_norm"] > 0 for report in reports.all)
    model = GemModel.load(tmp_path / "model", settings=settings)
    assert model.encode(["a fox", "an owl"]).shape == (2, model.dimension)
    if model.lossless:
        ids = torch.randint(320, (2, 30))
        plain = GemModel.load(base.folder, settings=settings).causal_lm()
        with torch.no_grad():
            assert torch.equal(model.causal_lm()(ids).logits, plain(ids).logits)


@pytest.mark.parametrize(
    ("contrastive", "ends"),
    [({"learn_scale": False}, lambda scale: scale == pytest.approx(20)), ({}, lambda scale: abs(scale - 20) > 1e-3),
     ({"max_scale": 20.0, "scale": 30.0}, lambda scale: 19 < scale <= 20.001),
     ({"learn_scale": False, "scale": 200.0}, lambda scale: scale == pytest.approx(200))],
    ids=["fixed", "learnt", "clamped", "fixed beyond what is learnt"],
)  # fmt: skip
def test_the_scale_is_learnt_unless_it_is_fixed(bases, contrastive, ends, tmp_path):
    base = bases("llama")
    chosen = recipe(training__steps=3, objective__contrastive_start=0, objective__contrastive=contrastive)
    result = train(chosen, base, rows_for(base, tmp_path / "data"), report=lambda _: None, output=tmp_path / "model")
    assert ends(result.final["logit_scale"])


def test_pairs_are_learnt_from(bases, tmp_path):
    base = bases("llama")
    ids = load_tokenizer(base.folder)(SENTENCES)["input_ids"]
    rows = Rows.write(tmp_path / "data", [Row(ids[i : i + 3], CONTRASTIVE) for i in range(0, 48, 3)])
    chosen = recipe(training__steps=30, objective__contrastive_start=0, training__contrastive_learning_rate=5e-3)
    reports = Reports(tmp_path)
    train(chosen, base, rows, report=reports, output=tmp_path / "model")
    losses = [report.metrics["contrastive_loss"] for report in reports.all]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_sizes_beyond_the_embedding_are_refused(bases, tmp_path):
    base = bases("llama")
    chosen = recipe(objective__contrastive={"dimensions": [16, 32]})
    message = first_error(tmp_path, base, chosen, rows_for(base, tmp_path / "data"))
    assert "dimensions holds 32, an embedding has 32 numbers" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there flex_attention trains")
def test_flex_attention_is_refused_on_a_cpu(bases, tmp_path):
    base = bases("llama")
    chosen = recipe(training__attention="flex_attention")
    message = first_error(tmp_path, base, chosen, rows_for(base, tmp_path / "data"))
    assert "no backward pass on CPUs" in message


def test_bfloat16_trains_too(bases, tmp_path):
    base = bases("llama")
    chosen = recipe(training__precision="bfloat16")
    result = train(chosen, base, rows_for(base, tmp_path / "data"), report=Reports(tmp_path), output=tmp_path / "model")
    assert np.isfinite(list(result.final.values())).all()
    assert {tensor.dtype for tensor in weights_of(Path(tmp_path / "model")).values()} == {torch.float32}
