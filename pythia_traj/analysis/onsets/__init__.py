"""When a trajectory takes off."""
