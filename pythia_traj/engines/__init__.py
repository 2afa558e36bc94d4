"""Tensor science: functions of tensors, or of a model that they are given.

They know no file and no experiment.

answers.py          what is measured on right and wrong continuations
direct.py           direct effects on a difference of logits
measures.py         what is measured on logits and distributions
heads.py            what is measured on attention patterns
streams.py          streams of random numbers by name
means.py            means over clusters of items, their errors and intervals
ratios.py           ratios of means, guarded
kept.py             a forward pass that is kept, and passes that begin in the middle of it
last_block.py       the last layer at the positions that are read
ablation.py         components' outputs replaced
patching.py         activations of another pass, components of another model
paths.py            path patching
edges.py            attribution of nodes and edges
circuits.py         what is left of a model where only some edges carry the clean prompt
roles.py            what makes a head a name mover, a successor head, ...
role_scores.py      from what was measured of heads to a role's score
significance.py     p-values against a pooled null, and which of them are discoveries
lens.py             what each layer would predict, as it is and after a trained translator
ngrams.py           distributions of n-gram models, and a model's divergence from them
gathering.py        activations of chosen tokens, as many layers at a time as there is memory for
probing.py          linear probes of several layers at once
probe_scores.py     how well labels are predicted, with a bootstrap over documents
weights.py          spectra, distances and copying of weights alone
sketches.py         random projections from which distances are estimated later
representations.py  likeness and shape of activations
decoding.py         continuing many sequences at once, with a cache
"""
