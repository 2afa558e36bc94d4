"""Tasks: prompts whose last position has a right and a wrong continuation, each with a corrupted twin.

prompt.py         what an item is, and how items become batches of one length
ioi.py            indirect object identification
greater_than.py   a year greater than the one in the prompt
agreement.py      subject and verb, with and without an attractor
pronoun.py        a name's pronoun
own.py            a user's file
"""
