#!/usr/bin/env bash
# Makes a Debian of one's own a lab: what `./run test` installs when it needs it, and the leave to load radios into
# this machine's own kernel. By vagrant/Vagrantfile, as root; for other machines of that kind as well.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
if ! modprobe --dry-run --quiet mac80211_hwsim; then
    # Kernels for clouds have no radios.
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes linux-image-amd64 </dev/null
    echo "the kernel with radios runs after: vagrant reload"
fi
touch /etc/wayleave-radios
./run install
