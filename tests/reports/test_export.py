"""Figures as files: vector text, fonts, sizes; one browser for all; names within the folder."""

import re
import stat
import subprocess
import sys
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from threading import Thread
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest

from pythia_traj.errors import FigureError, StoreError
from pythia_traj.reports import export
from pythia_traj.reports.export import (
    SUFFIXES,
    document,
    file_names,
    suffix_of,
    write_figure,
    write_figures,
)
from tests.chromium import CHROMIUM, in_chromium

HOSTILE = "</script><script>document.title='taken'</script><b>x</b> $y^2$"

WRAPPER = r"""#!/bin/bash
proxy=$(printf '%s\n' "$@" | sed -n 's|--proxy-server=http://127.0.0.1:||p')
(echo > /dev/tcp/127.0.0.1/$proxy) 2> /dev/null && answers=yes || answers=no
echo "$proxy $answers" >> LOG
exec CHROME "$@"
"""


def lines(name="nll", height=430):
    x = np.arange(20)
    figure = go.Figure(go.Scatter(x=x, y=np.sqrt(x), name=name, mode="lines+markers"))
    return figure.update_layout(height=height, yaxis_title="nats per token", showlegend=True)


def traced_by(folder, monkeypatch):
    """A Chrome that writes down each start: its proxy, and whether that answers."""
    wrapper, log = folder / "chrome", folder / "starts"
    wrapper.write_text(WRAPPER.replace("LOG", str(log)).replace("CHROME", str(CHROMIUM)))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER_PATH", str(wrapper))
    return log


@contextmanager
def asked():
    """In place of the port at which nothing listens, a proxy that writes down who is asked for."""
    hosts = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            hosts.append(self.path)
            self.send_error(502)

        do_CONNECT = do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            pass

    class Socket(socket):
        def bind(self, _):
            pass

        def getsockname(self):
            return server.server_address

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Socket, hosts
        server.shutdown()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of three figures in two widths and all formats, the starts, and the progress."""
    folder, seen = tmp_path_factory.mktemp("export"), []
    with pytest.MonkeyPatch.context() as patch:
        log = traced_by(folder, patch)
        figures = {
            "loss / nll": lines(),
            "loss, nll": lines("accuracy"),
            "../$y^2$": lines("$y^2$"),
        }
        files = write_figures(
            figures, folder / "deep" / "out", SUFFIXES, on_figure=lambda *at: seen.append(at)
        )
        starts = log.read_text().splitlines()
        with asked() as (proxy, hosts):
            patch.setattr(export, "socket", proxy)
            narrow = {"narrow": lines("$x^2$")}
            write_figures(narrow, folder / "deep" / "out", ["pdf", "svg"], width="column")
    return folder, files, starts, seen, hosts


def points(pdf: bytes) -> tuple[float, float]:
    width, height = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf).groups()
    return float(width), float(height)


def text_of(pdf: bytes) -> str:
    """The text of a PDF: its glyphs, as its own tables translate them."""
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    streams = [_inflated(part) for part in parts]
    letters = {}
    for stream in streams:
        for block in re.findall(rb"beginbfchar(.*?)endbfchar", stream, re.DOTALL):
            for glyph, letter in re.findall(rb"<(\w+)> <(\w+)>", block):
                letters[int(glyph, 16)] = chr(int(letter, 16))
        for block in re.findall(rb"beginbfrange(.*?)endbfrange", stream, re.DOTALL):
            for first, last, letter in re.findall(rb"<(\w+)> <(\w+)> <(\w+)>", block):
                for i in range(int(first, 16), int(last, 16) + 1):
                    letters[i] = chr(int(letter, 16) + i - int(first, 16))
    found = []
    for stream in streams:
        for codes in re.findall(rb"<([0-9A-Fa-f]+)>(?:[^<\]]*\] TJ| Tj)", stream):
            glyphs = re.findall(rb"....", codes)
            found.append("".join(letters.get(int(glyph, 16), "?") for glyph in glyphs))
    return " ".join(found)


def _inflated(part: bytes) -> bytes:
    try:
        return zlib.decompress(part)
    except zlib.error:
        return part


@in_chromium
def test_one_browser_draws_all_figures_and_nothing_listens_at_its_proxy(written):
    _, files, starts, seen, _ = written
    assert len(files) == 12
    (start,) = starts
    port, answers = start.split()
    assert (int(port) > 0, answers) == (True, "no")
    assert seen == [(i, 9) for i in range(1, 10)]


@in_chromium
def test_what_is_drawn_asks_for_nothing_not_even_for_typeset_formulas(written):
    *_, hosts = written
    # Chromium asks its makers for updates, which is why it gets such a proxy.
    ours = ("google", "duckduckgo", "chromium", "gvt")
    assert [host for host in hosts if not any(maker in host for maker in ours)] == []


@in_chromium
def test_files_are_named_after_the_figures_and_stay_in_their_folder(written):
    folder, files, *_ = written
    there = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    names = {f"deep/out/{stem}.{suffix}" for stem in ("loss-nll", "loss-nll-2", "y-2")
             for suffix in SUFFIXES}  # fmt: skip
    more = {"chrome", "starts", "deep/out/narrow.pdf", "deep/out/narrow.svg"}
    assert {str(path) for path in there} == names | more
    assert {str(path.relative_to(folder)) for path in files} == names


@in_chromium
def test_a_pdf_holds_vector_text_and_its_fonts_and_fits_a_page_or_a_column(written):
    folder, *_ = written
    page, narrow = (
        (folder / "deep/out" / f"{name}.pdf").read_bytes() for name in ("loss-nll", "narrow")
    )
    for pdf, inches in ((page, 6.7), (narrow, 3.3)):
        # Letters are placed one after the other where the font asks for less space between them.
        assert "natspertoken" in text_of(pdf).replace(" ", "")
        assert b"/FontFile" in pdf
        assert b"/Subtype /Image" not in pdf
        assert points(pdf)[0] / 72 == pytest.approx(inches, abs=0.03)
    assert points(page)[1] / 72 == pytest.approx(430 / 96, abs=0.03)


@in_chromium
def test_an_svg_holds_text_and_no_pixels(written):
    folder, *_ = written
    for name, said, inches in (
        ("loss-nll", "nll", 6.7),
        ("y-2", "$y^2$", 6.7),
        ("narrow", "$x^2$", 3.3),
    ):
        root = ElementTree.parse(folder / "deep/out" / f"{name}.svg").getroot()
        shown = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert said in shown
        assert "nats per token" in shown
        assert not list(root.iter("{http://www.w3.org/2000/svg}image"))
        assert float(root.get("width")) / 96 == pytest.approx(inches, abs=0.03)


@in_chromium
def test_a_png_has_300_dots_an_inch(written):
    header = (written[0] / "deep/out/loss-nll.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20]) / 300 == pytest.approx(6.7, abs=0.03)


@in_chromium
def test_the_html_is_drawn_under_its_own_policy_and_labels_stay_text(tmp_path):
    path = tmp_path / "figure.html"
    write_figure(lines(HOSTILE.replace("<", "&lt;")).update_layout(meta={"note": HOSTILE}), path)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--dump-dom"]
    command = [CHROMIUM, *flags, "--virtual-time-budget=10000", f"--user-data-dir={tmp_path / 'p'}"]
    dom = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    shown = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    assert 'class="main-svg"' in shown
    assert "<title>figure</title>" in shown
    assert "$y^2$" in shown


def test_the_html_loads_nothing_and_allows_only_its_scripts():
    page = document(lines(), "a <title>").decode()
    outside = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', outside)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    # Those two do not fall back to default-src.
    assert policy.endswith("; base-uri 'none'; form-action 'none'")
    assert policy.count("'sha256-") == len(re.findall("<script", page)) - page.count('"<script')
    assert "a &lt;title&gt;" in outside
    assert not re.search(r"(src|href)=", outside)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("kaleido", "kaleido is not installed, or too old"), ("Chrome", "no Chrome was found")],
)
def test_what_is_missing_is_one_sentence_and_nothing_is_written(
    missing, said, tmp_path, monkeypatch
):
    if missing == "kaleido":
        monkeypatch.setitem(sys.modules, "kaleido", None)
    else:
        monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(FigureError) as error:
        write_figures({"a": lines(), "b": lines()}, tmp_path / "out", ["html", "pdf"])
    assert str(error.value).startswith(said)
    assert "pip install 'pythia-traj[figures]'" in str(error.value)
    assert "Chrome or Chromium" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_html_needs_neither(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    (path,) = write_figures({"a": lines()}, tmp_path / "out", ["html"])
    assert path == tmp_path / "out" / "a.html"
    assert path.stat().st_size > 1_000_000
    assert list(path.parent.iterdir()) == [path]


def test_a_figure_that_fails_leaves_the_old_files(tmp_path, monkeypatch):
    (tmp_path / "a.pdf").write_text("old")

    def fails(*_):
        raise TimeoutError

    monkeypatch.setattr(export, "_drawn", fails)
    with pytest.raises(FigureError, match="within 120 s"):
        write_figures({"a": lines()}, tmp_path, ["html", "pdf"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]
    assert (tmp_path / "a.pdf").read_text() == "old"


def test_a_directory_or_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(StoreError, match="is a directory: give the file to write"):
        write_figure(lines(), tmp_path / "a.html")
    assert (tmp_path / "a.html").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_figures({"a": lines()}, tmp_path / "file", ["html"])


@pytest.mark.parametrize("name", ["figure", "figure.gif", "figure.pdf.txt", ".pdf"])
def test_another_suffix_is_refused_with_the_known_ones(name):
    with pytest.raises(FigureError, match=r"figures are written as .html, .svg, .pdf or .png"):
        suffix_of(Path(name))


def test_suffixes_may_be_in_capitals():
    assert suffix_of(Path("Figure.PDF")) == "pdf"


def test_an_unknown_format_or_width_is_refused(tmp_path):
    with pytest.raises(FigureError, match="format 'gif': figures are written as"):
        write_figures({"a": lines()}, tmp_path, ["gif"])
    with pytest.raises(FigureError, match="width 'poster': give one of page, column"):
        write_figures({"a": lines()}, tmp_path, ["html"], width="poster")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "names",
    [
        ["a", "A", "a ", "a-2"],
        ["../../etc/passwd", "/etc/passwd", "..", ".", "", "~", "\\\\host\\c"],
        ["x" * 300, "x" * 301],
        ["é", "日本", "\x00", "a\nb"],
        ["-rf", "--help"],
    ],
)
def test_names_stay_in_one_folder_and_differ(names):
    found = file_names(names)
    assert list(found) == names
    assert len({name.lower() for name in found.values()}) == len(names)
    for name in found.values():
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,104}", name)
        assert Path(name).name == name
