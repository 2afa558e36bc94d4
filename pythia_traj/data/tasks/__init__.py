"""Tasks: prompts with right and wrong continuations, each with a corrupted twin.

task.py           what a task is: a file here that defines `TASK` adds one
prompt.py         what an item is, and how items become batches of one length
drawing.py        distinct items, their clusters split into halves first
ioi.py            indirect object identification
greater_than.py   a year greater than the one in the prompt
agreement.py      subject and verb, with and without an attractor
pronoun.py        a name's pronoun
repeats.py        random tokens and the same again
own.py            a user's file
"""
