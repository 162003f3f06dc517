//! A real dnsmasq: DHCPv4, DHCPv6, router advertisements and DNS on the guest bridge.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::netns::Netns;
use super::proc::Program;
use super::wait::SOON;

/// A running dnsmasq.
#[derive(Debug)]
pub struct Dnsmasq {
    /// The program.
    pub program: Program,
    leases: PathBuf,
}

impl Dnsmasq {
    /// Serves the addresses of [`super::lab::Lab`] on `interface`; files below `dir`. `more` is added to its
    /// configuration as it stands. Back when it serves.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, dir: &Path, more: &str) -> Self {
        let leases = dir.join("dnsmasq.leases");
        let config = dir.join("dnsmasq.conf");
        // no-ping: dnsmasq otherwise asks for three seconds whether an address is taken.
        let text = format!(
            "interface={interface}\nexcept-interface=lo\nbind-interfaces\nno-resolv\nno-hosts\nno-ping\nuser=root\n\
             dhcp-authoritative\ndhcp-range=10.77.1.0,10.77.100.250,255.255.0.0,10m\n\
             dhcp-range=fd77::1000,fd77::ffff,slaac,64,10m\nenable-ra\nlog-dhcp\n\
             host-record=internet.test,198.51.100.2,2001:db8:77::2\ndhcp-leasefile={}\n{more}\n",
            leases.display()
        );
        fs::write(&config, text).expect("writable");
        let mut command = netns.command("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-", "-C"]).arg(&config);
        let mut program = Program::start("dnsmasq", command);
        program.wait_line("IPv6 router advertisement enabled", SOON);
        // The last line of its start: from here on it answers.
        program.wait_line("sockets bound exclusively", SOON);
        Self { program, leases }
    }

    /// The lease file.
    pub fn lease_file(&self) -> &Path {
        &self.leases
    }

    /// Addresses with a lease, IPv4 and IPv6.
    pub fn leased(&self) -> Vec<IpAddr> {
        let text = fs::read_to_string(&self.leases).unwrap_or_default();
        text.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok()).collect()
    }
}
