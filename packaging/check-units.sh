#!/usr/bin/env bash
# The units are well-formed, and as closed as promised: exposure at most 1.5, for the gateway 2.0.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../systemd"
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT
for unit in *.service; do
    # The program need not be installed for this.
    sed 's|=/usr/bin/wayleave |=/bin/true |' "$unit" >"$copies/$unit"
    systemd-analyze verify --man=no "$copies/$unit"
    case $unit in
        wayleave-gateway.service) most=20 ;;
        *) most=15 ;;
    esac
    systemd-analyze security --offline=true --no-pager --threshold="$most" "$copies/$unit" | tail -n 1
done
