#!/bin/sh
# The Debian packages that tests use: installed where this is root on Debian; elsewhere those tests skip themselves, saying so.
set -u
PATH=$PATH:/usr/sbin:/sbin
missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; } # a program, and the package that it is in
need chromium chromium
need munged munge
need sbatch slurm-client
need slurmctld slurmctld
need slurmd slurmd
need slurmdbd slurmdbd
need mariadbd mariadb-server-core
need my_print_defaults mariadb-client-core
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, and cannot be from here:$missing: the tests that need them will be skipped"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
# One by one where together they fail, so that a package that is missing costs only its own tests.
apt-get update -qq >/dev/null
# shellcheck disable=SC2086
install $missing || for package in $missing; do
    install "$package" || echo "$package could not be installed"
done
exit 0
