"""When trajectories take off: estimators, intervals, and what is said of them."""
