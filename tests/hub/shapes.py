"""The shapes of the published Pythia models, and `tiny`: what `random_pythia` can make."""

from benchmarks.shapes import COMMON
from benchmarks.shapes import SHAPES as MEASURED

Shape = dict[str, int | float]


def _shape(hidden: int, layers: int, heads: int) -> Shape:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }


SHAPES: dict[str, Shape] = {
    "tiny": {
        **COMMON,
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "rotary_pct": 0.5,
    },
    "14m": {**COMMON, **_shape(128, 6, 4)},
    "31m": {**COMMON, **_shape(256, 6, 8)},
    **{size: {**COMMON, **shape} for size, shape in MEASURED.items()},
    "1.4b": {**COMMON, **_shape(2048, 24, 16)},
    "2.8b": {**COMMON, **_shape(2560, 32, 32)},
}
