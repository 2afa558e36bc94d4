"""plotly.js as pages carry it: it starts with the traces that figures of ours have."""

import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

import pythia_traj
from pythia_traj.reports import plotly_js as module
from pythia_traj.reports.plotly_js import TRACES, plotly_js

REGISTERED = re.compile(r"\.register\(\[((?:[\w$]+\(\),?)+)\]\)")


def test_figures_have_no_traces_that_it_does_not_start_with():
    made = set[str]()
    for path in Path(pythia_traj.__file__).parent.rglob("*.py"):
        made |= set(re.findall(r"\bgo\.([A-Z]\w*)\(", path.read_text(encoding="utf-8")))
    assert made - {"Figure"} == {"Scatter", *(kind.title() for kind in TRACES)}


def test_only_these_are_registered_and_all_else_is_the_bundle():
    (whole,) = REGISTERED.findall(get_plotlyjs())
    (few,) = REGISTERED.findall(plotly_js())
    assert whole.count("()") > 40
    assert few.count("()") == len(TRACES)
    assert set(few.split(",")) <= set(whole.split(","))
    rest = plotly_js().replace(few, whole).replace(": this, (() => {", ": this, () => {")
    inside, _, after = rest.rpartition("})));")
    assert f"{inside}}}));{after}" == get_plotlyjs()


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace(".register([", ".enlist(["),
        lambda text: text.replace('name:"heatmap"', 'name:"map"'),
        lambda text: text + text,
        lambda text: "",
    ],
    ids=["another-name", "without-heatmap", "twice", "empty"],
)
def test_a_bundle_that_is_written_in_another_way_stays_whole(changed, monkeypatch):
    bundle = changed(get_plotlyjs())
    monkeypatch.setattr(module, "_compiled_at_once", lambda text: text)
    monkeypatch.setattr(module, "get_plotlyjs", lambda: bundle)
    assert plotly_js.__wrapped__() == bundle


def test_a_bundle_without_its_one_function_is_not_wrapped():
    for text in ("", "(() => {})();", "x: this, () => {} more"):
        assert module._compiled_at_once(text) == text
