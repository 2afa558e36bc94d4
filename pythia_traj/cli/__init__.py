"""The command line: each command a thin call of one library function of the same name.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from pythia_traj.cli.main import main as main
