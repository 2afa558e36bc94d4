"""The page in a real browser, from a file: every figure is drawn, no label becomes an element."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from pythia_traj.reports.report import report, write_report

HOSTILE = (
    "<b>x</b></script><script>document.title='taken'</script>"
    "<a href='javascript:alert(1)'>y</a><img src=x>"
)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--dump-dom",
]

chromium = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.mark.chromium
@pytest.mark.skipif(
    chromium is None, reason="no Chromium is installed: chromium, chromium-browser or google-chrome"
)
def test_every_figure_is_drawn_and_labels_stay_text(rows_of, held, tmp_path: Path):
    steps = (0, 1, 512, 143000)
    hostile, tame = rows_of(labels=(HOSTILE, f"ind {HOSTILE}"), steps=steps), rows_of(steps=steps)
    rows = pd.concat(
        [part.astype({"label": object}) for part in (hostile, tame)], ignore_index=True
    )
    path = tmp_path / "page.html"
    write_report(report(rows, title=HOSTILE, facts={"Label": HOSTILE}), path)

    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    shown = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)

    figures = shown.split('class="plotly-graph-div')[1:]
    assert len(figures) == sum(1 + chart.per_label for chart in held)
    assert all('class="main-svg"' in figure for figure in figures)
    legends = re.findall(r'class="legendtext"[^>]*>(.*?)</text>', shown)
    assert f"{html.escape(HOSTILE, quote=False)} · text" in legends
    assert f"<title>{html.escape(HOSTILE, quote=False)}</title>" in shown
    assert not re.search(r"<(b|img|i)[ >]|<a [^>]*javascript", shown)
