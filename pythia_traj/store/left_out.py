"""What of a table was left out, in sentences."""

from dataclasses import dataclass, field
from pathlib import Path

from pythia_traj.store.done import Damage

NAMED = 3
"""Damaged files that a sentence names; `pythia-traj status --check` names all."""

OTHER_TYPES = "its columns are of other types than those of other units: choose by label= or step="
"""Said of a whole file: a sweep would not change it."""


@dataclass(frozen=True)
class LeftOut:
    """The files that were left out, wholly or in part.

    Attributes:
        damaged: each damaged file with what is wrong.
        newer: those of a newer schema, likewise.
        unknown: those with columns that a later version added, and the names of these.
    """

    damaged: Damage = field(default_factory=dict)
    newer: Damage = field(default_factory=dict)
    unknown: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def forget(self, path: Path) -> None:
        """A file is to be read again, or is gone."""
        for kind in (self.damaged, self.newer, self.unknown):
            kind.pop(path, None)

    def add(self, other: "LeftOut") -> None:
        """Those of another reading of the same run, too."""
        self.damaged.update(other.damaged)
        self.newer.update(other.newer)
        self.unknown.update(other.unknown)

    def say(self, run: Path) -> list[str]:
        """A sentence each about damaged files, those of a newer schema, and unknown columns.

        Columns keep their meaning in versions of one schema, so only the unknown ones are left out.

        Args:
            run: the run's directory, in which files are named.
        """
        said = self._say_damaged(run)
        if self.newer:
            why = next(iter(self.newer.values()))
            said.append(
                f"left out {_files(len(self.newer))} of a newer pythia-traj ({why}), as a column"
                " may have another meaning there: install that version to read them"
            )
        if self.unknown:
            names = dict.fromkeys(name for some in self.unknown.values() for name in some)
            said.append(
                f"a newer pythia-traj wrote {_files(len(self.unknown))} with columns that this"
                f" version does not know, which are left out: {', '.join(names)}"
            )
        return said

    def _say_damaged(self, run: Path) -> list[str]:
        if not self.damaged:
            return []
        names = [f"{path.relative_to(run)} ({why})" for path, why in self.damaged.items()]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        is_redone = any(why != OTHER_TYPES for why in self.damaged.values())
        advice = "; the next sweep makes them again" if is_redone else ""
        return [
            f"left out {_files(len(names), 'damaged ')}: {', '.join(names[:NAMED])}{more}{advice}"
        ]


def _files(count: int, which: str = "") -> str:
    return f"1 {which}file" if count == 1 else f"{count} {which}files"
