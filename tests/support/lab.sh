#!/usr/bin/env bash
# A router with a guest, a coordinator and the internet, each in a namespace of its own, with the real hostapd,
# dnsmasq and wpa_supplicant. Called by ../../run: `demo` shows one access from end to end and checks every
# claim from outside; `stay` leaves it all standing until Ctrl-C. The same network in Rust: lab.rs.
#
#   guest (sta0) --- air (br-air) --- ap0 [br-guest] gateway wan0 --- inet0  internet, with the coordinator
#   by DHCP           like a radio        10.77.0.1/16  198.51.100.1    198.51.100.2 a host
#                                         fd77::1/64    2001:db8:77::1  198.51.100.3 the coordinator
set -euo pipefail

readonly WAYLEAVE=${WAYLEAVE:?the program, as ../../run builds it}
readonly PREFIX=wayleave-$$
readonly HOST4=198.51.100.2 HOST6=2001:db8:77::2 COORDINATOR=198.51.100.3
readonly GUEST=02:00:00:00:00:01 BRIDGE=02:77:00:00:00:01 PORT=02:77:00:00:00:02
DIR=$(mktemp -d /tmp/wayleave-lab.XXXXXX)
readonly DIR
chmod 755 "$DIR"
declare -A PID=()

# ---- what everything below is made of

within() { ip netns exec "$PREFIX-$1" "${@:2}"; }

# start NAME NAMESPACE COMMAND...: in the background, output in $DIR/NAME.log, pid in PID[NAME].
start() {
    local name=$1 netns=$2
    shift 2
    ip netns exec "$PREFIX-$netns" "$@" >>"$DIR/$name.log" 2>&1 </dev/null &
    PID[$name]=$!
}

stop() {
    kill -"$2" "${PID[$1]}" 2>/dev/null || true
    wait "${PID[$1]}" 2>/dev/null || true
}

# eventually SECONDS COMMAND...: until the command succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

clean_up() {
    local netns pid
    for netns in guest air gateway internet; do
        for pid in $(ip netns pids "$PREFIX-$netns" 2>/dev/null); do
            kill -9 "$pid" 2>/dev/null || true
        done
        ip netns del "$PREFIX-$netns" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$DIR"
}

broken() {
    printf '\n  NOT SO: %s\n' "$*"
    tail -n 15 "$DIR"/*.log 2>/dev/null || true
    exit 1
}

# ---- the network

veth() {
    ip link add "$2" netns "$PREFIX-$1" address "$3" type veth peer name "$5" netns "$PREFIX-$4" address "$6"
    ip -n "$PREFIX-$1" link set "$2" up
    ip -n "$PREFIX-$4" link set "$5" up
}

network() {
    local netns
    for netns in guest air gateway internet; do
        ip netns add "$PREFIX-$netns"
        ip -n "$PREFIX-$netns" link set lo up
        within $netns sysctl -qw net.ipv6.conf.default.accept_dad=0
    done

    # The air hands 802.1X on to the access point and keeps its guests apart.
    within air sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n "$PREFIX-air" link add br-air type bridge group_fwd_mask 8 mcast_snooping 0
    ip -n "$PREFIX-air" link set br-air up
    ip -n "$PREFIX-gateway" link add br-guest address "$BRIDGE" type bridge
    ip -n "$PREFIX-gateway" link set br-guest up
    veth gateway ap0 $PORT air uplink 02:77:00:00:00:03
    veth guest sta0 $GUEST air port1 02:77:00:00:00:04
    ip -n "$PREFIX-gateway" link set ap0 master br-guest
    ip -n "$PREFIX-air" link set uplink master br-air
    ip -n "$PREFIX-air" link set port1 master br-air
    ip -n "$PREFIX-air" link set port1 type bridge_slave isolated on

    veth gateway wan0 02:77:00:00:00:05 internet inet0 02:77:00:00:00:06
    ip -n "$PREFIX-gateway" addr add 10.77.0.1/16 dev br-guest
    ip -n "$PREFIX-gateway" addr add fd77::1/64 dev br-guest nodad
    ip -n "$PREFIX-gateway" addr add 198.51.100.1/24 dev wan0
    ip -n "$PREFIX-gateway" addr add 2001:db8:77::1/64 dev wan0 nodad
    ip -n "$PREFIX-internet" addr add $HOST4/24 dev inet0
    ip -n "$PREFIX-internet" addr add $COORDINATOR/24 dev inet0
    ip -n "$PREFIX-internet" addr add $HOST6/64 dev inet0 nodad
    ip -n "$PREFIX-internet" -6 route add default via 2001:db8:77::1
    within gateway sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    # What a home router has: connections are tracked, IPv4 goes out by masquerading.
    within gateway nft -f - <<'EOF'
table inet home {
    chain forward { type filter hook forward priority filter; ct state established,related accept; }
    chain out { type nat hook postrouting priority srcnat; oifname "wan0" meta nfproto ipv4 masquerade; }
}
EOF
}

peers() {
    cat >"$DIR/hostapd.conf" <<EOF
interface=ap0
driver=wired
ctrl_interface=$DIR/hostapd
ieee8021x=1
eapol_version=2
use_pae_group_addr=0
eap_server=1
eap_user_file=$DIR/eap_user
EOF
    echo '"guest" MD5 "come in"' >"$DIR/eap_user"
    cat >"$DIR/dnsmasq.conf" <<EOF
interface=br-guest
except-interface=lo
bind-interfaces
no-resolv
no-hosts
no-ping
user=root
dhcp-authoritative
dhcp-range=10.77.1.0,10.77.100.250,255.255.0.0,10m
dhcp-range=fd77::1000,fd77::ffff,slaac,64,10m
enable-ra
dhcp-leasefile=$DIR/leases
host-record=internet.test,$HOST4,$HOST6
EOF
    printf 'ctrl_interface=%s\nap_scan=0\n' "$DIR/wpa" >"$DIR/wpa.conf"
    cat >"$DIR/udhcpc.sh" <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip route replace default via "${router%% *}"
EOF
    chmod +x "$DIR/udhcpc.sh"
    start hostapd gateway hostapd "$DIR/hostapd.conf"
    start dnsmasq gateway dnsmasq --keep-in-foreground --log-facility=- -C "$DIR/dnsmasq.conf"
    start wpa_supplicant guest wpa_supplicant -D wired -i sta0 -c "$DIR/wpa.conf"
    eventually 10 test -S "$DIR/hostapd/ap0" || broken "hostapd does not start"
    eventually 10 test -S "$DIR/wpa/sta0" || broken "wpa_supplicant does not start"
}

# Gets its addresses: IPv4 by DHCP, IPv6 by router advertisement.
address_guest() {
    within guest udhcpc -i sta0 -n -q -f -t 10 -T 1 -s "$DIR/udhcpc.sh" >>"$DIR/udhcpc.log" 2>&1 ||
        broken "the guest gets no lease"
    eventually 10 guest_has_ipv6 || broken "the guest gets no IPv6 address"
}

guest_has_ipv6() { ip -n "$PREFIX-guest" -6 addr show dev sta0 scope global | grep fd77:; }

guest_addresses() {
    ip -n "$PREFIX-guest" -j addr show dev sta0 | jq -r '.[].addr_info[] | select(.scope == "global").local'
}


# ---- Wayleave

configure() {
    cat >"$DIR/coordinator.toml" <<EOF
public = "$COORDINATOR:7443"
listen = "$COORDINATOR:7443"
state_dir = "$DIR/coordinator"
runtime_dir = "$DIR/coordinator"
[heartbeat]
interval = "1s"
lapse_factor = 3
[patience]
lease = "1m"
inquiry = "1s"
EOF
    cat >"$DIR/gateway.toml" <<EOF
name = "Corner shop"
state_dir = "$DIR/gateway"
runtime_dir = "$DIR/gateway"
[[network]]
interface = "br-guest"
ssid = "Corner"
eap = { method = "MD5", identity = "guest", password = "come in" }
[hostapd]
directory = "$DIR/hostapd"
[dhcp]
lease_file = "$DIR/leases"
EOF
    # On a wire nothing can be heard: the terminal is told what there is.
    cat >"$DIR/terminal.toml" <<EOF
interface = "sta0"
wpa_supplicant = "$DIR/wpa"
wired = true
state_dir = "$DIR/terminal"
runtime_dir = "$DIR/terminal"
[[aps]]
bssid = "$PORT"
ssid = "Corner"
[[aps]]
bssid = "$BRIDGE"
ssid = "Corner"
EOF
    mkdir -p "$DIR/coordinator" "$DIR/gateway" "$DIR/terminal"
}

gateway_says() { "$WAYLEAVE" "$@" --socket "$DIR/gateway/gateway.sock"; }
gateway_is_linked() { gateway_says status --json | jq -e '.link | has("up")'; }

# Each enrols with a one-time token that the coordinator prints.
enrol() {
    local token
    token=$("$WAYLEAVE" claim --socket "$DIR/coordinator/coordinator.sock")
    within "$2" "$WAYLEAVE" "$1" enroll "$token" --config "$DIR/$1.toml" >>"$DIR/$1.log" 2>&1 ||
        broken "the $1 cannot be enrolled"
}

daemons() {
    start coordinator internet "$WAYLEAVE" coordinator --config "$DIR/coordinator.toml"
    eventually 10 test -S "$DIR/coordinator/coordinator.sock" || broken "the coordinator does not start"
    enrol gateway gateway
    start gateway gateway "$WAYLEAVE" gateway --config "$DIR/gateway.toml"
    eventually 20 gateway_is_linked || broken "the gateway does not reach its coordinator"
    enrol terminal guest
}

start_terminal() { start terminal guest "$WAYLEAVE" terminal --config "$DIR/terminal.toml"; }

# ---- what can be seen from outside, without asking Wayleave

reaches() { within guest ping -n -c 1 -W 1 "$1"; }
reaches_both() { reaches $HOST4 && reaches $HOST6; }
reaches_none() { ! reaches $HOST4 && ! reaches $HOST6; }
kernel_has() { within gateway nft list ruleset | grep "$GUEST"; }
hostapd_has() { hostapd_cli -p "$DIR/hostapd" -i ap0 sta $GUEST | grep AUTHORIZED; }
neighbour() { ip -n "$PREFIX-gateway" neigh show dev br-guest | grep "lladdr $GUEST"; }
leased() { grep -q $GUEST "$DIR/leases"; }
# Flows to the coordinator do not count: it is open to everybody, and who leaves says so there.
flows() {
    local address family
    for address in $(guest_addresses); do
        family=ipv4
        [ "${address#*:}" = "$address" ] || family=ipv6
        within gateway conntrack -L -f "$family" -s "$address" 2>/dev/null
    done | grep -v "dst=$COORDINATOR "
}
holds_everything() { kernel_has && hostapd_has && neighbour && leased && flows; }

# ---- the demonstration

chapter() { printf '\n%s\n' "$*"; }
show() { sed 's/^/      /'; }
not() { ! "$@"; }

# claim TEXT COMMAND...: says it once it has been seen to be so.
claim() {
    local text=$1
    shift
    eventually 20 "$@" || broken "$text"
    printf '  %s\n' "$text"
}

evictions() { jq -c 'select(.event == "evicted").report' "$DIR/watch.log" 2>/dev/null; }
evicted() { [ "$(evictions | wc -l)" -ge "$1" ]; }

show_eviction() {
    evictions | sed -n "$1p" | jq -r '
        "because of: \(.cause)    in all: \(.total_us / 1000) ms",
        (.steps[] | "\(.step): " + (.outcome | if type == "string" then . elif .done then "\(.done.freed) freed"
            else "failed: \(.failed.why)" end) + ", \(.took_us) µs")' | show
}

# freed [alive]: who is alive says its last words to the coordinator through the router, which learns its
# address from them once more.
freed() {
    claim "no element is left in the kernel's tables" not kernel_has
    claim "no flow is left in conntrack" not flows
    claim "hostapd has it no more" not hostapd_has
    [ "${1:-}" = alive ] || claim "no neighbour entry is left" not neighbour
    claim "its lease is given back" not leased
    claim "it reaches nothing, in IPv4 and IPv6" reaches_none
}

demo() {
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    chapter "A router with hostapd and dnsmasq, a guest, a coordinator and a host on the internet"
    network
    peers
    configure
    daemons
    start watch gateway "$WAYLEAVE" watch --json --socket "$DIR/gateway/gateway.sock"
    address_guest
    claim "each runs in its own namespace; gateway and coordinator are linked" gateway_is_linked

    chapter "The guest has no grant"
    claim "it has addresses from the router: $(guest_addresses | tr '\n' ' ')" test -n "$(guest_addresses)"
    claim "it reaches nothing beyond it, in IPv4 and IPv6" reaches_none

    chapter "It asks the coordinator, is admitted, associates and sends heartbeats"
    start_terminal
    claim "it reaches the internet, in IPv4 and IPv6" reaches_both
    claim "the router holds for it: elements, flows, association, neighbours, lease" holds_everything
    gateway_says stations | show

    chapter "It falls silent: its agent is killed with SIGKILL"
    local since=$EPOCHREALTIME
    stop terminal KILL
    claim "the coordinator notices, asks the gateway, and the gateway evicts it" evicted 1
    printf '      after %s s; a heartbeat is due every second, three may be missing\n' \
        "$(jq -n "($EPOCHREALTIME - $since) * 10 | round / 10")"
    show_eviction 1
    freed

    chapter "It comes back, and then leaves in good order"
    address_guest
    start_terminal
    claim "it reaches the internet again" reaches_both
    claim "the router holds for it what it held before" holds_everything
    stop terminal TERM
    claim "it is evicted at once" evicted 2
    show_eviction 2
    freed alive
    chapter "All of this was so. Nothing is left behind: the namespaces go now."
}

stay() {
    trap clean_up EXIT
    trap 'exit 0' INT TERM
    network
    peers
    configure
    daemons
    address_guest
    start_terminal
    eventually 20 reaches_both || broken "the guest is not admitted"
    cat <<EOF
It stands. A guest is admitted; in another shell, as root:

  W="$WAYLEAVE"; S="--socket $DIR/gateway/gateway.sock"
  \$W stations \$S                                who is there
  \$W evict $GUEST \$S                ends its access
  \$W grant $GUEST --for 10m \$S      gives it by hand
  \$W watch \$S                                   what happens, as it happens
  \$W doctor \$S                                  what the gateway found
  ip netns exec $PREFIX-guest ping $HOST4         what the guest can reach
  ip netns exec $PREFIX-gateway nft list ruleset  what the kernel enforces
  kill -9 ${PID[terminal]}                          the guest's agent falls silent
  tail -F $DIR/*.log

Ctrl-C ends it all.
EOF
    sleep infinity &
    wait $!
}

case ${1:-} in
    demo | stay) "$1" ;;
    *) echo "lab.sh demo or lab.sh stay; see ../../run" >&2; exit 2 ;;
esac
