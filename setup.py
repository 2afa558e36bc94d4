"""The packages of a wheel; all else that is to say of it stands in pyproject.toml.

Setuptools finds those below `pythia_traj/`. Two folders beside it are installed inside it, which is
why they are named: `packages.find` in pyproject.toml names a package by the folder it lies in.
"""

from setuptools import find_packages, setup

BESIDE = {"pythia_traj.experiments": "experiments", "pythia_traj.configs": "configs"}

setup(
    packages=[*find_packages(include=["pythia_traj", "pythia_traj.*"]), *BESIDE],
    package_dir={"pythia_traj": "pythia_traj", **BESIDE},
)
