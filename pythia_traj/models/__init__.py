"""A checkpoint's files -> a HookedTransformer: the only room that constructs one.

tensors.py       weight files -> named tensors, without copying them
architecture.py  config.json -> HookedTransformerConfig
parameters.py    the model's parameters as buffers in the file's own memory layout
fold.py          the arithmetic: cast, fold and centre one matrix, block by block
upload.py        tensors on their way to the device
stored.py        the tensors beside those that the config promises
swap.py          built once, weights swapped in place
device.py        whether it fits the device, checked before the first byte is read
"""
