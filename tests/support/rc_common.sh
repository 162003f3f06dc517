#!/bin/sh
# What /etc/rc.common and procd.sh of OpenWrt are to an init script, as far as ours needs them: each call to procd
# becomes a line. rc_common.sh SCRIPT CONFIG_DIR COMMAND
# shellcheck shell=dash
script=$1 config_dir=$2 command=$3

say() {
	printf '%s' "$1"
	shift
	for word; do printf ' %s' "$word"; done
	printf '\n'
}

# uci's own shell library: sections and options of files as `uci` writes them.
config_load() {
	loaded=$config_dir/$1
}

# config_lines SECTION: its `option` lines. A section without a name has that of its place: cfg1, cfg2, …
config_lines() {
	awk -v wanted="$1" -v q="'" '
		$1 == "config" { number++; name = $3; gsub(q, "", name); if (name == "") name = "cfg" number }
		$1 == "option" && name == wanted' "$loaded"
}

config_get() {
	value=$(config_lines "$2" | sed -n "s/^[[:space:]]*option $3 '\(.*\)'\$/\1/p")
	eval "$1=\${value:-\${4:-}}"
}

config_get_bool() {
	config_get "$@"
	case $value in
	1 | on | true | yes | enabled) eval "$1=1" ;;
	0 | off | false | no | disabled) eval "$1=0" ;;
	esac
}

config_foreach() {
	# Names of sections have no blanks.
	# shellcheck disable=SC2013
	for section in $(awk -v wanted="$2" -v q="'" '
		$1 == "config" { number++; name = $3; gsub(q, "", name); if ($2 == wanted) print name == "" ? "cfg" number : name }
	' "$loaded"); do
		"$1" "$section"
	done
}

for call in procd_open_instance procd_set_param procd_add_jail procd_add_jail_mount procd_add_jail_mount_rw \
	procd_close_instance procd_add_reload_trigger procd_add_interface_trigger procd_send_signal json_add_array \
	json_add_object json_add_string json_close_object json_close_array mkdir chown chgrp chmod rc_procd; do
	eval "$call() { say $call \"\$@\"; }"
done
rc_procd() {
	"$@"
}

# shellcheck source=/dev/null
. "$script"

# shellcheck disable=SC2034
CONFIG=$config_dir/wayleave PROG=${WAYLEAVE:-$PROG}
case $command in
header) say "START=$START STOP=$STOP USE_PROCD=$USE_PROCD $EXTRA_COMMANDS" ;;
start) start_service ;;
reload) reload_service ;;
data) service_data ;;
triggers) service_triggers ;;
*) "$command" ;;
esac
