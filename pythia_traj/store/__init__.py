"""What a run looks like on disk, and who may write what.

layout.py   a run's directory: its paths, its creation, what may and may not be one
unit.py     one unit -> Parquet files, written aside and renamed
done.py     which units are there, and what they were made of
events.py   the append-only log of each worker
read.py     a run -> DataFrame
"""
