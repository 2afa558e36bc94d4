"""The page: one file, no network, all data text, nothing undefined passed over."""

import json
import os
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from pythia_traj.errors import StoreError
from pythia_traj.reports.report import report, write_report

ROOT = Path(__file__).parents[2]

HOSTILE = "<b>x</b></script><script>alert(1)</script><img src=x onerror=alert(1)> &amp; ' \" %{x}"


class Page(HTMLParser):
    """What a browser makes of a page: its elements with attributes, its text, the scripts apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
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


def make(rows: pd.DataFrame, title: str = "A run", **facts: str) -> Page:
    return Page(report(rows, title=title, facts=facts))


@pytest.fixture(scope="module")
def page(rows):
    return make(rows, Models="pythia-70m-deduped", Steps="34")


def test_header_holds_title_and_facts(page):
    assert page.text.split()[:2] == ["A", "run"]
    for part in ("Models", "pythia-70m-deduped", "Steps", "34"):
        assert part in page.text


def test_each_chart_has_its_caption_and_its_figure(page, held):
    for chart in held:
        assert chart.heading in page.text
        assert chart.caption in page.text
    holders = [
        attrs for tag, attrs in page.elements if "plotly-graph-div" in (attrs.get("class") or "")
    ]
    stored = {
        attrs["id"]: json.loads(text)
        for attrs, text in page.scripts
        if attrs.get("type") == "application/json"
    }
    assert len(holders) == len(held)
    assert [attrs["data-figure"] for attrs in holders] == list(stored)
    assert all(figure["data"] for figure in stored.values())


def test_nothing_is_loaded_from_anywhere(page, rows):
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attrs)
    html = report(rows, title="A run", facts={})
    assert html.count(get_plotlyjs()) == 1
    rest = html.replace(get_plotlyjs(), "")
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


def test_the_button_that_uploads_is_not_offered(page):
    draw = page.scripts[-1][1]
    assert '"plotlyServerURL": ""' in draw
    assert '[["toImage", "resetScale2d"]]' in draw


def test_each_model_has_a_section(two_models):
    page = make(two_models)
    ids = [attrs["id"] for tag, attrs in page.elements if tag == "section" and "id" in attrs]
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == [f"#{name}" for name in ids]
    assert len(ids) == 2


def test_key_numbers_stand_at_first_and_last_step_with_their_control(rows):
    html = report(rows, title="A run", facts={})
    table = html[html.index("Key numbers") :]
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
    table = report(pd.concat([rows, of_ngrams]), title="A run", facts={})
    numbers = table[table.index("Key numbers") :]
    for what in ("nll", "nll · size 2", "nll · first_copy · two_halves"):
        assert numbers.count(f"<code>{what}</code>") == 1


def test_undefined_metrics_are_listed_with_reason_and_count(page):
    listed = page.text[page.text.index("Undefined") :]
    assert "prefix_matching · olsson_query" in listed
    assert "prefix_matching · olsson_query · shuffled" in listed
    assert "context too short: four copies of 25 tokens need 101" in listed
    assert "context too short: 64 tokens, 550 are needed34" in listed


def test_a_figure_of_undefined_values_gives_its_reason_instead(rows):
    nothing = rows["metric"].isin(["icl_score", "icl_window"])
    reasons = rows["reason"].astype(object).mask(nothing, "too <i>short</i>")
    page = make(rows.assign(value=rows["value"].mask(nothing), reason=reasons))
    assert "Not drawn. icl_score, icl_window: no value, too <i>short</i> (136 rows)" in page.text
    assert page.count("i") == 0


def test_all_data_is_text(rows_of, held):
    rows = rows_of(models=(HOSTILE, "plain"), labels=(HOSTILE, f"2{HOSTILE}"), steps=(0, 512))
    reasons = rows["reason"].astype(object).where(rows["reason"].isna(), HOSTILE)
    page = make(rows.assign(reason=reasons), title=HOSTILE, **{HOSTILE: HOSTILE})
    assert [page.count(tag) for tag in ("b", "img", "iframe")] == [0, 0, 0]
    assert page.count("script") == len(page.scripts) == 2 + 2 * len(held)
    assert page.text.count(HOSTILE) > 10
    for attributes, text in page.scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in text
            json.loads(text)


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (lambda rows: pd.DataFrame(), "This run holds no rows, so this page has no figures."),
        (lambda rows: rows[:0], "This run holds no rows, so this page has no figures."),
        (
            lambda rows: rows[:5].assign(metric="other"),
            "This run holds no metric that this page draws",
        ),
    ],
)
def test_a_run_without_known_metrics_is_still_a_page(keep, sentence, rows):
    page = make(keep(rows))
    assert sentence in page.text
    assert page.scripts == []
    assert (page.count("html"), page.count("h1"), page.count("title")) == (1, 1, 1)


def test_the_templates_are_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["pythia_traj.dashboard"]
    room = ROOT / "pythia_traj" / "dashboard"
    installed = {path.name for pattern in patterns for path in room.glob(pattern)}
    assert installed == {"report.html.jinja", "page.css.jinja", "draw.js.jinja"}
    there = {path.name for path in room.iterdir() if path.is_file() and path.suffix != ".py"}
    assert there == installed


def test_the_note_names_no_path(page):
    assert "in the run's metrics directory as Parquet" in page.text


def test_a_page_replaces_the_old_one_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    write_report("new ü", path)
    assert path.read_text(encoding="utf-8") == "new ü"
    write_report("newer", str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("where", ["absent/page.html", "file/page.html", "directory"])
def test_a_path_that_cannot_be_written_is_an_error_in_a_sentence(where, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreError, match=r"cannot write the report to .*; choose another path"):
        write_report("page", tmp_path / where)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["directory", "file"]
