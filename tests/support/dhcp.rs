//! Real DHCP clients, run once: udhcpc for IPv4, dhclient for IPv6.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::netns::Netns;

/// Called by udhcpc with its answer in the environment.
const UDHCPC_SCRIPT: &str = "#!/bin/sh\n\
    [ \"$1\" = bound ] || exit 0\n\
    ip addr replace \"$ip/$mask\" dev \"$interface\"\n\
    ip route replace default via \"${router%% *}\"\n";

/// Called by dhclient with its answer in the environment.
const DHCLIENT_SCRIPT: &str = "#!/bin/sh\n\
    [ \"$reason\" = BOUND6 ] && ip -6 addr replace \"$new_ip6_address/64\" dev \"$interface\" nodad\n\
    exit 0\n";

/// Gets an IPv4 lease, sets address and default route, ends. The address.
#[track_caller]
pub fn lease_v4(netns: &Netns, interface: &str, dir: &Path) -> Ipv4Addr {
    let script = script(dir, "udhcpc.sh", UDHCPC_SCRIPT);
    let mut command = netns.command("udhcpc");
    command.args(["-i", interface, "-n", "-q", "-f", "-t", "10", "-T", "1", "-s"]).arg(script);
    let output = command.output().expect("udhcpc is installed");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let address =
        said.split("lease of ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    address.unwrap_or_else(|| panic!("no lease: {said}"))
}

/// Gets an IPv6 lease (stateful DHCPv6), sets the address, ends without giving it back. The address.
#[track_caller]
pub fn lease_v6(netns: &Netns, interface: &str, dir: &Path) -> Ipv6Addr {
    let script = script(dir, "dhclient.sh", DHCLIENT_SCRIPT);
    let name = dir.join(format!("{}.dhclient", netns.name()));
    let (leases, pid) = (name.with_extension("leases"), name.with_extension("pid"));
    let mut command = netns.command("dhclient");
    // It goes to the background once it has the lease; the namespace takes it along when it ends.
    command.args(["-6", "-1", "-v", "-lf"]).arg(&leases).arg("-pf").arg(&pid).arg("-sf").arg(script);
    let output = command.arg(interface).output().expect("isc-dhcp-client is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = fs::read_to_string(&leases).unwrap_or_default();
    let address = text.split("iaaddr ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    address.unwrap_or_else(|| panic!("no lease: {said}"))
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path
}
