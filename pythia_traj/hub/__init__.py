"""The Hugging Face Hub as a source of checkpoints. Knows no torch and nothing of models.

client.py      what is asked of the Hub, its answers as data and its refusals as sentences
patience.py    what went wrong on the network, tried again
memory.py      what a commit can never change, kept on this machine
stream.py      one GET whose body goes straight into a buffer
transfer.py    the bytes of a file, several ranges at a time, hashed as they come
constants.py   causal masks, which cross the network once
staging.py     where bytes are put: in memory
disk.py        where bytes are put: on disk, within a budget
weights.py     the weight files of a checkpoint, from the nearest place that has them
model.py       a repository whose branches are steps, as a published model
estimate.py    what a sweep will cost
fetch.py       checkpoints fetched to stay, and what is kept
"""
