"""The embedded default: a small GPT-NeoX trained here.

Its checkpoints are laid out as those of a published suite.

recipe.py   every setting of the training run, with the reasons
batches.py  what it is trained on
train.py    the training, and the layout of its checkpoints
missing.py  the suite that a request trains where it does not exist yet
"""
