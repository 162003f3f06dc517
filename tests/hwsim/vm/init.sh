#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the virtual machine, in its initramfs: puts the host's files under a layer in memory and
# goes on there. The host's files are read-only twice: in QEMU and here. Only the folder `out` is written to.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
# Numbered in the order in which they need each other.
for module in /modules/*; do
    $bb insmod "$module"
done
# Only whether a kernel starts at all was asked.
if $bb grep -q wayleave.probe /proc/cmdline; then
    echo "wayleave: it starts"
    $bb poweroff -f
fi
nine=trans=virtio,version=9p2000.L,msize=512000
$bb mount -t 9p -o ro,cache=loose,$nine host /host
$bb mount -t tmpfs memory /memory
$bb mkdir /memory/upper /memory/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root
for place in proc sys dev run; do
    [ -d /root/$place ] || $bb mkdir /root/$place
done
$bb umount /proc
$bb mount -t proc proc /root/proc
$bb mount -t sysfs sys /root/sys
$bb mount --move /dev /root/dev
$bb mount -t tmpfs run /root/run
$bb mkdir -p /root/run/out /root/dev/pts /root/dev/shm
$bb mount -t devpts pts /root/dev/pts
$bb mount -t tmpfs shm /root/dev/shm
$bb mount -t debugfs debug /root/sys/kernel/debug
$bb mount -t 9p -o cache=none,$nine out /root/run/out
# If it cannot, this process ends, the kernel panics and QEMU ends: no result, which is a failure.
exec $bb switch_root /root /bin/bash /run/out/job
