"""Gathered activations are those of a whole pass, in however many pieces it is made."""

import pytest
import torch

from pythia_traj.engines.gathering import Batch, gather, layers_at_once
from tests.engines.device_arguments import LAYERS, VOCABULARY, built

READ = [
    [("resid_pre", 0), ("mlp_out", 0)],
    [],
    [("attn_out", 2), ("resid_post", 2)],
]


@pytest.mark.parametrize(
    ("counts", "most", "pieces"),
    [
        ([2, 2, 2], 6, [(0, 3)]),
        ([2, 2, 2], 5, [(0, 2), (2, 3)]),
        ([2, 2, 2], 2, [(0, 1), (1, 2), (2, 3)]),
        ([1, 3, 0, 1], 3, [(0, 1), (1, 3), (3, 4)]),
        ([1], 9, [(0, 1)]),
    ],
)
def test_pieces_are_as_long_as_there_is_room(counts, most, pieces):
    assert layers_at_once(counts, most) == [range(*piece) for piece in pieces]


@pytest.mark.parametrize("pieces", [[(0, 3)], [(0, 1), (1, 3)], [(0, 1), (1, 2), (2, 3)]])
@pytest.mark.parametrize("parallel", [True, False])
def test_activations_are_those_of_one_pass(pieces, parallel):
    model = built(parallel, 0)
    generator = torch.Generator().manual_seed(0)
    batches, expected = [], torch.empty(4, 5, model.cfg.d_model)
    names = [f"blocks.{layer}.hook_{site}" for sites in READ for site, layer in sites]
    for length, numbers in ((6, [4, 0]), (9, [1, 3, 2])):
        ids = torch.randint(0, VOCABULARY, (3, length), generator=generator)
        rows, positions = (
            torch.randint(0, most, (len(numbers),), generator=generator) for most in (3, length)
        )
        batches.append(Batch(ids, rows, positions, torch.tensor(numbers)))
        with torch.inference_mode():
            _, cache = model.run_with_cache(ids)
        for i, name in enumerate(names):
            expected[i, numbers] = cache[name][rows, positions]
    found = list(gather_copies(model, batches, [range(*piece) for piece in pieces]))
    assert [where for one, _ in found for where in one] == [one for sites in READ for one in sites]
    assert len(READ) == LAYERS
    torch.testing.assert_close(torch.cat([one for _, one in found]), expected)


def gather_copies(model, batches, pieces):
    """What is yielded is overwritten by the next piece."""
    for where, activations in gather(model, batches, pieces, READ):
        yield where, activations.clone()
