"""What experiments run on: tokens, made once per sweep and the same at every step.

repeated.py      random tokens that repeat, and the same shuffled
cutting.py       documents cut into sequences, drawn from as many documents as possible
text.py          sequences of text, and what kind of tokens they are made of
ngrams.py        n-gram models of a corpus, and text sampled from them
documents.py     where documents come from: the standard library, a file, a Hugging Face dataset
containers.py    what a file of documents or rows is, by its name
token_bytes.py   which bytes of a text each token stands for
prompts.py       the prompts of a task, as the model's tokenizer allows them
tasks/           the tasks themselves
labelled.py      tokens with labels, split by document
labels/          the labels: Python's syntax, properties of tokens, a user's file
roles.py         what roles of heads are measured on
sequences.py     training sequences, for memorisation
continuations.py prompts in words, to be continued
passages.py      one passage each of many documents
stdlib.py        the standard library's source
"""
