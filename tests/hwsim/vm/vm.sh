#!/usr/bin/env bash
# vm.sh OUT PROGRAM [ARGUMENT]...: runs a program as root in a virtual machine that has Debian's kernel, this
# machine's files (read-only, under a layer in memory), no network, and the folder OUT to write to. The program's
# output is our standard output, as it comes, and its exit code is ours. 125: the machine failed, not the program.
#
# Kernel and busybox are Debian's packages, unpacked into a cache and never installed. KVM is used where a kernel
# starts with it within ten seconds; otherwise QEMU translates instructions, which is some ten times slower.
#
# vm.sh --fetch: fills the cache, and that is all.
#
# Needs RADIO_TOOLS of `run`. WAYLEAVE_VM_LIMIT: seconds until the machine is switched off.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
PATH=$PATH:/usr/sbin:/sbin

cache=${XDG_CACHE_HOME:-/var/cache}/wayleave
[ "$(id -u)" = 0 ] || cache=${XDG_CACHE_HOME:-$HOME/.cache}/wayleave

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }

# Finds kernel and busybox. A mirror forgets what has been replaced, so a list may be too old to fetch by.
gather() {
    package=$(kernel_package) && files=$(unpacked "$package") && busybox=$(unpacked busybox-static)
}

# unpacked PACKAGE: the folder with the files of a Debian package, fetched unless its newest version is there. Where
# it cannot be fetched an older one is as good.
unpacked() {
    local version dir
    version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')
    dir=$cache/$1=${version//:/%}
    [ -z "$version" ] || [ -d "$dir" ] || fetch "$1=$version" "$dir" || say "$1 $version cannot be fetched"
    [ -d "$dir" ] || dir=$(newest "$1=*")
    [ -d "$dir" ] || return 1
    touch "$dir" 2>/dev/null || true
    echo "$dir"
}

# newest PATTERN: what was used last of the cache.
newest() {
    find "$cache" -mindepth 1 -maxdepth 1 -name "$1" -printf '%T@ %p\n' 2>/dev/null |
        sort -n | tail -n1 | cut -d' ' -f2-
}

# fetch PACKAGE=VERSION FOLDER
fetch() {
    local temporary done=0
    say "fetching $1"
    mkdir -p "$cache"
    temporary=$(mktemp -d "$cache/.fetch.XXXXXX")
    mkdir "$temporary/files"
    (cd "$temporary" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2 </dev/null) &&
        dpkg-deb --fsys-tarfile "$temporary"/*.deb |
        tar -x -C "$temporary/files" --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/sound' ||
        done=1
    # If somebody else was quicker, theirs is as good.
    [ "$done" != 0 ] || mv -T "$temporary/files" "$2" 2>/dev/null || [ -d "$2" ] || done=1
    rm -rf "$temporary"
    return "$done"
}

# The newest kernel that this Debian offers, else the one used last.
kernel_package() {
    local found
    found=$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
    if [ -z "$found" ]; then
        found=$(newest 'linux-image-*')
        found=${found##*/} found=${found%%=*}
    fi
    [ -n "$found" ] && echo "$found"
}

# initramfs BUSYBOX MODULES VERSION: what it takes to reach the host's files, as a cpio archive.
initramfs() {
    local root=$work/initramfs.d number=100 module
    mkdir -p "$root"/{bin,modules,proc,dev,host,memory,root}
    cp "$1" "$root/bin/busybox"
    install -m 755 "$here/init.sh" "$root/init"
    for module in virtio_pci 9pnet_virtio 9p overlay; do
        modprobe --set-version "$3" --dirname "$2" --show-depends "$module" || die "no module $module in $2"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
        case $module in
            *.xz) xz -dc "$module" ;;
            *.zst) zstd -dcq "$module" ;;
            *) cat "$module" ;;
        esac >"$root/modules/$number-$(basename "$module")"
        number=$((number + 1))
    done
    (cd "$root" && find . | "$1" cpio -o -H newc 2>/dev/null)
}

# machine LIMIT ACCELERATOR COMMAND_LINE [OPTION]...
machine() {
    local limit=$1 accelerator=$2 line=$3
    shift 3
    timeout --foreground --kill-after=5 "$limit" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot \
        -display none -machine q35 -cpu max -smp 2 -m 1536 -accel "$accelerator" -kernel "$kernel" \
        -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1 mitigations=off $line" "$@" </dev/null
}

# The device may be there and no guest start: looked at, not believed.
kvm_starts_it() {
    [ -w /dev/kvm ] && machine 10 kvm wayleave.probe -serial stdio 2>/dev/null | grep -q 'wayleave: it starts'
}

[ $# -ge 2 ] || [ "$*" = --fetch ] || die "vm.sh OUT PROGRAM [ARGUMENT]..., or vm.sh --fetch"
[ "$(uname -m)" = x86_64 ] || die "this is for x86_64 machines"
gather || { [ "$(id -u)" = 0 ] && apt-get -qq update && gather; } ||
    die "no linux-image-amd64 or busybox-static is there or can be fetched; with a network: apt-get update"
find "$cache" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +
# Debian 12 has them in /bin and /lib, Debian 13 below /usr.
busybox=$(find "$busybox" -path '*/bin/busybox')
kernel=$(find "$files/boot" -name 'vmlinuz-*')
version=${kernel##*/vmlinuz-}
[ "$1" != --fetch ] || exit 0
out=$(readlink -f "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ ! -d "$files/usr/lib/modules" ] || files=$files/usr
[ -e "$files/lib/modules/$version/modules.dep" ] || depmod --basedir "$files" "$version"
initramfs "$busybox" "$files" "$version" >"$work/initramfs"

rm -f "$out/result"
printf 'exec bash%s\n' "$(printf ' %q' "$here/guest.sh" "$files/lib/modules" "$@")" >"$out/job"
accelerator=tcg,thread=multi
! kvm_starts_it || accelerator=kvm
say "Linux $version, ${accelerator%%,*}"
status=0
limit=${WAYLEAVE_VM_LIMIT:-2700}
machine "$limit" "$accelerator" "" \
    -serial "file:$out/console.log" -serial stdio \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -fsdev "local,id=out,path=$out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out || status=$?
if [ -s "$out/result" ]; then
    exit "$(cat "$out/result")"
fi
[ "$status" != 124 ] || say "switched off after $limit s"
say "the virtual machine ended without a result (QEMU: $status); the end of its console:"
tail -n 40 "$out/console.log" >&2 || true
exit 125
