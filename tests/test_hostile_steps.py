"""Step expressions that are damaged or hostile: one short sentence, or the right steps, at once."""

import math
import time

import pytest

from pythia_traj.errors import StepsError
from pythia_traj.steps import select

PYTHIA = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))
TOKENS = 2_097_152
SECONDS = 10

REFUSED = {
    "a number of 5000 digits": ("9" * 5000, "is above 2**63 - 1, the largest step"),
    "a number of 100,000 digits": ("9" * 100_000, "is above 2**63 - 1, the largest step"),
    "a number beyond all tables": (
        str(2**63),
        "the number '9223372036854775808' is above 2**63 - 1, the largest step",
    ),
    "the largest number": (str(2**63 - 1), "step 9223372036854775807 is not published"),
    "a range of 5000 digits": ("0:" + "9" * 5000, "is above 2**63 - 1, the largest step"),
    "a range from 5000 digits": ("9" * 5000 + ":5", "is above 2**63 - 1, the largest step"),
    "a stride of 5000 digits": ("0:5:" + "9" * 5000, "is above 2**63 - 1, the largest step"),
    "a spread of 5000 digits": ("log:" + "9" * 5000, "is above 2**63 - 1, the largest step"),
    "a thousand spreads": (
        ",".join(f"linear:{99_999 - i}" for i in range(1000)),
        "at most 20 different terms of log:",
    ),
    "a thousand ranges": (
        ",".join(f"0:{i}:1" for i in range(1000)),
        "and 200 that are not numbers; this one has 0 and 1000",
    ),
    "a million commas": ("," * 10**6, "has at most 200000 characters, this one 1000000"),
    "a hundred thousand commas": ("," * 10**5, "empty step expression"),
    "a million digits": ("1" * 10**6, "has at most 200000 characters"),
    "a long word": ("x" * 10**5, "cannot read 'xxx"),
    "a stride of nothing": ("0:10:0", "it must be at least 1"),
    "a stride of many nothings": ("0:10:" + "0" * 5000, "it must be at least 1"),
    "a negative step": ("-1", "cannot read '-1' as steps"),
    "a negative range": ("-5:10", "cannot read '-5:10' as steps"),
    "digits of another script": ("٣", "as steps"),
    "a range of another script": ("0:٣", "as steps"),
    "full-width digits": ("５１２", "as steps"),
    "a superscript": ("2²", "as steps"),
    "an empty term": ("0,,1", "cannot read ''"),
    "spaces alone": (" , ", "empty step expression"),
    "a NUL": ("0\0", "cannot read '0\\x00' as steps"),
    "an escape": ("\x1b[31m", "cannot read '\\x1b[31m' as steps"),
    "half of a pair": ("\udcff", "cannot read '\\udcff' as steps"),
    "a line": ("0\n1", "cannot read '0\\n1' as steps"),
    "too many colons": ("0:1:2:3", "cannot read '0:1:2:3' as steps"),
    "no end": ("0:", "cannot read '0:' as steps"),
    "a spread of one": ("log:01", "needs at least 2 points"),
    "infinite tokens": ("tokens:1e400:1e999", "selects no published step"),
    "tokens without an end": ("tokens:1e400:", "cannot read 'tokens:1e400:' as steps"),
    "tokens that are no number": ("tokens:nan:nan", "write numbers of tokens"),
    "tokens called infinite": ("tokens:inf:inf", "write numbers of tokens"),
    "negative tokens": ("tokens:-5:-1", "write numbers of tokens"),
    "tokens of another script": ("tokens:0:٣", "write numbers of tokens"),
    "tokens of 5000 digits": ("tokens:0:" + "9" * 5000, "write numbers of tokens"),
    "tokens with underscores": ("tokens:0:1_0", "write numbers of tokens"),
    "one number of tokens": ("tokens:5", "cannot read 'tokens:5' as steps"),
}


@pytest.mark.parametrize(("expression", "message"), REFUSED.values(), ids=REFUSED)
def test_an_expression_is_refused_at_once_in_a_sentence(expression, message):
    start = time.process_time()
    with pytest.raises(StepsError) as error:
        select(expression, PYTHIA, tokens_per_step=TOKENS)
    assert time.process_time() - start < SECONDS
    assert message in str(error.value)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


SELECTED = {
    "one spread a thousand times": (",".join(["linear:99999"] * 1000), PYTHIA),
    "twenty spreads": (",".join(f"linear:{99_999 - i}" for i in range(20)), PYTHIA),
    "a spread of many points": (f"log:{10**9}", PYTHIA),
    "a spread of the largest number": (f"linear:{2**63 - 1}", PYTHIA),
    "a range of the largest number": (f"0:{10**18}:1", PYTHIA),
    "a stride of the largest number": (f"0:{10**18}:{10**18}", (0,)),
    "a number with zeros": ("0" * 5000 + "512", (512,)),
    "a number ten thousand times": (",".join(["512"] * 10_000), (512,)),
    "every step by its number": (",".join(map(str, PYTHIA)), PYTHIA),
    "tokens beyond all": ("tokens:0:1e999", PYTHIA),
}


@pytest.mark.parametrize(("expression", "steps"), SELECTED.values(), ids=SELECTED)
def test_an_expression_is_read_at_once_however_large(expression, steps):
    start = time.process_time()
    assert select(expression, PYTHIA, tokens_per_step=TOKENS) == steps
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("n", [2, 7, 153, 154, 3079, 3080, 3081, 20_011])
def test_points_that_are_skipped_change_no_selection(scale, n):
    """Beyond 20 points a step they are searched, not gone through: the selection is that of all
    points.
    """
    few = (3, 4, 9, 1000, 1001, 5000, 2**40)
    for steps in (PYTHIA, few):
        at = {
            "log": [math.log2(step + 1) for step in steps],
            "linear": [float(step) for step in steps],
        }[scale]
        points = (at[0] + (at[-1] - at[0]) * i / (n - 1) for i in range(n))
        chosen = {
            min(range(len(at)), key=lambda i, point=point: (abs(at[i] - point), i))
            for point in points
        }
        assert select(f"{scale}:{n}", steps) == tuple(steps[i] for i in sorted(chosen))


def test_steps_of_the_largest_number_are_selected():
    steps = (0, 2**53, 2**53 + 1, 2**63 - 1)
    assert select("all", steps) == steps
    assert select(f"{2**53 + 1},last", steps) == steps[2:]
    assert select(f"1:{2**63 - 1}", steps) == steps[1:]
