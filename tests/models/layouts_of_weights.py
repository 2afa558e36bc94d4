"""Layouts that differ in what the weight files hold."""

from collections import OrderedDict

import torch

from tests.models.layouts import Layout, also, both, each, part_of_more, renamed, strided, without

QKV = "gpt_neox.layers.0.attention.query_key_value"
TIED = {"tie_word_embeddings": True}
UNTIE = also({"embed_out.weight": torch.randn(300, 32)})
MASK = torch.ones(1, 1, 128, 128).tril()

NAMES = (
    Layout("as save_pretrained writes it"),
    Layout("DistributedDataParallel", weights=renamed("^", "module."), theirs=False),
    Layout("torch.compile", weights=renamed("^", "_orig_mod."), theirs=False),
    Layout("compiled, then distributed", weights=renamed("^", "module._orig_mod."), theirs=False),
    Layout("distributed, then compiled", weights=renamed("^", "_orig_mod.module."), theirs=False),
    Layout(
        "layers compiled one by one",
        weights=renamed(r"(layers\.\d\.)", r"\1_orig_mod."),
        theirs=False,
    ),
    Layout("FSDP", weights=renamed(r"(layers\.\d\.)", r"\1_fsdp_wrapped_module."), theirs=False),
    Layout(
        "activations recomputed",
        weights=renamed(r"(layers\.\d\.)", r"\1_checkpoint_wrapped_module."),
        theirs=False,
    ),
    Layout(
        "DistributedDataParallel, .bin", weights=renamed("^", "module."), binary={}, theirs=False
    ),
    Layout(
        "Lightning",
        weights=renamed("^", "model."),
        refused="stored as model.gpt_neox.embed_in.weight: save the state",
    ),
    Layout(
        "a copy besides",
        weights=lambda t: t | {f"module.{name}": tensor.clone() for name, tensor in t.items()},
        refused="and module.embed_out.weight: remove the one that is not the model's",
    ),
    Layout("base model and embed_out", weights=renamed(r"^gpt_neox\.", ""), theirs=False),
    Layout(
        "base model, distributed, and embed_out",
        weights=renamed(r"^(gpt_neox\.)?", "module."),
        theirs=False,
    ),
    Layout(
        "base model alone",
        weights=both(without("embed_out"), renamed(r"^gpt_neox\.", "")),
        refused="not the GPTNeoXModel",
    ),
    Layout(
        "base model alone, named so",
        weights=without("embed_out"),
        settings={"architectures": ["GPTNeoXModel"]},
        refused="save the GPTNeoXForCausalLM",
    ),
    Layout(
        "tied base model",
        model=TIED,
        weights=both(without("embed_out"), renamed(r"^gpt_neox\.", "")),
    ),
    Layout("lm_head.weight", weights=renamed("embed_out", "lm_head")),
    Layout(
        "embed_out.weight and lm_head.weight, alike",
        weights=lambda t: t | {"lm_head.weight": t["embed_out.weight"].clone()},
        theirs=False,
    ),
    Layout(
        "embed_out.weight and lm_head.weight, another",
        weights=also({"lm_head.weight": torch.zeros(300, 32)}),
        refused="which differ: remove the one",
    ),
    Layout(
        "names of GPT-NeoX itself",
        weights=renamed("gpt_neox.layers", "sequential"),
        refused="convert them with its tools/ckpts/convert_neox_to_hf.py",
    ),
    Layout(
        "names of GPT-2",
        weights=renamed("gpt_neox.", "transformer."),
        refused="embed_in.weight is missing",
    ),
    Layout(
        "a head of another task besides",
        weights=also({"score.weight": torch.zeros(2, 32), "qa_outputs.bias": torch.zeros(2)}),
    ),
    Layout(
        "an adapter in it",
        weights=also({f"{QKV}.lora_A.default.weight": torch.zeros(4, 32)}),
        refused="save `model.merge_and_unload()`",
    ),
    Layout(
        "an adapter around it",
        weights=renamed("^", "base_model.model."),
        refused="save `model.merge_and_unload()`",
    ),
    Layout(
        "a tensor missing",
        weights=without("layers.1.mlp.dense_h_to_4h.bias"),
        refused="layers.1.mlp.dense_h_to_4h.bias is missing",
    ),
    Layout(
        "no tensors",
        weights=lambda tensors: {"score.weight": tensors["embed_out.weight"]},
        refused="they are score.weight, ...: save the whole",
    ),
)

TIES = (
    Layout("tied, the embedding alone in the file", model=TIED),
    Layout(
        "tied, both in the file",
        model=TIED,
        weights=lambda t: t | {"embed_out.weight": t["gpt_neox.embed_in.weight"].clone()},
    ),
    Layout(
        "tied, both in the .bin as one",
        model=TIED,
        weights=lambda t: t | {"embed_out.weight": t["gpt_neox.embed_in.weight"]},
        binary={},
    ),
    Layout("said to be tied, but another unembedding", model=TIED, weights=UNTIE),
    Layout(
        "tied, the unembedding alone in the file",
        model=TIED,
        weights=renamed(r"gpt_neox\.embed_in", "embed_out"),
    ),
    Layout(
        "tied, the unembedding alone in the file, as lm_head",
        model=TIED,
        weights=renamed(r"gpt_neox\.embed_in", "lm_head"),
    ),
    Layout("tied said by config.json alone", settings=TIED, weights=without("embed_out")),
    Layout(
        "not tied, no unembedding",
        weights=without("embed_out"),
        refused="save the GPTNeoXForCausalLM",
    ),
)

QUANTISED = "save `model.dequantize()` in float16 or float32"
TYPES = (
    Layout("float16", dtype=torch.float16),
    Layout("bfloat16", dtype=torch.bfloat16),
    Layout("float64", weights=each(torch.Tensor.double)),
    Layout(
        "LayerNorms alone in float32", dtype=torch.float16, weights=each(torch.Tensor.float, "norm")
    ),
    Layout("embeddings alone in bfloat16", weights=each(torch.Tensor.bfloat16, "embed")),
    Layout("float8", weights=each(lambda t: t.to(torch.float8_e4m3fn), "dense"), refused=QUANTISED),
    Layout("int8", weights=each(torch.Tensor.char, r"dense.*weight"), refused="is of type I8"),
    Layout(
        "int8, .bin",
        weights=each(torch.Tensor.char, r"dense.*weight"),
        binary={},
        refused="is of type int8",
    ),
    Layout("bitsandbytes, 8 bits", weights=also({f"{QKV}.SCB": torch.ones(96)}), refused=QUANTISED),
    Layout(
        "bitsandbytes, 4 bits",
        weights=also({f"{QKV}.weight.absmax": torch.ones(48)}),
        refused=QUANTISED,
    ),
    Layout("GPTQ", weights=renamed(r"dense\.weight", "dense.qweight"), refused=QUANTISED),
    Layout(
        "scales of float8",
        weights=also({f"{QKV}.weight_scale_inv": torch.ones(1)}),
        refused=QUANTISED,
    ),
    Layout(
        "quantisation in config.json",
        settings={"quantization_config": {"load_in_8bit": True}},
        refused=QUANTISED,
    ),
)

BUFFERS = (
    Layout("masks as booleans", weights=also({"gpt_neox.layers.0.attention.bias": MASK.bool()})),
    Layout("masks as bytes", weights=also({"gpt_neox.layers.0.attention.bias": MASK.byte()})),
    Layout("masks as numbers", weights=also({"gpt_neox.layers.0.attention.bias": MASK})),
    Layout(
        "-inf for what is masked",
        dtype=torch.float16,
        weights=also({"gpt_neox.layers.0.attention.masked_bias": torch.tensor(-torch.inf).half()}),
    ),
    Layout(
        "rotary frequencies, of another base",
        weights=also({"gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(2)}),
    ),
    Layout(
        "buffers of a distributed model",
        weights=both(
            also({"gpt_neox.layers.0.attention.bias": MASK.bool()}), renamed("^", "module.")
        ),
        theirs=False,
    ),
)


class Code:
    """What a pickle must not run."""

    def __reduce__(self):
        return exec, ("raise SystemExit",)


BINARY = (
    Layout(".bin", binary={}),
    Layout(".bin as before torch 1.6", binary={"_use_new_zipfile_serialization": False}),
    Layout(".bin in float16", dtype=torch.float16, binary={}),
    Layout(".bin of an OrderedDict", weights=OrderedDict, binary={}),
    Layout(".bin of parameters", weights=each(torch.nn.Parameter), binary={}),
    Layout(".bin of tensors transposed in memory", weights=each(strided), binary={}),
    Layout(".bin of parts of larger tensors", weights=each(part_of_more), binary={}),
    Layout(
        ".bin with numbers besides", weights=lambda t: t | {"step": 5, "epoch": None}, binary={}
    ),
    Layout(
        ".bin of a training",
        weights=lambda t: {"model": t, "step": 5},
        binary={},
        refused="holds model where tensors were expected: save the model's state dict",
    ),
    Layout(
        ".bin of a list",
        weights=lambda t: list(t.values()),
        binary={},
        refused="holds list where a state dict",
    ),
    Layout(
        ".bin with code",
        weights=lambda t: t | {"more": Code()},
        binary={},
        refused="it holds code, which is never run",
    ),
)

OF_WEIGHTS = (*NAMES, *TIES, *TYPES, *BUFFERS, *BINARY)
