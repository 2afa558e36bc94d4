"""What experiments are run on: tokens, made once per sweep and the same at every step.

repeated.py   random tokens that repeat, and the same shuffled
text.py       token sequences cut from documents
documents.py  where documents come from: the standard library, a file, a Hugging Face dataset
prompts.py    the prompts of a task, as the model's tokenizer allows them
tasks/        the tasks themselves
stdlib.py     the standard library's source
"""
