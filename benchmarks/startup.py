"""How long does `pythia-traj --help` take, compared with loading what any Typer program loads?

    python benchmarks/startup.py [--json]

`help_vs_typer_and_rich` is the ratio of medians of `pythia-traj --help` and
`python -c "import typer, rich"`, each a new process.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from harness import alternate, emit, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    command = str(Path(sys.executable).with_name("pythia-traj"))

    def run(*words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    seconds = alternate(
        {
            "python": lambda: run(sys.executable, "-c", "pass"),
            "typer_and_rich": lambda: run(sys.executable, "-c", "import typer, rich"),
            "help": lambda: run(command, "--help"),
        }
    )
    ratios = {"help_vs_typer_and_rich": median(seconds["help"]) / median(seconds["typer_and_rich"])}
    emit(summary(seconds), ratios, as_json=arguments.json)


if __name__ == "__main__":
    main()
