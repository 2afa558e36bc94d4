"""How long does it take to put the next checkpoint's weights into the model?

    python benchmarks/swap.py [--full] [--json]

Random weights in the shapes of pythia-70m and pythia-160m (and pythia-1b with --full), fp16, laid
out as a Hub cache, warm. In one run and in turn:

- `from_pretrained`: what a user writes today, fully processed:
  `HookedTransformer.from_pretrained(name, checkpoint_value=step)`;
- `cast_1`, `cast_2`: reading the file and casting it into preallocated fp32 tensors, with one and
  with two torch threads: the lower limit, because a swap must do at least that;
- `swap`: ours: opening the file, reading its header, and folding its weights into the model, fully
  processed.

`swap_vs_from_pretrained_<size>` is how many times faster the swap is; `swap_vs_cast_<size>` is how
many times the faster cast it takes. Both are ratios of medians. `forward_vs_contiguous_<size>` is
the time of a forward pass on the swapped model over the same on the model that `from_pretrained`
built. Under `passes` stand the seconds of each kind of matrix by itself, all of one size (W_U's):
cast alone, and with what is folded into it.
"""

import argparse
import contextlib
import gc
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
os.environ["HF_HUB_OFFLINE"] = "1"
# transformer-lens 3.9 sends an empty header without one.
os.environ.setdefault("HF_TOKEN", "unused")
_ROOT = tempfile.TemporaryDirectory(prefix="pythia-traj-bench-")
os.environ["HF_HUB_CACHE"] = _ROOT.name

import torch  # noqa: E402
from harness import PAIRS, alternate, emit, hub_cache, summary  # noqa: E402
from safetensors import safe_open  # noqa: E402
from shapes import COMMON, SHAPES  # noqa: E402
from transformer_lens import HookedTransformer  # noqa: E402
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from pythia_traj.architectures.gpt_neox import ARCHITECTURE  # noqa: E402
from pythia_traj.models.fold import (  # noqa: E402
    Norm,
    fold_reading_matrix,
    fold_writing_matrix,
    mean_row,
)
from pythia_traj.models.swap import SwappableModel  # noqa: E402
from pythia_traj.models.tensors import read_tensors  # noqa: E402
from pythia_traj.processing import FOLDED  # noqa: E402
from pythia_traj.suites.local import LocalModel  # noqa: E402

STEP = 512


def publish(size: str) -> Path:
    """Random fp16 weights of a Pythia shape, as a snapshot of a Hub cache.

    The snapshot also is a `step512` folder of a run.
    """
    snapshot = hub_cache(Path(_ROOT.name), f"EleutherAI/pythia-{size}", f"step{STEP}", "a" * 40)
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(**SHAPES[size], **COMMON, tie_word_embeddings=False, dtype="float16")
    )
    model.half().save_pretrained(snapshot)
    (snapshot / "tokenizer.json").write_text(_tokenizer())
    (snapshot / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>",'
        ' "bos_token": "<|endoftext|>"}'
    )
    run = Path(_ROOT.name) / f"run-{size}"
    run.mkdir()
    (run / f"step{STEP}").symlink_to(snapshot, target_is_directory=True)
    return run


def _tokenizer() -> str:
    """A tokenizer of one token: `from_pretrained` loads one, and this costs almost nothing."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.BPE(vocab={"<|endoftext|>": 0}, merges=[]))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return str(tokenizer.to_str())


def from_pretrained(size: str) -> HookedTransformer:
    """The baseline, with its messages and warnings kept quiet."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HookedTransformer.from_pretrained(
            f"EleutherAI/pythia-{size}", checkpoint_value=STEP, device="cpu"
        )


def casting(path: Path, threads: int) -> Callable[[], None]:
    """Reads every tensor of the file and casts it into a preallocated fp32 tensor."""
    with safe_open(path, framework="pt") as file:
        preallocated = {name: torch.zeros(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def cast() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        with safe_open(path, framework="pt") as file:
            for name, target in preallocated.items():
                target.copy_(file.get_tensor(name))
        torch.set_num_threads(before)

    return cast


def passes(size: str) -> dict[str, dict[str, float]]:
    """What each kind of processing costs, on one matrix of W_U's size.

    A writing matrix has the same elements.
    """
    rows, d_model = 50304, int(SHAPES[size]["hidden_size"])
    source, out = torch.randn(rows, d_model).half(), torch.empty(rows, d_model)
    norm, bias = Norm(torch.ones(d_model), torch.ones(d_model)), torch.zeros(rows)
    wide_source, wide_out = source.view(d_model, rows), out.view(d_model, rows)

    def unembedding() -> None:
        fold_reading_matrix(out, source, norm=norm, bias=bias, minus=mean_row(source, out.device))

    return summary(
        alternate(
            {
                "cast": lambda: fold_reading_matrix(out, source),
                "embedding": lambda: fold_reading_matrix(out, source, centre=True),
                "reading": lambda: fold_reading_matrix(out, source, norm=norm, bias=bias),
                "writing": lambda: fold_writing_matrix(wide_out, wide_source, centre=True),
                "unembedding": unembedding,
            }
        )
    )


def measure(size: str, seconds: dict[str, object], ratios: dict[str, float]) -> None:
    """Adds one size's seconds and ratios."""
    run = publish(size)
    checkpoint = LocalModel.open(run).checkpoint(STEP)
    swappable = SwappableModel(checkpoint, device=torch.device("cpu"))

    def swap() -> None:
        with checkpoint.open() as files:
            swappable.swap(read_tensors(files, ARCHITECTURE), FOLDED)

    weights = run / f"step{STEP}" / "model.safetensors"
    times = alternate({"cast_1": casting(weights, 1), "cast_2": casting(weights, 2), "swap": swap})
    slow = alternate({"from_pretrained": lambda: from_pretrained(size), "swap": swap})
    times["from_pretrained"] = slow["from_pretrained"]
    times["swap_beside_from_pretrained"] = slow["swap"]
    gc.collect()

    tokens = torch.randint(0, 50000, (4, 128))
    contiguous = from_pretrained(size)
    with torch.inference_mode():
        forward = alternate(
            {
                "forward_contiguous": lambda: contiguous(tokens, return_type="logits"),
                "forward_swapped": lambda: swappable.model(tokens, return_type="logits"),
            }
        )
    del contiguous
    gc.collect()
    seconds[size] = {**summary(times), **summary(forward), "pairs": PAIRS}
    seconds[f"passes_{size}"] = passes(size)
    floor = min(median(times["cast_1"]), median(times["cast_2"]))
    ratios[f"swap_vs_from_pretrained_{size}"] = median(slow["from_pretrained"]) / median(
        slow["swap"]
    )
    ratios[f"swap_vs_cast_{size}"] = median(times["swap"]) / floor
    ratios[f"forward_vs_contiguous_{size}"] = median(forward["forward_swapped"]) / median(
        forward["forward_contiguous"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--full", action="store_true", help="pythia-1b's shape too (20 GB of memory, minutes)"
    )
    parser.add_argument("--size", action="append", choices=sorted(SHAPES), help="these sizes only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()
    seconds: dict[str, object] = {}
    ratios: dict[str, float] = {}
    for size in arguments.size or ["70m", "160m", *(["1b"] if arguments.full else [])]:
        measure(size, seconds, ratios)
    emit(seconds, ratios, as_json=arguments.json)
    _ROOT.cleanup()


if __name__ == "__main__":
    main()
