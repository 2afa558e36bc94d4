"""Does what the project claims of models hold where the truth is known?

    python benchmarks/claims.py [--models 200] [--json]

`ratios` holds the figures:

- `random_models_with_a_role`: the share of random initialisations of the toy's shape on which
  `head_roles` calls any head of any of seven roles, the same weights at two steps in a row. At most
  0.1.
- `demo_induction_heads`: the share of L1H1 and L1H2 that are induction heads at the demo's last
  step: 1.
- `demo_early_heads`: how many heads have a role at its steps up to 64: 0.
- `demo_undefined`: the share of its results of roles, (role, step), that are undefined: at most
  0.1.
- `coverage_pronoun_48_of_48` and so on: how often the 95 % interval of a mean covers it, over 1000
  simulated repetitions on the items of a task (here 48) or of text, and how many clusters these
  have (48): 0.93 to 0.97. Those of fewer than 20 clusters are beside the seconds.

`seconds` holds what they took, and beside them on how many random models a head was called, by
role, and by the number of draws of the first step that the null has beside the shuffled ones; and
which heads of the demo have a role at the last step.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import claims_of_intervals
import claims_of_roles
from harness import emit


def roles(root: Path, models: int) -> tuple[dict[str, float], dict[str, object]]:
    """Figures of `head_roles`, and what stands beside them."""
    start = time.perf_counter()
    share, counts = claims_of_roles.on_random_models(root / "random", models)
    random = time.perf_counter()
    figures, heads = claims_of_roles.on_the_demo(root)
    beside = {
        "random models": round(random - start, 1),
        "demo": round(time.perf_counter() - random, 1),
        **{f"random models, {name}": count for name, count in counts.items()},
        "demo, last step": heads,
    }
    return {"random_models_with_a_role": share, **figures}, beside


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", type=int, default=200, help="random initialisations")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pythia-traj-claims-") as root:
        figures, beside = roles(Path(root), arguments.models)
    start = time.perf_counter()
    enough, fewer = claims_of_intervals.coverage()
    figures |= {f"coverage_{name}": share for name, share in enough.items()}
    beside |= {"coverage": round(time.perf_counter() - start, 1)}
    beside |= {f"coverage_{name}": share for name, share in fewer.items()}
    emit(beside, figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
