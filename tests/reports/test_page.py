"""The page: one file, no network, all data text, nothing undefined passed over."""

import base64
import gzip
import json
import os
import re
import tomllib
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pythia_traj.analysis.findings.finding import Finding
from pythia_traj.errors import StoreError
from pythia_traj.figures.charts import charts
from pythia_traj.reports.contents import Told, file_name, page_of
from pythia_traj.reports.methods import MeasuredExperiment, MeasuredModel, Methods
from pythia_traj.reports.notes import Note
from pythia_traj.reports.plotly_js import plotly_js
from pythia_traj.reports.report import rendered, write_text

ROOT = Path(__file__).parents[2]

HOSTILE = "<b>x</b></script><script>alert(1)</script><img src=x onerror=alert(1)> &amp; ' \" %{x}"


VOID = {"br", "input", "meta", "img"}


class Page(HTMLParser):
    """What a browser makes of a page: its elements with attributes, its text, the scripts apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.html, self.text, self.scripts, self._inside = html, "", [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        else:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)


def finding(words: str, experiment: str = "induction") -> Finding:
    return Finding(words, experiment, (), "")


def html_of(rows: pd.DataFrame, title: str = "A run", **more: object) -> str:
    return rendered(page_of(rows, Told(**more), title=title))


def make(rows: pd.DataFrame, title: str = "A run", **more: object) -> Page:
    return Page(html_of(rows, title, **more))


CARRIED = "application/octet-stream"


def unpacked(text: str) -> dict:
    """The figure that a page carries."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def page(rows):
    return make(rows)


def test_the_first_screen_says_what_was_run_on_what(page):
    said = "loss and induction on pythia-70m-deduped at 34 steps, from 0 to 143,000 (300B tokens)"
    assert said in page.text
    assert page.text.index(said) < page.text.index("Mean loss per token")


def test_models_that_were_measured_at_other_steps_have_theirs_in_the_sentence(rows_of):
    early, late = rows_of(models=("early",), steps=(0, 512)), rows_of(models=("late",), steps=(8,))
    page = make(pd.concat([early.astype(object), late.astype(object)]))
    said = "on early at 2 steps, from 0 to 512 (1.1B tokens) and late at step 8 (17M tokens): "
    assert said in page.text


def test_findings_link_to_the_section_that_shows_them_and_notes_stand_below(rows):
    found = [finding("It appears at step 1,000."), finding("It has a loss.", "nothing of the kind")]
    page = make(rows, findings=found, notes=[Note("damaged", "one file is <damaged>")])
    (link,) = [
        attrs["href"]
        for tag, attrs in page.elements
        if tag == "a" and attrs["href"][1:11] == "experiment"
    ][:1]
    assert "It appears at step 1,000." in page.text
    sections = {attrs["id"] for tag, attrs in page.elements if tag == "section"}
    assert link[1:] in sections
    assert page.text.index("It has a loss.") < page.text.index("one file is <damaged>")


def test_each_experiment_has_a_section_with_its_charts_in_order(page):
    for experiment in ("loss", "induction"):
        places = [page.text.index(chart.caption) for chart in charts()[experiment]]
        assert places == sorted(places)
    carried = {
        attrs["id"]: unpacked(text) for attrs, text in page.scripts if attrs.get("type") == CARRIED
    }
    holders = [attrs["data-figure"] for _, attrs in page.elements if "data-figure" in attrs]
    assert holders == list(carried)
    assert len(carried) == len(charts()["loss"]) + len(charts()["induction"])
    assert all(figure["data"] for figure in carried.values())


def test_contents_link_to_everything(page):
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    links = [attrs["href"][1:] for tag, attrs in page.elements if tag == "a"]
    assert len(links) > 12
    assert set(links) <= ids


def test_ids_are_unique(page):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_anywhere(page, rows):
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attrs)
    html = html_of(rows)
    assert html.count(plotly_js()) == 1
    rest = html.replace(plotly_js(), "")
    assert not re.search(r"https?://|@import|url\(", rest)


def test_the_policy_lets_two_scripts_run_and_nothing_load(page):
    (policy,) = [
        attrs["content"]
        for _, attrs in page.elements
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert policy.count("'sha256-") == sum("type" not in attrs for attrs, _ in page.scripts) == 2
    assert "unsafe-eval" not in policy
    assert policy.endswith("base-uri 'none'; form-action 'none'")


def test_the_button_that_uploads_is_not_offered(page):
    assert 'displayModeBar: false, displaylogo: false, plotlyServerURL: ""' in page.scripts[-1][1]


def test_several_models_share_a_figure_of_lines_and_have_maps_beside_each_other(two_models):
    page = make(two_models)
    names = re.findall(r"<h4>(.*?)</h4>", page.html)
    assert names.count("pythia-70m") == names.count("pythia-160m") == 3
    described = [attrs.get("aria-label") for _, attrs in page.elements if "data-figure" in attrs]
    assert described.count("Loss on text") == 1
    assert "Prefix matching of every head, pythia-160m" in described


def test_key_numbers_stand_at_first_and_last_step_with_their_control(rows):
    html = html_of(rows)
    table = html[html.index("<h2>Key numbers") :]
    (nll,) = re.findall(r"<tr><td><code>nll</code>.*?</tr>", table)
    cells = re.sub(r"<[^>]+>", " ", nll).replace("\u00a0", " ").split()
    shown = (
        "nll loss-stdlib 10.80 ± 0.11 step 0 3.300 ± 0.037 step 143000 7.300 ± 0.077 step 143000"
    )
    assert " ".join(cells) == shown
    (best,) = re.findall(r"<tr><td><code>prefix_matching · two_halves</code>.*?</tr>", table)
    assert "step\u00a0143000 · L1H1" in best


def test_values_of_one_metric_are_told_apart_by_part_size_and_variant(rows_of):
    rows = rows_of(steps=(0, 512)).astype(object)
    mean = rows["control"].isna() & rows["position"].isna() & rows["part"].isna()
    of_ngrams = rows[mean & (rows["metric"] == "nll")].assign(experiment="ngram", size=2)
    html = html_of(pd.concat([rows, of_ngrams]))
    numbers = html[html.index("<h2>Key numbers") :]
    for what in ("nll", "nll · size 2", "nll · first_copy · two_halves"):
        assert numbers.count(f"<code>{what}</code>") == 1


def test_undefined_metrics_are_listed_with_reason_and_count(page):
    listed = page.text[page.text.index("Metrics that have no value") :]
    assert "context too short: four copies of 25 tokens need 101136" in listed
    assert "context too short: 64 tokens, 550 are needed68" in listed


def test_a_figure_of_undefined_values_gives_its_reason_instead(rows):
    nothing = rows["metric"].isin(["icl_score", "icl_window"])
    reasons = rows["reason"].astype(object).mask(nothing, "too <i>short</i>")
    page = make(rows.assign(value=rows["value"].mask(nothing), reason=reasons))
    assert "Not drawn. icl_score, icl_window: no value, too <i>short</i> (136 rows)" in page.text
    assert page.count("i") == 0


def test_all_data_is_text(rows_of):
    rows = rows_of(models=(HOSTILE, "plain"), labels=(HOSTILE, f"2{HOSTILE}"), steps=(0, 512))
    hostile = {
        name: rows[name].astype(object).where(rows[name].isna(), HOSTILE)
        for name in ("reason", "part", "suite", "revision")
    }
    mine = rows[rows["experiment"] == "loss"].astype(object).assign(experiment=HOSTILE)
    rows = pd.concat([rows.assign(**hostile).astype(object), mine])
    page = make(
        rows, title=HOSTILE, notes=[Note("warning", HOSTILE)], findings=[finding(HOSTILE, HOSTILE)]
    )
    assert [page.count(tag) for tag in ("i", "img", "iframe")] == [0, 0, 0]
    assert page.count("script") == len(page.scripts)
    assert sum("type" not in attrs for attrs, _ in page.scripts) == 2
    assert page.text.count(HOSTILE) > 10
    for attributes, text in page.scripts:
        if "type" in attributes:
            assert "<" not in text
            assert attributes["type"] == "application/json" or unpacked(text)
        names = [attrs["data-name"] for _, attrs in page.elements if "data-name" in attrs]
        assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_methods_and_what_models_wrote_are_text(rows):
    experiment = MeasuredExperiment(
        **{one.name: HOSTILE for one in fields(MeasuredExperiment)}
        | dict.fromkeys(("parameters", "data"), ((HOSTILE, HOSTILE),))
        | dict.fromkeys(("conventions", "controls", "seeds", "compared_with", "cites"), (HOSTILE,))
    )
    model = MeasuredModel(**{one.name: HOSTILE for one in fields(MeasuredModel)})
    methods = Methods(
        models=(model,),
        experiments=(experiment, replace(experiment, name="loss")),
        versions=((HOSTILE, HOSTILE),),
        device=HOSTILE,
        dtype=HOSTILE,
        bibtex=HOSTILE,
        **dict.fromkeys(("processing", "seeds", "tests", "references"), (HOSTILE,)),
    )
    written = {"model": "m", "label": HOSTILE, "prompt_number": 0, "prompt": HOSTILE, "step": 0}
    texts = pd.DataFrame([written | {"continuation": HOSTILE}, written | {"label": "other"}])
    samples = rows[rows["experiment"] == "loss"].astype(object).assign(experiment="samples")
    page = make(
        pd.concat([rows.astype(object), samples]),
        texts=texts.fillna(HOSTILE),
        methods=methods,
        nothing=HOSTILE,
        notes=[Note(HOSTILE, HOSTILE)],
    )
    assert [page.count(tag) for tag in ("b", "img", "iframe")] == [0, 0, 0]
    assert sum("type" not in attrs for attrs, _ in page.scripts) == 2
    assert page.text.count(HOSTILE) > 40


def test_names_of_files_are_words():
    assert file_name("../../etc/<passwd>") == "etc-passwd"
    assert file_name("<>") == "figure"
    assert len(file_name("a" * 500)) == 80


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (lambda rows: pd.DataFrame(), "No unit is done yet, so there are no rows."),
        (lambda rows: rows[:0], "No unit is done yet, so there are no rows."),
    ],
)
def test_a_run_without_rows_is_still_a_page(keep, sentence, rows):
    page = make(keep(rows))
    assert sentence in page.text
    assert page.scripts == []
    assert (page.count("html"), page.count("h1"), page.count("title")) == (1, 1, 1)


def test_one_step_values_that_are_not_finite_and_unknown_tokens_make_a_page(rows_of):
    rows = rows_of(steps=(0,))
    assert "at step 0" in make(rows).text
    infinite = rows_of(steps=(0, 512, 1000))
    value = infinite["value"].mask(infinite["step"] == 512, float("inf"))
    value = value.mask(infinite["step"] == 1000, float("nan"))
    page = make(infinite.assign(value=value, tokens=pd.array([None] * len(value), "Int64")))
    assert "Loss on text" in page.text
    nothing = make(infinite.assign(value=float("-inf"), stderr=float("nan")))
    assert "nll: no value, infinite (" in nothing.text


def test_the_templates_are_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["pythia_traj.reports"]
    room = ROOT / "pythia_traj" / "reports"
    installed = {path.name for pattern in patterns for path in room.glob(pattern)}
    there = {
        path.name
        for path in room.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert there == installed
    assert {"report.html.jinja", "page.css", "figures.js"} <= installed


def test_a_page_replaces_the_old_one_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    write_text("new ü", path)
    assert path.read_text(encoding="utf-8") == "new ü"
    write_text("newer", str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_page_that_cannot_be_written_is_an_error_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        write_text("page", tmp_path / "file" / "page.html")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
