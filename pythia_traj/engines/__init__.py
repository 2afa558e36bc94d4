"""Pure tensor science: functions of tensors that know no model, no file and no experiment.

answers.py    what is measured on right and wrong continuations
direct.py     direct effects on a difference of logits
measures.py   what is measured on logits
heads.py      what is measured on attention patterns
"""
