"""A sweep that chooses its steps fetches the weights of those steps and of no others."""

import pytest

import pythia_traj as pt
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.sweeps.planted import PUBLISHED, plant, ramp, write_experiment


@pytest.mark.slow
def test_of_154_steps_only_the_weights_of_the_chosen_ones_are_fetched(serve, tmp_path):
    repository = Repository("me/planted")
    publish_steps(repository, plant(tmp_path / "planted", ramp(11.3)))
    hub = serve(repository)
    config = pt.SweepConfig(
        model="me/planted",
        steps="all",
        experiments={"planted": {"use": str(write_experiment(tmp_path))}},
        out=tmp_path / "run",
        device="cpu",
    )
    (found,) = pt.refine(config, "planted.height").found
    assert (found.onset.bracket_low, found.onset.bracket_high) == (2000, 3000)
    fetched = [record for record in hub.requests if record.path.endswith("model.safetensors")]
    commits = {record.path.split("/")[-2] for record in fetched}
    chosen = {repository.branches[f"step{step}"] for step in found.steps}
    assert len(chosen) <= 17
    assert commits & set(repository.branches.values()) == chosen
    # Nor are the files of the others listed.
    trees = [record for record in hub.requests if record.kind in ("tree", "paths-info", "revision")]
    assert len(trees) < len(PUBLISHED) / 2
    before = len(hub.requests)
    again = pt.refine(config, "planted.height")
    assert (again.found[0].onset, again.result.done) == (found.onset, [])
    assert not [r for r in hub.requests[before:] if r.path.endswith("model.safetensors")]
