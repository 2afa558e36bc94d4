"""A loopback hub: a server that speaks the Hugging Face Hub's protocol to the real client, and fails when it is told to."""
