"""Trains the toy suite and lays its checkpoints out in Hugging Face layout.

The suite is written beside its place and renamed when it is whole: a directory that exists is
complete.
"""

import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.store.writing import writing
from pythia_traj.toy.batches import END_OF_TEXT, batches, read_corpus
from pythia_traj.toy.recipe import Recipe, check_same

OnStep = Callable[[int, int, float], None]


def train(directory: Path, recipe: Recipe = Recipe(), *, on_step: OnStep | None = None) -> None:  # noqa: B008
    """Trains the suite, unless it exists already.

    Args:
        directory: where its `step0/`, `step1/`, ... go; the model has its name.
        recipe: the settings; the same recipe on the same machine and threads gives the same
            weights.
        on_step: is called now and then with the step, the last step and the loss.

    Raises:
        SuiteError: the directory exists and is something else.
        StoreError: it cannot be written.
    """
    if directory.exists():
        check_same(directory, recipe)
        return
    with writing(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            _train(unfinished, recipe, on_step)
            unfinished.chmod(0o755)
            try:
                unfinished.rename(directory)
            except OSError:
                if not directory.exists():
                    raise
                # Another process was faster.
                check_same(directory, recipe)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _train(root: Path, recipe: Recipe, on_step: OnStep | None) -> None:
    corpus = read_corpus(recipe.vocab_size)
    model = initialised(recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_lr, betas=recipe.betas, weight_decay=recipe.weight_decay
    )
    saved = set(recipe.saved_steps)
    save(root, 0, model, corpus.tokenizer)
    for step, ids in enumerate(islice(batches(recipe, corpus), recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr(step)
        tokens = torch.from_numpy(ids)
        loss = _next_token_loss(model(tokens).logits, tokens)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        optimizer.step()
        if step + 1 in saved:
            save(root, step + 1, model, corpus.tokenizer)
        if on_step is not None and (step % 20 == 0 or step + 1 == recipe.steps):
            on_step(step + 1, recipe.steps, loss.item())
    facts = {
        "suite": "toy",
        "tokens_per_step": recipe.tokens_per_step,
        "recipe": recipe.as_dict(),
        "corpus_sha256": corpus.sha256,
        "python": platform.python_version(),
    }
    (root / "suite.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def initialised(recipe: Recipe) -> GPTNeoXForCausalLM:
    """The model before training, in training mode."""
    # The generator of the process is left as it was found.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        config = GPTNeoXConfig(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.d_model,
            num_hidden_layers=recipe.n_layers,
            num_attention_heads=recipe.n_heads,
            intermediate_size=recipe.d_mlp,
            max_position_embeddings=recipe.context,
            rotary_pct=1.0,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
            architectures=[ARCHITECTURE.name],
        )
        return GPTNeoXForCausalLM(config).train()


def _next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def save(root: Path, step: int, model: GPTNeoXForCausalLM, tokenizer: Tokenizer) -> None:
    """Writes a step of a suite: the config, the weights and the tokenizer."""
    folder = root / f"step{step}"
    model.config.save_pretrained(folder)
    # With the names of the published files: transformers 5.14 renamed the unembedding inside its
    # model only.
    published, *_ = ARCHITECTURE.unembed
    weights = {
        (published if name in ARCHITECTURE.unembed else name): tensor.contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
