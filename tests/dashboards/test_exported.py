"""The view as a page of its own."""

import json
import re

from pythia_traj.dashboards.exported import view_page
from pythia_traj.live.view import Views
from pythia_traj.live.watched import Watched
from tests.live.made import made_run


def known(page: str) -> dict:
    """What the page's script knows beside the figures."""
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])


def test_a_band_of_seeds_lies_at_their_tokens_on_a_saved_page_too(rows_of, tmp_path):
    rows = rows_of(models=("a", "b", "c"), steps=(0, 512))
    watched = Watched([made_run(tmp_path / "run", rows).path])
    watched.look()
    view = {"axis": "tokens", "step": "512"}
    page = view_page(watched.state, Views(), "run", "experiment=loss&several=band", view)
    found = known(page)
    assert found["view"] == {"axis": "tokens", "step": 512}
    band = found["training"]["mean of 3 seeds"]
    assert band["steps"] == [0, 512]
    assert band["tokens"] == found["training"]["a"]["tokens"]
    assert band["loss"] == [None, None]


def test_a_view_that_is_not_one_opens_as_it_would(rows_of, tmp_path):
    watched = Watched([made_run(tmp_path / "run", rows_of(steps=(0, 512))).path])
    watched.look()
    for view in ({"axis": "<b>", "step": "7"}, {"step": "9" * 5000}, {"step": "-1"}):
        page = view_page(watched.state, Views(), "run", "experiment=loss", view)
        assert known(page)["view"] == {}
