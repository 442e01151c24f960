"""Trainings as real Ray Train jobs, on a tiny random Llama."""

import shutil
import time

import psutil
import pytest
from ray.train import WorkerGroupError

from gem_core.errors import GemError
from gem_core.recipe import Recipe, Resources
from gem_core.records.tracking import Tracking
from gem_core.sources.models import ResolvedModel
from gem_core.sources.rows import Rows
from ray_jobs import submit
from ray_jobs.head import LOCAL_MARK
from ray_jobs.jobs import Progress, Trained, TrainJob
from ray_jobs.train import check_room, explain

STEPS = 40


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny random Llama with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from gem_core.identity import content_digest

    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=128
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    digest = content_digest(folder)
    return ResolvedModel(reference=str(folder), revision=digest, folder=folder, digest=digest, license=None)


@pytest.fixture(scope="module")
def data(base, tmp_path_factory):
    from gem_core.method.network import load_tokenizer

    texts = [
        f"The {one} {two} {three}."
        for one in ("old", "small", "quick", "quiet")
        for two in ("fox", "owl", "horse", "otter")
        for three in ("sleeps under the bridge", "sings by the cold river at night", "waits")
    ]
    folder = tmp_path_factory.mktemp("data")
    Rows.write(folder, load_tokenizer(base.folder)(texts)["input_ids"])
    return folder


def recipe(steps=STEPS, **resources):
    return Recipe.model_validate(
        {
            "name": "tiny",
            "base_model": {"source": "here"},
            "data": {"sources": [{"source": "here"}]},
            "adaptation": {"rank": 4},
            "objective": {"contrastive_start": 3, "contrastive_weight": 0.5},
            "training": {"steps": steps, "batch_size": 8, "checkpoint_every": 10, "precision": "float32"},
            "resources": {"workers": 2, **resources},
        }
    )


@pytest.fixture
def train(cluster, base, data, tmp_path):
    def train(folder, description, on_line=lambda line: None, **options):
        TrainJob(**{"recipe": description, "base": base, "data": data, **options}).write(folder / "job.json")
        job = submit.submit(cluster, "ray_jobs.train", [folder], f"train-{folder.name}-{tmp_path.name}")
        submit.follow(cluster, job, on_line)
        return Trained.find(folder)

    return train


@pytest.fixture(scope="module")
def unbroken(cluster, base, data, tmp_path_factory):
    """A training that nothing disturbed: its result, lines, MLflow run and folder."""
    folder = tmp_path_factory.mktemp("unbroken")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    run = Tracking(uri).start_run("tiny", "unbroken", {})
    TrainJob(recipe=recipe(), base=base, data=data, mlflow_run=run, tracking_uri=uri).write(folder / "job.json")
    started, lines = time.monotonic(), []
    job = submit.submit(cluster, "ray_jobs.train", [folder], f"unbroken-{folder.name}")
    submit.follow(cluster, job, lambda line: lines.append((time.monotonic() - started, line)))
    return Trained.find(folder), lines, Tracking(uri).series(run, "loss"), folder


@pytest.mark.slow
def test_two_workers_train_a_model(unbroken):
    trained, lines, _, _ = unbroken
    assert trained is not None
    assert trained.steps == STEPS
    progress = [found for _, line in lines if (found := Progress.parse(line))]
    assert progress[-1].share == 1.0
    assert progress[-1].metrics["loss"] == pytest.approx(trained.final["loss"])


@pytest.mark.slow
def test_every_step_is_in_mlflow(unbroken):
    trained, _, losses, _ = unbroken
    assert [step for step, _ in losses] == list(range(1, STEPS + 1))
    assert losses[-1][1] == pytest.approx(trained.final["loss"])


@pytest.mark.slow
def test_two_checkpoints_are_kept(unbroken):
    *_, folder = unbroken
    assert len(list((folder / "checkpoints").glob("checkpoint_2*"))) == 2


@pytest.mark.slow
def test_what_is_trained_is_not_trained_again(unbroken, cluster):
    *_, folder = unbroken
    before = (folder / "training.json").stat().st_mtime_ns
    lines = []
    submit.follow(cluster, submit.submit(cluster, "ray_jobs.train", [folder], "trained-before"), lines.append)
    assert "already trained" in lines
    assert (folder / "training.json").stat().st_mtime_ns == before


@pytest.mark.long
def test_a_killed_worker_costs_no_more_than_the_steps_since_the_checkpoint(unbroken, train, cluster, tmp_path):
    killed = []

    def kill_a_worker(line):
        progress = Progress.parse(line)
        if not killed and progress and int(progress.text.split("/")[0].split()[-1]) >= 11:
            head = cluster.head.process()
            workers = [p for p in head.children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())]
            assert len(workers) == 2
            killed.append(workers[-1].pid)
            psutil.Process(workers[-1].pid).kill()

    lines = []
    trained = train(tmp_path, recipe(), lambda line: (lines.append(line), kill_a_worker(line)))
    assert killed
    assert any("continuing from the last checkpoint" in line for line in lines)
    assert trained is not None
    assert trained.digest == unbroken[0].digest
    assert trained.tokens < unbroken[0].tokens  # its last part was no whole training


@pytest.mark.long
def test_a_new_job_continues_where_a_lost_one_was(unbroken, train, tmp_path):
    *_, folder = unbroken
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    trained = train(tmp_path, recipe())
    assert trained is not None
    assert trained.digest == unbroken[0].digest
    assert trained.tokens == 0  # the last checkpoint was that of the last step


@pytest.mark.long
def test_an_error_to_put_right_ends_the_job_at_once_with_its_line(train, tmp_path):
    Rows.write(tmp_path / "data", [[5] * 400, [6] * 9])
    lines = []
    with pytest.raises(GemError, match=r"^the longest row has 401 tokens with its special tokens"):
        train(tmp_path, recipe(), lines.append, data=tmp_path / "data")
    assert not any("continuing" in line for line in lines)


def test_more_workers_than_a_local_cluster_has_are_refused():
    with pytest.raises(GemError, match="asks for 4 worker"):
        check_room(Resources(workers=4), {"CPU": 2.0, LOCAL_MARK: 1.0})
    check_room(Resources(workers=2), {"CPU": 2.0, LOCAL_MARK: 1.0})
    check_room(Resources(workers=4), {"CPU": 2.0})  # an autoscaling cluster may grow


class _LostWorkerError(Exception):
    __module__ = "ray.somewhere"


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ({0: GemError("no rows"), 1: RuntimeError("Connection closed by peer")}, "no rows"),
        ({0: _LostWorkerError("dead"), 1: RuntimeError("whatever")}, None),
        ({1: RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1")}, None),
        ({0: TypeError("two\nlines")}, "training failed with TypeError: two lines"),
    ],
)
def test_only_lost_workers_are_worth_another_try(failures, reason):
    assert explain(WorkerGroupError("message", failures)) == reason
