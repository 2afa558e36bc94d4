"""`python -m pythia_traj.cli`: the command line in this Python, whatever is on the path."""

from pythia_traj.cli.main import main

main()
