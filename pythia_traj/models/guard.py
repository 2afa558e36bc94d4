"""What a user may have done to a model between two swaps: found before the next, or undone by it.

A swap writes into the buffers that the model was built with. `model.to(torch.float64)` and a
replaced parameter or module give the model other buffers: without a check it would keep an earlier
step's weights, and nothing would say so. Edits in place are undone.
"""

from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer

_FREE = {
    "use_attn_result",
    "use_split_qkv_input",
    "use_hook_mlp_in",
    "use_attn_in",
    "use_hook_tokens",
    "default_prepend_bos",
    "tokenizer_prepends_bos",
    "tokenizer_name",
    "model_name",
    "seed",
}
"""Settings of a model that a user may change; no weight depends on them.

They say which activations hooks see, and what is put before texts.
"""


class Guard:
    """The state in which a model was built."""

    def __init__(self, model: HookedTransformer) -> None:
        self._model = model
        self._buffers = {
            (module, name): (buffer, buffer.clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        }
        self._share_copies()
        self.remember()

    def _share_copies(self) -> None:
        """Keeps one copy of each mask and rotary table, because those of all layers are alike."""
        kept: list[Tensor] = []
        for key, (buffer, copy) in self._buffers.items():
            same = next(
                (one for one in kept if one.shape == copy.shape and torch.equal(one, copy)), None
            )
            if same is None:
                kept.append(copy)
            self._buffers[key] = buffer, copy if same is None else same

    def remember(self) -> None:
        """Remembers the model's present modules, parameters and settings as its own."""
        self._modules = dict(self._model.named_modules())
        self._parameters = {
            name: _identity(parameter) for name, parameter in self._model.named_parameters()
        }
        self._settings = {
            name: value for name, value in vars(self._model.cfg).items() if name not in _FREE
        }

    def what_changed(self) -> str | None:
        """What was changed in the model; None if nothing was."""
        modules = dict(self._model.named_modules())
        for name, module in self._modules.items():
            if modules.get(name) is not module:
                return f"{name} was {'removed' if name not in modules else 'replaced'}"
        parameters = dict(self._model.named_parameters())
        for name, known in self._parameters.items():
            if name not in parameters:
                return f"the parameter {name} was removed"
            if (found := _identity(parameters[name])) != known:
                return f"the parameter {name} {_difference(known, found)}"
        for name, value in self._settings.items():
            if (now := getattr(self._model.cfg, name, None)) != value:
                return f"model.cfg.{name} is {now!r}, it was {value!r}"
        return None

    @torch.no_grad()
    def restore(self) -> None:
        """Restores masks and rotary tables; removes gradients and hooks that are not permanent."""
        for (module, name), (buffer, copy) in self._buffers.items():
            module._buffers[name] = buffer
            if not torch.equal(buffer, copy):
                buffer.copy_(copy)
        for parameter in self._model.parameters():
            parameter.grad = None
        self._model.reset_hooks()


def _identity(parameter: Tensor) -> tuple[Any, ...]:
    return (
        parameter.dtype,
        parameter.device,
        tuple(parameter.shape),
        parameter.stride(),
        parameter.data_ptr(),
    )


def _difference(known: tuple[Any, ...], found: tuple[Any, ...]) -> str:
    for was, now in zip(known[:3], found[:3], strict=True):
        if was != now:
            return f"is {now} now, it was {was}".replace("torch.", "")
    return "is in other memory now"
