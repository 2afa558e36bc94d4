"""Draws what a reader may ask for next, while nothing else is to do."""

from pythia_traj.dashboards.sent import chart_sent
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.live.choice import Choice
from pythia_traj.live.view import Views
from pythia_traj.live.watched import State


class Warming:
    """Draws the charts of each experiment that has changed, one experiment at a time."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._drawn: dict[str, int] = {}

    def one(self, state: State) -> bool:
        """Draws the charts of one experiment as a page first shows it; False where none is left."""
        for experiment, changed in state.changed_at.items():
            if self._drawn.get(experiment) != changed:
                self._drawn[experiment] = changed
                self._draw(state, experiment)
                return True
        return False

    def _draw(self, state: State, experiment: str) -> None:
        choice = self._views.offered(state, Choice(experiment=experiment)).choice
        try:
            for place in range(len(self._views.charts(state, choice))):
                chart_sent(self._views, state, choice, place)
        except (ConfigError, AnalysisError):
            # What a reader asks for is refused in words.
            return
