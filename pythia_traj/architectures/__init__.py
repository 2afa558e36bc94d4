"""Which tensors and config keys each architecture has: one file of tables for each.

tables.py         the form of such a file
gpt_neox.py       GPT-NeoX, the architecture of every published suite here
finding.py        a config -> its architecture, among the files of this folder
settings.py       a config -> what the model computes, in the same words for all architectures
config_values.py  the range of each value of a config
rotary.py         how positions are rotated
tensors.py        names and shapes of the tensors that a config promises

Another architecture is another file here that defines `ARCHITECTURE`. Nothing else names a tensor
or a config key of it. Needs neither torch nor transformers.
"""
