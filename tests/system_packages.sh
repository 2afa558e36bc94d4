#!/bin/sh
# The Debian packages that tests use: installed where this is root on Debian; elsewhere those tests skip themselves, saying so.
set -u
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "chromium is not installed and cannot be from here: the test that opens the report in a browser will be skipped"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null ||
    echo "chromium could not be installed: the test that opens the report in a browser will be skipped"
exit 0
