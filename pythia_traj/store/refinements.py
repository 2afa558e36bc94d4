"""How searches for an onset chose their steps: one file for each model and trajectory.

The choices follow from the rows, so a file that is lost or damaged costs no measurement; it says
later why these steps and no others were measured.
"""

from hashlib import sha256
from pathlib import Path

from pythia_traj.errors import StoreError
from pythia_traj.outside import checked, parse_json, read_file
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Refinement, as_json
from pythia_traj.store.writing import writing

FOLDER = "refinements"


def name_of(refinement: Refinement) -> str:
    """The name of its file: the same for whatever seeks the onset of the same trajectory."""
    asked = refinement.model_dump(include={"model", "label", "metric", "where"})
    return f"{sha256(as_json(asked).encode()).hexdigest()[:16]}.json"


def read_refinement(run: Run, started: Refinement) -> Refinement:
    """What the run holds of a refinement; `started` itself where that is nothing, or is damaged."""
    path = run.path / FOLDER / name_of(started)
    try:
        document = parse_json(read_file(path, error=StoreError), path, error=StoreError)
        return checked(Refinement, document, path, error=StoreError)
    except (FileNotFoundError, StoreError):
        return started


def write_refinement(run: Run, refinement: Refinement) -> Path:
    """Writes it whole, in place of what the run holds of it, if anything has changed.

    Returns:
        its file.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    path = run.path / FOLDER / name_of(refinement)
    text = as_json(refinement.model_dump(mode="json"), indent=1) + "\n"
    if not _holds(path, text):
        with writing(run.path), run.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def _holds(path: Path, text: str) -> bool:
    try:
        return read_file(path, error=StoreError) == text.encode()
    except (FileNotFoundError, StoreError):
        return False
