"""How much faster than the usual loop are all heads of a model ablated?

    python benchmarks/ablation.py [--prompts 8,32] [--loops loop,loop_swapped] [--json]

Random weights in the shape of pythia-160m, prompts of 20 tokens, all 144 heads resampled one by
one, the logit difference at the last position. In one run and in turn, three times:

- `loop`: what a user writes today, `run_with_hooks` once a head over the whole model, the corrupted
  run cached once, gradients off; on a model whose parameters lie in memory as `from_pretrained`
  leaves them;
- `loop_swapped`: the same on the model as a sweep has it, whose layout spares TransformerLens
  copies of its weights;
- `ours`: `pythia_traj.engines.ablation.replaced`, from the kept clean run, on the model as a sweep
  has it.

`ablation_vs_loop_<prompts>` and `ablation_vs_loop_swapped_<prompts>` are ratios of medians.
`floor_<prompts>` is the lower limit for ours: the operations of its matrix products divided by the
rate of one large product, measured in the same run. The values of all three are compared first.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

import torch
from harness import alternate, emit, summary
from shapes import COMMON, SHAPES
from torch import Tensor
from transformer_lens import HookedTransformer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

import pythia_traj as pt
from pythia_traj.engines.ablation import Components, outputs, replaced
from pythia_traj.engines.kept import Question, keep_pass

SIZE, LENGTH, PROMPTS, PAIRS = "160m", 20, (8, 32), 3
LOOPS = ("loop", "loop_swapped")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--prompts", default=",".join(map(str, PROMPTS)), help="how many, separated by commas"
    )
    parser.add_argument(
        "--loops", default=",".join(LOOPS), help="which baselines, separated by commas"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pythia-traj-bench-") as root:
        swapped = random_model(Path(root))
        published = random_model(Path(root))
        for parameter in published.parameters():
            parameter.data = parameter.data.contiguous()
        seconds: dict[str, object] = {}
        ratios: dict[str, float] = {}
        for prompts in map(int, arguments.prompts.split(",")):
            task = Task(swapped, prompts)
            loops = {"loop": Task(published, prompts).loop, "loop_swapped": task.loop}
            contenders = {
                "ours": task.ours,
                **{name: loops[name] for name in arguments.loops.split(",")},
            }
            for loop in loops.values():
                torch.testing.assert_close(
                    task.ours()[::29], loop(task.heads[::29]), atol=1e-4, rtol=0
                )
            times = alternate(contenders, pairs=PAIRS, discarded=0)
            for name in loops.keys() & times.keys():
                ratios[f"ablation_vs_{name}_{prompts}"] = median(times[name]) / median(
                    times["ours"]
                )
            seconds |= {f"{name}_{prompts}": value for name, value in summary(times).items()}
            seconds[f"floor_{prompts}"] = round(operations(swapped, prompts) / rate(), 3)
    emit(seconds, dict(sorted(ratios.items())), as_json=arguments.json)


def random_model(root: Path) -> HookedTransformer:
    """A model of the shape, loaded as a sweep loads it."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(**SHAPES[SIZE], **COMMON, tie_word_embeddings=False, dtype="float16")
    if not (root / "step0").exists():
        GPTNeoXForCausalLM(config).half().save_pretrained(root / "step0")
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu")
    model = ckpt.model
    model.requires_grad_(requires_grad=False)
    return model


class Task:
    """All heads of a model, resampled on some prompts."""

    def __init__(self, model: HookedTransformer, prompts: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.model = model
        self.clean, self.corrupted = torch.randint(
            0, 50000, (2, prompts, LENGTH), generator=generator
        )
        candidates = torch.randint(0, 50000, (prompts, 1, 2), generator=generator)
        self.question = Question(
            torch.tensor([LENGTH - 1]),
            candidates,
            torch.tensor([True, False]).expand(prompts, 1, 2),
        )
        self.heads = [
            (layer, head)
            for layer in range(model.cfg.n_layers)
            for head in range(model.cfg.n_heads)
        ]

    @torch.inference_mode()
    def loop(self, heads: list[tuple[int, int]] | None = None) -> Tensor:
        """The logit difference of every prompt with each head resampled [head, item]."""
        _, cache = self.model.run_with_cache(
            self.corrupted, names_filter=lambda name: name.endswith("hook_z")
        )
        found = []
        for layer, head in heads or self.heads:

            def resample(z: Tensor, hook: object, head: int = head, layer: int = layer) -> Tensor:
                z[:, :, head] = cache["z", layer][:, :, head]
                return z

            logits = self.model.run_with_hooks(
                self.clean, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", resample)]
            )
            chosen = logits[:, -1].gather(-1, self.question.candidates[:, 0])
            found.append(chosen[:, 0] - chosen[:, 1])
        return torch.stack(found)

    @torch.inference_mode()
    def ours(self) -> Tensor:
        """The same."""
        run, other = keep_pass(self.model, self.clean), keep_pass(self.model, self.corrupted)
        targets = [Components(frozenset({head})) for head in self.heads]
        return replaced(self.model, run, self.question, targets, outputs(other))["logit_diff"]


def operations(model: HookedTransformer, prompts: int) -> float:
    """Operations of ours in matrix products with weights.

    They are two kept passes, and for each head the layers above it; of the last layer only keys and
    values.
    """
    cfg = model.cfg
    d_mlp = cfg.d_mlp or 0
    layer = 2 * (4 * cfg.d_model**2 + 2 * cfg.d_model * d_mlp)
    keys_and_values = 2 * 2 * cfg.d_model**2
    above = sum(max(cfg.n_layers - 2 - at, 0) for at in range(cfg.n_layers))
    per_token = (
        cfg.n_heads * (above * layer + (cfg.n_layers - 1) * keys_and_values)
        + 2 * cfg.n_layers * layer
    )
    read = cfg.n_heads * (
        (cfg.n_layers - 1) * (layer - keys_and_values)
        + cfg.n_layers * 2 * cfg.d_model * cfg.d_vocab
    )
    return float(prompts * (LENGTH * per_token + read))


def rate() -> float:
    """Operations a second of one large matrix product, the best of five."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return float(2 * 2048**3 / min(seconds))


if __name__ == "__main__":
    main()
