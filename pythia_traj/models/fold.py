"""The arithmetic of a swap: cast, fold and centre one matrix of a checkpoint into the model's buffer, block by block.

Every matrix is handled in the file's layout [out, in], where all of TransformerLens's processing is simple:

- a matrix that *reads* the residual stream (W_Q, W_K, W_V, W_in, W_U) has rows over d_model. Folding a LayerNorm with gain g and
  bias s into row w gives w*g - mean(w*g), and adds w.s to the bias. Both sums are one product of the row with [g/d_model, s].
- a matrix that *writes* to it (W_O, W_out) has columns over d_model; centring subtracts the mean of its rows. Folding the value
  bias adds W_O b_V to b_O.
- centring W_U over the vocabulary subtracts the mean folded row, which is known from the mean raw row: with m = mean(w),
  mean over rows of (w*g - mean(w*g)) = m*g - mean(m*g).

What each pass over memory costs, and why blocks: cast alone reads 2 bytes and writes 4 per parameter. A fold written plainly adds
three passes over the fp32 result (product for the bias, gain, mean and subtraction), each a read and a write of memory. Here a
block of 1 MB is cast, multiplied and centred while it lies in a core's own cache: a reading matrix is cast once and passed twice in
cache, a writing matrix is cast twice (once for its mean alone, into scratch). Blocks are shared out to threads that each use one
core, because torch's own parallel loops wake all cores for every small operation. `benchmarks/swap.py` prints the outcome beside
the cast alone.

All arithmetic is in fp32; a model of another dtype receives the fp32 result cast once. On a GPU a block is the whole matrix.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 18
"""Elements of a block: 1 MB of fp32."""


class Workers:
    """Runs the tasks of a swap on as many threads as torch uses, each confined to one core.

    On a GPU the tasks run one after the other in the calling thread: they only queue kernels.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = _single_core_threads(threads) if threads > 1 else None

    def run(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Runs all tasks and returns when the last has ended; the first error is raised."""
        if self._pool is None:
            for task in tasks:
                task()
            return
        for _ in self._pool.map(lambda task: task(), tasks):
            pass

    def block_rows(self, columns: int) -> int:
        """How many rows of so many columns make one block."""
        if self.device.type != "cpu":
            return 1 << 62
        return max(1, BLOCK_ELEMENTS // max(columns, 1))


def _single_core_threads(threads: int) -> ThreadPoolExecutor:
    """A pool whose threads run torch operations on their own core only; torch's setting for the caller is left as it was."""
    started = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="swap", initializer=torch.set_num_threads, initargs=(1,))
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    # The count is per thread for those that exist and inherited by those to come: set it back for the latter.
    torch.set_num_threads(threads)
    return pool


def blocks(total: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `total`."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))



def fold_reading_rows(
    out: Tensor,
    source: Tensor,
    *,
    gain: Tensor | None = None,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    centre: bool = False,
    minus: Tensor | None = None,
) -> None:
    """One block of rows over d_model: folds a LayerNorm into it, or centres it, or subtracts a row from it.

    Args:
        out: contiguous rows [..., d_model] of the model's buffer.
        source: the same rows in the file, of the same shape.
        gain, shift: LayerNorm's parameters [d_model] in fp32; None folds nothing. Folding centres the rows.
        bias: fp32 [...], one value a row, which gains source . shift.
        centre: without a gain, subtract each row's mean (W_E).
        minus: fp32 [d_model], subtracted from every row last (the mean row of W_U).
    """
    work = _work(out, source)
    rows = work.view(-1, work.shape[-1])
    if gain is not None and shift is not None:
        sums = torch.stack([gain / gain.numel(), shift]) @ rows.T
        torch.addcmul(-sums[0].unsqueeze(1), rows, gain, out=rows)
        if bias is not None:
            bias.view(-1).add_(sums[1])
    elif centre:
        rows.sub_(rows.mean(1, keepdim=True))
    if minus is not None:
        rows.sub_(minus)
    _deliver(out, work)


def fold_writing_matrix(out: Tensor, source: Tensor, rows: int, *, centre: bool) -> None:
    """A whole matrix with columns over d_model: casts it, and centres it.

    Args:
        out: contiguous [d_model, in] of the model's buffer.
        source: the same matrix in the file.
        rows: rows of a block.
        centre: subtract the mean row.
    """
    mean = column_mean(source, out, rows) if centre else None
    for block in blocks(out.shape[0], rows):
        work = _work(out[block], source[block])
        if mean is not None:
            work.sub_(mean)
        _deliver(out[block], work)


def add_product(out: Tensor, source: Tensor, vector: Tensor, rows: int, *, centre: bool) -> None:
    """`out` += source . vector in fp32, for a writing matrix [d_model, in] as it is in the file; centred: its own mean taken off.

    Centring the product is the same as centring the matrix first, and needs no second copy of it in fp32.
    """
    product = torch.cat([_scratch(source[block], out.device) @ vector for block in blocks(source.shape[0], rows)])
    out.add_(product - product.mean() if centre else product)


def column_mean(source: Tensor, like: Tensor, rows: int) -> Tensor:
    """The mean row of a matrix [rows, columns], in fp32 on the device of `like`, reading it in blocks of rows."""
    total = torch.zeros(source.shape[1], dtype=torch.float32, device=like.device)
    weight = torch.full((min(rows, source.shape[0]),), 1 / source.shape[0], dtype=torch.float32, device=like.device)
    for block in blocks(source.shape[0], rows):
        part = _scratch(source[block], like.device)
        total.addmv_(part.T, weight[: part.shape[0]])
    return total


def _local(source: Tensor, out: Tensor) -> Tensor:
    """The source on out's device, moved in its own dtype: half the bytes of the fp32 it will become."""
    return source if source.device == out.device else source.to(out.device, non_blocking=True)


_buffers = threading.local()


def _scratch(source: Tensor, device: torch.device) -> Tensor:
    """The source in fp32 in this thread's scratch memory (on a GPU: in new memory, which its allocator reuses)."""
    if device.type != "cpu":
        return source.to(device, non_blocking=True).float()
    buffer = getattr(_buffers, "fp32", None)
    if buffer is None or buffer.numel() < source.numel():
        buffer = _buffers.fp32 = torch.empty(max(source.numel(), BLOCK_ELEMENTS), dtype=torch.float32)
    work: Tensor = buffer[: source.numel()].view(source.shape)
    return work.copy_(source)


def _work(out: Tensor, source: Tensor) -> Tensor:
    """The block in fp32: in the model's own buffer where that is fp32, else in scratch."""
    if out.dtype == torch.float32:
        return out.copy_(_local(source, out))
    return _scratch(source, out.device)


def _deliver(out: Tensor, work: Tensor) -> None:
    if out.dtype != torch.float32:
        out.copy_(work)

