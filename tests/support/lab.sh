#!/usr/bin/env bash
# A router with a guest, a coordinator and the internet, each in a namespace of its own, with the real hostapd,
# dnsmasq and wpa_supplicant. Called by ../../run: `demo` shows one access from end to end and checks every
# claim from outside; `stay` leaves it all standing until Ctrl-C. The same network in Rust: lab.rs.
set -euo pipefail

readonly WAYLEAVE=${WAYLEAVE:?the program, as ../../run builds it}
# shellcheck source=tests/support/network.sh
. "$(dirname "$(readlink -f "$0")")/network.sh"

# ---- its peers, with their files in $DIR

peers() {
    { hostapd_conf "$DIR" && printf 'ctrl_interface=%s\n' "$DIR/hostapd"; } >"$DIR/hostapd.conf"
    eap_user >"$DIR/eap_user"
    { dnsmasq_conf && printf 'user=root\ndhcp-leasefile=%s\n' "$DIR/leases"; } >"$DIR/dnsmasq.conf"
    printf 'ctrl_interface=%s\nap_scan=0\n' "$DIR/wpa" >"$DIR/wpa.conf"
    start hostapd gateway hostapd "$DIR/hostapd.conf"
    start dnsmasq gateway dnsmasq --keep-in-foreground --log-facility=- -C "$DIR/dnsmasq.conf"
    start wpa_supplicant guest wpa_supplicant -D wired -i sta0 -c "$DIR/wpa.conf"
    eventually 10 test -S "$DIR/hostapd/ap0" || broken "hostapd does not start"
    eventually 10 test -S "$DIR/wpa/sta0" || broken "wpa_supplicant does not start"
}

hostapd_has() { hostapd_cli -p "$DIR/hostapd" -i ap0 sta $GUEST | grep AUTHORIZED; }
leased() { grep -q $GUEST "$DIR/leases"; }

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
dbus = false
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
    token=$("$WAYLEAVE" claim --role "$1" --socket "$DIR/coordinator/coordinator.sock" 2>>"$DIR/$1.log")
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

# ---- the demonstration

chapter() { printf '\n%s\n' "$*"; }
show() { sed 's/^/      /'; }

evictions() { jq -c 'select(.event == "evicted").report' "$DIR/watch.log" 2>/dev/null; }
evicted() { [ "$(evictions | wc -l)" -ge "$1" ]; }

show_eviction() {
    evictions | sed -n "$1p" | jq -r '
        "because of: \(.cause)    in all: \(.total_us / 1000) ms",
        (.steps[] | "\(.step): " + (.outcome | if type == "string" then . elif .done then "\(.done.freed) freed"
            else "failed: \(.failed.why)" end) + ", \(.took_us) µs")' | show
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

  W="$WAYLEAVE --socket $DIR/gateway/gateway.sock"
  C="$WAYLEAVE --socket $DIR/coordinator/coordinator.sock"

  \$W stations                            who is there
  \$W evict $GUEST             ends its access
  \$W grant $GUEST --for 10m   gives it by hand
  \$W watch                               what happens, as it happens
  \$W doctor                              what the gateway found
  \$C sessions                            what the coordinator knows; also: gateways, coordinator status
  kill -9 ${PID[terminal]}                         the guest's agent falls silent

  ip netns exec $PREFIX-guest ping $HOST4           what the guest can reach
  ip netns exec $PREFIX-gateway nft list ruleset         what the kernel enforces
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
