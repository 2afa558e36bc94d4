"""Tensor science: functions of tensors, or of a model that they are handed; they know no file and no experiment.

answers.py    what is measured on right and wrong continuations
direct.py     direct effects on a difference of logits
measures.py   what is measured on logits
heads.py      what is measured on attention patterns
runs.py       a forward pass that is kept, and passes that begin in the middle of it
ablation.py   components' outputs replaced
"""
