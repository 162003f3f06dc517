#!/usr/bin/env bash
# try-deb.sh FILE.deb [SUITE]: installs, starts, reinstalls and removes the package in a fresh Debian.
#
# debootstrap makes the Debian; systemd-nspawn boots it with its own systemd and a network of its own, so that the
# units run as they will. The first thing that is not as it should be is said and ends the trial.
set -euo pipefail
deb=$(readlink -f "${1:?try-deb.sh FILE.deb [SUITE]}")
suite=${2:-bookworm}
root=$(mktemp -d /var/tmp/wayleave-deb.XXXXXX)
nspawn=

clean_up() {
    if [ -n "$nspawn" ]; then
        kill -9 "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$root"
}
trap clean_up EXIT

inside() { nsenter -t "$leader" -a -- "$@"; }

should() {
    local claim=$1
    shift
    if "$@" >"$root/said" 2>&1; then
        echo "  $claim"
        return
    fi
    echo "  NOT SO: $claim"
    cat "$root/said"
    inside journalctl --no-pager -n 40 2>/dev/null || true
    exit 1
}

not() { ! "$@"; }

nothing_runs() { [ -z "$(inside systemctl list-units --no-legend --state=active,failed 'wayleave-*')" ]; }
kernel_has() { nsenter -t "$leader" -n nft list ruleset | grep "$1"; }
runs_as_wayleave() {
    local pid
    pid=$(inside systemctl show -p MainPID --value "$1")
    [ "$(inside stat -c %U "/proc/$pid")" = wayleave ]
}

# eventually COMMAND...: within 30 seconds.
eventually() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# The pid of the init inside, once it has booted.
find_leader() {
    leader=$(pgrep -P "$nspawn") && inside systemctl is-active --quiet multi-user.target
}

echo "a fresh $suite:"
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$suite" "$root" >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log"; exit 1; }
rm -f "$root.log"
cp "$deb" "$root/wayleave.deb"
systemd-nspawn --quiet -D "$root" --boot --private-network --console=pipe --register=no --keep-unit \
    </dev/null >/dev/null 2>&1 &
nspawn=$!
should "boots" eventually find_leader

should "installs" inside apt-get install -qq -y /wayleave.deb
should "the program runs" inside wayleave --version
should "the account is there" inside getent passwd wayleave
should "nothing was started" nothing_runs
should "starting without a configuration does nothing" inside systemctl start wayleave-gateway.service
should "and says nothing is wrong" nothing_runs

for role in gateway coordinator terminal; do
    should "the example for the $role is a configuration" inside \
        wayleave config check "/usr/share/doc/wayleave/examples/$role.toml" --role "$role"
done
nsenter -t "$leader" -n ip link add br-guest type bridge
nsenter -t "$leader" -n ip addr add 10.77.0.1/16 dev br-guest
nsenter -t "$leader" -n ip link set br-guest up
nsenter -t "$leader" -n ip link set lo up
for role in coordinator gateway; do
    inside cp "/usr/share/doc/wayleave/examples/$role.toml" /etc/wayleave/
    # Type=notify: start returns once the daemon has said that it is ready.
    should "the $role starts in its sandbox" inside systemctl start "wayleave-$role.service"
    should "and is not root" runs_as_wayleave "wayleave-$role.service"
done
should "the gateway answers" inside wayleave status --json
should "it grants" inside wayleave grant 02:00:00:00:00:01 --for 10m
should "the kernel has it" kernel_has 02:00:00:00:00:01

should "installs again over itself" inside apt-get install -qq -y --reinstall /wayleave.deb
should "the gateway runs again" eventually inside wayleave status --json
should "the kernel has the grant still" kernel_has 02:00:00:00:00:01

should "is removed" inside apt-get remove -qq -y wayleave
should "nothing runs" nothing_runs
should "no program is left" not inside test -e /usr/bin/wayleave
should "is purged" inside apt-get purge -qq -y wayleave
should "no state is left" not inside sh -c 'ls -d /var/lib/wayleave* /run/wayleave*'
echo "so it is."
