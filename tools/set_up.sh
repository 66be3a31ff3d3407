# Make the virtual environment with the locked dependencies, where it is missing or older than the lock. To be sourced
# from the project's folder; afterwards "$PYTHON" is its interpreter.

PYTHON="$PWD/.venv/bin/python"

find_python() {
    local candidate
    for candidate in ${PROMPTAD_PYTHON:+"$PROMPTAD_PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "promptad: no Python 3.11 or newer found: install one, with its venv module" >&2
    return 2
}

set_up() {
    local stamp=.venv/installed wanted base
    if command -v flock >/dev/null; then # of two set-ups at once, the second waits and finds it done
        exec 9>.set_up.lock
        flock 9
    fi
    wanted=$(cat requirements.lock pyproject.toml | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted $PWD" ]; then
        return
    fi
    echo "setting up .venv with the locked dependencies (about 6 GB, once)"
    base=$(find_python) || return
    rm -f "$stamp"
    "$base" -m venv .venv || return
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "uv>=0.5,<1" || return
    "$PYTHON" -m uv pip install --quiet --python "$PYTHON" --require-hashes --compile-bytecode -r requirements.lock || return
    "$PYTHON" -m uv pip install --quiet --python "$PYTHON" --no-deps --no-build-isolation --editable . || return
    echo "$wanted $PWD" >"$stamp" # written last: a set-up that was cut short starts again
}

set_up || exit
exec 9>&- # lets the next one go on
