"""Annotated shapes are checked at every call while tests run, and at none of a user's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from pythia_traj.engines import heads, kept, probing
from pythia_traj.models import fold

ROOT = Path(__file__).parents[2]

FEWEST = 234
"""Annotated shapes that there were when they began to be checked."""

ITEMS, HEADS, QUERIES, KEYS = 2, 3, 6, 7


@pytest.fixture
def pattern():
    """Attention of all queries but the first: [item, head_index, query_pos, key_pos]."""
    return torch.rand(ITEMS, HEADS, QUERIES, KEYS)


@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (1, 3), (0, 1)])
@pytest.mark.parametrize("detect", [heads.detect_head_mul, heads.detect_head_abs])
def test_a_transposed_pattern_is_refused(pattern, detect, axes):
    targets = torch.ones(ITEMS, QUERIES, KEYS).bool()
    assert detect(pattern, targets).shape == (ITEMS, HEADS)
    with pytest.raises(TypeCheckError, match="whilst checking the parameters of"):
        detect(pattern.transpose(*axes), targets)


def test_a_result_of_another_shape_is_refused(monkeypatch):
    """What a function gives back is checked as well as what it is given."""
    monkeypatch.setattr(probing, "_apply", lambda weight, x: torch.zeros(1, 1))
    probes = probing.Probes(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2))
    with pytest.raises(TypeCheckError, match="whilst checking the return value of"):
        probes.logits(torch.zeros(1, 5, 4))


def test_numbers_of_another_type_are_refused(pattern):
    with pytest.raises(TypeCheckError):
        heads.attention_to_first(pattern.long(), 1)
    with pytest.raises(TypeCheckError):
        heads.attention_to_first([[1.0]], 1)


def test_the_room_of_models_is_checked_too():
    with pytest.raises(TypeCheckError):
        fold.row_blocks(torch.zeros(4, 4), "cpu")


def test_labels_may_be_the_same_for_all_layers_and_of_no_other_number():
    logits, labels = torch.zeros(3, 2, 4, 5), torch.zeros(1, 2, 5).long()
    assert probing.cross_entropy(logits, labels).shape == (3, 2, 5)
    with pytest.raises(TypeCheckError):
        probing.cross_entropy(logits, labels.expand(2, -1, -1))


def test_users_calls_are_not_checked():
    code = f"import sys, {heads.__name__}, {kept.__name__}; sys.exit('beartype' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_are_no_fewer_annotated_shapes_than_there_were():
    files = [
        path
        for room in ("engines", "models")
        for path in (ROOT / "pythia_traj" / room).rglob("*.py")
    ]
    shapes = re.compile(r"\b(?:Float|Int|Bool|Shaped)\[")
    assert sum(len(shapes.findall(path.read_text())) for path in files) >= FEWEST
