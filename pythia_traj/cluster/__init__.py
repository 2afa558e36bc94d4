"""A request -> workers: on this machine, or a script for a scheduler."""
