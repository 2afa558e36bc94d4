"""Settings as they are given, before they are checked: files over each other, and their lines.

A file lies over its `base:`, and the command line over both. Experiments are merged label by label:
a label that both have keeps the base's parameters but for those that are given again, one that is
null is removed, and one whose `use:` names another experiment begins anew. The section `cluster` is
merged key by key.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError
from pythia_traj.outside import shown
from pythia_traj.settings import as_words
from pythia_traj.yamlfile import File, Key, read_files


class Settings(dict[str, Any]):
    """Settings by name, and where those of a file are written.

    Attributes:
        places: `demo.yaml line 3`, by the names that lead to a setting.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, places: Mapping[Key, str] | None = None
    ) -> None:
        super().__init__(values or {})
        self.places = dict(places or {})

    def under(self, given: Mapping[str, Any]) -> "Settings":
        """These settings with others over them that no file gives."""
        changed = Settings({**self, **given}, self.places)
        for name in given:
            changed.forget((name,))
        return changed

    def forget(self, key: Key) -> None:
        """Notes that no file gives a setting, nor what is below it."""
        self.places = _without(self.places, {key})

    def located(self, error: ConfigError) -> ConfigError:
        """The error with the file and the line of the setting that is wrong, if a file has it."""
        entry = bool(error.key) and isinstance(error.key[-1], int)
        place = self.places.get(error.key) or (self.places.get(error.key[:-1]) if entry else None)
        return error if place is None else ConfigError(f"{place}: {error}", error.key)


def read_yaml(path: str | Path) -> Settings:
    """The settings of a YAML file laid over those of its `base:`, if it names one.

    Args:
        path: a file, or the name of a config that comes with the package (`demo`).

    Raises:
        ConfigError: the file does not exist, or does not hold names with their values.
    """
    *files, lowest = map(_settings_of, read_files(path))
    settings = lowest
    for own in reversed(files):
        settings = _laid_over(own, settings)
    return settings


def by_name(uses: Any) -> dict[str, Any]:
    """Experiments without labels, each under its own name.

    Raises:
        ConfigError: two have the same name, or it is not a list of experiments.
    """
    if not isinstance(uses, tuple):
        raise ConfigError(
            f"experiments: {shown(uses)}: give names, or labels with their parameters",
            ("experiments",),
        )
    labelled: dict[str, Any] = {}
    for use in uses:
        try:
            name = find(use).name
        except ConfigError as error:
            raise ConfigError(str(error), ("experiments", use)) from error
        if name in labelled and labelled[name]["use"] != use:
            raise ConfigError(
                f"{labelled[name]['use']} and {use} are both named {name}: give them labels, with"
                " use: in a config",
                ("experiments", use),
            )
        labelled[name] = {"use": use}
    return labelled


def by_label(experiments: Any) -> dict[str, Any]:
    """Experiments of unchecked settings, whichever way they are given, by label.

    Raises:
        ConfigError: they are neither labels nor names of experiments.
    """
    if isinstance(experiments, Mapping):
        return {str(label): settings for label, settings in experiments.items()}
    return by_name(as_words(experiments))


def _settings_of(file: File) -> Settings:
    """A file's settings; experiments that it lists by name have their labels."""
    settings = Settings(file.settings, file.places)
    listed = settings.get("experiments")
    if not isinstance(listed, str | list):
        return settings
    for i, entry in enumerate(listed if isinstance(listed, list) else [listed]):
        place = settings.places.get(("experiments", i), settings.places["experiments",])
        words = as_words(entry)
        for use in words if isinstance(words, tuple) else ():
            settings.places["experiments", use] = place
    try:
        settings["experiments"] = by_label(listed)
    except ConfigError as error:
        raise settings.located(error) from None
    for label, request in settings["experiments"].items():
        settings.places["experiments", label] = settings.places["experiments", request["use"]]
    return settings


def _laid_over(own: Settings, base: Settings) -> Settings:
    replaced: set[Key] = {(name,) for name in own if name != "experiments"}
    merged = Settings({**base, **own})
    given, below = own.get("cluster"), base.get("cluster")
    if isinstance(given, Mapping) and isinstance(below, Mapping):
        merged["cluster"] = {**below, **given}
        replaced -= {("cluster",)}
        replaced |= {("cluster", name) for name in given}
    given, below = own.get("experiments"), base.get("experiments")
    if isinstance(given, Mapping | None) and isinstance(below, Mapping):
        labels = dict(below)
        for label, request in (given or {}).items():
            old = below.get(label)
            key = ("experiments", label)
            if label in below and request is None:
                del labels[label]
                replaced.add(key)
            elif _goes_on(label, request, old):
                labels[label] = {**(old or {}), **request}
                replaced |= {(*key, name) for name in request}
            else:
                labels[label] = request
                replaced.add(key)
        merged["experiments"] = labels
    elif "experiments" in own:
        replaced.add(("experiments",))
    merged.places = {**_without(base.places, replaced), **own.places}
    return merged


def _goes_on(label: str, request: Any, old: Any) -> bool:
    """Whether a label's parameters are given over those of the base: it is the same experiment."""
    if not isinstance(request, Mapping) or not isinstance(old, Mapping | None):
        return False
    known = (old or {}).get("use", label)
    return bool(request.get("use", known) == known)


def _without(places: Mapping[Key, str], replaced: Collection[Key]) -> dict[Key, str]:
    """The places of all settings but these and what is below them."""

    def leading(key: Key) -> Iterable[Key]:
        return (key[: n + 1] for n in range(len(key)))

    return {
        key: place
        for key, place in places.items()
        if not any(first in replaced for first in leading(key))
    }
