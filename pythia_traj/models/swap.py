"""One HookedTransformer for a sweep: built once, its weights swapped in place, step after step.

No Hugging Face model is built: the config comes from the checkpoint's
`config.json`, the weights from the tensors of the checkpoint's own files. The result equals
`HookedTransformer.from_pretrained`'s for each of the processing options.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components import LayerNorm, LayerNormPre

from pythia_traj.architectures import tables
from pythia_traj.architectures.settings import differences
from pythia_traj.architectures.tables import Reading, Writing
from pythia_traj.architectures.tensors import Promised, bias_axes
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
from pythia_traj.models.parameters import bind_buffers, parts_of
from pythia_traj.models.stored import Stored
from pythia_traj.models.tokenizer import attach_tokenizer
from pythia_traj.processing import Processing


class SwappableModel:
    """A HookedTransformer whose weights are replaced in place.

    Attributes:
        model: the HookedTransformer: always the same object; its weights are undefined before the
            first swap.
        promised: the tensors that a checkpoint must have.
        watch: notices activations that are not finite.
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
            copies: how many sets of weights the caller will hold, for the check that they fit.

        Raises:
            DeviceError: the model does not fit the device.
            CheckpointError: the config is missing or of another architecture.
        """
        self._config = config = checkpoint.config()
        self.promised = Promised.by(config)
        check_fits(config, model=checkpoint.model, dtype=dtype, device=device, copies=copies)
        # Parameters made in inference mode could not be written again outside of it.
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
            self._buffers = bind_buffers(self.model, device, self.promised.axes)
            torch.nn.Module.to(self.model, device)
            self._norms = _NormSwitch(self.model, device, self.promised.architecture.norms)
            self.watch = Watch()
            for module in self._norms.last:
                self.watch.on(module)
            self.model.eval()
            self._guard = Guard(self.model)
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
        differing = sorted(differences(checkpoint.config(), self._config))
        if differing:
            settings = ", ".join(
                f"{key} {other!r} instead of {own!r}" for key, other, own in differing
            )
            raise CheckpointError(
                f"the config of {checkpoint.revision} is not that of the other steps: {settings}"
            )

    def look(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, str], float]:
        """The tensors that the model needs and that hold NaN or infinity.

        The second value is the largest absolute value of its other tensors.
        """
        names = (name for name, _ in Stored(tensors, self.promised).expected)
        return look((name, tensors[name]) for name in names if name in tensors)

    def overflowed(self, greatest: float) -> dict[str, str]:
        """The parameters that became infinite in the last swap.

        Args:
            greatest: the largest value that was swapped in, as `look` found it.
        """
        others = {
            name: it for name, it in self.model.named_parameters() if name not in self._buffers
        }
        return overflowed({**self._buffers, **others}, greatest)

    def check_unchanged(self) -> None:
        """Refuses a model that has other tensors than those that a swap writes into.

        Raises:
            ModelError: what was changed, and what to do instead.
        """
        if (changed := self._guard.what_changed()) is not None:
            raise ModelError(
                f"the model was changed, so that the next weights cannot be put into it: {changed}."
                " Change a copy, `copy.deepcopy(ckpt.model)`, or use the arguments `dtype=`,"
                " `device=`"
            )

    def swap(self, tensors: Mapping[str, Tensor], processing: Processing) -> None:
        """Writes a checkpoint's weights into the model.

        Every name and shape is checked before the first parameter is touched.

        Args:
            tensors: the checkpoint's tensors by their names in its files; those that the model does
                not need are skipped.
            processing: how they are rewritten on the way.

        All earlier changes to the model are undone: masks, rotary tables, gradients, and hooks
        except permanent ones.

        Raises:
            CheckpointError: a tensor is missing or of the wrong shape.
            ModelError: the model has other parameters, modules or settings than it was built with.
        """
        self.check_unchanged()
        stored = Stored(tensors, self.promised)
        stored.begin(self._buffers["embed.W_E"].device)
        self._guard.restore()
        self._norms.switch(folded=processing.fold_ln)
        self._guard.remember()
        try:
            _Swap(self.model, self._buffers, stored, processing).run()
        finally:
            stored.finish()


class _NormSwitch:
    """Holds both kinds of LayerNorm modules.

    One kind has gain and bias as trained. The other has neither: they are folded into the weights.
    """

    def __init__(
        self, model: HookedTransformer, device: torch.device, of_a_block: Sequence[str]
    ) -> None:
        self._model = model
        names = [
            f"blocks.{layer}.{norm}" for layer in range(model.cfg.n_layers) for norm in of_a_block
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


class _Swap:
    """One swap: fills every buffer from the stored tensors, as the architecture's tables say.

    Matrices come first, then the biases, to which folding has added.
    """

    def __init__(
        self,
        model: HookedTransformer,
        buffers: Mapping[str, Tensor],
        stored: Stored,
        processing: Processing,
    ) -> None:
        self.model, self.buffers, self.stored, self.processing = model, buffers, stored, processing
        self.architecture, self.axes = stored.promised.architecture, stored.promised.axes
        # They stay in fp32 until everything that is folded into them was added; then cast once.
        self.biases: dict[str, Tensor] = {}

    @torch.no_grad()
    def run(self) -> None:
        """Writes all parameters."""
        centre = self.processing.center_writing_weights
        fold_reading_matrix(
            self.buffers["embed.W_E"], self.stored[self.stored.embed], centre=centre
        )
        if self.architecture.positions is not None:
            fold_reading_matrix(
                self.buffers["pos_embed.W_pos"],
                self.stored[self.architecture.positions],
                centre=centre,
            )
        for layer in range(self.model.cfg.n_layers):
            self._block(f"blocks.{layer}.", self.architecture.layer.format(layer=layer))
        self._unembed()
        for name, bias in self.biases.items():
            self.buffers[name].copy_(bias)

    def _block(self, block: str, layer: str) -> None:
        """One layer; the arguments are the beginnings of names, in the model and in the file."""
        norms: dict[str, Norm | None] = {}
        for entry in self.architecture.block:
            match entry:
                case tables.Norm():
                    like = self.buffers["embed.W_E"]
                    norms[entry.module] = self._norm(
                        block + entry.module, layer + entry.stored, like
                    )
                case Reading():
                    self._reading(block, layer, entry, norms[entry.norm])
                case Writing():
                    self._writing(block, layer, entry)

    def _norm(self, name: str, file_name: str, like: Tensor) -> Norm | None:
        """The LayerNorm to fold.

        Without folding it is written into the model's module, and the result is None.
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

    def _reading(self, block: str, layer: str, matrix: Reading, norm: Norm | None) -> None:
        stored = self.stored[f"{layer}{matrix.stored}.weight"]
        weights = parts_of(stored, matrix.axes, matrix.weights, self.axes)
        stored_bias = self.stored.bias(
            layer, matrix, stored.numel() // self.axes["d_model"], self.buffers["embed.W_E"]
        )
        biases = parts_of(stored_bias, bias_axes(matrix), matrix.biases, self.axes)
        for weight, part, name, bias_name in zip(
            weights, biases, matrix.weights, matrix.biases, strict=True
        ):
            bias = self.biases[block + bias_name] = part.contiguous()
            fold_reading_matrix(self.buffers[block + name], weight, norm=norm, bias=bias)

    def _writing(self, block: str, layer: str, matrix: Writing) -> None:
        out = self.buffers[block + matrix.weight].flatten(1)
        centre = self.processing.center_writing_weights
        stored = self.stored[f"{layer}{matrix.stored}.weight"]
        (weight,) = parts_of(stored, matrix.axes, (matrix.weight,), self.axes)
        weight = weight.flatten(1)
        fold_writing_matrix(out, weight, centre=centre)
        bias = self.stored.bias(layer, matrix, out.shape[0], out)
        if self.processing.fold_value_biases and matrix.values is not None:
            values = self.biases[block + matrix.values]
            add_product(bias, weight, values.view(-1), centre=centre)
            values.zero_()
        self.biases[block + matrix.bias] = bias - bias.mean() if centre else bias

    def _unembed(self) -> None:
        W_U = self.buffers["unembed.W_U"]
        stored = self.stored[self.stored.unembed]
        norm = self._norm(
            self.architecture.last_norm.module, self.architecture.last_norm.stored, W_U
        )
        b_U = torch.zeros(W_U.shape[0], dtype=torch.float32, device=W_U.device)
        mean = None
        if self.processing.center_unembed:
            mean = mean_row(stored, W_U.device)
            if norm is not None:  # the mean row as it will be once the LayerNorm is folded in
                mean = mean * norm.gain
                mean = mean - mean.mean()
        fold_reading_matrix(W_U, stored, norm=norm, bias=b_U, minus=mean)
        self.biases["unembed.b_U"] = b_U - b_U.mean() if self.processing.center_unembed else b_U
