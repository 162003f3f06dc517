#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Run by the feed's CI instead of its own look at every program's version.
case "$1" in
wayleave) wayleave --version | grep -qF "$2" ;;
esac
