"""How fast are probes of all layers fitted, compared with scikit-learn's logistic regression?

    python benchmarks/probing.py [--json]

Activations of 13 layers x 6000 items x 768 features, correlated as those of a residual stream are,
12 classes, one strength of L2. In one run and in turn:

- `sklearn`: `LogisticRegression` of one layer after the other, at its defaults but for the
  strength and 1000 iterations at most;
- `ours`: `pythia_traj.engines.probing.logistic`, to the same tolerance, on the CPU layer by layer.

`probing_vs_sklearn` is the ratio of medians, `accuracy_difference` the largest difference of their
accuracies on 2000 further items, over all layers. With a CUDA device, `ours_cuda` fits all layers
in one batch.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

import torch
from harness import alternate, emit, summary
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from pythia_traj.engines import probing

LAYERS, TRAIN, TEST, D, CLASSES, STRENGTH, PAIRS = 13, 6000, 2000, 768, 12, 1e-2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    x, labels = activations()
    ours, theirs = fit_ours(x, labels), fit_sklearn(x, labels)
    difference = (ours - theirs).abs().max().item()
    contenders = {"sklearn": lambda: fit_sklearn(x, labels), "ours": lambda: fit_ours(x, labels)}
    times = alternate(contenders, pairs=PAIRS, discarded=0)
    seconds: dict[str, object] = dict(summary(times))
    ratios = {
        "probing_vs_sklearn": median(times["sklearn"]) / median(times["ours"]),
        "accuracy_difference": difference,
    }
    if torch.cuda.is_available():
        seconds["ours_cuda"] = round(on_cuda(x, labels), 4)
    emit(seconds, ratios, as_json=arguments.json)


def activations() -> tuple[Tensor, Tensor]:
    """Standardised features [layer, item, d], and their labels [1, problem, item].

    Every layer holds the labels, later ones more clearly.
    """
    generator = torch.Generator().manual_seed(0)
    items = TRAIN + TEST
    labels = torch.randint(0, CLASSES, (items,), generator=generator)
    means = torch.randn(CLASSES, D, generator=generator)
    x = torch.randn(LAYERS, items, D, generator=generator)
    spectrum = torch.logspace(0.5, -1.5, D)
    for layer in range(LAYERS):
        mix = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q * spectrum[:, None]
        x[layer] = (x[layer] + 0.02 * (layer + 3) * means[labels]) @ mix
    probing.standardise(x, TRAIN)
    return x, labels[None, None]


def fit_ours(x: Tensor, labels: Tensor) -> Tensor:
    """The accuracy on further items [layer]; on CUDA of all layers at once."""
    found = []
    size = len(x) if x.is_cuda else 1
    # With one strength nothing is chosen, so any items can serve for validation.
    for part in torch.split(x, size):
        probes = probing.logistic(
            part[:, : TRAIN + 1], labels[..., : TRAIN + 1], TRAIN, CLASSES, [STRENGTH]
        ).probes
        right = probes.logits(part[:, TRAIN:]).argmax(2) == labels[..., TRAIN:]
        found.append(right.float().mean(-1)[:, 0])
    return torch.cat(found)


def fit_sklearn(x: Tensor, labels: Tensor) -> Tensor:
    """The same of scikit-learn."""
    found = []
    y = labels[0, 0].numpy()
    for layer in x.numpy():
        theirs = LogisticRegression(C=1 / (STRENGTH * TRAIN), max_iter=1000).fit(
            layer[:TRAIN], y[:TRAIN]
        )
        found.append(float(theirs.score(layer[TRAIN:], y[TRAIN:])))
    return torch.tensor(found)


def on_cuda(x: Tensor, labels: Tensor) -> float:
    """Seconds of ours on CUDA, all layers in one batch, the second time."""
    x, labels = x.cuda(), labels.cuda()
    seconds = 0.0
    for _ in range(2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        fit_ours(x, labels).cpu()
        seconds = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
