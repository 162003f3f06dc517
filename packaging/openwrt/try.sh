#!/bin/bash
# try.sh ARCH PROGRAM: runs a program that was built for a router, on this machine: its version, what it says of every UCI
# file in tests/golden/uci, and a beacon read with its octets in that processor's order. Foreign ones under qemu-user.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
arch=$1 program=$(readlink -f "$2")
case $arch in
    x86_64) run=() ;;
    mips_24kc) run=(qemu-mips-static) ;;
    mipsel_24kc) run=(qemu-mipsel-static) ;;
    *) echo "try.sh: no processor $arch" >&2 && exit 1 ;;
esac
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
wayleave() { "${run[@]}" "$program" "$@"; }
die() { echo "try.sh: $arch: $*" >&2 && exit 1; }

version=$(sed -n 's/^PKG_VERSION:=//p' openwrt/wayleave/Makefile)
[ "$(wayleave --version)" = "wayleave $version" ] || die "it says it is $(wayleave --version)"
cp openwrt/wayleave/files/wayleave.config "$dir/wayleave"
wayleave config check "$dir/wayleave" >/dev/null || die "it does not take the installed configuration"

part() { sed -n "/^-- $1\$/,/^-- /p" "$2" | grep -v '^-- ' || true; }
tried=0
for case in tests/golden/uci/*.txt; do
    part uci "$case" >"$dir/wayleave"
    # A program with fewer features knows fewer options, and is none the less right about the others.
    found=$(wayleave config check "$dir/wayleave" 2>&1 >/dev/null | sed "s|^wayleave: $dir|…|" || true)
    [ "$found" = "$(part error "$case")" ] || die "$case: $found"
    tried=$((tried + 1))
done

# The test of `wayleave beacon decode` has the same.
beacon="00:06:43:6f:72:6e:65:72 dd320266ff010101a0a1a2a3a4a5a6a7a8a9aaabacadaeafe0e1e2e3e4e5e6e704030201ee18bd27c76f0b70f43860d67c3fcf4d dd040050f202 c801ff"
diff <(wayleave beacon decode "$beacon") tests/golden/ctl/beacon.txt >&2 || die "it reads another beacon"
echo "$arch: version, $tried configurations and a beacon are as they should be"
