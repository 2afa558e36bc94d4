"""How weights are rewritten on their way from a checkpoint into the model.

The rewrites have HookedTransformer's own names.

None of these changes the function that the model computes (up to rounding, and a shift of all
logits); they change what single parameters and single components mean, and so some metrics.
Recorded with every result.
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Processing:
    """TransformerLens's four rewrites.

    Attributes:
        fold_ln: LayerNorm's gain and bias go into the weights that read from it, whose input
            directions are centred.
        center_writing_weights: every weight that writes to the residual stream has mean 0 over
            d_model.
        center_unembed: W_U has mean 0 over the vocabulary.
        fold_value_biases: b_V moves into b_O, which is exact because attention patterns sum to 1.
    """

    fold_ln: bool = True
    center_writing_weights: bool = True
    center_unembed: bool = True
    fold_value_biases: bool = True

    def as_dict(self) -> dict[str, bool]:
        """The options by name, for provenance."""
        return asdict(self)


FOLDED = Processing()
"""TransformerLens's customary processing: all four."""

RAW = Processing(
    fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
)
"""The parameters as they were trained: what statistics of weights need."""
