"""How well labels are predicted, with a bootstrap over the tokens' documents.

Tokens of one document are not independent draws, documents are. So every quantity is a sum over
documents first; a value and its resamples are then ratios of weighted sums: [resample], the first
with each document once, the others drawn with replacement.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from pythia_traj.engines.streams import stream

Draws = Float[np.ndarray, " resample"]


class Documents:
    """Which document each token belongs to, and the resamples of documents.

    Attributes:
        n: how many documents.
        tokens: of each document.
    """

    def __init__(self, documents: Int[np.ndarray, " token"], resamples: int) -> None:
        numbers, which = np.unique(documents, return_inverse=True)
        self.n = len(numbers)
        self._membership = (which == np.arange(self.n)[:, None]).astype(np.float64)
        rng = stream(0, "bootstrap of documents")
        draws = rng.multinomial(self.n, np.full(self.n, 1 / self.n), size=resamples)
        self._weights = np.concatenate([np.ones((1, self.n)), draws])
        self.tokens: Int[np.ndarray, " document"] = self._membership.sum(1).astype(int)

    def means(self, values: Float[np.ndarray, " token"]) -> Float[np.ndarray, " document"]:
        """The mean over the tokens of each document."""
        found: np.ndarray = self._membership @ values / self.tokens
        return found

    def share(self, values: np.ndarray, among: "Bool[np.ndarray, ' token'] | None" = None) -> Draws:
        """The mean over tokens, or over those that count; NaN without any.

        Args:
            values: of each token: numbers, or whether something is so.
            among: which tokens count; all if not given.
        """
        counted = np.ones(len(values)) if among is None else among
        above = self._weights @ (self._membership @ (values * counted))
        below = self._weights @ (self._membership @ counted)
        found: np.ndarray = np.divide(
            above, below, out=np.full_like(above, np.nan), where=below > 0
        )
        return found

    def macro_f1(
        self, predicted: Int[np.ndarray, " token"], labels: Int[np.ndarray, " token"], classes: int
    ) -> Draws:
        """The mean over classes of 2 x right / (predicted + present).

        Only classes that are predicted or present count.

        Args:
            predicted: of each token, a class from 0.
            labels: the right ones.
            classes: how many there are.
        """
        numbers = np.arange(classes)[:, None]
        is_predicted, is_there = predicted == numbers, labels == numbers
        sums = [
            self._membership @ one.T
            for one in (is_predicted & is_there, is_predicted.astype(int) + is_there)
        ]
        right, both = (self._weights @ one for one in sums)
        f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
        return np.asarray(f1.sum(1) / (both > 0).sum(1))
