"""An experiment whose pace a test sets: it waits at a gate, and takes a while for each step."""

from pathlib import Path

EXPERIMENT = '''
import time
from pathlib import Path

from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

GATE = Path({gate!r})


@experiment(version=1)
def held(model, *, seconds: float = 0.2) -> Rows:
    """The norm of the embedding, late."""
    while (GATE / "closed").exists():
        (GATE / "waits").touch()
        time.sleep(0.05)
    time.sleep(seconds)
    rows = Rows()
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows
'''


class Gate:
    """While it is closed, no unit of the experiment is finished."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.experiment = folder / "held.py"
        self.experiment.write_text(EXPERIMENT.format(gate=str(folder)))

    def close(self) -> None:
        """Holds those that come from now on."""
        (self._folder / "closed").touch()

    def open(self) -> None:
        """Lets all pass."""
        (self._folder / "closed").unlink(missing_ok=True)

    @property
    def holds(self) -> bool:
        """Whether an experiment waits or has waited at it."""
        return (self._folder / "waits").exists()
