#!/bin/bash
# ipk.sh ARCH PROGRAM DIR: the package wayleave for opkg (OpenWrt up to 24.10), as the feed's Makefile would make it, in
# DIR; its path on the last line. An ipk is a tar in gzip of debian-binary, control.tar.gz and data.tar.gz; the same
# files give the same octets.
set -euo pipefail
arch=$1 program=$2 out=$3
here=$(dirname "$(readlink -f "$0")")
files=$here/../../openwrt/wayleave/files
makefile=$here/../../openwrt/wayleave/Makefile

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/data/{usr/bin,etc/config,etc/init.d,etc/capabilities,etc/hotplug.d/net,etc/uci-defaults} \
    "$tree"/data/{lib/upgrade/keep.d,usr/share/acl.d} "$tree/control"
put() { install -m "$1" "$2" "$tree/data/$3"; }
put 755 "$program" usr/bin/wayleave
put 600 "$files/wayleave.config" etc/config/wayleave
put 755 "$files/wayleave.init" etc/init.d/wayleave
put 644 "$files/wayleave.capabilities" etc/capabilities/wayleave.json
put 644 "$files/wayleave.hotplug" etc/hotplug.d/net/90-wayleave
put 644 "$files/wayleave.defaults" etc/uci-defaults/90_wayleave
put 644 "$files/wayleave.keep" lib/upgrade/keep.d/wayleave
put 644 "$files/wayleave.acl" usr/share/acl.d/wayleave.json

# What the Makefile says once is not said here again.
field() { sed -n "s/^ *$1:\?=//p" "$makefile"; }
part() { sed -n "/^define Package\/wayleave\/$1\$/,/^endef/p" "$makefile" | sed '1d;$d' | sed 's/\$\$/$/g'; }
version=$(field PKG_VERSION)-r$(field PKG_RELEASE)
depends=$(field DEPENDS | tr ' ' '\n' | sed -n 's/^+//p' | paste -sd, | sed 's/,/, /g')
part conffiles >"$tree/control/conffiles"
# The default scripts of OpenWrt: they switch the service on, run uci-defaults, make the user.
# shellcheck disable=SC2016
for step in postinst prerm; do
    {
        printf '#!/bin/sh\n[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n'
        printf '. ${IPKG_INSTROOT}/lib/functions.sh\ndefault_%s $0 $@\n' "$step"
    } >"$tree/control/$step"
    chmod 755 "$tree/control/$step"
done
part prerm >"$tree/control/prerm-pkg"
chmod 755 "$tree/control/prerm-pkg"
cat >"$tree/control/control" <<CONTROL
Package: $(field PKG_NAME)
Version: $version
Depends: libc, $depends
License: $(field PKG_LICENSE)
Section: $(field SECTION)
Require-User: $(field USERID)
Architecture: $arch
Maintainer: $(field PKG_MAINTAINER)
Installed-Size: $(find "$tree/data" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
Description: $(part description | sed 's/^ *//')
CONTROL
printf '2.0\n' >"$tree/debian-binary"

pack() { tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@"${SOURCE_DATE_EPOCH:-0}" --format=gnu -C "$1" -cf - "${@:2}" | gzip -9n; }
pack "$tree/control" . >"$tree/control.tar.gz"
pack "$tree/data" . >"$tree/data.tar.gz"
mkdir -p "$out"
made=$out/wayleave_${version}_$arch.ipk
pack "$tree" ./debian-binary ./data.tar.gz ./control.tar.gz >"$made"
echo "$made"
