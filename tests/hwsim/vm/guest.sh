#!/usr/bin/env bash
# guest.sh MODULES PROGRAM [ARGUMENT]...: runs a program as root in the virtual machine, with the modules of its
# kernel, and writes how it ended to /run/out/result. Started by `job`, as the first process.
set -u
modules=$1
shift
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export TMPDIR=/run/tmp WAYLEAVE_RADIOS=/run/out RUST_BACKTRACE=1
# The second serial port is the host's standard output; the first is the kernel's console.
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
mkdir -p "$TMPDIR" /usr/lib/modules
mount --bind "$modules" /usr/lib/modules
ip link set lo up
"$@"
echo $? >/run/out/result
sync
echo o >/proc/sysrq-trigger
# Until the power is off; the host's files are out of reach already.
while :; do :; done
