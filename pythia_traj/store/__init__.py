"""What a run looks like on disk, and who may write what.

layout.py   a run's directory: its paths, its creation, what may and may not be one
records.py  its JSON as typed models
parquet.py  a table -> a file, and back if it is whole
unit.py     one unit -> Parquet files, written aside and renamed
done.py     which units are there and whole, what they were made of, what was asked for
events.py   the append-only log of each worker
read.py     a run -> DataFrame
filters.py  what of it is wanted
mixed.py    rows of one label that were made with different settings
"""
