"""N-gram models of a corpus, text to compare a model with them on, and text sampled from each.

Counts are sparse: an order holds the n-grams that occur. Probabilities are interpolated after
Witten and Bell (1991),

    p(w | h) = (c(h, w) + T(h) p(w | h')) / (c(h) + T(h)),

with T(h) the number of different tokens that follow h, and h' what is left of h without its first
token; below the unigram all tokens are equally likely. A context that never occurs says nothing:
p(w | h) = p(w | h'). Each distribution sums to 1 over the vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pythia_traj.data.cutting import designs, draw, draw_positions, with_shuffled
from pythia_traj.data.text import (
    TextData,
    heldout,
    heldout_of,
    length_for,
    training,
)
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import Count, Vocabulary

ORDERS = ("unigram", "bigram", "trigram")
"""Models by the number of tokens they know of, the predicted one included: 1, 2, 3."""


class SparseRows(NamedTuple):
    """Distributions of one order over the next token, as additions to those of the order below.

    Attributes:
        below: the weight of the order below [context].
        context, token: where something is added [entry]; each pair once.
        mass: how much [entry].
    """

    below: np.ndarray
    context: np.ndarray
    token: np.ndarray
    mass: np.ndarray


@dataclass(frozen=True)
class _Followers:
    """What follows each context that occurs, in the order of contexts and then of tokens.

    Attributes:
        contexts: the tokens of a context as one number, ascending [context].
        starts: where the entries of each begin, and the number of all at the end [context + 1].
        tokens: which tokens follow [entry].
        cumulative: how often, summed over all entries before, this one included [entry].
    """

    contexts: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    cumulative: np.ndarray

    @classmethod
    def count(cls, contexts: np.ndarray, tokens: np.ndarray, size: int) -> "_Followers":
        """Counts (context, token) pairs."""
        keys, counts = np.unique(contexts * size + tokens, return_counts=True)
        found, starts = np.unique(keys // size, return_index=True)
        return cls(found, np.append(starts, len(keys)), keys % size, counts.cumsum())

    def find(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First entry and number of entries of each context; 0 of one that does not occur."""
        index = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        there = self.contexts[index] == contexts
        return self.starts[index], np.where(there, self.starts[index + 1] - self.starts[index], 0)

    def before(self, entries: np.ndarray) -> np.ndarray:
        """How often all entries before these occur together."""
        return np.where(entries > 0, self.cumulative[entries - 1], 0)


class NGramCounts:
    """Counts of the unigrams, bigrams and trigrams of some documents.

    Attributes:
        size: tokens of the vocabulary that the models are normalised over.
        n_tokens: tokens that were counted.
        unigram: probabilities, float32 [size].
    """

    def __init__(self, texts: Iterable[np.ndarray], size: int) -> None:
        """Counts the token ids of documents; no n-gram spans two of them.

        Raises:
            DataError: no document has three tokens.
        """
        self.size = size
        parts = [np.asarray(ids, dtype=np.int64) for ids in texts if len(ids) >= len(ORDERS)]
        if not parts:
            raise DataError(f"no document of {len(ORDERS)} tokens or more to count n-grams in")
        tokens = np.concatenate(parts)
        self.n_tokens = len(tokens)
        counts = np.bincount(tokens, minlength=size).astype(np.float64)
        types = int((counts > 0).sum())
        exact = (counts + types / size) / (len(tokens) + types)
        self.unigram = exact.astype(np.float32)
        self._cumulative = exact.cumsum() / exact.sum()
        document = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._followers = []
        for width in range(1, len(ORDERS)):
            inside = document[width:] == document[:-width]
            contexts = self._contexts(
                np.stack([tokens[i : len(tokens) - width + i] for i in range(width)], 1)
            )
            self._followers.append(_Followers.count(contexts[inside], tokens[width:][inside], size))

    def _contexts(self, tokens: np.ndarray) -> np.ndarray:
        """Contexts [..., width] as numbers [...]."""
        numbers = tokens[..., 0]
        for i in range(1, tokens.shape[-1]):
            numbers = numbers * self.size + tokens[..., i]
        return numbers

    def rows(self, order: int, contexts: np.ndarray) -> SparseRows:
        """What an order adds to the one below, for contexts at hand.

        Args:
            order: 2 for bigrams, 3 for trigrams.
            contexts: token ids [context, width]; the last order - 1 of each are looked at, the last
                one being the token before the predicted one.
        """
        followers = self._followers[order - 2]
        starts, numbers = followers.find(
            self._contexts(contexts[:, contexts.shape[1] - order + 1 :])
        )
        ends = starts + numbers
        total = np.where(numbers > 0, followers.before(ends) - followers.before(starts), 0)
        context = np.repeat(np.arange(len(contexts)), numbers)
        within = np.arange(len(context)) - np.repeat(numbers.cumsum() - numbers, numbers)
        entries = np.repeat(starts, numbers) + within
        counts = followers.cumulative[entries] - followers.before(entries)
        below = np.where(numbers > 0, numbers / np.maximum(total + numbers, 1), 1)
        mass = counts / (total + numbers)[context]
        return SparseRows(
            below.astype(np.float32), context, followers.tokens[entries], mass.astype(np.float32)
        )

    def sample(self, order: int, n: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """Sequences drawn from an order's model; lower orders begin each: int64 [n, length]."""
        tokens = np.empty((n, length), dtype=np.int64)
        for position in range(length):
            drawn = np.searchsorted(self._cumulative, rng.random(n), side="right").clip(
                max=self.size - 1
            )
            # p = (1 - below) x counts + below x p of the order below: from the lowest up, a draw is
            # replaced or kept.
            for width in range(1, min(order - 1, position) + 1):
                followers = self._followers[width - 1]
                starts, numbers = followers.find(
                    self._contexts(tokens[:, position - width : position])
                )
                before = followers.before(starts)
                total = np.where(numbers > 0, followers.before(starts + numbers) - before, 0)
                replaced = rng.random(n) * (total + numbers) < total
                at = before + np.minimum(
                    (rng.random(n) * total).astype(np.int64), np.maximum(total - 1, 0)
                )
                entry = np.searchsorted(followers.cumulative, at, side="right").clip(
                    max=len(followers.tokens) - 1
                )
                drawn = np.where(replaced, followers.tokens[entry], drawn)
            tokens[:, position] = drawn
        return tokens


@dataclass(frozen=True)
class NGramText(TextData["BoundNGramText"]):
    """N-gram models of nine documents in ten, text of the others, and text sampled from each model.

    Attributes:
        n: sequences of text, and of samples of each order.
        length: tokens of a sequence of text, BOS included; 550, or the model's context if that is
            shorter, if not given.
        null_n: sequences of each whose tokens are shuffled, evenly spaced.
        positions: of each sequence of text that are read, at most, drawn at random.
        sampled: tokens of a sample, BOS included; all of its positions are read.
        train_tokens: of the corpus that are counted, at most.
        corpus: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR; nine documents
            in ten are counted.
        bos: whether BOS is prepended; the n-grams never see it.
    """

    positions: Count = 60
    sampled: Count = 64
    train_tokens: Count = 4_000_000

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The content of both parts of the corpus, the smoothing and the seed of the draws."""
        return super().spec(seed=seed) | {"smoothing": "witten-bell"}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundNGramText":
        """Reads the corpus, counts, cuts and samples.

        Raises:
            DataError: as TextTokens, or no documents are left to count in, or no position has two
                tokens before it.
        """
        return BoundNGramText(self, vocabulary, seed=seed)


class BoundNGramText:
    """The models, and the sequences.

    Attributes:
        parameters: what was asked for.
        counts: the models.
        groups: `text`, and by the names of ORDERS what was sampled from each; of every one also
            `<name>/shuffled`, null_n of the sequences with their tokens permuted:
            int64 [item, pos].
        designs: of text, which sequences are of one document; samples are independent.
        positions: of each group's sequences, those whose next token's prediction is read:
            int64 [item, read], ascending. Of text, some of those that have two tokens up to them,
            BOS not counted; of what is sampled all.
        facts: how many tokens were counted, and of how many entries the vocabulary consists.
    """

    def __init__(self, parameters: NGramText, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, null_n, sampled = parameters.n, parameters.null_n, parameters.sampled
        corpus, column, bos = parameters.corpus, parameters.column, parameters.bos
        length = length_for(vocabulary, parameters.length)
        if length - int(bos) < len(ORDERS):
            raise DataError(
                f"sequences of {length} tokens hold no trigram: set length to at least"
                f" {3 + int(bos)}"
            )
        if sampled < 2 + int(bos):
            raise DataError(
                f"samples of {sampled} tokens predict nothing: set sampled to at least"
                f" {2 + int(bos)}"
            )
        vocabulary.check_length("a sample", sampled, "sampled", vocabulary.n_ctx)
        rng = stream(seed, "text")
        text = draw(
            vocabulary,
            heldout(corpus, column),
            heldout_of(corpus),
            n=n,
            length=length,
            bos=bos,
            rng=rng,
        )
        both = with_shuffled(vocabulary, text.tokens, null_n, bos, rng)
        self.groups = {"text": both["text"], "text/shuffled": both["shuffled"]}
        self.designs = designs(self.groups, text.documents)
        # What follows is its own; the text is that of other experiments with this seed.
        rng = stream(seed, "ngrams")
        among = range(1 + int(bos), length - 1)
        self.positions = {
            name: draw_positions(len(ids), parameters.positions, among, rng)
            for name, ids in self.groups.items()
        }
        counted = vocabulary.encode_many(training(corpus, column), most=parameters.train_tokens)
        self.counts = NGramCounts(counted, vocabulary.entries)
        for order, name in enumerate(ORDERS, 1):
            drawn = self.counts.sample(order, n, sampled - int(bos), rng)
            both = with_shuffled(vocabulary, drawn, null_n, bos, rng)
            new = {name: both["text"], f"{name}/shuffled": both["shuffled"]}
            self.groups |= new
            self.positions |= {
                name: np.tile(np.arange(sampled - 1), (len(ids), 1)) for name, ids in new.items()
            }
        self.facts = {
            "counted_tokens": self.counts.n_tokens,
            "vocabulary_entries": vocabulary.entries,
        }
