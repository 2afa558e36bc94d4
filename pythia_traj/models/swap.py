"""One HookedTransformer for a sweep: built once, its weights swapped in place, step after step.

Nothing of Hugging Face's stands in between: the model's config comes from the checkpoint's
`config.json`, its weights from the tensors of the checkpoint's own files. The result equals
`HookedTransformer.from_pretrained`'s for each of the processing options.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components import LayerNorm, LayerNormPre

from pythia_traj.checkpoint import Checkpoint
from pythia_traj.errors import CheckpointError, ModelError
from pythia_traj.models.architecture import hooked_config
from pythia_traj.models.device import check_fits
from pythia_traj.models.finite import Watch, look, overflowed
from pythia_traj.models.fold import (
    Norm,
    add_product,
    fold_reading_matrix,
    fold_writing_matrix,
    mean_row,
)
from pythia_traj.models.guard import Guard
from pythia_traj.models.parameters import NORMS, bind_buffers
from pythia_traj.models.tensors import EMBED, UNEMBED, why_missing, why_shaped
from pythia_traj.models.tokenizer import attach_tokenizer
from pythia_traj.models.upload import Upload
from pythia_traj.processing import Processing
from pythia_traj.suites.gpt_neox import CONSTANT, forward_settings


class SwappableModel:
    """A HookedTransformer whose weights are replaced in place.

    Attributes:
        model: the HookedTransformer: the same object for the life of this one, its weights
            undefined before the first swap.
        watch: sees activations that are not finite.
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
            copies: how many sets of weights the caller is going to hold, for the check that they
                fit.

        Raises:
            DeviceError: the model does not fit the device.
            CheckpointError: the config is missing or of another architecture.
        """
        config = checkpoint.config()
        check_fits(config, model=checkpoint.model, dtype=dtype, device=device, copies=copies)
        # Parameters made in inference mode could never be written again outside of it.
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="HookedTransformer is deprecated", category=DeprecationWarning
            )
            cfg = hooked_config(
                config,
                model=checkpoint.model,
                dtype=dtype,
                device=device,
                default_prepend_bos=default_prepend_bos,
            )
            self.model = HookedTransformer(cfg, move_to_device=False)
            self._buffers = bind_buffers(self.model, device)
            torch.nn.Module.to(self.model, device)
            self._norms = _NormSwitch(self.model, device)
            self.watch = Watch()
            for module in self._norms.last:
                self.watch.on(module)
            self.model.eval()
            self._guard = Guard(self.model)
        self._settings = forward_settings(config)
        attach_tokenizer(self.model, checkpoint.tokenizer(), config)

    def fill_randomly(self) -> None:
        """Random numbers for weights: a pass over them takes as long as over any others."""
        self._norms.switch(folded=True)
        self._guard.remember()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.normal_(0, 0.02)

    def check_same_architecture(self, checkpoint: Checkpoint) -> None:
        """Refuses a checkpoint whose config differs from the one the model was built from.

        Raises:
            CheckpointError: naming the settings that differ.
        """
        other, own = forward_settings(checkpoint.config()), self._settings
        differing = sorted(key for key in own if own[key] != other[key])
        if differing:
            settings = ", ".join(
                f"{key} {other[key]!r} instead of {own[key]!r}" for key in differing
            )
            raise CheckpointError(
                f"the config of {checkpoint.revision} is not that of the other steps: {settings}"
            )

    def look(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, str], float]:
        """Those of a checkpoint's tensors that the model is made of and that hold NaN or infinity.

        The second value is the largest of the others.
        """
        names = [name for name, _ in _Stored(tensors, self._settings).expected(self._buffers)]
        return look((name, tensors[name]) for name in names if name in tensors)

    def overflowed(self, greatest: float) -> dict[str, str]:
        """The parameters that became infinite in the last swap.

        Args:
            greatest: the largest value that went into it, as `look` found it.
        """
        others = {
            name: it for name, it in self.model.named_parameters() if name not in self._buffers
        }
        return overflowed({**self._buffers, **others}, greatest)

    def check_unchanged(self) -> None:
        """Refuses to go on with a model that has other tensors than a swap writes into.

        Raises:
            ModelError: what was changed, and what to do instead.
        """
        if (changed := self._guard.what_changed()) is not None:
            raise ModelError(
                f"the model was changed, so that the next weights cannot be put into it: {changed}."
                " Change a copy, `copy.deepcopy(ckpt.model)`, or ask for what you want: `dtype=`,"
                " `device=`"
            )

    def swap(self, tensors: Mapping[str, Tensor], processing: Processing) -> None:
        """Writes a checkpoint's weights into the model.

        Every name and shape is checked before the first parameter is touched.

        Args:
            tensors: the checkpoint's tensors by their names in its files; those the model has no
                use for are skipped.
            processing: how they are rewritten on the way.

        Nothing of what was done to the model before is left in it: masks, rotary tables, gradients,
        hooks but permanent ones.

        Raises:
            CheckpointError: a tensor is missing or of the wrong shape.
            ModelError: the model has other parameters, modules or settings than it was built with.
        """
        self.check_unchanged()
        stored = _Stored(tensors, self._settings)
        stored.begin(self._buffers)
        self._guard.restore()
        self._norms.switch(folded=processing.fold_ln)
        self._guard.remember()
        try:
            _Swap(self.model, self._buffers, stored, processing).run()
        finally:
            stored.finish()


class _NormSwitch:
    """Holds both kinds of LayerNorm modules.

    Some have gain and bias as trained, the others have none, for weights that have them folded in.
    """

    def __init__(self, model: HookedTransformer, device: torch.device) -> None:
        self._model = model
        names = [
            f"blocks.{layer}.{norm}" for layer in range(model.cfg.n_layers) for norm in NORMS
        ] + ["ln_final"]
        self._trained = {name: LayerNorm(model.cfg).to(device).eval() for name in names}
        self._folded = {name: LayerNormPre(model.cfg).eval() for name in names}
        self._is_folded: bool | None = None

    @property
    def last(self) -> list[torch.nn.Module]:
        """Both kinds of the LayerNorm before the unembedding."""
        return [self._trained["ln_final"], self._folded["ln_final"]]

    def switch(self, *, folded: bool) -> None:
        if folded == self._is_folded:
            return
        for name, module in (self._folded if folded else self._trained).items():
            parent, _, attribute = name.rpartition(".")
            setattr(self._model.get_submodule(parent), attribute, module)
        self._model.cfg.normalization_type = "LNPre" if folded else "LN"
        self._model.setup()
        self._is_folded = folded


class _Stored:
    """A checkpoint's tensors under the names of GPT-NeoX's files."""

    def __init__(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._n_layers = settings["num_hidden_layers"]
        self.has_attention_bias = settings["attention_bias"]
        self.embed = EMBED
        self.unembed = next((name for name in UNEMBED if name in tensors), UNEMBED[0])
        # Tied weights may stand under either name; where both are there they are not tied, whatever
        # the config says.
        if settings["tie_word_embeddings"] and self.unembed not in tensors:
            self.unembed = EMBED
        elif settings["tie_word_embeddings"] and EMBED not in tensors:
            self.embed = self.unembed

    def __getitem__(self, name: str) -> Tensor:
        return self._upload[name]

    def fp32(self, name: str, like: Tensor) -> Tensor:
        """A vector in fp32, in memory of its own on like's device."""
        return torch.empty(self[name].shape, dtype=torch.float32, device=like.device).copy_(
            self[name]
        )

    def begin(self, buffers: Mapping[str, Tensor]) -> None:
        """Checks names and shapes of the tensors the model needs, then sends them on their way.

        Every one must be there and have the shape that its buffers have.
        """
        expected = self.expected(buffers)
        for name, promised in expected:
            if name not in self._tensors:
                raise CheckpointError(
                    f"tensor {name} is missing from the checkpoint's weights:"
                    f" {why_missing(name, self._tensors)}"
                )
            found = list(self._tensors[name].shape)
            if found != list(promised):
                raise CheckpointError(
                    f"tensor {name} has shape {found}, the config promises {list(promised)}:"
                    f" {why_shaped(found)}"
                )
        self._refuse_more({name for name, _ in expected})
        self._upload = Upload(
            self._tensors, [name for name, _ in expected], buffers["embed.W_E"].device
        )

    def _refuse_more(self, expected: set[str]) -> None:
        """Refuses weights that the config has no place for.

        Such are those of a layer too many, a bias, a second unembedding.
        """
        for name in self._tensors:
            if _OF_A_LAYER.fullmatch(name) and name not in expected and not CONSTANT.search(name):
                raise CheckpointError(
                    f"tensor {name} has no place in the model that config.json promises: "
                    "they are not of one model, save both anew"
                )
        both = [self._tensors[name] for name in UNEMBED if name in self._tensors]
        if len(both) > 1 and not (both[0].dtype == both[1].dtype and torch.equal(*both)):
            raise CheckpointError(
                f"the weights hold {' and '.join(UNEMBED)}, which differ: remove the one that is"
                " not the model's"
            )

    def finish(self) -> None:
        """Lets go of the checkpoint's own memory."""
        self._upload.finish()

    def expected(self, buffers: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
        """The tensors that the model is made of, with their shapes."""
        d_vocab, d_model = buffers["embed.W_E"].shape
        d_mlp = buffers["blocks.0.mlp.b_in"].shape[0]
        norm = [("weight", (d_model,)), ("bias", (d_model,))]
        layer: list[tuple[str, tuple[int, ...]]] = [
            *(
                (f"{norm_name}.{part}", size)
                for norm_name in _FILE_NORMS.values()
                for part, size in norm
            ),
            ("attention.query_key_value.weight", (3 * d_model, d_model)),
            ("attention.dense.weight", (d_model, d_model)),
            ("mlp.dense_h_to_4h.weight", (d_mlp, d_model)),
            ("mlp.dense_h_to_4h.bias", (d_mlp,)),
            ("mlp.dense_4h_to_h.weight", (d_model, d_mlp)),
            ("mlp.dense_4h_to_h.bias", (d_model,)),
        ]
        if self.has_attention_bias:
            layer += [
                ("attention.query_key_value.bias", (3 * d_model,)),
                ("attention.dense.bias", (d_model,)),
            ]
        return [
            (self.embed, (d_vocab, d_model)),
            *(
                (f"gpt_neox.layers.{i}.{name}", size)
                for i in range(self._n_layers)
                for name, size in layer
            ),
            *((f"gpt_neox.final_layer_norm.{part}", size) for part, size in norm),
            (self.unembed, (d_vocab, d_model)),
        ]


_OF_A_LAYER = re.compile(r"gpt_neox\.layers\.\d+\.\S+\.(?:weight|bias)")

_FILE_NORMS = {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}


class _Swap:
    """One swap: fills every buffer from what is stored.

    Matrices come first, then the biases that folding has added to.
    """

    def __init__(
        self,
        model: HookedTransformer,
        buffers: Mapping[str, Tensor],
        stored: _Stored,
        processing: Processing,
    ) -> None:
        self.model, self.buffers, self.stored, self.processing = model, buffers, stored, processing
        # In fp32 until all that is folded into them has been added; then cast once.
        self.biases: dict[str, Tensor] = {}

    @torch.no_grad()
    def run(self) -> None:
        """Writes all parameters."""
        embedding = self.stored[self.stored.embed]
        fold_reading_matrix(
            self.buffers["embed.W_E"], embedding, centre=self.processing.center_writing_weights
        )
        for layer in range(self.model.cfg.n_layers):
            self._attention(f"blocks.{layer}", f"gpt_neox.layers.{layer}")
            self._mlp(f"blocks.{layer}", f"gpt_neox.layers.{layer}")
        self._unembed()
        for name, bias in self.biases.items():
            self.buffers[name].copy_(bias)

    def _norm(self, name: str, file_name: str, like: Tensor) -> Norm | None:
        """The LayerNorm that is to be folded.

        Without folding it goes into the model's module, and nothing is folded.
        """
        norm = Norm(
            self.stored.fp32(f"{file_name}.weight", like),
            self.stored.fp32(f"{file_name}.bias", like),
        )
        if self.processing.fold_ln:
            return norm
        module: Any = self.model.get_submodule(name)
        module.w.data.copy_(norm.gain)
        module.b.data.copy_(norm.shift)
        return None

    def _attention(self, block: str, file: str) -> None:
        W_O = self.buffers[f"{block}.attn.W_O"]
        n_heads, d_head = self.buffers[f"{block}.attn.b_Q"].shape
        norm = self._norm(f"{block}.ln1", f"{file}.{_FILE_NORMS['ln1']}", W_O)
        # GPT-NeoX interleaves query, key and value by head.
        qkv = self.stored[f"{file}.attention.query_key_value.weight"].view(n_heads, 3, d_head, -1)
        qkv_bias = self._attention_bias(
            f"{file}.attention.query_key_value", 3 * n_heads * d_head, W_O
        )
        for i, letter in enumerate("QKV"):
            bias = qkv_bias.view(n_heads, 3, d_head)[:, i].contiguous()
            fold_reading_matrix(
                self.buffers[f"{block}.attn.W_{letter}"], qkv[:, i], norm=norm, bias=bias
            )
            self.biases[f"{block}.attn.b_{letter}"] = bias
        dense = self.stored[f"{file}.attention.dense.weight"]
        centre = self.processing.center_writing_weights
        fold_writing_matrix(W_O.view(W_O.shape[0], -1), dense, centre=centre)
        b_O = self._attention_bias(f"{file}.attention.dense", W_O.shape[0], W_O)
        if self.processing.fold_value_biases:
            b_V = self.biases[f"{block}.attn.b_V"]
            add_product(b_O, dense, b_V.view(-1), centre=centre)
            b_V.zero_()
        self.biases[f"{block}.attn.b_O"] = b_O - b_O.mean() if centre else b_O

    def _attention_bias(self, name: str, size: int, like: Tensor) -> Tensor:
        """The bias of an attention matrix, zeros where the config says that there is none."""
        if self.stored.has_attention_bias:
            return self.stored.fp32(f"{name}.bias", like)
        return torch.zeros(size, dtype=torch.float32, device=like.device)

    def _mlp(self, block: str, file: str) -> None:
        W_out = self.buffers[f"{block}.mlp.W_out"]
        norm = self._norm(f"{block}.ln2", f"{file}.{_FILE_NORMS['ln2']}", W_out)
        b_in = self.biases[f"{block}.mlp.b_in"] = self.stored.fp32(
            f"{file}.mlp.dense_h_to_4h.bias", W_out
        )
        W_in = self.stored[f"{file}.mlp.dense_h_to_4h.weight"]
        fold_reading_matrix(self.buffers[f"{block}.mlp.W_in"], W_in, norm=norm, bias=b_in)
        centre = self.processing.center_writing_weights
        fold_writing_matrix(W_out, self.stored[f"{file}.mlp.dense_4h_to_h.weight"], centre=centre)
        b_out = self.stored.fp32(f"{file}.mlp.dense_4h_to_h.bias", W_out)
        self.biases[f"{block}.mlp.b_out"] = b_out - b_out.mean() if centre else b_out

    def _unembed(self) -> None:
        W_U = self.buffers["unembed.W_U"]
        stored = self.stored[self.stored.unembed]
        norm = self._norm("ln_final", "gpt_neox.final_layer_norm", W_U)
        b_U = torch.zeros(W_U.shape[0], dtype=torch.float32, device=W_U.device)
        mean = None
        if self.processing.center_unembed:
            mean = mean_row(stored, W_U.device)
            if norm is not None:  # the mean row as it will be once the LayerNorm is folded in
                mean = mean * norm.gain
                mean = mean - mean.mean()
        fold_reading_matrix(W_U, stored, norm=norm, bias=b_U, minus=mean)
        self.biases["unembed.b_U"] = b_U - b_U.mean() if self.processing.center_unembed else b_U
