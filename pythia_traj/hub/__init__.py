"""The Hugging Face Hub as a source of checkpoints. Knows nothing of torch or of models.

environment.py where the Hub is and who asks, checked by form
client.py      what is asked of the Hub, its answers as data
refusals.py    its refusals, and its silence, as sentences
answers.py     what a server answers, within limits and through typed models
deadline.py    a time limit for answers
listed.py      a file as the Hub lists it, and whether bytes are that file
retry.py       what went wrong on the network, tried again
pauses.py      how long a server asks to wait
network.py     proxies and certificates, as the environment names them
cache.py       our directory on this machine, and what in it may be deleted
locks.py       locks on its files, where the disk has any
listings.py    what a commit can never change, kept there
shared.py      the Hugging Face cache, read only
stream.py      one GET whose body goes straight into a buffer
transfer.py    the bytes of a file, several ranges at a time, hashed as they come
masks.py       causal masks, which cross the network once
staging.py     where bytes are put: in memory
disk.py        where bytes are put: on disk, within a budget
stored.py      one file there: its name, locks, marks, removal
verified.py    which files of this machine were hashed and found right, in this process
weights.py     the weight files of a checkpoint, from the nearest place that has them
model.py       a repository whose branches are steps, as a published model
estimate.py    what a sweep will cost
fetch.py       checkpoints fetched to stay, and what is kept
"""
