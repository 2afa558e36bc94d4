"""The page of a run, and what it says in words.

methods.py    how a run was measured, as plain text
described.py  what experiments say of themselves, without importing them
counts.py     how many tests were made
"""
