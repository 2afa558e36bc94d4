"""Layouts that differ in which files there are, and in how whole they are."""

from functools import partial

from tests.models.layouts import BIN, INDEX, SAFE, Layout, cut, files, only, removed, sharded, then

SHARD = "model-00002-of-00002.safetensors"
in_bins = partial(sharded, binary=True)

SHARDS = (
    Layout("shards", folder=sharded),
    Layout("shards, .bin", folder=in_bins),
    Layout("both formats", folder=then(partial(in_bins, keep_single=True))),
    Layout("a .bin besides that is none", folder=files({BIN: "stale"})),
    Layout("shards and one file", folder=partial(sharded, keep_single=True)),
    Layout(
        "a shard missing", folder=then(sharded, removed(SHARD)), refused=f"shard {SHARD} named in"
    ),
    Layout(
        "a shard missing, .bin",
        folder=then(in_bins, removed("pytorch_model-00001-of-00002.bin")),
        refused="is missing: fetch it again",
    ),
    Layout(
        "a shard missing, one file besides",
        folder=then(partial(sharded, keep_single=True), removed(SHARD)),
        refused="or remove the index if model.safetensors is right",
    ),
    Layout(
        "a shard empty",
        folder=then(sharded, cut(SHARD, 0)),
        refused=f"{SHARD} is empty: fetch it again",
    ),
    Layout("a shard cut", folder=then(sharded, cut(SHARD, 0.5)), refused=f"{SHARD} is truncated"),
    Layout(
        "shards without an index",
        folder=then(sharded, removed(INDEX)),
        refused="holds no weights: expected one of",
    ),
    Layout(
        "an index that names nothing",
        folder=then(sharded, files({INDEX: "{}"})),
        refused="has no weight_map, so its shards are unknown: fetch it again",
    ),
    Layout(
        "an index cut",
        folder=then(sharded, cut(INDEX, 0.5)),
        refused="is not JSON: fetch or write it again",
    ),
    Layout(
        "an index that leads elsewhere",
        folder=files({INDEX: '{"weight_map": {"a": "../x.safetensors"}}'}),
        refused="not a plain file name",
    ),
)

INCOMPLETE = (
    Layout("an empty folder", folder=only(), refused="config.json is missing"),
    Layout("no config.json", folder=removed("config.json"), refused="config.json is missing"),
    Layout(
        "config.json empty",
        folder=cut("config.json", 0),
        refused="config.json is not JSON: fetch or write it again",
    ),
    Layout(
        "config.json cut",
        folder=cut("config.json", 0.5),
        refused="config.json is not JSON: fetch or write it again",
    ),
    Layout("no weights", folder=removed(SAFE), refused="holds no weights: expected one of"),
    Layout(
        "weights empty", folder=cut(SAFE, 0), refused="model.safetensors is empty: fetch it again"
    ),
    Layout("weights cut in the header", folder=cut(SAFE, 0.001), refused="is truncated"),
    Layout("weights cut", folder=cut(SAFE, 0.7), refused="is truncated"),
    Layout(
        "weights under another name",
        folder=lambda f: (f / SAFE).rename(f / "model.fp16.safetensors"),
        refused="holds no weights: expected one of",
    ),
    Layout(
        ".bin empty",
        binary={},
        folder=cut(BIN, 0),
        refused="pytorch_model.bin is empty: fetch it again",
    ),
    Layout(
        ".bin cut",
        binary={},
        folder=cut(BIN, 0.7),
        refused="pytorch_model.bin is truncated or damaged",
    ),
    Layout(
        "old .bin cut",
        binary={"_use_new_zipfile_serialization": False},
        folder=cut(BIN, 0.7),
        refused="pytorch_model.bin is truncated or damaged",
    ),
)

MERGE = "merge it into its model with `model.merge_and_unload().save_pretrained(...)`"
CONVERT = "convert it with GPT-NeoX's tools/ckpts/convert_neox_to_hf.py"
TOGETHER = "put them together with `python zero_to_fp32.py . .`"
RAW = ("layer_00-model_00-model_states.pt", "mp_rank_00_model_states.pt")
ZERO = ("zero_to_fp32.py", "global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt")
OTHERS = (
    Layout(
        "an adapter", folder=only("adapter_config.json", "adapter_model.safetensors"), refused=MERGE
    ),
    Layout(
        "an adapter, .bin", folder=only("adapter_config.json", "adapter_model.bin"), refused=MERGE
    ),
    Layout(
        "an adapter beside weights",
        folder=files({"adapter_config.json": "{}"}),
        refused="and remove the adapter's files",
    ),
    Layout(
        "an optimizer alone",
        folder=only("config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
        refused="the state of a training and no weights",
    ),
    Layout("DeepSpeed ZeRO", folder=only("config.json", *ZERO), refused=TOGETHER),
    Layout("DeepSpeed ZeRO beside weights", folder=files(dict.fromkeys(ZERO, ""))),
    Layout("GPT-NeoX's own, in pieces", folder=only(*RAW), refused=CONVERT),
    Layout("GPT-NeoX's own", folder=only("mp_rank_00_model_states.pt"), refused=CONVERT),
    Layout(
        "FSDP's own",
        folder=only("config.json", "pytorch_model_fsdp_0/__0_0.distcp"),
        refused="`accelerate merge-weights`",
    ),
    Layout(
        "GGUF",
        folder=only("config.json", "model.Q4.gguf"),
        refused="weights of another format (model.Q4.gguf)",
    ),
    Layout(
        "TensorFlow",
        folder=only("config.json", "tf_model.h5"),
        refused="save them with save_pretrained",
    ),
    Layout(
        "Flax",
        folder=only("config.json", "flax_model.msgpack"),
        refused="save them with save_pretrained",
    ),
)

RUNS = (
    Layout(
        "a checkpoint for a run",
        given="step0",
        refused="it looks like one checkpoint: give its parent",
    ),
    Layout(
        "an adapter for a run", given="step0", folder=only("adapter_config.json"), refused=MERGE
    ),
    Layout(
        "an optimizer for a run",
        given="step0",
        folder=only("optimizer.pt"),
        refused="the state of a training and no weights",
    ),
    Layout("DeepSpeed ZeRO for a run", given="step0", folder=only(*ZERO), refused=TOGETHER),
    Layout(
        "GPT-NeoX's own run",
        given="step0",
        folder=only("latest", *(f"global_step5/{name}" for name in RAW)),
        refused=CONVERT,
    ),
    Layout(
        "an empty run",
        given="step0",
        folder=only(),
        refused="holds no step0/, step512/ or checkpoint-500/ folders",
    ),
    Layout("a run that is not there", given="nowhere", refused="no such directory"),
)

OF_FOLDERS = (*SHARDS, *INCOMPLETE, *OTHERS, *RUNS)
