"""What does a step of each experiment cost, and what do all of them cost together?

    python benchmarks/step_cost.py [--json] [--experiments loss,logit_lens] [--alone]

Random weights in the shape of pythia-160m, a tokenizer of as many entries as Pythia's trained on
the spot, default parameters. Each experiment is swept by `pythia-traj sweep` in a process of its
own over one step, then all of them in one. Printed of each are the seconds that its unit took to
compute, the seconds of the whole command, and the peak of the process's resident memory: mapped
weight files, libraries and the interpreter are in it.

`slowest_vs_60_s` is the most expensive step over the 60 s that one may take. `memory_vs_allowed` is
the highest share that a peak has of the parameters of the models in memory (representation compares
with a second one) and 2 GB. `together_vs_sum` is the time of the command for all over the sum of
those for each, `together_vs_sum_compute` the same of computing alone; `text_vs_sum` and
`text_vs_sum_compute` are those of the experiments that read one text by default, and so one forward
pass.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from harness import emit, watch_memory  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

from pythia_traj.data import stdlib  # noqa: E402
from pythia_traj.store.events import read_events  # noqa: E402
from pythia_traj.store.layout import Run  # noqa: E402
from pythia_traj.suites.catalog import SIZES  # noqa: E402
from tests.hub.publish import random_pythia  # noqa: E402

SIZE, STEP = "160m", 1000
REFERENCES = (0, 143_000)
"""The steps of `init` and `final`."""

ON_ONE_TEXT = ("loss", "logit_lens", "ngram", "activations")

EXPERIMENTS = (*ON_ONE_TEXT, "representation", "linear_probe", "weights", "memorization", "samples")

WITH_A_SECOND_MODEL = {"representation"}

ENTRIES = 50_277
"""Entries of Pythia's tokenizer, over which the n-grams are normalised."""

ALLOWED_SECONDS, ALLOWED_BYTES = 60.0, 2e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--experiments", default=",".join(EXPERIMENTS), help="which, separated by commas"
    )
    parser.add_argument(
        "--alone", action="store_true", help="leave out the sweeps of several together"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    names = arguments.experiments.split(",")
    several = {"text": [name for name in ON_ONE_TEXT if name in names], "together": names}
    with tempfile.TemporaryDirectory(prefix="pythia-traj-bench-") as root:
        suite = publish(Path(root) / "suite")
        measured = {name: sweep(suite, Path(root) / name, [name]) for name in names}
        if not arguments.alone:
            measured |= {
                name: sweep(suite, Path(root) / name, those)
                for name, those in several.items()
                if those
            }
    ratios = {
        "slowest_vs_60_s": max(measured[name]["compute"] for name in names) / ALLOWED_SECONDS,
        "memory_vs_allowed": max(measured[name]["resident"] / allowed(name) for name in names),
    }
    for name in sorted(several.keys() & measured.keys()):
        for ratio, phase in ((f"{name}_vs_sum", "command"), (f"{name}_vs_sum_compute", "compute")):
            ratios[ratio] = measured[name][phase] / sum(
                measured[one][phase] for one in several[name]
            )
    seconds = {
        name: {
            phase: {"median": round(one[phase], 2), "min": round(one[phase], 2)}
            for phase in ("compute", "command")
        }
        for name, one in measured.items()
    }
    emit(
        seconds,
        ratios,
        memory={name: int(one["resident"]) for name, one in measured.items()},
        as_json=arguments.json,
    )


def allowed(name: str) -> float:
    """Bytes that the sweep of an experiment may take."""
    return 4 * SIZES[SIZE].n_parameters * (2 if name in WITH_A_SECOND_MODEL else 1) + ALLOWED_BYTES


def publish(suite: Path) -> Path:
    """Random weights at the measured step and at its references."""
    tokenizer = trained_tokenizer()
    for seed, step in enumerate((STEP, *REFERENCES)):
        folder = suite / f"step{step}"
        random_pythia(folder, SIZE, seed)
        tokenizer.save(str(folder / "tokenizer.json"))
    return suite


def trained_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for _, text in stdlib.documents("train")), trainer)
    return tokenizer


def sweep(suite: Path, out: Path, names: list[str]) -> dict[str, float]:
    """Seconds of computing and of the command, and the peak of resident memory, of one sweep.

    The sweep runs in a process of its own.
    """
    experiments = ",".join(names)
    program = str(Path(sys.executable).with_name("pythia-traj"))
    command = [
        program,
        "sweep",
        "--model",
        str(suite),
        "--steps",
        str(STEP),
        "--experiment",
        experiments,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peaks = watch_memory(process, every=0.02)
    wall = time.perf_counter() - start
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(
            f"the sweep of {experiments} ended with {process.returncode}:"
            f" {process.stderr.read().decode()}"
        )
    done = [event for event in read_events(Run(out)) if event["event"] == "done"]
    # Each of those that share a pass records the seconds of all.
    compute = sum(event["seconds"]["compute"] / (1 + len(event["shared_with"])) for event in done)
    result = {"compute": compute, "command": wall, **peaks}
    sys.stderr.write(f"{experiments}: {json.dumps(result)}\n")
    return result


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
