"""The arithmetic of a swap: cast, fold and centre one matrix into a buffer, block by block.

The matrix is a checkpoint's, the buffer the model's. Every matrix is handled in the file's layout
[out, in], where all of TransformerLens's processing is simple:

- a matrix that *reads* the residual stream (W_Q, W_K, W_V, W_in, W_U) has rows over d_model.
  Folding a LayerNorm with gain g and bias s into row w gives w*g - mean(w*g), and adds w.s to the
  bias. Both sums are one product of the row with [g/d_model, s].
- a matrix that *writes* to it (W_O, W_out) has columns over d_model; centring subtracts the mean of
  its rows. Folding the value bias adds W_O b_V to b_O.
- centring W_U over the vocabulary subtracts the mean folded row, which follows from the mean raw
  row: with m = mean(w), mean over rows of (w*g - mean(w*g)) = m*g - mean(m*g).

What each pass over memory costs, and why blocks: a cast alone reads 2 bytes and writes 4 per
parameter, and is bound by memory. A simple fold adds four passes over the fp32 result (a product
for the bias, the gain, the mean, its subtraction), each with one read of memory or more. Here a
block is cast, multiplied and centred while it is in the cores' own caches. Compared with the cast
alone, the embedding then takes about 1.4 times as long, a reading matrix 1.9, a writing matrix 2.4
(its mean is complete only after the last row, so the subtraction is a pass of its own), W_U 2.9
(its mean row is read first). `benchmarks/swap.py` prints each, and the whole.

The blocks follow each other, each split over the cores by torch: every core keeps its part of the
block in its cache through all operations. Products and sums over a block's rows are therefore
batches of one part a thread. Otherwise BLAS and torch's reductions give a core rows or columns that
are in another core's cache, and a swap takes 1.3 times as long if cores share an L3 cache, 2 times
if they do not. Python threads with a block each took 1.5 times as long, because operations this
short spend their time on passing the interpreter lock.

All arithmetic is in fp32; a model of another dtype receives the fp32 result cast once. On a GPU a
block is the whole matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CORE_ELEMENTS = 1 << 19
"""Elements of a block per core: 2 MB of fp32, a share of the outer caches.

For pythia-160m, blocks of half that size took 1.07 times as long, and of a quarter 1.3 times,
because they need more calls; blocks of twice that size took 1.02 times.
"""


@dataclass(frozen=True)
class Norm:
    """A LayerNorm's gain and bias, fp32 [d_model]."""

    gain: Tensor
    shift: Tensor


def row_blocks(matrix: Tensor, device: torch.device) -> Iterator[slice]:
    """Slices of the first axis that make blocks of the right size for the device.

    Each has an equal number of rows for every thread.
    """
    total = matrix.shape[0]
    size = total
    if device.type == "cpu":
        per_row = max(matrix.numel() // max(total, 1), 1)
        size = max(1, CORE_ELEMENTS // per_row) * torch.get_num_threads()
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def fold_reading_matrix(
    out: Tensor,
    stored: Tensor,
    *,
    norm: Norm | None = None,
    bias: Tensor | None = None,
    centre: bool = False,
    minus: Tensor | None = None,
) -> None:
    """A matrix with rows over d_model: folds a LayerNorm into it, or centres its rows.

    Then subtracts one row from all of them.

    Args:
        out: contiguous [..., d_model], the model's buffer.
        stored: the same in the file, of the same shape; its rows may be grouped by head.
        norm: the LayerNorm to fold; None folds nothing. Folding centres the rows.
        bias: fp32 [...], one value a row, which gains stored . norm.shift.
        centre: without a norm, subtract each row's mean (W_E).
        minus: fp32 [d_model], subtracted from every row last (the mean row of W_U).
    """
    sums_of = None if norm is None else torch.stack([norm.gain / norm.gain.numel(), norm.shift])
    for block in row_blocks(out, out.device):
        work = _work(out[block], stored[block])
        rows = work.view(-1, work.shape[-1])
        if norm is not None and sums_of is not None:
            sums = _products(sums_of, rows)
            torch.addcmul(-sums[0].unsqueeze(1), rows, norm.gain, out=rows)
            if bias is not None:
                bias[block].view(-1).add_(sums[1])
        elif centre:
            rows.sub_(rows.mean(1, keepdim=True))
        if minus is not None:
            rows.sub_(minus)
        _deliver(out[block], work)


def fold_writing_matrix(out: Tensor, stored: Tensor, *, centre: bool) -> None:
    """A matrix with columns over d_model: casts it, and centres it by subtracting its mean row.

    Args:
        out: contiguous [d_model, in], the model's buffer.
        stored: the same matrix in the file.
    """
    if centre and out.dtype == torch.float32:
        # The mean is summed while each block is in cache; only the subtraction passes over the
        # matrix again, each core over its own.
        mean = mean_row(stored, out.device, cast_into=out)
        for block in row_blocks(out, out.device):
            out[block].sub_(mean)
        return
    minus = mean_row(stored, out.device) if centre else None
    for block in row_blocks(out, out.device):
        work = _work(out[block], stored[block])
        if minus is not None:
            work.sub_(minus)
        _deliver(out[block], work)


def mean_row(stored: Tensor, device: torch.device, cast_into: Tensor | None = None) -> Tensor:
    """The mean of a matrix's rows, fp32 on `device`.

    The fp32 of each block is kept only if `cast_into` is given to hold it.
    """
    total = torch.zeros(stored.shape[1], dtype=torch.float32, device=device)
    for rows in _cast_blocks(stored, device, cast_into):
        total.add_(_by_core(rows).sum(1).sum(0))
    return total.div_(stored.shape[0])


def add_product(out: Tensor, stored: Tensor, vector: Tensor, *, centre: bool) -> None:
    """`out` += stored . vector in fp32, for a writing matrix [d_model, in] as it is in the file.

    For a centred matrix, the mean of the product is subtracted from it: this equals centring the
    matrix first, and needs no second copy of it in fp32.
    """
    blocks = _cast_blocks(stored, out.device)
    product = torch.cat([_products(vector.unsqueeze(0), rows).squeeze(0) for rows in blocks])
    out.add_(product - product.mean() if centre else product)


def _cast_blocks(
    stored: Tensor, device: torch.device, into: Tensor | None = None
) -> Iterator[Tensor]:
    """A matrix in fp32 on the device, block by block.

    The blocks are in `into`, or all in the same memory; then each is valid until the next one.
    """
    blocks = list(row_blocks(stored, device))
    # New memory for each block would cost more than the work on it.
    again = (
        torch.empty(blocks[0].stop, stored.shape[1], dtype=torch.float32, device=device)
        if into is None
        else into
    )
    for block in blocks:
        rows = again[: block.stop - block.start] if into is None else again[block]
        yield _work(rows, stored[block])


def _products(vectors: Tensor, rows: Tensor) -> Tensor:
    """`vectors` @ rows.T, [vectors, rows], each core multiplying the rows it has in its cache."""
    parts = _by_core(rows)
    products = torch.bmm(vectors.expand(parts.shape[0], -1, -1), parts.mT)
    return products.transpose(0, 1).reshape(vectors.shape[0], -1)


def _by_core(rows: Tensor) -> Tensor:
    """A block as [threads, rows, columns], as torch splits it in elementwise operations.

    It is one part if the rows cannot be split evenly.
    """
    threads = torch.get_num_threads() if rows.device.type == "cpu" else 1
    return rows.view(threads if rows.shape[0] % threads == 0 else 1, -1, rows.shape[1])


def _work(out: Tensor, stored: Tensor) -> Tensor:
    """The block in fp32, contiguous, and never in the file's memory.

    It is in the model's own buffer if that is fp32, else in memory of its own. It is moved to the
    device in its own dtype, which takes half the bytes.
    """
    work = (
        out
        if out.dtype == torch.float32
        else torch.empty(stored.shape, dtype=torch.float32, device=out.device)
    )
    return work.copy_(stored.to(out.device, non_blocking=True))


def _deliver(out: Tensor, work: Tensor) -> None:
    if out.dtype != torch.float32:
        out.copy_(work)
