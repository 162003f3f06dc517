#!/usr/bin/env bash
# try-deb.sh FILE.deb [SUITE]: installs, runs, upgrades, removes and purges the package in a fresh Debian.
#
# debootstrap makes the Debian; systemd-nspawn boots it with its own systemd, D-Bus, hostapd and dnsmasq as the
# router of ../tests/support/network.sh. The units run as they will, sandbox and all; coordinator and terminal are
# put into the namespaces of their own machines. What is claimed is looked at from outside. The first thing that is not
# so is said and ends the trial.
set -euo pipefail
deb=$(readlink -f "${1:?try-deb.sh FILE.deb [SUITE]}")
suite=${2:-bookworm}
# shellcheck source=tests/support/network.sh
. "$(dirname "$(readlink -f "$0")")/../tests/support/network.sh"
NAMESPACES+=(stranger)
readonly STRANGER=02:00:00:00:00:02 STRANGER4=10.77.200.2 API=org.wayleave.Gateway1
ROOT=$(mktemp -d /var/tmp/wayleave-deb.XXXXXX)
readonly ROOT
# A root that only root may enter is none: its D-Bus and its daemons are not root.
chmod 755 "$ROOT"
leader=

trap end EXIT
trap 'exit 130' INT TERM

end() {
    # The container's init does not go with systemd-nspawn; everything inside goes with the init.
    [ -z "$leader" ] || kill -9 "$leader" 2>/dev/null || true
    clean_up
    rm -rf --one-file-system "$ROOT"
}

inside() { nsenter -t "$leader" -a -- "$@"; }
quietly() { "$@" >"$DIR/said" 2>&1; }

# should TEXT COMMAND...: claims it of one try, and shows what was said if it is not so.
should() {
    local text=$1
    shift
    if quietly "$@"; then
        printf '  %s\n' "$text"
        return
    fi
    printf '\n  NOT SO: %s\n' "$text"
    cat "$DIR/said"
    inside journalctl --no-pager -n 60 2>/dev/null || true
    exit 1
}

# waits TEXT COMMAND...: the same within 30 seconds.
waits() {
    local text=$1
    shift
    eventually 30 "$@" || true
    should "$text" "$@"
}

chapter() { printf '\n%s\n' "$*"; }

# ---- the fresh Debian

# What a purge has to bring back: every file but logs, caches and those of dpkg and dnsmasq, and the accounts.
snapshot() {
    (cd "$ROOT" && find . -xdev \( -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/apt \
        -o -path ./tmp -o -path ./var/tmp -o -path ./run -o -path ./proc -o -path ./sys -o -path ./dev \
        -o -path ./var/lib/systemd -o -path ./var/lib/misc -o -path ./mnt \) -prune -o -print | sort) >"$DIR/files.$1"
    cut -d: -f1 "$ROOT/etc/passwd" "$ROOT/etc/group" | sort >"$DIR/accounts.$1"
}

boot() {
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,hostapd,dnsmasq,wpasupplicant "$suite" "$ROOT" \
        >"$DIR/debootstrap.log" 2>&1 || broken "debootstrap makes no $suite"
    cp "$deb" "$ROOT/wayleave.deb"
    local netns
    for netns in guest internet; do
        ip netns add "$PREFIX-$netns"
    done
    systemd-nspawn --quiet -D "$ROOT" --boot --private-network --console=pipe --register=no --keep-unit \
        --bind="/run/netns/$PREFIX-guest:/mnt/guest" --bind="/run/netns/$PREFIX-internet:/mnt/internet" \
        </dev/null >"$DIR/nspawn.log" 2>&1 &
    nspawn=$!
    eventually 60 find_leader || broken "systemd does not boot in a container here"
    ip netns attach "$PREFIX-gateway" "$leader"
}

# The pid of the init inside, once it has booted.
find_leader() { leader=$(pgrep -P "$nspawn") && inside systemctl is-active --quiet multi-user.target; }

# The machines of the coordinator and of the guest are other ones: their units get the namespaces of those.
elsewhere() {
    local dropin=$ROOT/etc/systemd/system/wayleave-$1.service.d
    mkdir -p "$dropin"
    # sysfs shows the interfaces of the namespace that it was mounted in.
    inside mkdir -p "/mnt/$2.sys"
    inside nsenter "--net=/mnt/$2" mount -t sysfs sysfs "/mnt/$2.sys"
    printf '[Service]\nNetworkNamespacePath=/mnt/%s\nBindReadOnlyPaths=/mnt/%s.sys:/sys\n' "$2" "$2" \
        >"$dropin/elsewhere.conf"
}

router() {
    network
    # A second guest, who never gets access.
    veth stranger sta0 "$STRANGER" air port2 02:77:00:00:00:08
    ip -n "$PREFIX-air" link set port2 master br-air
    ip -n "$PREFIX-air" link set port2 type bridge_slave isolated on
    ip -n "$PREFIX-stranger" addr add "$STRANGER4/16" dev sta0
    ip -n "$PREFIX-stranger" route add default via 10.77.0.1

    { hostapd_conf /etc/hostapd && printf 'ctrl_interface=/run/hostapd\nctrl_interface_group=netdev\n'; } \
        >"$ROOT/etc/hostapd/hostapd.conf"
    eap_user >"$ROOT/etc/hostapd/eap_user"
    dnsmasq_conf >"$ROOT/etc/dnsmasq.d/guests.conf"
    printf 'ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev\nap_scan=0\n' >"$ROOT/etc/wpa.conf"
    inside systemctl unmask --quiet hostapd.service
    waits "hostapd and dnsmasq of this Debian run" inside systemctl restart hostapd.service dnsmasq.service
    inside nsenter --net=/mnt/guest wpa_supplicant -B -D wired -i sta0 -c /etc/wpa.conf >"$DIR/wpa_supplicant.log"
    address_guest
}

hostapd_has() { inside hostapd_cli -p /run/hostapd -i ap0 sta "$GUEST" | grep AUTHORIZED; }
leased() { grep "$GUEST" "$ROOT/var/lib/misc/dnsmasq.leases"; }

# ---- what is looked at

nothing_runs() { [ -z "$(inside systemctl list-units --no-legend --state=active,failed 'wayleave-*')" ]; }
runs() { inside systemctl is-active "wayleave-$1.service"; }
property() { inside systemctl show -p "$2" --value "wayleave-$1.service"; }
runs_as_wayleave() { [ "$(inside stat -c %U "/proc/$(property "$1" MainPID)")" = wayleave ]; }
cannot_write() { ! inside nsenter -t "$(property "$1" MainPID)" -m -- sh -c ': >/usr/x || : >/etc/wayleave/x'; }
# Being ready counts as the first sign of life; this is a later one.
is_watched() {
    [ "$(property "$1" WatchdogTimestampMonotonic)" -gt $(($(property "$1" ActiveEnterTimestampMonotonic) + 1000000)) ]
}
status_is() { [ "$(inside wayleave status --json | jq -r "$1")" = "$2" ]; }
is_linked() { inside wayleave status --json | jq -e '.link | has("up")'; }
reported() {
    kill "$watching"
    jq -es 'map(select(.event == "evicted").report) | length == 1 and
        all(.[0].steps[]; .outcome | type == "object" and has("done"))' "$DIR/watch.json"
}
stranger_reaches() { within stranger ping -n -c 1 -W 1 "$HOST4"; }
has_table() { within gateway nft list tables | grep wayleave; }

# Moved on while the package is upgraded: DIRECTION, of every packet. The pings outlast the upgrade.
under_traffic() {
    local each pid=()
    within guest ping -n -i 0.01 -c 2000 -q "$HOST4" >"$DIR/guest4" &
    pid+=($!)
    within guest ping -n -i 0.01 -c 2000 -q "$HOST6" >"$DIR/guest6" &
    pid+=($!)
    within stranger ping -n -i 0.01 -c 2000 -q "$HOST4" >"$DIR/stranger4" &
    pid+=($!)
    sleep 1
    "$@" || return
    kill -0 "${pid[0]}" || { echo "it took longer than the traffic"; return 1; }
    for each in "${pid[@]}"; do
        wait "$each" || true
    done
    cat "$DIR/guest4" "$DIR/guest6" "$DIR/stranger4"
}
all_came() { grep -q ' 2000 received' "$DIR/$1"; }
none_came() { grep -q ' 0 received' "$DIR/$1"; }

# newer: the same package with a higher version.
newer() {
    dpkg-deb -R "$ROOT/wayleave.deb" "$DIR/newer"
    sed -i 's/^Version: .*/&+newer/' "$DIR/newer/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$DIR/newer" "$ROOT/newer.deb" >/dev/null
}
is_newer() { inside dpkg-query -W wayleave | grep '+newer$'; }

calls() { inside "$@" busctl --system call "$API" /org/wayleave/Gateway1 "$API" Status; }
introspects() { inside busctl --system introspect "$API" /org/wayleave/Gateway1 | grep '\.Evict .*method'; }
by_nobody() { calls setpriv --reuid=nobody --regid=nogroup --clear-groups; }
by_a_member() { calls setpriv --reuid=nobody --regid=nogroup --groups=wayleave; }

# What a purge leaves that was not there before. The group netdev is Debian's, for hostapd and wpa_supplicant.
left_behind() {
    snapshot after
    comm -13 "$DIR/files.before" "$DIR/files.after"
    comm -13 "$DIR/accounts.before" "$DIR/accounts.after" | grep -v '^netdev$'
}
nothing_is_left() { left_behind; [ -z "$(left_behind)" ]; }

# ---- the trial

chapter "A fresh $suite"
boot
snapshot before
should "installs" inside apt-get install -qq -y /wayleave.deb
should "the program runs" inside wayleave --version
should "the account is there" inside getent passwd wayleave
should "there is a man page, and completions for three shells" inside ls /usr/share/man/man1/wayleave-grant.1.gz \
    /usr/share/bash-completion/completions/wayleave /usr/share/zsh/vendor-completions/_wayleave \
    /usr/share/fish/vendor_completions.d/wayleave.fish
should "nothing was started" nothing_runs
should "starting without a configuration does nothing" inside systemctl start wayleave-gateway.service
should "and says nothing is wrong" nothing_runs
for role in gateway coordinator terminal; do
    should "the example for the $role is a configuration" inside \
        wayleave config check "/usr/share/doc/wayleave/examples/$role.toml"
    cp "$ROOT/usr/share/doc/wayleave/examples/$role.toml" "$ROOT/etc/wayleave/"
done

chapter "A coordinator, a router and a guest, each in its sandbox"
router
elsewhere coordinator internet
elsewhere terminal guest
sed -i "s/^public = .*/public = \"$COORDINATOR:7443\"/" "$ROOT/etc/wayleave/coordinator.toml"
sed -i 's/^#ssid = .*/ssid = "Corner"\neap = { method = "MD5", identity = "guest", password = "come in" }/' \
    "$ROOT/etc/wayleave/gateway.toml"
# On a wire nothing can be heard: the terminal is told what there is.
sed -i 's/^interface = .*/interface = "sta0"/; s/^#wired = .*/wired = true/' "$ROOT/etc/wayleave/terminal.toml"
printf '[[aps]]\nbssid = "%s"\nssid = "Corner"\n' "$PORT" "$BRIDGE" >>"$ROOT/etc/wayleave/terminal.toml"
inside systemctl daemon-reload
# Type=notify: start returns once the daemon has said that it is ready.
should "the coordinator starts" inside systemctl start wayleave-coordinator.service
for role in gateway terminal; do
    token=$(inside wayleave claim --role "$role" 2>/dev/null)
    should "the $role is enrolled by root, before it ever ran" inside wayleave "$role" enroll "$token"
    should "and starts" inside systemctl enable --quiet --now "wayleave-$role.service"
done
for role in coordinator gateway terminal; do
    should "the $role is not root" runs_as_wayleave "$role"
    should "and can write neither to /usr nor to /etc" cannot_write "$role"
    waits "systemd hears from its watchdog" is_watched "$role"
done
should "wayleave status answers" inside wayleave status
waits "the gateway is linked to the coordinator" is_linked
waits "the guest is admitted: it reaches the internet, in IPv4 and IPv6" reaches_both
waits "the router holds for it: elements, flows, association, neighbours, lease" holds_everything
should "a stranger reaches nothing" not stranger_reaches

chapter "On D-Bus"
should "root sees what there is" introspects
should "a member of the group wayleave is answered" by_a_member
should "nobody else is" not by_nobody

chapter "The guest leaves"
inside wayleave watch --json >"$DIR/watch.json" 2>&1 &
watching=$!
should "its terminal stops" inside systemctl stop wayleave-terminal.service
freed alive
should "the report says that each step was done" reported

chapter "The owner lets it in by hand"
address_guest
should "wayleave grant" inside wayleave grant "$GUEST" --for 1h
waits "the guest reaches the internet, in IPv4 and IPv6" reaches_both
sed -i 's/^name = .*/name = "Another corner"/' "$ROOT/etc/wayleave/gateway.toml"
should "systemctl reload" inside systemctl reload wayleave-gateway.service
waits "the new name is there" status_is .name "Another corner"
should "and the guest still" reaches_both
echo 'colour = "red"' >>"$ROOT/etc/wayleave/gateway.toml"
should "a file that cannot be used fails the reload" not inside systemctl reload wayleave-gateway.service
should "and the gateway goes on" status_is .name "Another corner"
sed -i '$d' "$ROOT/etc/wayleave/gateway.toml"

chapter "The gateway hangs"
mkdir -p "$ROOT/etc/systemd/system/wayleave-gateway.service.d"
printf '[Service]\nWatchdogSec=2\n' >"$ROOT/etc/systemd/system/wayleave-gateway.service.d/quick.conf"
inside systemctl daemon-reload
inside systemctl restart wayleave-gateway.service
hanging=$(property gateway MainPID)
inside sh -c "kill -STOP $hanging"
restarted() { [ "$(property gateway NRestarts)" -ge 1 ] && runs gateway && [ "$(property gateway MainPID)" != "$hanging" ]; }
should "the guest does not notice" reaches_both
waits "systemd starts it again" restarted
should "the guest does not notice" reaches_both
should "a stranger reaches nothing" not stranger_reaches

chapter "An upgrade"
newer
should "to a newer version" under_traffic inside apt-get install -qq -y /newer.deb
should "it is there" is_newer
should "no packet of the guest was lost, of 2000 in IPv4" all_came guest4
should "nor of 2000 in IPv6" all_came guest6
should "none of a stranger's passed" none_came stranger4
waits "the gateway runs again" inside wayleave status
waits "the coordinator too" inside wayleave coordinator status

chapter "Removed"
should "it is removed" inside apt-get remove -qq -y wayleave
should "nothing runs" nothing_runs
should "no program is left" not inside test -e /usr/bin/wayleave
should "no table is left: everybody passes" not has_table
should "a stranger too" stranger_reaches
should "configuration and state are kept" inside ls /etc/wayleave/gateway.toml /var/lib/wayleave
rm -rf "$ROOT"/etc/systemd/system/wayleave-*.service.d "$ROOT"/etc/hostapd/* "$ROOT/etc/wpa.conf" \
    "$ROOT/etc/dnsmasq.d/guests.conf" "$ROOT/newer.deb"
should "it is purged" inside apt-get purge -qq -y wayleave
should "nothing is left: no file, no account" nothing_is_left
printf '\nAll of this was so.\n'
