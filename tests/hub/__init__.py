"""A loopback hub: a server that speaks the Hugging Face Hub's protocol, and fails when told to.

The client that it speaks to is the real one.
"""
