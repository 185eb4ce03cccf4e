#!/bin/sh
# Installs or upgrades skulk as a systemd service on a Debian-like machine.
#
#   sudo deploy/install.sh                      from this source tree
#   sudo deploy/install.sh skulk-0.1.0.whl      from a wheel (the lock file beside this folder is used)
#
# Afterwards:
#   /opt/skulk/releases/<n>   one virtual environment a release; /opt/skulk/current points to the one in use
#   /etc/skulk/skulk.toml     the configuration; never overwritten
#   /etc/skulk/credentials    for key files, root's alone
#   /var/lib/skulk            state and data; never touched
#   /etc/systemd/system/skulk.service
#   /usr/local/bin/skulk      for people
#
# An upgrade builds the new release first, checks the configuration with it, and only then switches over. The release
# before stays for going back: deploy/install.sh --rollback
set -eu

PREFIX=/opt/skulk
ETC=/etc/skulk
UNIT=/etc/systemd/system/skulk.service
PYTHON=${PYTHON:-python3}
START=yes
ROLLBACK=no
WHEELHOUSE=
SOURCE=

usage() {
    cat <<'EOF'
usage: install.sh [--no-start] [--wheelhouse DIR] [--rollback] [WHEEL]
  WHEEL             install this wheel instead of the source tree around this script
  --wheelhouse DIR  take the dependencies from this folder of wheels; no network
  --no-start        do not enable or (re)start the service
  --rollback        point back to the release before, and restart
EOF
}

say() { printf 'skulk: %s\n' "$*"; }
releases() { find "$PREFIX/releases" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n; }
fail() { printf 'skulk: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        --no-start) START=no ;;
        --rollback) ROLLBACK=yes ;;
        --wheelhouse) [ $# -gt 1 ] || fail "--wheelhouse needs a folder"; WHEELHOUSE=$(cd "$2" && pwd); shift ;;
        -h|--help) usage; exit 0 ;;
        -*) usage >&2; exit 1 ;;
        *) SOURCE=$1 ;;
    esac
    shift
done

HERE=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || fail "needs root: sudo $0"

# Whether a service manager is there to talk to (not so in a chroot or while building an image).
running() { [ -d /run/systemd/system ]; }

restart() {
    [ "$START" = yes ] || return 0
    if ! running; then
        say "systemd does not run here; later: systemctl enable --now skulk"
        return 0
    fi
    systemctl daemon-reload
    systemctl enable --quiet skulk.service
    # Waits until the service says that it is ready, so that its failure is ours.
    systemctl restart skulk.service || fail "the service did not start; look at: journalctl -u skulk -n 50"
    say "running: $(systemctl show -p StatusText --value skulk.service)"
}

switch_to() {
    # One rename: there is no moment without a release.
    ln -s "$1" "$PREFIX/current.new"
    mv -T "$PREFIX/current.new" "$PREFIX/current"
}

if [ "$ROLLBACK" = yes ]; then
    now=$(readlink "$PREFIX/current") || fail "nothing is installed in $PREFIX"
    before=$(releases | awk -v now="$(basename "$now")" '$1 + 0 < now + 0' | tail -n 1)
    [ -n "$before" ] || fail "there is no release before $(basename "$now")"
    switch_to "releases/$before"
    say "back to release $before: $("$PREFIX/current/bin/skulk" version)"
    restart
    exit 0
fi

# What is needed

command -v "$PYTHON" >/dev/null || fail "needs Python 3.11 or newer: apt install python3 python3-venv"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "needs Python 3.11 or newer, $PYTHON is $("$PYTHON" --version 2>&1); try PYTHON=/path/to/python3 $0"
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "Python has no venv module: apt install python3-venv"
LOCK=$HERE/requirements-runtime.lock
[ -f "$LOCK" ] || fail "$LOCK is missing"
if [ -n "$SOURCE" ]; then
    [ -f "$SOURCE" ] || fail "no such wheel: $SOURCE"
else
    [ -f "$HERE/pyproject.toml" ] || fail "no source tree in $HERE; name a wheel"
fi

# The new release, beside the one in use

mkdir -p "$PREFIX/releases"
number=$(releases | tail -n 1)
number=$((${number:-0} + 1))
release=$PREFIX/releases/$number
trap 'rm -rf "$release"; say "nothing was changed" >&2' EXIT
trap 'exit 1' INT TERM HUP
say "building release $number with $("$PYTHON" --version)"
"$PYTHON" -m venv "$release"
pip() {
    if [ -n "$WHEELHOUSE" ]; then
        "$release/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@" --no-index --find-links "$WHEELHOUSE"
    else
        "$release/bin/python" -m pip --disable-pip-version-check --no-input --quiet "$@"
    fi
}
pip install --require-hashes -r "$LOCK"
if [ -n "$SOURCE" ]; then
    pip install --no-deps "$SOURCE"
else
    # Built in a copy: the source tree stays as it is, whoever owns it.
    build=$(mktemp -d)
    trap 'rm -rf "$build" "$release"; say "nothing was changed" >&2' EXIT
    for part in pyproject.toml README.md LICENSE book daemon feeds sinks; do
        [ ! -e "$HERE/$part" ] || cp -R "$HERE/$part" "$build/"
    done
    pip install --no-deps --no-build-isolation "$build"
    rm -rf "$build"
fi
"$release/bin/python" -m compileall -q "$release/lib" || true
chmod -R go+rX,go-w "$release"
"$release/bin/skulk" version >/dev/null || fail "the new release does not run"

# Configuration

mkdir -p "$ETC"
install -d -m 0700 "$ETC/credentials"
if [ -f "$ETC/skulk.toml" ]; then
    # With the credentials folder as systemd would show it, as far as it is filled.
    CREDENTIALS_DIRECTORY=$ETC/credentials "$release/bin/skulk" check --no-network --config "$ETC/skulk.toml" ||
        fail "the new release does not accept $ETC/skulk.toml; what runs now goes on running"
else
    install -m 0644 "$HERE/deploy/skulk.toml" "$ETC/skulk.toml"
    say "wrote $ETC/skulk.toml; edit it, then: systemctl reload skulk"
fi

# Over to it

# For people: `skulk status` and the like. Another program's file of that name is left alone.
if [ ! -e /usr/local/bin/skulk ] || [ "$(readlink /usr/local/bin/skulk)" = "$PREFIX/current/bin/skulk" ]; then
    ln -sfn "$PREFIX/current/bin/skulk" /usr/local/bin/skulk
fi
install -m 0644 "$HERE/deploy/skulk.service" "$UNIT"
switch_to "releases/$number"
trap - EXIT
say "installed $("$PREFIX/current/bin/skulk" version) as release $number"
restart

# The one in use and the one before stay.
releases | head -n -2 | while read -r old; do
    rm -rf "${PREFIX:?}/releases/$old"
done
