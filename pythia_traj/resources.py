"""What a batch job asks a scheduler for: the `cluster` section of a config."""
