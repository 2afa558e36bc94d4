"""A Hugging Face Trainer that trains a tiny GPT-NeoX, as a program of its own.

python -m tests.sweeps.trainer DIRECTORY '{"max_steps": 40, "save_steps": 5}'
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from tests.support import byte_tokenizer, random_model


class Slow(TrainerCallback):
    """Steps that take a while, and an end before the last one, if one is asked for."""

    def __init__(self, seconds: float, stop_at: int | None) -> None:
        self.seconds, self.stop_at = seconds, stop_at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each step."""
        time.sleep(self.seconds)
        if state.global_step == self.stop_at:
            control.should_training_stop = control.should_save = True


def train(
    directory: Path, *, seconds: float = 0.0, stop_at: int | None = None, **arguments: Any
) -> None:
    """Trains, and writes what a Trainer writes."""
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(300, (64, 16))]
    trainer = Trainer(
        model=random_model().train(),
        args=TrainingArguments(
            output_dir=str(directory),
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            per_device_train_batch_size=4,
            save_strategy="steps",
            logging_steps=1,
            **arguments,
        ),
        train_dataset=rows,
        data_collator=default_data_collator,
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=byte_tokenizer(), eos_token="<|endoftext|>"
        ),
        callbacks=[Slow(seconds, stop_at)],
    )
    trainer.train()


if __name__ == "__main__":
    train(Path(sys.argv[1]), **json.loads(sys.argv[2]))
