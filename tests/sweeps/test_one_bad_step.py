"""A step that is not of the model, or cannot be read, fails alone, be it the first, one in the
middle or the last.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from pythia_traj.cli.main import main
from pythia_traj.errors import CheckpointError, DeviceError
from tests.support import publish, random_model, write_distinct

STEPS = (0, 1, 2, 4, 8)
FIRST, MIDDLE, LAST = STEPS[0], STEPS[2], STEPS[-1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Five good steps; not to be changed."""
    root = tmp_path_factory.mktemp("good") / "run"
    root.mkdir()
    write_distinct(root, STEPS)
    shutil.rmtree(root / ".first")
    return root


@pytest.fixture(scope="module")
def values(plain, tmp_path_factory):
    """By step, what is measured where all are good."""
    out = tmp_path_factory.mktemp("rows") / "out"
    assert sweep(plain, out) == 0
    return measured(out)


@pytest.fixture
def run(plain, tmp_path):
    """A copy that the test may damage."""
    return Path(shutil.copytree(plain, tmp_path / "run"))


def sweep(run, out, *more):
    words = [
        "sweep",
        "--model",
        str(run),
        "--steps",
        "all",
        "--experiment",
        "loss",
        "--set",
        "loss.length=32",
    ]
    words += [
        "--set",
        "loss.n=2",
        "--set",
        "loss.null_n=1",
        "--device",
        "cpu",
        "--out",
        str(out),
        *more,
    ]
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code


def measured(out):
    rows = pt.load(out)
    # As text, in which a value that is null equals itself.
    return {step: [repr(value) for value in own.value] for step, own in rows.groupby("step")}


def setting(**changed):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def text(name, written):
    return lambda folder: (folder / name).write_text(written)


def of_another_size(folder):
    """A whole checkpoint, and a valid one, but of a wider model."""
    shutil.rmtree(folder)
    publish(folder, random_model(7, hidden_size=64))


def pipe(name):
    def replace(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


def other_tokens(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocab = tokenizer["model"]["vocab"]
    one, two = list(vocab)[10:12]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    path.write_text(json.dumps(tokenizer))


def leads_nowhere(folder):
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "gone")


def is_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("not a folder")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
TOO_LARGE = {
    "hidden_size": 2**17,
    "num_hidden_layers": 1000,
    "intermediate_size": 2**19,
    "num_attention_heads": 1024,
}

CASES = {
    "a whole model of another size, first": (
        FIRST,
        of_another_size,
        "hidden_size 64 instead of 32",
    ),
    "a whole model of another size, in the middle": (
        MIDDLE,
        of_another_size,
        "hidden_size 64 instead of 32",
    ),
    "a whole model of another size, last": (
        LAST,
        of_another_size,
        "is not that of steps 0, 1, 2 and 1 more",
    ),
    "a layer more": (FIRST, setting(num_hidden_layers=3), "num_hidden_layers 3 instead of 2"),
    "another vocabulary": (FIRST, setting(vocab_size=310), "vocab_size 310 instead of 300"),
    "another context": (
        FIRST,
        setting(max_position_embeddings=16),
        "max_position_embeddings 16 instead of 128",
    ),
    "another activation": (
        MIDDLE,
        setting(hidden_act="relu"),
        "hidden_act 'relu' instead of 'gelu'",
    ),
    "a thousand million layers": (
        FIRST,
        setting(num_hidden_layers=10**9),
        "num_hidden_layers is 1000000000",
    ),
    "larger than any memory": (FIRST, setting(**TOO_LARGE), "hidden_size 131072 instead of 32"),
    "a share of 1e300": (
        FIRST,
        setting(rope_parameters=None, rotary_pct=1e300),
        "rotary_pct is 1e+300",
    ),
    "heads that are true": (
        FIRST,
        setting(num_attention_heads=True),
        "num_attention_heads is True",
    ),
    "a base of 0": (LAST, setting(rope_parameters=None, rotary_emb_base=0), "rotary_emb_base is 0"),
    "an epsilon that is no number": (
        FIRST,
        text("config.json", '{"layer_norm_eps": NaN}'),
        "is not a finite number",
    ),
    "a list": (FIRST, text("config.json", "[]"), "holds list"),
    "a deep config": (FIRST, text("config.json", "[" * 100_000), "nested too deep"),
    "a config that is a pipe": (FIRST, pipe("config.json"), "is not a regular file"),
    "a config that lies elsewhere": (FIRST, text("config.json", LFS), "git lfs pull"),
    "a BOS that there is none of": (
        FIRST,
        setting(bos_token_id=300),
        "bos_token_id of config.json is 300",
    ),
    "a BOS that is true": (
        MIDDLE,
        setting(bos_token_id=True),
        "bos_token_id of config.json is True",
    ),
    "a tokenizer of other tokens": (
        FIRST,
        other_tokens,
        "knows other tokens than that of steps 1, 2, 4 and 1 more",
    ),
    "a tokenizer that is none": (LAST, text("tokenizer.json", "{}"), "tokenizer.json"),
    "a tokenizer that is a pipe": (FIRST, pipe("tokenizer.json"), "is not a regular file"),
    "a tokenizer that lies elsewhere": (MIDDLE, text("tokenizer.json", LFS), "git lfs pull"),
    "a link that leads nowhere": (FIRST, leads_nowhere, "leads nowhere"),
    "a file in a folder's place": (LAST, is_a_file, "Not a directory"),
}


@pytest.mark.parametrize(("step", "damage", "why"), CASES.values(), ids=CASES)
def test_a_bad_step_fails_alone(run, values, tmp_path, capsys, step, damage, why):
    damage(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 3
    assert measured(tmp_path / "out") == {good: own for good, own in values.items() if good != step}
    told = capsys.readouterr().err
    assert [
        line
        for line in told.splitlines()
        if why in line and line.startswith(f"failed: run/loss/step{step}: ")
    ]
    assert "Traceback" not in told


@pytest.mark.parametrize("step", [FIRST, LAST])
def test_it_is_the_same_step_when_only_its_units_are_left(run, tmp_path, capsys, step):
    """What is done already counts too: else the bad step would be all there is, and be measured."""
    of_another_size(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 3
    assert sweep(run, tmp_path / "out") == 3
    assert set(measured(tmp_path / "out")) == set(STEPS) - {step}
    assert "0 done, 4 already there, 1 failed" in capsys.readouterr().out


def test_of_two_kinds_of_as_many_steps_the_later_ones_are_the_model(run, tmp_path, capsys):
    shutil.rmtree(run / "step8")
    for step in (0, 2):
        of_another_size(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 3
    assert set(measured(tmp_path / "out")) == {1, 4}
    assert (
        "as many steps are of either kind, and then the later ones count" in capsys.readouterr().err
    )


def test_a_model_that_does_not_fit_gives_way_to_one_that_does(run, tmp_path, capsys):
    for step in (2, 4, 8):
        setting(**TOO_LARGE)(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 3
    assert set(measured(tmp_path / "out")) == {0, 1}
    assert "no dtype fits" in capsys.readouterr().err


def test_a_model_that_does_not_fit_at_any_step_is_refused_in_a_line(run, tmp_path, capsys):
    for step in STEPS:
        setting(**TOO_LARGE)(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_where_no_step_is_good_each_says_why(run, tmp_path, capsys):
    for step in STEPS:
        setting(layer_norm_eps=-step - 1)(run / f"step{step}")
    assert sweep(run, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert all(
        f"layer_norm_eps is {-step - 1}: it must be a number above 0 and at most 1" in told
        for step in STEPS
    )


def test_a_bad_step_that_others_compare_with_fails_those_units(run, tmp_path, capsys):
    of_another_size(run / "step8")
    words = [
        "sweep",
        "--model",
        str(run),
        "--steps",
        "all",
        "--experiment",
        "representation",
        "--device",
        "cpu",
    ]
    with pytest.raises(SystemExit) as end:
        main([*words, "--set", "representation.references=[final]", "--out", str(tmp_path / "out")])
    assert end.value.code == 1
    assert "hidden_size 64 instead of 32" in capsys.readouterr().err


@pytest.mark.parametrize("step", [FIRST, MIDDLE, LAST])
def test_checkpoints_leaves_out_the_same_step(run, step):
    of_another_size(run / f"step{step}")
    found = list(pt.checkpoints(run, device="cpu", on_error="skip"))
    assert [one.step for one in found] == [other for other in STEPS if other != step]
    assert found[0].model.cfg.d_model == 32
    with pytest.raises(CheckpointError, match="hidden_size 64 instead of 32"):
        list(pt.checkpoints(run, device="cpu"))


def test_checkpoints_refuses_what_fits_nowhere(run):
    for step in STEPS:
        setting(**TOO_LARGE)(run / f"step{step}")
    with pytest.raises(DeviceError, match="no dtype fits"):
        list(pt.checkpoints(run, device="cpu", on_error="skip"))


def test_a_dry_run_estimates_the_model_that_most_steps_are_of(run, tmp_path, capsys):
    of_another_size(run / "step0")
    assert sweep(run, tmp_path / "out", "--dry-run") == 0
    told = capsys.readouterr()
    assert "not known" not in told.out + told.err
    assert not (tmp_path / "out").exists()


def test_token_ids_that_differ_refuse_no_step_and_most_of_them_count(run, values, tmp_path):
    """They say what begins a text, and no two steps of a model are measured on different texts."""
    setting(bos_token_id=7)(run / "step0")
    assert sweep(run, tmp_path / "out") == 0
    assert measured(tmp_path / "out") == values


def test_a_step_without_a_tokenizer_is_measured_with_that_of_the_others(run, values, tmp_path):
    (run / "step0" / "tokenizer.json").unlink()
    assert sweep(run, tmp_path / "out") == 0
    assert measured(tmp_path / "out") == values


def test_weights_of_the_pattern_do_not_matter(run, values, tmp_path):
    (run / "step0" / "model.safetensors").unlink()
    assert sweep(run, tmp_path / "out") == 3
    assert measured(tmp_path / "out") == {step: own for step, own in values.items() if step != 0}
    (alone,) = pt.checkpoints(run, "8", device="cpu")
    assert torch.isfinite(alone.model(torch.arange(20)[None])).all()
