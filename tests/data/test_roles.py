"""The data of roles: where names stand, which words follow which, what a tokenizer does not allow,
and that no two sets share an item.
"""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.data.roles import ORDERED, SUPPRESSION_LENGTH, RolePrompts
from pythia_traj.data.tasks import ioi
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

PYTHIAS = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"


def word_tokenizer(extra=()):
    """A tokenizer of whole words that has those of the name prompts, and no others."""
    words = {"[UNK]": 0}
    texts = [re.sub(r"\{\w+\}", " ", text) for text in ioi.TEMPLATES.values()]
    for word in re.findall(
        r"\w+|[^\w\s]+", " ".join([*texts, *ioi.NAMES, *ioi.PLACES, *ioi.THINGS, *extra])
    ):
        words.setdefault(word, len(words))
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture(scope="module", params=["words", "pythia"])
def vocabulary(request):
    if request.param == "words":
        tokenizer = word_tokenizer(ORDERED["days"][0])
        return Vocabulary(tokenizer.get_vocab_size(), 128, tokenizer)
    if not PYTHIAS.exists():
        pytest.skip("Pythia's tokenizer is not at hand")
    return Vocabulary(50304, 2048, Tokenizer.from_file(str(PYTHIAS)))


@pytest.fixture(scope="module")
def data(vocabulary):
    return RolePrompts(n=40).bind(vocabulary, seed=0)


def test_names_stand_where_it_says(data):
    assert sorted(np.concatenate([batch.item for batch in data.names])) == list(range(40 + 20 * 20))
    for batch in data.names:
        rows = np.arange(len(batch.item))
        io, s = batch.candidates[:, 0].T
        assert (batch.clean[rows, batch.io] == io).all()
        assert (batch.clean[rows, batch.s1] == s).all()
        assert (batch.clean[rows, batch.s2] == s).all()
        assert (batch.s1 < batch.s2).all()
        assert (batch.io < batch.s2).all()
        assert batch.reads.tolist() == [batch.clean.shape[1] - 1]
        differs = batch.clean != batch.corrupted
        assert (differs.sum(1) == 3).all()
        for place in (batch.io, batch.s1, batch.s2):
            assert differs[rows, place].all()


def test_prompt_and_twin_are_shuffled_alike(data):
    for batch in data.names:
        assert (np.sort(batch.shuffled) == np.sort(batch.clean)).all()
        assert (np.sort(batch.shuffled_twin) == np.sort(batch.corrupted)).all()
        assert ((batch.shuffled != batch.shuffled_twin).sum(1) == 3).all()
        assert (batch.shuffled != batch.clean).any()


def test_each_ordered_word_is_followed_by_the_next_one(data, vocabulary):
    follows = {
        (space + a, space + b)
        for spellings in ORDERED.values()
        for spelling in spellings
        for a, b in pairwise(spelling)
        for space in ("", " ")
    }
    decode = vocabulary.tokenizer.decode
    for task in data.ordered:
        assert len(task.words) == len(set(task.targets.tolist())) >= 3
        for word, target in zip(task.words, task.targets, strict=True):
            assert (decode([word]), decode([target])) in follows
        assert (np.sort(task.shuffled) == np.arange(len(task.words))).all()
        assert (task.shuffled != np.arange(len(task.words))).all()
        assert len(task.shuffled) == 1 + 20


def test_words_are_in_one_of_three_sets_of_one_size(data):
    words = sum(len(task.words) for task in data.ordered)
    assert data.words.shape == (3, words // 3)
    assert len(np.unique(data.words)) == data.words.size
    of_task = np.repeat(np.arange(len(data.ordered)), [len(task.words) for task in data.ordered])
    expected = [1 / len(data.ordered[of_task[word]].words) for word in data.words[:2].ravel()]
    assert data.chances.tolist() == expected


def test_no_prompt_stands_in_two_sets(data):
    prompts = np.concatenate([[str(row) for row in batch.clean] for batch in data.names])
    number = np.concatenate([batch.item for batch in data.names])
    assert len(set(prompts)) == len(prompts)
    templates = [template for batch in data.names for template in batch.templates]
    for fold in (number < 20, (number >= 20) & (number < 40)):
        assert fold.sum() == data.fold == 20
        chosen = {template for template, is_in in zip(templates, fold, strict=True) if is_in}
        # The task has its ten templates in turn.
        assert len(chosen) > 5


@pytest.mark.skipif(not PYTHIAS.exists(), reason="Pythia's tokenizer is not at hand")
def test_pythias_tokenizer_has_all_six_vocabularies():
    tokenizer = Tokenizer.from_file(str(PYTHIAS))
    data = RolePrompts().bind(Vocabulary(50304, 2048, tokenizer), seed=0)
    words = {tokenizer.decode([word]) for task in data.ordered for word in task.words}
    assert {"7", " 7", " one", " Monday", "Monday", " January", " a", "A", " III"} <= words
    assert data.facts == {"sequences": 16, "names": 16, "ordered": len(data.chances)}
    assert len(data.chances) == 2 * data.words.shape[1]


def test_random_keys_are_no_later_than_their_query():
    data = RolePrompts(n=200, length=10, bos=True).bind(Vocabulary(300, 128), seed=0)
    queries = np.arange(11, 21)
    assert (data.random_keys >= 0).all()
    assert (data.random_keys <= queries).all()
    assert (data.random_keys == queries).any(0).all()


def test_bos_stands_before_everything(vocabulary):
    data = RolePrompts(n=4, bos=True).bind(vocabulary, seed=0)
    assert all((tokens[:, 0] == 0).all() for tokens in data.groups.values())
    assert all((batch.shuffled[:, 0] == 0).all() for batch in data.names)
    assert data.groups["short/two_halves"].shape == (4 + 20 * 2, 1 + 2 * SUPPRESSION_LENGTH)


@pytest.mark.parametrize(("tokenizer", "ordered"), [(byte_tokenizer(), True), (None, False)])
def test_what_a_tokenizer_does_not_allow_says_why(tokenizer, ordered):
    data = RolePrompts().bind(Vocabulary(300, 128, tokenizer), seed=0)
    assert data.names == []
    assert data.facts["names"].startswith("task ioi_abc has no items for this model's tokenizer")
    # Single letters are tokens of every byte-level tokenizer.
    assert bool(data.ordered) == ordered
    if not ordered:
        assert (
            data.facts["ordered"]
            == "this model's tokenizer has no 4 ordered words in a row that are one token each"
        )


@pytest.mark.parametrize(("role", "why"), [("name_mover", "ioi_abc"), ("successor", "ordered")])
def test_a_role_that_is_asked_for_by_name_and_has_no_items_is_refused(role, why):
    vocabulary = Vocabulary(300, 128)
    with pytest.raises(DataError, match=f"^role {role} cannot be measured: .*{why}"):
        RolePrompts(roles=("induction", role)).bind(vocabulary, seed=0)
    data = RolePrompts(roles=("induction",)).bind(vocabulary, seed=0)
    assert data.roles == ("induction",)
    assert data.facts["names"] == data.facts["ordered"] == "not asked for"


def test_too_few_prompts_are_none(monkeypatch):
    tokenizer = word_tokenizer()
    vocabulary = Vocabulary(tokenizer.get_vocab_size(), 128, tokenizer)
    bind = TaskPrompts.bind

    def fewer(self, *arguments, **keywords):
        return bind(replace(self, n=self.n - 1), *arguments, **keywords)

    monkeypatch.setattr(TaskPrompts, "bind", fewer)
    data = RolePrompts(n=4).bind(vocabulary, seed=0)
    assert data.names == []
    assert (
        data.no_names == "only 43 prompts of task ioi_abc can be used with this model's tokenizer,"
        " 44 are needed"
    )


def test_too_few_words_are_none():
    tokenizer = word_tokenizer(ORDERED["days"][0][:5])
    data = RolePrompts(n=4).bind(Vocabulary(tokenizer.get_vocab_size(), 128, tokenizer), seed=0)
    assert data.no_ordered == (
        "this model's tokenizer has only 4 ordered words with a successor that are one token each,"
        " 6 are needed"
    )


def test_no_tokens_are_those_of_induction_or_of_the_task_at_the_same_seed(vocabulary):
    data = RolePrompts(n=8, length=20).bind(vocabulary, seed=3)
    others = RepeatedTokens(n=8, length=20).bind(vocabulary, seed=3).groups["two_halves"]
    assert not (data.groups["two_halves"][:8, :8] == others[:, :8]).all(1).any()
    short, long = data.groups["short/two_halves"], data.groups["two_halves"]
    assert not (short[:, :8] == long[:, :8]).all(1).any()
    task = TaskPrompts(task="ioi_abc", n=8).bind(vocabulary, seed=3)
    prompts = {str(row) for batch in task.batches for row in batch.clean}
    assert prompts.isdisjoint(str(row) for batch in data.names for row in batch.clean)


def test_the_draw_depends_on_the_seed_alone(vocabulary):
    one, same, other = (RolePrompts(n=8).bind(vocabulary, seed=seed) for seed in (1, 1, 2))
    assert one.groups.keys() == same.groups.keys()
    assert all((one.groups[name] == same.groups[name]).all() for name in one.groups)
    assert (one.random_keys == same.random_keys).all()
    assert (one.groups["two_halves"] != other.groups["two_halves"]).any()
    assert RolePrompts(n=8).spec(seed=1) != RolePrompts(n=8).spec(seed=2)


def test_halves_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="set length to at most 16"):
        RolePrompts().bind(Vocabulary(300, 32), seed=0)


def test_some_of_the_name_prompts_are_as_they_were():
    tokenizer = word_tokenizer()
    data = RolePrompts(n=40).bind(Vocabulary(tokenizer.get_vocab_size(), 128, tokenizer), seed=0)
    for batch in data.names:
        chosen = batch.item % 3 == 0
        part = batch.part(chosen)
        assert type(part) is type(batch)
        for name in ("clean", "corrupted", "shuffled_twin", "io", "s1", "s2", "item", "is_right"):
            np.testing.assert_array_equal(getattr(part, name), getattr(batch, name)[chosen])
        np.testing.assert_array_equal(part.reads, batch.reads)
        assert part.templates == tuple(np.array(batch.templates)[chosen])
        assert [item for some in batch.parts(3) for item in some.item] == batch.item.tolist()
