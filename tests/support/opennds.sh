#!/usr/bin/env bash
# openNDS from Debian's packages, for `./run bench peer`: unpacked, not installed, so no service starts on the host.
#
#   opennds.sh unpack DIR      fetches what the host lacks of it and unpacks it in DIR
#   opennds.sh run DIR FILES   runs it in the namespaces of the caller: network, mounts, processes
#
# FILES is a directory with opennds.conf and dhcp.leases; inside it is /tmp/files, where the control socket belongs.
set -euo pipefail

unpack() {
    local dir=$1 deb
    rm -rf "$dir"
    mkdir -p "$dir/debs/partial"
    apt-get -qq install --download-only --yes --no-install-recommends -o APT::Sandbox::User=root \
        -o "Dir::Cache::archives=$(readlink -f "$dir/debs")" opennds iptables
    for deb in "$dir"/debs/*.deb; do
        dpkg-deb --extract "$deb" "$dir"
    done
    rm -rf "$dir/debs" "$dir/usr/share/man" "$dir/usr/share/doc"
    [ ! -d "$dir/lib" ] || { cp -a "$dir/lib/." "$dir/usr/lib/" && rm -r "${dir:?}/lib"; }
    # What update-alternatives(1) does for an installed one.
    [ ! -e "$dir/usr/sbin/xtables-nft-multi" ] || ln -sf xtables-nft-multi "$dir/usr/sbin/iptables"
    # Its watchdog restarts the host's service by this.
    printf '#!/bin/sh\n' >"$dir/usr/bin/systemctl"
    chmod +x "$dir/usr/bin/systemctl"
    # 9.10 makes the chains INPUT and FORWARD at priority -100; iptables-nft adds them again at 0, the kernel refuses
    # (EOPNOTSUPP), and openNDS ends. With 0 in both places it starts.
    sed -i 's/grep -w "priority -100"/grep -w "priority filter"/; s/priority -100 ;/priority 0 ;/' \
        "$dir/usr/lib/opennds/libopennds.sh"
    # The last thing made says that all is there.
    touch "$dir/unpacked"
}

run() {
    local dir files=$2
    dir=$(readlink -f "$1")
    mount -t tmpfs tmpfs /run
    mkdir /run/etc /run/work
    mount -t overlay overlay -o "lowerdir=$dir/etc:/etc,upperdir=/run/etc,workdir=/run/work" /etc
    # FILES may lie below /tmp, which gets new contents.
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/files
    mount --bind "$files" /mnt/files
    ln -s files/dhcp.leases /mnt/dhcp.leases
    mount -t overlay overlay -o "lowerdir=$dir/usr:/usr" /usr
    mount --move /mnt /tmp
    exec opennds -f -d 1 -c /tmp/files/opennds.conf
}

"$@"
