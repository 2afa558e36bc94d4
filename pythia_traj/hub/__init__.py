"""The Hugging Face Hub as a source of checkpoints. Knows no torch and nothing of models.

client.py    what is asked of the Hub, its answers as data and its refusals as sentences
memory.py    what a commit can never change, kept on this machine
model.py     a repository whose branches are steps, as a published model
"""
