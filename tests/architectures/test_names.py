"""A tensor of an architecture is named in its own file of tables and nowhere else."""

import re
from pathlib import Path

import pytest

from pythia_traj.architectures.finding import every
from pythia_traj.architectures.tables import Architecture, Norm, Reading

ROOT = Path(__file__).parents[2]
CONSTANT = r"attention\.(?:masked_)?bias|masked_bias|inv_freq|rotary_emb\."


def stored_names(architecture: Architecture) -> list[str]:
    ends = [architecture.embed, *architecture.unembed, architecture.last_norm.stored]
    return [*(entry.stored for entry in architecture.block), *ends]


def patterns(architecture: Architecture) -> re.Pattern[str]:
    """Finds a name of the tables: its beginning, the whole, or its part that is distinctive."""
    words = {
        word
        for name in stored_names(architecture)
        for word in (name, *name.split("."))
        if word == name or "_" in word
    } - {architecture.base.rstrip(".")}
    every_word = "|".join(sorted(rf"\b{re.escape(word)}\b" for word in words))
    base = re.escape(architecture.base)
    return re.compile(rf"\b{base}(?!py\b)|{every_word}|{CONSTANT}")


def files() -> list[Path]:
    tables = {f"{architecture.model_type}.py" for architecture in every()}
    return [
        path
        for folder in ("pythia_traj", "experiments", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not (path.parent.name == "architectures" and path.name in tables)
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_names_a_tensor(path: Path) -> None:
    for architecture in every():
        found = patterns(architecture).search(path.read_text())
        assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]}"


@pytest.mark.parametrize(
    "line",
    [
        'stored["gpt_neox.embed_in.weight"]',
        '_BASE = ("embed_in.", "layers.")',
        'f"{layer}.attention.query_key_value"',
        'f"{layer}attention.dense.weight"',
        'name.replace("lm_head.", "embed_out.")',
        '"input_layernorm"',
        '"attention.bias"',
        '"layers.0.attention.rotary_emb.inv_freq"',
    ],
)
def test_a_name_elsewhere_would_be_found(line: str) -> None:
    assert any(patterns(architecture).search(line) for architecture in every())


def test_an_import_of_the_tables_is_not_a_name() -> None:
    line = "from pythia_traj.architectures.gpt_neox import ARCHITECTURE  # see gpt_neox.py"
    assert not any(patterns(architecture).search(line) for architecture in every())


def test_every_table_has_norms_and_what_reads_through_them() -> None:
    for architecture in every():
        seen: list[str] = []
        for entry in architecture.block:
            if isinstance(entry, Norm):
                seen.append(entry.module)
            elif isinstance(entry, Reading):
                assert entry.norm in seen, f"{entry.stored} is read before {entry.norm}"
                assert len(entry.weights) == len(entry.biases)
