"""What begins a sequence: the model's own token, the same for experiments and `model.to_tokens`."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from pythia_traj.data.continuations import PromptTexts
from pythia_traj.data.text import TextTokens
from pythia_traj.errors import CheckpointError
from pythia_traj.models.swap import SwappableModel
from pythia_traj.models.tokenizer import bos_token_id, eos_token_ids, read_tokenizer
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.datasets import read_vocabulary
from tests.support import TINY, byte_tokenizer, publish, random_model

ABSENT = object()
BEGIN, END = 298, 297
"""Ids of two special tokens added to the tests' tokenizer, whose first special token is 0."""


def tokenizer(stated=False, rstrip=False):
    """A tokenizer whose first special token is neither BOS nor the end of text."""
    made = byte_tokenizer()
    made.add_tokens([f"<x{i}>" for i in range(END - made.get_vocab_size())])
    made.add_special_tokens(["<end>", AddedToken("<begin>", rstrip=rstrip)])
    assert (made.token_to_id("<end>"), made.token_to_id("<begin>")) == (END, BEGIN)
    if stated:
        made.post_processor = processors.TemplateProcessing(
            single="<begin> $A <end>", special_tokens=[("<begin>", BEGIN), ("<end>", END)]
        )
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Builds a checkpoint with a config and a tokenizer of its own."""
    first = tmp_path_factory.mktemp("first") / "step0"
    publish(first, random_model())

    def build(own, **config):
        root = tmp_path_factory.mktemp("model")
        folder = root / "step0"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
        said = json.loads((first / "config.json").read_text()) | config
        (folder / "config.json").write_text(
            json.dumps({k: v for k, v in said.items() if v is not ABSENT})
        )
        own.save(str(folder / "tokenizer.json"))
        return LocalModel.open(root).checkpoint(0)

    return build


CASES = {
    "the config names it": (tokenizer(), {"bos_token_id": BEGIN, "eos_token_id": END}, BEGIN),
    "the config before the tokenizer": (
        tokenizer(stated=True),
        {"bos_token_id": END, "eos_token_id": 0},
        END,
    ),
    "null: the tokenizer's own": (
        tokenizer(stated=True),
        {"bos_token_id": None, "eos_token_id": 0},
        BEGIN,
    ),
    "absent: the tokenizer's own": (
        tokenizer(stated=True),
        {"bos_token_id": ABSENT, "eos_token_id": 0},
        BEGIN,
    ),
    "null: the end of text": (tokenizer(), {"bos_token_id": None, "eos_token_id": END}, END),
    "null: the first of several ends": (
        tokenizer(),
        {"bos_token_id": None, "eos_token_id": [END, 0]},
        END,
    ),
    "neither": (tokenizer(), {"bos_token_id": None, "eos_token_id": None}, 0),
    "a token without a special text": (tokenizer(), {"bos_token_id": 70, "eos_token_id": 0}, 70),
    "a row that the tokenizer lacks": (tokenizer(), {"bos_token_id": 299, "eos_token_id": 0}, 299),
    "a token that takes white space along": (
        tokenizer(rstrip=True),
        {"bos_token_id": BEGIN},
        BEGIN,
    ),
    "as Pythia has it": (byte_tokenizer(), {"bos_token_id": 0, "eos_token_id": 0}, 0),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_experiments_and_the_model_prepend_the_same_token(case, published, tmp_path):
    own, config, expected = CASES[case]
    checkpoint = published(own, **config)
    vocabulary = read_vocabulary(checkpoint)
    assert vocabulary.bos_token_id == expected
    model = SwappableModel(checkpoint, device=torch.device("cpu")).model
    for text in (" def f(): return 1", "x", "\n y", ""):
        plain = vocabulary.encode(text).tolist()
        assert model.to_tokens(text, prepend_bos=True).tolist() == [[expected, *plain]]
        if plain:
            assert model.to_tokens(text, prepend_bos=False).tolist() == [plain]
    assert model.to_tokens(["a", "def g"], prepend_bos=True)[:, 0].tolist() == [expected] * 2
    assert len(model.to_str_tokens("def f", prepend_bos=True)) == 1 + len(
        vocabulary.encode("def f")
    )
    if own.id_to_token(expected) is not None:
        assert model.tokenizer.bos_token_id == expected
    (tmp_path / "notes.txt").write_text("def f(): return 1\n" * 40)
    data = TextTokens(n=2, length=16, null_n=1, corpus=str(tmp_path / "notes.txt"), bos=True).bind(
        vocabulary, seed=0
    )
    assert all((group[:, 0] == expected).all() for group in data.groups.values())


@pytest.mark.parametrize("named", [True, -1, 300, 10**30, 1.0, "0", [0], {"id": 0}], ids=str)
def test_what_is_no_token_of_the_model_is_refused_in_one_line(named, published):
    checkpoint = published(byte_tokenizer(), bos_token_id=0)
    config = {**checkpoint.config(), "bos_token_id": named}
    for found in (None, read_tokenizer(checkpoint.tokenizer())):
        with pytest.raises(
            CheckpointError, match=r"bos_token_id of config.json is .* from 0 up to 299"
        ) as caught:
            bos_token_id(config, found)
        assert "\n" not in str(caught.value)


def test_a_tokenizer_that_states_a_token_the_model_lacks_is_refused(published):
    own = byte_tokenizer()
    own.post_processor = processors.TemplateProcessing(
        single="<b> $A", special_tokens=[("<b>", 5000)]
    )
    with pytest.raises(
        CheckpointError, match=r"tokenizer.json puts in front of a text is 5000.*up to 299"
    ):
        read_vocabulary(published(own, bos_token_id=None))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (END, (END,)),
        ([END, 0], (END, 0)),
        (None, (0,)),
        (-1, (0,)),
        ([300, END, True], (END,)),
        ("x", (0,)),
    ],
    ids=str,
)
def test_what_ends_a_text_is_what_the_config_names_of_the_models_tokens(named, expected, published):
    found = read_tokenizer(published(tokenizer()).tokenizer())
    assert eos_token_ids({**TINY, "eos_token_id": named}, found) == expected


def test_a_continuation_ends_at_the_end_of_text_and_not_at_bos(published):
    vocabulary = read_vocabulary(published(tokenizer(), bos_token_id=BEGIN, eos_token_id=END))
    data = PromptTexts(prompts=("abc",), tokens=4).bind(vocabulary, seed=0)
    written = vocabulary.encode("one").tolist()
    assert data.text([BEGIN, *written, 0, END, *written]) == "<begin>one<|endoftext|>"
    none = read_vocabulary(published(words(), bos_token_id=0, eos_token_id=None))
    assert none.eos_token_ids == ()
    assert PromptTexts(prompts=("a b",), tokens=1).bind(none, seed=0).text([1, 0, 1]) == "a b a"


def words():
    """A tokenizer of words without special tokens."""
    made = Tokenizer(models.WordLevel({"b": 0, "a": 1}, unk_token="a"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def test_pythias_own_tokenizer_begins_as_ever(published):
    real = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
    if not real.is_file():
        pytest.skip("Pythia's tokenizer is not beside this checkout")
    found = read_tokenizer(real)
    assert bos_token_id({**TINY, "vocab_size": 50304}, found) == 0
    assert found.stated_bos is None
    assert found.special == "<|endoftext|>"
    assert found.tokenizer.encode("Hello world").ids == [12092, 1533]
