# shellcheck shell=bash
# The network of lab.sh and of ../../packaging/try-deb.sh, to be sourced by them: four namespaces, a router with
# the real hostapd and dnsmasq, a guest with the real wpa_supplicant. Everything goes with `clean_up`.
#
#   guest (sta0) --- air (br-air) --- ap0 [br-guest] gateway wan0 --- inet0  internet, with the coordinator
#   by DHCP           like a radio        10.77.0.1/16  198.51.100.1    198.51.100.2 a host
#                                         fd77::1/64    2001:db8:77::1  198.51.100.3 the coordinator

readonly PREFIX=wayleave-$$
NAMESPACES=(guest air gateway internet)
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
    # Nobody wants to read which of them was killed.
    exec 2>/dev/null
    for netns in "${NAMESPACES[@]}"; do
        for pid in $(ip netns pids "$PREFIX-$netns"); do
            kill -9 "$pid" || true
        done
        ip netns del "$PREFIX-$netns" || true
    done
    for pid in $(jobs -p); do
        kill -9 "$pid" || true
    done
    wait || true
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
    for netns in "${NAMESPACES[@]}"; do
        # One that is somebody's already is taken as it is.
        ip netns pids "$PREFIX-$netns" >/dev/null 2>&1 || ip netns add "$PREFIX-$netns"
        ip -n "$PREFIX-$netns" link set lo up
        within "$netns" sysctl -qw net.ipv6.conf.default.accept_dad=0
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

# hostapd_conf DIRECTORY: what it needs but a control interface; who may come in is what eap_user says.
hostapd_conf() {
    cat <<EOF
interface=ap0
driver=wired
ieee8021x=1
eapol_version=2
use_pae_group_addr=0
eap_server=1
eap_user_file=$1/eap_user
EOF
}
eap_user() { echo '"guest" MD5 "come in"'; }

dnsmasq_conf() {
    cat <<EOF
interface=br-guest
except-interface=lo
bind-interfaces
no-resolv
no-hosts
no-ping
dhcp-authoritative
dhcp-range=10.77.1.0,10.77.100.250,255.255.0.0,10m
dhcp-range=fd77::1000,fd77::ffff,slaac,64,10m
enable-ra
host-record=internet.test,$HOST4,$HOST6
EOF
}

# Gets its addresses: IPv4 by DHCP, IPv6 by router advertisement.
address_guest() {
    cat >"$DIR/udhcpc.sh" <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip route replace default via "${router%% *}"
EOF
    chmod +x "$DIR/udhcpc.sh"
    within guest udhcpc -i sta0 -n -q -f -t 10 -T 1 -s "$DIR/udhcpc.sh" >>"$DIR/udhcpc.log" 2>&1 ||
        broken "the guest gets no lease"
    eventually 10 guest_has_ipv6 || broken "the guest gets no IPv6 address"
}

guest_has_ipv6() { ip -n "$PREFIX-guest" -6 addr show dev sta0 scope global | grep fd77:; }

guest_addresses() {
    ip -n "$PREFIX-guest" -j addr show dev sta0 | jq -r '.[].addr_info[] | select(.scope == "global").local'
}

# ---- what can be seen from outside, without asking Wayleave; `hostapd_has` and `leased` are where their files are

reaches() { within guest ping -n -c 1 -W 1 "$1"; }
reaches_both() { reaches $HOST4 && reaches $HOST6; }
reaches_none() { ! reaches $HOST4 && ! reaches $HOST6; }
kernel_has() { within gateway nft list ruleset | grep "$GUEST"; }
neighbour() { ip -n "$PREFIX-gateway" neigh show dev br-guest | grep "lladdr $GUEST"; }
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

# ---- what is claimed

not() { ! "$@"; }

# claim TEXT COMMAND...: says it once it has been seen to be so.
claim() {
    local text=$1
    shift
    eventually 20 "$@" || broken "$text"
    printf '  %s\n' "$text"
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
