#!/usr/bin/env bash
# Makes .venv beside this file on the first start, then runs what it was asked for; later starts only compare a stamp.
set -euo pipefail

home=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
venv=$home/.venv
python=$venv/bin/python
test_workers=2

usage() {
    echo "Usage: ./run.sh [VERB …]     the first start installs everything into .venv, a minute or two"
    echo
    echo "  ./run.sh            the same as ./run.sh miniature"
    echo "  ./run.sh test       the quick tests; what follows goes to pytest, as in ./run.sh test -m slow"
    echo "  ./run.sh parity     the tests against timm and transformers, which it installs, and torch with them"
    echo "  ./run.sh lint       ruff and basedpyright"
    sed -n 's/^    "\([a-z]*\)": ("[^"]*", "\(.*\)"),$/\1|\2/p' "$home/vit_jax/__main__.py" |
        while IFS='|' read -r verb does; do printf '  ./run.sh %-10s %s\n' "$verb" "$does"; done
    echo
    echo "./run.sh VERB --help says what a verb reads."
}

say() { echo "run.sh: $*" >&2; }

fail() {
    say "error: $*"
    exit 2
}

# What an environment is made from. Every start compares this text, so nothing slow is asked here.
source_of_venv() {
    printf '%s\n' "$home" "$(command -v nvidia-smi)" /dev/accel[0-9]* /dev/vfio/[0-9]* "${TPU_NAME:-}" \
        "$(<"$home/requirements.txt")" "$(<"$home/pyproject.toml")"
}

# ready PART: whether .venv holds `core`, `test`, `parity` or `lint` whole, made from the files as they are now.
ready() {
    [ -x "$python" ] && [ ! -e "$venv/half-made" ] && [ -f "$venv/made-$1" ] &&
        [ "$(<"$venv/made-$1")" = "$(source_of_venv)" ]
}

# The extra of pyproject.toml that this machine's accelerator asks for. Intel's NPUs are /dev/accel too: ask the vendor.
accelerator() {
    local cuda
    cuda=$({ nvidia-smi 2>/dev/null || true; } | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p') # the newest that the driver runs
    if [ -n "$cuda" ]; then
        if [ "$cuda" -ge 13 ]; then echo cuda13; else echo cuda12; fi
    elif [ -n "${TPU_NAME:-}" ]; then
        echo tpu
    elif compgen -G '/dev/accel[0-9]*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
        if grep -qs 0x1ae0 /sys/bus/pci/devices/*/vendor; then echo tpu; fi
    fi
}

find_python() {
    local candidate
    for candidate in python3 python3.12 python3.11 python3.13 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

# Runs a command quietly; what it printed is shown only where it failed.
quietly() {
    local output
    output=$("$@" 2>&1) || {
        printf '%s\n' "$output" >&2
        return 1
    }
}

make_venv() {
    local found
    found=$(find_python)
    if command -v uv >/dev/null; then
        quietly uv venv --quiet --allow-existing --python "${found:-3.12}" "$venv"
    elif [ -z "$found" ]; then
        fail "no Python 3.11 or newer was found; install one, or uv (https://docs.astral.sh/uv), and start again"
    else
        quietly "$found" -m venv "$venv"
    fi
}

install() {
    if command -v uv >/dev/null; then
        quietly uv pip install --quiet --python "$python" "$@"
    else
        "$python" -m pip --version >/dev/null 2>&1 || quietly "$python" -m ensurepip
        quietly "$python" -m pip install --quiet --no-compile --disable-pip-version-check "$@"
    fi
}

# Compiles the modules that runs import, not the 7,000 that lie in .venv; shows that they load.
try_imports() {
    quietly env -u PYTHONDONTWRITEBYTECODE "$python" -c \
        'import flax.linen, optax, orbax.checkpoint, sklearn, tensorflow_datasets'
}

# Makes or completes .venv. The file half-made lies in it for as long as nobody may use it: after a kill it is made anew.
make_part() {
    local part=$1 started=$SECONDS source new="" extras
    source=$(source_of_venv)
    extras=$(accelerator)
    say "setting up .venv for ${extras:-cpu}"
    if [ "$part" != core ]; then extras=${extras:+$extras,}$part; fi

    trap 'exit 130' INT TERM
    if [ -e "$venv/half-made" ]; then
        say "the last set-up was cut short: making .venv anew"
        rm -rf "$venv"
    fi
    mkdir -p "$venv"
    touch "$venv/half-made"
    if ! "$python" -c '' 2>/dev/null; then
        new=yes
        make_venv || fail "could not make $venv"
    fi
    say "installing ${extras:+[$extras] }for $("$python" --version)"
    if ! (cd -- "$home" && install -r requirements.txt -e ".${extras:+[$extras]}" && try_imports); then
        # Installers put back what they could not replace: an environment that worked before is completed, not remade.
        [ -n "$new" ] || rm "$venv/half-made"
        fail "the install failed, for the reason above; start again to go on"
    fi
    echo "$source" >"$venv/made-core"
    echo "$source" >"$venv/made-$part"
    rm "$venv/half-made"
    say "ready, $((SECONDS - started)) s"
}

# set_up PART: one set-up at a time, where the machine has flock.
set_up() {
    if ready "$1"; then return; fi
    (
        if command -v flock >/dev/null && ! flock -n 9; then
            say "waiting for another set-up to end"
            flock 9
        fi
        if ! ready "$1"; then make_part "$1"; fi
    ) 9>>"$home/requirements.txt"
}

case ${1:-} in
    -h | --help | help) usage ;;
    test)
        shift
        set_up test
        cd -- "$home"
        exec "$python" -m pytest -n "$test_workers" --dist worksteal "$@"
        ;;
    parity)
        shift
        set_up parity
        cd -- "$home"
        exec "$python" -m pytest -m parity -n "$test_workers" --dist worksteal "$@"
        ;;
    lint)
        set_up lint
        cd -- "$home"
        "$python" -m ruff check .
        "$python" -m ruff format --check .
        exec "$python" -m basedpyright
        ;;
    *)
        [ $# -gt 0 ] || set -- miniature
        if ! ready core && ! grep -q "^    \"$1\": (" "$home/vit_jax/__main__.py"; then
            fail "there is no verb \"$1\"; ./run.sh --help lists them"
        fi
        set_up core
        exec "$python" -m vit_jax "$@"
        ;;
esac
