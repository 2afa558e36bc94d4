"""One HookedTransformer for a whole sweep: built once, its weights swapped in place, step after step.

Nothing of Hugging Face's stands in between: the model's config comes from the checkpoint's `config.json`, its weights from the
tensors of the checkpoint's own files. The result equals `HookedTransformer.from_pretrained`'s for each of the processing options.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components import LayerNorm, LayerNormPre

from pythia_traj.checkpoint import Checkpoint
from pythia_traj.errors import CheckpointError
from pythia_traj.models.architecture import hooked_config
from pythia_traj.models.fit import check_fits
from pythia_traj.models.fold import Workers, add_product, blocks, column_mean, fold_reading_rows, fold_writing_matrix
from pythia_traj.models.parameters import NORMS, bind_buffers
from pythia_traj.models.tokenizer import attach_tokenizer
from pythia_traj.processing import Processing

Task = Callable[[], None]


class SwappableModel:
    """A HookedTransformer whose weights are replaced in place.

    Attributes:
        model: the HookedTransformer: the same object for the life of this one, its weights undefined before the first swap.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        default_prepend_bos: bool | None = None,
        copies: int = 1,
    ) -> None:
        """Builds the model from a checkpoint's config and tokenizer, reading no weights.

        Args:
            copies: how many sets of weights the caller is going to hold, for the check that they fit.

        Raises:
            DeviceError: the model does not fit the device.
            CheckpointError: the config is missing or of another architecture.
        """
        config = checkpoint.config()
        check_fits(config, model=checkpoint.model, dtype=dtype, device=device, copies=copies)
        # Parameters made in inference mode could never be written again outside of it.
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="HookedTransformer is deprecated", category=DeprecationWarning)
            cfg = hooked_config(
                config, model=checkpoint.model, dtype=dtype, device=device, default_prepend_bos=default_prepend_bos
            )
            self.model = HookedTransformer(cfg, move_to_device=False)
            self._buffers = bind_buffers(self.model, device)
            torch.nn.Module.to(self.model, device)
            self._norms = _NormSwitch(self.model, device)
            self.model.eval()
        self._config = _identity(config)
        self._workers = Workers(device)
        self._tied = bool(config.get("tie_word_embeddings", False))
        self._has_biases = bool(config.get("attention_bias", True))
        attach_tokenizer(self.model, checkpoint.tokenizer())

    def check_same_architecture(self, checkpoint: Checkpoint) -> None:
        """Refuses a checkpoint whose config differs from the one the model was built from.

        Raises:
            CheckpointError: naming the settings that differ.
        """
        other = _identity(checkpoint.config())
        differing = sorted(key for key in self._config.keys() | other.keys() if self._config.get(key) != other.get(key))
        if differing:
            settings = ", ".join(f"{key} {other.get(key)!r} instead of {self._config.get(key)!r}" for key in differing)
            raise CheckpointError(f"the config of {checkpoint.revision} is not that of the other steps: {settings}")

    def swap(self, tensors: Mapping[str, Tensor], processing: Processing) -> None:
        """Writes a checkpoint's weights into the model.

        Every name and shape is checked before the first parameter is touched.

        Args:
            tensors: the checkpoint's tensors by their names in its files; those the model has no use for are skipped.
            processing: how they are rewritten on the way.

        Raises:
            CheckpointError: a tensor is missing or of the wrong shape.
        """
        source = _Source(tensors, self.model.cfg.n_layers, self._tied)
        source.check(self._buffers, self._has_biases)
        self._norms.switch(folded=processing.fold_ln)
        _Swap(self.model, self._buffers, source, processing, self._workers).run()


class _NormSwitch:
    """Holds both kinds of LayerNorm modules: with gain and bias as trained, and without, for weights that have them folded in."""

    def __init__(self, model: HookedTransformer, device: torch.device) -> None:
        self._model = model
        names = [f"blocks.{layer}.{norm}" for layer in range(model.cfg.n_layers) for norm in NORMS] + ["ln_final"]
        self._trained = {name: LayerNorm(model.cfg).to(device).eval() for name in names}
        self._folded = {name: LayerNormPre(model.cfg).eval() for name in names}
        self._is_folded: bool | None = None

    def switch(self, *, folded: bool) -> None:
        if folded == self._is_folded:
            return
        for name, module in (self._folded if folded else self._trained).items():
            parent, _, attribute = name.rpartition(".")
            setattr(self._model.get_submodule(parent), attribute, module)
        self._model.cfg.normalization_type = "LNPre" if folded else "LN"
        self._model.setup()
        self._is_folded = folded


class _Source:
    """A checkpoint's tensors under the names of GPT-NeoX's files."""

    def __init__(self, tensors: Mapping[str, Tensor], n_layers: int, tied: bool) -> None:
        self._tensors = tensors
        self._n_layers = n_layers
        # transformers 5.14 renamed the unembedding; files of both ages exist.
        candidates = ("embed_out.weight", "lm_head.weight", *(["gpt_neox.embed_in.weight"] if tied else []))
        self.unembed = next((name for name in candidates if name in tensors), candidates[0])

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def fp32(self, name: str, like: Tensor) -> Tensor:
        """A vector in fp32, in memory of its own on like's device."""
        return torch.empty(self[name].shape, dtype=torch.float32, device=like.device).copy_(self[name])

    def check(self, buffers: Mapping[str, Tensor], has_biases: bool) -> None:
        """Every tensor the model needs is there and has the shape that its buffers have."""
        for name, shape in self._expected(buffers, has_biases):
            if name not in self._tensors:
                raise CheckpointError(f"tensor {name} is missing from the checkpoint's weights")
            if tuple(self[name].shape) != shape:
                raise CheckpointError(f"tensor {name} has shape {list(self[name].shape)}, the config promises {list(shape)}")

    def _expected(self, buffers: Mapping[str, Tensor], has_biases: bool) -> list[tuple[str, tuple[int, ...]]]:
        d_vocab, d_model = buffers["embed.W_E"].shape
        d_mlp = buffers["blocks.0.mlp.b_in"].shape[0]
        norm = [("weight", (d_model,)), ("bias", (d_model,))]
        layer: list[tuple[str, tuple[int, ...]]] = [
            *((f"{norm_name}.{part}", shape) for norm_name in _FILE_NORMS.values() for part, shape in norm),
            ("attention.query_key_value.weight", (3 * d_model, d_model)),
            ("attention.dense.weight", (d_model, d_model)),
            ("mlp.dense_h_to_4h.weight", (d_mlp, d_model)),
            ("mlp.dense_h_to_4h.bias", (d_mlp,)),
            ("mlp.dense_4h_to_h.weight", (d_model, d_mlp)),
            ("mlp.dense_4h_to_h.bias", (d_model,)),
        ]
        if has_biases:
            layer += [("attention.query_key_value.bias", (3 * d_model,)), ("attention.dense.bias", (d_model,))]
        return [
            ("gpt_neox.embed_in.weight", (d_vocab, d_model)),
            (self.unembed, (d_vocab, d_model)),
            *((f"gpt_neox.final_layer_norm.{part}", shape) for part, shape in norm),
            *((f"gpt_neox.layers.{i}.{name}", shape) for i in range(self._n_layers) for name, shape in layer),
        ]


_FILE_NORMS = {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}


class _Swap:
    """One swap: the tasks that fill every buffer, matrices in blocks on the workers, vectors at once."""

    def __init__(
        self,
        model: HookedTransformer,
        buffers: Mapping[str, Tensor],
        source: _Source,
        processing: Processing,
        workers: Workers,
    ) -> None:
        self.model, self.buffers, self.source, self.processing, self.workers = model, buffers, source, processing, workers
        # fp32 copies of the biases that folding adds to, delivered when all blocks are done.
        self.biases: dict[str, Tensor] = {}

    @torch.no_grad()
    def run(self) -> None:
        tasks = self._embed() + self._unembed()
        for layer in range(self.model.cfg.n_layers):
            tasks += self._attention(layer) + self._mlp(layer)
        self.workers.run(tasks)
        if self.processing.fold_value_biases:
            # Only now is b_V complete: LayerNorm's bias has been folded into it.
            self.workers.run(partial(self._fold_value_bias, layer) for layer in range(self.model.cfg.n_layers))
        self._deliver_biases()

    def _norm(self, name: str, file_name: str, like: Tensor) -> dict[str, Tensor]:
        """The LayerNorm as keyword arguments of a fold; without folding it goes into the model's module, and nothing is folded."""
        gain = self.source.fp32(f"{file_name}.weight", like)
        shift = self.source.fp32(f"{file_name}.bias", like)
        if self.processing.fold_ln:
            return {"gain": gain, "shift": shift}
        module = self.model.get_submodule(name)
        module.w.data.copy_(gain)
        module.b.data.copy_(shift)
        return {}

    def _rows(self, name: str, source: Tensor, bias: Tensor | None = None, **fold: Any) -> list[Task]:
        """Tasks over blocks of the first axis of a reading matrix, whose rows may be grouped by head."""
        out = self.buffers[name]
        size = self.workers.block_rows(out[0].numel())
        return [
            partial(fold_reading_rows, out[block], source[block], bias=None if bias is None else bias[block], **fold)
            for block in blocks(out.shape[0], size)
        ]

    def _embed(self) -> list[Task]:
        return self._rows(
            "embed.W_E", self.source["gpt_neox.embed_in.weight"], centre=self.processing.center_writing_weights
        )

    def _unembed(self) -> list[Task]:
        out = self.buffers["unembed.W_U"]
        source = self.source[self.source.unembed]
        norm = self._norm("ln_final", "gpt_neox.final_layer_norm", out)
        bias = self.biases["unembed.b_U"] = torch.zeros(out.shape[0], dtype=torch.float32, device=out.device)
        minus = self._mean_folded_row(source, norm.get("gain")) if self.processing.center_unembed else None
        return self._rows("unembed.W_U", source, bias, minus=minus, **norm)

    def _mean_folded_row(self, source: Tensor, gain: Tensor | None) -> Tensor:
        """The mean over the vocabulary of the rows of W_U as they will be once the LayerNorm is folded in."""
        out = self.buffers["unembed.W_U"]
        rows = self.workers.block_rows(source.shape[1])
        parts = list(blocks(source.shape[0], 16 * rows))
        means = torch.zeros(len(parts), source.shape[1], dtype=torch.float32, device=out.device)

        def mean_of(i: int) -> None:
            part = source[parts[i]]
            means[i] = column_mean(part, out, rows) * (part.shape[0] / source.shape[0])

        self.workers.run(partial(mean_of, i) for i in range(len(parts)))
        mean = means.sum(0)
        if gain is None:
            return mean
        return mean * gain - (mean * gain).mean()

    def _attention(self, layer: int) -> list[Task]:
        block, file = f"blocks.{layer}", f"gpt_neox.layers.{layer}"
        out = self.buffers[f"{block}.attn.W_O"]
        n_heads, d_head = self.buffers[f"{block}.attn.b_Q"].shape
        norm = self._norm(f"{block}.ln1", f"{file}.{_FILE_NORMS['ln1']}", out)
        # GPT-NeoX interleaves query, key and value by head: [head_index, 3, d_head, d_model].
        qkv = self.source[f"{file}.attention.query_key_value.weight"].view(n_heads, 3, d_head, -1)
        qkv_bias = self._qkv_bias(file, n_heads, d_head, out)
        tasks = []
        for i, letter in enumerate("QKV"):
            bias = self.biases[f"{block}.attn.b_{letter}"] = qkv_bias[:, i].contiguous()
            tasks += self._rows(f"{block}.attn.W_{letter}", qkv[:, i], bias, **norm)
        self.biases[f"{block}.attn.b_O"] = self._bias_or_zeros(f"{file}.attention.dense.bias", out.shape[0], out)
        dense = self.source[f"{file}.attention.dense.weight"]
        tasks.append(self._writing(out.view(out.shape[0], -1), dense))
        return tasks

    def _qkv_bias(self, file: str, n_heads: int, d_head: int, like: Tensor) -> Tensor:
        bias = self._bias_or_zeros(f"{file}.attention.query_key_value.bias", 3 * n_heads * d_head, like)
        return bias.view(n_heads, 3, d_head)

    def _bias_or_zeros(self, name: str, size: int, like: Tensor) -> Tensor:
        try:
            return self.source.fp32(name, like)
        except KeyError:  # a config without attention biases; `check` has seen that the others are there
            return torch.zeros(size, dtype=torch.float32, device=like.device)

    def _mlp(self, layer: int) -> list[Task]:
        block, file = f"blocks.{layer}", f"gpt_neox.layers.{layer}"
        out = self.buffers[f"{block}.mlp.W_out"]
        norm = self._norm(f"{block}.ln2", f"{file}.{_FILE_NORMS['ln2']}", out)
        b_in = self.biases[f"{block}.mlp.b_in"] = self.source.fp32(f"{file}.mlp.dense_h_to_4h.bias", out)
        self.biases[f"{block}.mlp.b_out"] = self.source.fp32(f"{file}.mlp.dense_4h_to_h.bias", out)
        tasks = self._rows(f"{block}.mlp.W_in", self.source[f"{file}.mlp.dense_h_to_4h.weight"], b_in, **norm)
        tasks.append(self._writing(out, self.source[f"{file}.mlp.dense_4h_to_h.weight"]))
        return tasks

    def _writing(self, out: Tensor, source: Tensor) -> Task:
        rows = self.workers.block_rows(source.shape[1])
        return partial(fold_writing_matrix, out, source, rows, centre=self.processing.center_writing_weights)

    def _fold_value_bias(self, layer: int) -> None:
        attn = f"blocks.{layer}.attn"
        dense = self.source[f"gpt_neox.layers.{layer}.attention.dense.weight"]
        b_V, b_O = self.biases[f"{attn}.b_V"], self.biases[f"{attn}.b_O"]
        rows = self.workers.block_rows(dense.shape[1])
        add_product(b_O, dense, b_V.view(-1), rows, centre=self.processing.center_writing_weights)
        b_V.zero_()

    def _deliver_biases(self) -> None:
        """Centres the biases and writes them into the model, cast once."""
        if self.processing.center_writing_weights:
            for layer in range(self.model.cfg.n_layers):
                for name in (f"blocks.{layer}.attn.b_O", f"blocks.{layer}.mlp.b_out"):
                    self.biases[name].sub_(self.biases[name].mean())
        if self.processing.center_unembed:
            b_U = self.biases["unembed.b_U"]
            b_U.sub_(b_U.mean())
        for name, bias in self.biases.items():
            self.buffers[name].copy_(bias)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config that decide what the model computes: not versions, dtypes or token ids."""
    irrelevant = {"torch_dtype", "dtype", "transformers_version", "_name_or_path", "use_cache", "architectures"}
    return {key: value for key, value in config.items() if key not in irrelevant and not key.endswith("_token_id")}
