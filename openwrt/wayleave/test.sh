#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Run by the feed's CI, with the name and the version of the package that it has installed.
[ "$1" = wayleave ] || exit 0

wayleave --version | grep -F "$2" || exit 1
wayleave config check /etc/config/wayleave || exit 1
# A beacon, read on this processor.
beacon=dd320266ff010101a0a1a2a3a4a5a6a7a8a9aaabacadaeafe0e1e2e3e4e5e6e704030201ee18bd27c76f0b70f43860d67c3fcf4d
wayleave beacon decode "$beacon" | grep -F 'slot 16909060' || exit 1
