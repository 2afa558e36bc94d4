"""What a run looks like on disk, and how it is written and read.

layout.py   a run's directory: its paths, its creation, which directories can be one
writing.py  how a file gets into it: whole, or not at all
records.py  its JSON as typed models
parquet.py  a table -> a file, and back if it is whole
tables.py   rows, items and tables of an experiment's own -> Arrow tables of the declared types
unit.py     one unit -> Parquet files, written aside and renamed
done.py     which units exist and are whole, what they were made of, what was requested
compacted.py  many units in one file: where they are, how they are read
compacting.py many files of units -> one, so that no crash costs a unit
taking_out.py compacted units -> files of their own
removing.py a label -> nothing
merging.py  several runs -> one
origin.py   which published model a run's rows belong to
events.py   the append-only log of each worker
opening.py  units one after the other, a compacted file once for many of them
files.py    the files of one table, those that are whole
read.py     a run -> DataFrame
parts.py    the same, a few files at a time: for what does not fit into memory
remote.py   a run at an address: its names here, its files as they are read
filters.py  which rows of it to read
mixed.py    rows that were made with different versions or settings
describe.py which words and tables a run has
schema1.py  the words and columns of runs that version 0.1.0 wrote, in those of today
old_tables.py  tables of such a run -> tables of today
convert.py  such a run -> a run of today
"""
