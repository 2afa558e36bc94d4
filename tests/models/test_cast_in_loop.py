"""What a user does to the model within a loop over checkpoints: undone by the next step, or the
loop ends with what to do instead.
"""

import copy

import pytest
import torch
from torch import nn

import pythia_traj as pt
from pythia_traj.errors import ModelError, PythiaTrajError

TOKENS = torch.arange(2, 42).view(2, 20)
RAW = {
    "fold_ln": False,
    "center_writing_weights": False,
    "center_unembed": False,
    "fold_value_biases": False,
}


def logits(model):
    with torch.no_grad():
        return model(TOKENS).double()


@pytest.fixture(scope="module")
def clean(suite):
    """The logits of every step, untouched."""
    return {ckpt.step: logits(ckpt.model) for ckpt in pt.checkpoints(suite, device="cpu")}


def loop(suite, change, **options):
    """The logits of the steps after one at which the model was changed."""
    found = {}
    for i, ckpt in enumerate(pt.checkpoints(suite, device="cpu", **options)):
        if i:
            found[ckpt.step] = logits(ckpt.model)
        else:
            change(ckpt.model)
    return found


def cast(dtype):
    return lambda model: model.to(dtype)


def torch_cast(dtype):
    return lambda model: nn.Module.to(model, dtype)


def replaced_parameter(model):
    model.blocks[0].attn.W_Q = nn.Parameter(model.blocks[0].attn.W_Q.detach().clone())


def other_storage(model):
    model.blocks[1].mlp.W_in.data = model.blocks[1].mlp.W_in.data.clone()


def contiguous(model):
    model.unembed.W_U.data = model.unembed.W_U.data.contiguous()


def replaced_module(model):
    model.blocks[1].mlp = copy.deepcopy(model.blocks[1].mlp)


def removed_module(model):
    model.blocks[0].attn = nn.Identity()


def removed_block(model):
    del model.blocks[1]


def parametrised(model):
    nn.utils.parametrize.register_parametrization(model.embed, "W_E", nn.Identity())


def shared(model):
    model.share_memory()


def settings(**changes):
    def change(model):
        for name, value in changes.items():
            setattr(model.cfg, name, value)

    return change


REFUSED = {
    "cast to float64": (cast(torch.float64), "is float64 now, it was float32"),
    "cast to float16": (cast(torch.float16), "is float16 now, it was float32"),
    "cast by half()": (lambda model: model.half(), "is float16 now"),
    "cast by bfloat16()": (lambda model: model.bfloat16(), "is bfloat16 now"),
    "cast by torch": (torch_cast(torch.float64), "is float64 now"),
    "one parameter cast": (lambda model: model.embed.to(torch.float64), "embed.W_E is float64 now"),
    "moved to another device": (
        lambda model: nn.Module.to(model, "meta"),
        "is meta now, it was cpu",
    ),
    "moved to shared memory": (shared, "is in other memory now"),
    "a replaced parameter": (replaced_parameter, "blocks.0.attn.W_Q is in other memory now"),
    "a parameter's data replaced": (other_storage, "blocks.1.mlp.W_in is in other memory now"),
    "a parameter made contiguous": (contiguous, "unembed.W_U is in other memory now"),
    "a replaced module": (replaced_module, "blocks.1.mlp was replaced"),
    "a module taken out": (removed_module, "blocks.0.attn was replaced"),
    "a block taken out": (removed_block, "blocks.1 was removed"),
    "a parametrised module": (parametrised, "the parameter embed.W_E was removed"),
    "another epsilon": (settings(eps=0.1), "model.cfg.eps is 0.1, it was 1e-05"),
    "fewer layers": (settings(n_layers=1), "model.cfg.n_layers is 1, it was 2"),
    "another scale": (settings(attn_scale=1.0), "model.cfg.attn_scale is 1.0"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_no_swap_undoes_ends_the_loop_in_a_line(suite, name, capsys):
    change, said = REFUSED[name]
    with pytest.raises(ModelError) as error:
        # It is no checkpoint's fault, and skips none.
        loop(suite, change, steps="0,1", on_error="skip", **(RAW if "module" in name else {}))
    assert isinstance(error.value, PythiaTrajError)
    assert said in str(error.value)
    assert "copy.deepcopy(ckpt.model)" in str(error.value)
    assert "\n" not in str(error.value)


@torch.no_grad()
def edited_weights(model):
    for parameter in model.parameters():
        parameter.mul_(3)


def trained(model):
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    model(TOKENS, return_type="loss").backward()
    optimizer.step()


def edited_masks(model):
    for block in model.blocks:
        block.attn.mask.fill_(True)
        block.attn.rotary_sin.zero_()
        block.attn.rotary_cos.fill_(float("nan"))
        block.attn.IGNORE.fill_(0.0)


def replaced_masks(model):
    for block in model.blocks:
        block.attn.mask = torch.ones_like(block.attn.mask)
        block.attn.rotary_sin = torch.zeros_like(block.attn.rotary_sin)


def one_entry_alone(model):
    model.blocks[1].attn.rotary_cos.data[3, 1] = 7.0


def hooked(model):
    model.add_hook("blocks.0.hook_resid_post", lambda value, hook: value * 0)


def hooked_behind(model):
    model.add_hook(
        "unembed.hook_out" if "unembed.hook_out" in model.hook_dict else "ln_final.hook_scale",
        _twice,
    )


def _twice(value, hook):
    return value * 2


UNDONE = {
    "weights edited in place": edited_weights,
    "a training step": trained,
    "no gradients wanted": lambda model: model.requires_grad_(False),
    "masks and rotary tables edited": edited_masks,
    "masks and rotary tables replaced": replaced_masks,
    "one entry of one table": one_entry_alone,
    "a hook left on": hooked,
    "a hook left on the last LayerNorm": hooked_behind,
    "more hooks asked for": lambda model: model.set_use_attn_result(True),
    "cast to what it is": cast(torch.float32),
    "moved to where it is": lambda model: model.to("cpu"),
    "training mode": lambda model: model.train(),
    "a probe put beside": lambda model: model.add_module("probe", nn.Linear(3, 3)),
    "a copy in float64": lambda model: copy.deepcopy(model).to(torch.float64),
    "nothing": lambda model: None,
}


@pytest.mark.parametrize("processing", [{}, RAW], ids=["processed", "raw"])
@pytest.mark.parametrize("name", UNDONE)
@pytest.mark.filterwarnings("ignore")
def test_the_next_steps_are_as_if_nothing_had_been_done(suite, name, processing, capsys):
    expected = loop(suite, lambda model: None, steps="0,1", **processing)
    found = loop(suite, UNDONE[name], steps="0,1", **processing)
    assert list(found) == [1]
    for step, theirs in expected.items():
        torch.testing.assert_close(
            found[step],
            theirs,
            rtol=1e-6 if "more hooks" in name else 0,
            atol=1e-6 if "more hooks" in name else 0,
        )


def test_a_permanent_hook_stays(suite, clean):
    def change(model):
        model.add_hook("blocks.0.hook_resid_post", lambda value, hook: value * 0, is_permanent=True)

    found = loop(suite, change)
    assert not any(torch.allclose(found[step], clean[step]) for step in found)


def test_gradients_of_a_step_do_not_reach_the_next(suite):
    def gradient(model):
        model(TOKENS, return_type="loss").backward()
        return model.embed.W_E.grad.clone()

    alone = [gradient(ckpt.model) for ckpt in pt.checkpoints(suite, steps="4", device="cpu")]
    together = [gradient(ckpt.model) for ckpt in pt.checkpoints(suite, device="cpu")]
    assert torch.equal(alone[0], together[-1])


def test_a_copy_is_the_model_and_keeps_its_step(suite, clean):
    copies = {
        ckpt.step: copy.deepcopy(ckpt.model).to(torch.float64)
        for ckpt in pt.checkpoints(suite, device="cpu")
    }
    for step, model in copies.items():
        torch.testing.assert_close(logits(model), clean[step], rtol=1e-4, atol=1e-4)


def test_an_experiment_that_casts_the_model_costs_no_other_its_numbers(suite, tmp_path):
    file = tmp_path / "cast.py"
    file.write_text(
        "import torch\n"
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.values import Key, Rows\n\n"
        "@experiment(version=1)\n"
        "def a_cast(model):\n"
        '    """Casts."""\n'
        "    model.to(torch.float64)\n"
        "    model.blocks[0].attn.mask.fill_(True)\n"
        "    rows = Rows()\n"
        '    rows.add(Key("cast"), 1.0)\n'
        "    return rows\n"
    )
    runs = []
    for more in ({}, {"breaks": {"use": str(file)}}):
        experiments = {"loss": {"length": 32, "n": 2}, **more}
        config = pt.SweepConfig(
            model=str(suite),
            steps="all",
            experiments=experiments,
            out=tmp_path / f"run{len(runs)}",
            device="cpu",
        )
        assert pt.sweep(config).failed == []
        rows = pt.load(config.out)
        runs.append(
            rows[rows.experiment == "loss"]
            .sort_values(["step", "metric", "position"])[["step", "value"]]
            .fillna(-1)
        )
    assert runs[0].values.tolist() == runs[1].values.tolist()
