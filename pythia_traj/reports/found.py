"""What runs show, in sentences: `pythia_traj.findings`."""

from collections.abc import Sequence
from pathlib import Path

from pythia_traj.analysis.findings import chosen
from pythia_traj.analysis.findings.chosen import MOST
from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.reports.examined import Examined
from pythia_traj.reports.reading import read_runs


def findings(runs: str | Path | Sequence[str | Path], most: int = MOST) -> tuple[Finding, ...]:
    """What runs show, in sentences: the few most important findings.

        for one in pt.findings("runs/induction"):
            print(one.words)

    A sentence is only made where its interval, its control and the q over all heads allow it, so
    there may be none. Several models, of one run or of several, are in one sentence.

    Args:
        runs: the directories of the runs, or of one.
        most: the most findings.

    Raises:
        StoreError: a directory is not a run.
        AnalysisError: a run is given twice, or `most` is not a number from 1.
    """
    examined = Examined(read_runs([runs] if isinstance(runs, str | Path) else runs))
    return chosen.findings(examined.read.rows, examined.onsets, most)
