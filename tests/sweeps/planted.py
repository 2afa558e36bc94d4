"""A suite with Pythia's 154 steps in which a metric's onset is planted."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from pythia_traj.suites.catalog import EARLY, EVERY_THOUSAND
from tests.support import publish, random_model

PUBLISHED = (*EARLY, *EVERY_THOUSAND)

_BIAS = "gpt_neox.final_layer_norm.bias"

EXPERIMENT = '''
"""Items that follow what is planted in a checkpoint."""

import numpy as np

from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows


@experiment(version=1, processing=RAW)
def planted(model, *, n: int = 24, noise: float = 0.2) -> Rows:
    """The planted height of each of n items, through noise of the step."""
    height, seed, spike = (float(model.ln_final.b.detach()[i]) for i in range(3))
    step = np.random.default_rng(int(seed)).normal(size=n)
    own = np.random.default_rng(12345).normal(size=n)
    rows = Rows()
    rows.add_items(Key("height"), height + 0.3 * own + noise * step)
    rows.add_items(Key("flat"), 0.3 * own + noise * step)
    rows.add(Key("mean_only"), height)
    for head, share in enumerate((0.0, 1.0, 0.5)):
        rows.add_items(
            Key("share", "two_halves", "head", layer=1, head=head),
            share * height + 0.3 * own + noise * step,
        )
    for head, value in enumerate((height, spike)):
        rows.add_items(Key("spiky", component="head", layer=0, head=head), value + noise * step)
    return rows
'''


def write_experiment(folder: Path) -> Path:
    """The file of the experiment `planted`."""
    file = folder / "planted.py"
    file.write_text(EXPERIMENT)
    return file


def plant(root: Path, heights: np.ndarray, spike_at: int | None = None) -> Path:
    """A suite of 154 steps whose final LayerNorm's bias says each step's height and number.

    At one step there can be a spike, far above all heights.
    """
    first = root / ".first"
    publish(first, random_model(0))
    tensors = load_file(first / "model.safetensors")
    for number, (step, height) in enumerate(zip(PUBLISHED, heights, strict=True)):
        folder = root / f"step{step}"
        folder.mkdir()
        for name in ("config.json", "tokenizer.json"):
            os.link(first / name, folder / name)
        bias = tensors[_BIAS].clone()
        bias[0], bias[1], bias[2] = float(height), number, 9.0 * (step == spike_at)
        save_file({**tensors, _BIAS: bias}, folder / "model.safetensors", {"format": "pt"})
    shutil.rmtree(first)
    (root / "suite.json").write_text(json.dumps({"suite": "planted", "tokens_per_step": 2048}))
    return root


def ramp(middle: float, octaves: float = 1.0) -> np.ndarray:
    """Heights that rise from 0 to 1 within so many octaves about log2(step + 1) = middle."""
    x = np.log2(np.array(PUBLISHED, float) + 1)
    return np.clip((x - middle) / octaves + 0.5, 0, 1)
