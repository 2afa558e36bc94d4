"""Examples that were worked out once, to the digits: the definition of the default estimator."""

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from tests.analysis.onsets.curves_of_tests import STEPS, tables


def means(first, since, *values):
    """`first` at all steps, then `values` from step `since`, the last of them to the end."""
    out = np.full(len(STEPS), float(first))
    at = STEPS.index(since) if values else 0
    for i, value in enumerate(values):
        out[at + i] = value
    if values:
        out[at + len(values) :] = values[-1]
    return out


B = means(0, 128, 0.2, 0.4, 0.6, 0.8, 1, 1)
LATE_DIP = means(0.5, 32, 0.45, 0.4, 0.35, 0.35, 0.6, 0.8, 0.9, 0.9)
SEVERAL = means(0, 64, 0.9, 0.9, 0.1, 0.1, 0.9, 1, 1)
FALLING = means(10, 64, 8, 6, 5, 4, 3.5, 3.2, 3)

EXAMPLES = {
    # means, e, options: status, step, bracket, interval, level, p, flags
    "a jump": (
        (means(0, 1000, 1), 0, {}),
        ("onset", 715.6, (512, 1000), (512, 1000), 0.5, 0, ""),
    ),
    "a rise": ((B, 0, {}), ("onset", 362.1, (256, 512), (256, 512), 0.5, 0, "")),
    "a dip before": (
        (LATE_DIP, 0, {}),
        ("onset", 715.6, (512, 1000), (512, 1000), 0.7, 0, ""),
    ),
    "flat": ((means(0.5, 0), 0.3, {}), ("none", None, None, None, 0.597, 0.77, "")),
    "a noisy rise": ((B, 0.6, {}), ("onset", 381.6, (256, 512), (128, 2000), 0.5694, 0.0028, "")),
    "a fall after": (
        (means(0, 128, 0.2, 0.9, 1, 0.6, 0.1, 0), 0, {}),
        ("onset", 172.3, (128, 256), (128, 256), 0.5, 0, "falls_back"),
    ),
    "falling": (
        (FALLING, 0, {"direction": "down"}),
        ("onset", 107.7, (64, 128), (64, 128), 6.5, 0, ""),
    ),
    "twice": (
        (SEVERAL, 0, {}),
        ("several", 47.1, (32, 64), (32, 1000), 0.5, 0, "several_crossings"),
    ),
    "a threshold": (
        (B, 0, {"threshold": 0.3}),
        ("onset", 181.1, (128, 256), (128, 256), 0.3, None, ""),
    ),
    "a threshold that is not reached": (
        (B, 0, {"threshold": 2}),
        ("never", None, (4000, None), (4000, None), 2, None, ""),
    ),
    "a threshold that is passed": (
        (B + 1, 0, {"threshold": 0.5}),
        ("present", None, (None, 0), (None, 0), 0.5, None, ""),
    ),
    "a threshold that is nearly reached": (
        (B, 0.6, {"threshold": 0.95}),
        ("unsure", 2454.7, (2000, 4000), (256, None), 0.95, None, ""),
    ),
    "still rising": (
        (means(0, 1000, 0.2, 0.6, 1), 0, {}),
        ("onset", 1681.8, (1000, 2000), (1000, 2000), 0.5, 0, "still_rising"),
    ),
}


def example(mean, e):
    i, t = np.arange(8)[:, None], np.arange(len(STEPS))[None]
    return tables(mean + (i - 3.5) / 35 + e * np.sin(7 * i + 3 * t * (i + 1)))


@pytest.mark.parametrize("direction", ["auto", "given"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_gives_its_digits(name, direction):
    (mean, e, options), expected = EXAMPLES[name]
    if direction == "given":
        options = {"direction": "up"} | options
    (row,) = pt.onset(*example(mean, e), **options).to_dict("records")
    status, step, bracket, interval, level, p, flags = expected
    assert (row["status"], row["flags"]) == (status, flags)
    assert row["level"] == pytest.approx(level, abs=5e-5 if level == 0.5694 else 5e-4)
    if step is None:
        assert np.isnan(row["step"])
    else:
        assert row["step"] == pytest.approx(step, abs=0.05)
    for name, ends in (("bracket_", bracket), ("", interval)):
        found = [row[f"{name}low"], row[f"{name}high"]]
        assert [None if pd.isna(end) else end for end in found] == list(ends or (None, None))
    if p is None:
        assert np.isnan(row["p"])
    else:
        assert row["p"] == pytest.approx(p, abs=0.005 if p == 0.77 else 5e-5)
