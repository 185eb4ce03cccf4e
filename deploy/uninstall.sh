#!/bin/sh
# Removes what deploy/install.sh put in place. Configuration, keys, state and data stay unless --purge is given.
set -eu

PURGE=no
case ${1:-} in
    '') ;;
    --purge) PURGE=yes ;;
    *) echo "usage: uninstall.sh [--purge]   --purge: also configuration, keys, state and data" >&2; exit 1 ;;
esac
[ "$(id -u)" = 0 ] || { echo "skulk: needs root: sudo $0" >&2; exit 1; }

if [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet skulk.service 2>/dev/null || true
fi
rm -f /etc/systemd/system/skulk.service /etc/systemd/system/multi-user.target.wants/skulk.service
rm -rf /etc/systemd/system/skulk.service.d
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl reset-failed skulk.service 2>/dev/null || true
fi
[ "$(readlink /usr/local/bin/skulk)" != /opt/skulk/current/bin/skulk ] || rm -f /usr/local/bin/skulk
rm -rf /opt/skulk
if [ "$PURGE" = yes ]; then
    # With DynamicUser= the real folders are below private/.
    rm -rf /etc/skulk /var/lib/skulk /var/lib/private/skulk /var/log/skulk /var/log/private/skulk
    echo "skulk: removed, with configuration, keys, state and data"
else
    echo "skulk: removed; /etc/skulk, /var/lib/skulk and /var/log/skulk stay (--purge removes them too)"
fi
