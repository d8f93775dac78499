#!/bin/sh
# Prints the Python that .venv is made with: the first of the candidates that is 3.11 or newer and can make one.
# PYTHON=/some/python names one yourself.
set -eu

found=""
for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14 python}; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    # A pyenv shim exists for versions that are not active: only running it tells.
    version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if ! "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        found="$found
  $path is Python $version, which is too old."
    elif ! "$path" -c 'import ensurepip, venv' 2>/dev/null; then
        found="$found
  $path is Python $version, but cannot make a virtual environment (on Debian: apt-get install python$version-venv)."
    else
        echo "$path"
        exit 0
    fi
done

echo "kernlab needs Python 3.11 or newer.${found:-
  No python3 was found on the PATH.}
Install one, or name it: make PYTHON=/path/to/python3" >&2
exit 1
