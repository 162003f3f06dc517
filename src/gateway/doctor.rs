//! What is wrong with this machine, and what to do about it.

use super::code_findings;
use super::effects::{Done, Gateway};
use crate::adapters::conntrack::{Conntrack, Support};
use crate::adapters::dhcp::{Dhcp, DhcpError};
use crate::adapters::nftables::Abilities;
use crate::host::control::Reply;
use crate::logic::beacon::Standing;
use crate::model::Ssid;
use crate::wire::local::{Finding, Layout, LinkState, Severity};

/// Looks at everything; the answer comes as [`Done::Doctor`].
pub(super) fn examine(gateway: &mut Gateway, reply: Reply) {
    let mut findings = kernel(
        gateway.nft.layout(),
        gateway.nft.abilities(),
        gateway.nft.owned(),
        gateway.settings.own_table,
    );
    findings.extend(networks(gateway));
    findings.push(hostapd(gateway));
    findings.push(beacon(gateway));
    findings.extend(code_findings::codes(gateway));
    findings.push(coordinator(gateway));
    findings.extend(super::radius::findings(gateway));
    findings.extend(super::portal::findings(gateway));
    if gateway.restored > 0 {
        findings.push(finding(
            "tables",
            Severity::Hint,
            format!("another program deleted our table {} times; it was put back", gateway.restored),
            "find out who runs `nft flush ruleset` or `firewall stop`; with an owned table it has no effect",
        ));
    }
    if let Some(why) = &gateway.unkept {
        findings.push(finding(
            "state",
            Severity::Problem,
            format!("grants would not survive a reboot: {why}"),
            "make room on the file system of state_dir, and let the daemon write there",
        ));
    }
    let conntrack = gateway.conntrack.clone();
    let dhcp = gateway.dhcp.clone();
    let hostapd = gateway.code_networks().next().map(|_| gateway.hostapd.clone());
    let lease_file = gateway.settings.lease_file.display().to_string();
    gateway.pending.push(Box::pin(async move {
        if let Some(hostapd) = hostapd {
            findings.extend(code_findings::wpa3(&hostapd).await);
        }
        findings.push(flows(&conntrack).await);
        findings.push(leases(&dhcp, &lease_file).await);
        Done::Doctor(reply, findings)
    }));
}

fn kernel(layout: Layout, abilities: Abilities, owned: bool, wanted_owned: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = match layout {
        Layout::Netdev => "netdev: ingress and egress hooks of the shared interfaces".to_owned(),
        Layout::Bridge => "bridge: pre- and postrouting of the ports of the shared bridges".to_owned(),
    };
    findings.push(finding("layout", Severity::Good, found, ""));
    findings.push(match abilities.egress_hook {
        true => finding("egress-hook", Severity::Good, "the kernel has it".into(), ""),
        false => finding(
            "egress-hook",
            Severity::Hint,
            "the kernel lacks CONFIG_NETFILTER_EGRESS (5.16)".into(),
            "none is needed while the shared interface is a bridge",
        ),
    });
    findings.push(match (owned, abilities.owner_persist, wanted_owned) {
        (true, ..) => finding("owner-flag", Severity::Good, "nobody else can change our table".into(), ""),
        (false, false, _) => finding(
            "owner-flag",
            Severity::Hint,
            "the kernel has no `flags owner, persist` (6.9)".into(),
            "our table is put back when another program deletes it",
        ),
        (false, true, _) => finding(
            "owner-flag",
            Severity::Hint,
            "our table can be changed by other programs, as configured".into(),
            "set enforcement.own_table = true and open.names_by_dnsmasq = false to keep it ours alone",
        ),
    });
    if !abilities.destroy {
        findings.push(finding(
            "destroy",
            Severity::Hint,
            "the kernel has no NFT_MSG_DESTROYSETELEM (6.3)".into(),
            "an eviction looks first whether the element is there",
        ));
    }
    if !abilities.timeout_in_place {
        findings.push(finding(
            "timeout-in-place",
            Severity::Hint,
            "the kernel ignores new time-outs of elements (before 6.12)".into(),
            "renewing a lease takes the station out and in, in one transaction",
        ));
    }
    findings
}

fn networks(gateway: &Gateway) -> Vec<Finding> {
    let mut findings = Vec::new();
    for network in &gateway.settings.networks {
        let Some(index) = gateway.world.index(&network.interface) else {
            findings.push(finding(
                "interface",
                Severity::Problem,
                format!("{} does not exist", network.interface),
                "create it, or correct network.interface; until then nobody can be admitted there",
            ));
            continue;
        };
        let ports = gateway.world.ports(index).count();
        findings.push(finding(
            "interface",
            Severity::Good,
            format!("{}: there, with {ports} bridge port{}", network.interface, plural(ports == 1)),
            "",
        ));
        if gateway.nft.layout() == Layout::Bridge && ports == 0 {
            findings.push(finding(
                "bridge-ports",
                Severity::Problem,
                format!("{} has no bridge ports, and this layout filters at ports", network.interface),
                "put the interface into a bridge and share the bridge",
            ));
        }
    }
    if gateway.world.gateway_addresses(&gateway.settings).is_empty() {
        findings.push(finding(
            "addresses",
            Severity::Hint,
            "the shared interfaces have no address of this machine".into(),
            "fine for a bridge without routing; otherwise stations reach neither DNS nor the portal",
        ));
    }
    for (family, file) in [("IPv4", "ipv4/ip_forward"), ("IPv6", "ipv6/conf/all/forwarding")] {
        let forwards =
            std::fs::read_to_string(format!("/proc/sys/net/{file}")).is_ok_and(|text| text.trim() == "1");
        if !forwards {
            findings.push(finding(
                "forwarding",
                Severity::Hint,
                format!("this machine does not forward {family}"),
                "set net.ipv4.ip_forward and net.ipv6.conf.all.forwarding to 1 if it is to be a router",
            ));
        }
    }
    findings
}

fn hostapd(gateway: &Gateway) -> Finding {
    let bsses = gateway.presence.bsses();
    match bsses.len() {
        0 => finding(
            "hostapd",
            Severity::Hint,
            format!("no control socket in {}", gateway.settings.hostapd_directory.display()),
            "set ctrl_interface and ctrl_interface_group in hostapd.conf; without hostapd nobody is deauthenticated",
        ),
        _ => {
            let names: Vec<String> = bsses.iter().map(|(name, bss)| named(name, &bss.ssid)).collect();
            finding("hostapd", Severity::Good, names.join(", "), "")
        }
    }
}

fn beacon(gateway: &Gateway) -> Finding {
    let Some(beacons) = &gateway.beacons else {
        return finding("beacon", Severity::Good, "off, as configured".into(), "");
    };
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for (bss, how) in beacons.announcer.announced() {
        match how {
            Standing::On => on.push(bss),
            Standing::Asked => off.push(format!("{bss}: hostapd has not answered yet")),
            Standing::Off(why) => off.push(format!("{bss}: {why}")),
        }
    }
    if !off.is_empty() {
        return finding(
            "beacon",
            Severity::Problem,
            format!("not announced on {}", off.join("; ")),
            "hostapd must take SET vendor_elements and UPDATE_BEACON; or set beacon.enabled = false",
        );
    }
    if !beacons.untold.is_empty() {
        let untold: Vec<String> = beacons.untold.iter().map(|(bss, why)| format!("{bss}: {why}")).collect();
        return finding(
            "beacon",
            Severity::Problem,
            format!("announced, but [interworking] is not told on {}", untold.join("; ")),
            "hostapd must be built with CONFIG_INTERWORKING; or leave [interworking] out",
        );
    }
    match (on.is_empty(), gateway.settings.vendor_elements.is_empty()) {
        (true, _) => finding(
            "beacon",
            Severity::Good,
            "nothing to announce: no shared network is on the air".into(),
            "",
        ),
        (false, false) => finding("beacon", Severity::Good, format!("announced on {}", on.join(", ")), ""),
        (false, true) => finding(
            "beacon",
            Severity::Good,
            format!("announced on {}", on.join(", ")),
            "if hostapd.conf has vendor_elements, give them to hostapd.vendor_elements too: ours replace them",
        ),
    }
}

/// A wired one has no name.
fn named(bss: &str, ssid: &Ssid) -> String {
    if ssid.as_bytes().is_empty() { bss.to_owned() } else { format!("{bss} ({ssid})") }
}

fn plural(is_one: bool) -> &'static str {
    if is_one { "" } else { "s" }
}

fn coordinator(gateway: &Gateway) -> Finding {
    match &gateway.link_state {
        LinkState::Alone => finding(
            "coordinator",
            Severity::Good,
            "none: the owner grants by hand".into(),
            "`wayleave gateway enroll TOKEN` enrols with one",
        ),
        LinkState::Up { host } => finding("coordinator", Severity::Good, format!("linked to {host}"), ""),
        LinkState::Down { host, why } => finding(
            "coordinator",
            Severity::Problem,
            format!("no link to {host}: {why}"),
            "grants go on until their leases end; the owner can grant by hand",
        ),
    }
}

async fn flows(conntrack: &Conntrack) -> Finding {
    match conntrack.probe().await {
        Ok(Support { buckets, .. }) => finding(
            "conntrack",
            Severity::Good,
            format!("flows are freed on eviction ({buckets} buckets)"),
            "",
        ),
        Err(error) => finding(
            "conntrack",
            Severity::Problem,
            format!("flows cannot be freed: {error}"),
            "load nf_conntrack_netlink (kmod-nf-conntrack-netlink)",
        ),
    }
}

async fn leases(dhcp: &Dhcp, lease_file: &str) -> Finding {
    match dhcp.probe().await {
        Ok((leases, 0)) => finding(
            "dnsmasq",
            Severity::Good,
            format!("{leases} lease{} in {lease_file}", plural(leases == 1)),
            "",
        ),
        Ok((leases, bad)) => finding(
            "dnsmasq",
            Severity::Hint,
            format!(
                "{leases} lease{} in {lease_file}, and {bad} line{} that cannot be read",
                plural(leases == 1),
                plural(bad == 1)
            ),
            "is it the file of dnsmasq's dhcp-leasefile?",
        ),
        Err(DhcpError::Absent { .. }) => finding(
            "dnsmasq",
            Severity::Hint,
            format!("no lease file at {lease_file}"),
            "set dhcp.lease_file if dnsmasq runs here; leases are not released otherwise",
        ),
        Err(error) => finding(
            "dnsmasq",
            Severity::Problem,
            error.to_string(),
            "leases of evicted stations stay until they run out",
        ),
    }
}

pub(super) fn finding(word: &str, severity: Severity, found: String, advice: &str) -> Finding {
    Finding { word: word.into(), severity, found, advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel and every wish: each thing that it lacks is named once, with what follows from it.
    #[test]
    fn what_a_kernel_lacks_is_named_with_what_to_do() {
        for bits in 0..32_u8 {
            let [egress_hook, destroy, owner_persist, timeout_in_place, wanted] =
                [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
            let abilities =
                Abilities { egress_hook, destroy, owner_persist, timeout_in_place, ..Default::default() };
            let layout = if egress_hook { Layout::Netdev } else { Layout::Bridge };
            let findings = kernel(layout, abilities, wanted && owner_persist, wanted);
            let of = |word: &str| findings.iter().filter(|finding| finding.word == word).collect::<Vec<_>>();
            let [found] = of("layout")[..] else { panic!("{findings:?}") };
            assert!(found.found.starts_with(if egress_hook { "netdev" } else { "bridge" }), "{found:?}");
            for (word, lacks) in [
                ("egress-hook", !egress_hook),
                ("owner-flag", !(wanted && owner_persist)),
                ("destroy", !destroy),
                ("timeout-in-place", !timeout_in_place),
            ] {
                let hints = of(word).into_iter().filter(|finding| finding.severity != Severity::Good);
                let hints: Vec<&Finding> = hints.collect();
                assert_eq!(hints.len(), usize::from(lacks), "{abilities:?}: {findings:?}");
                assert!(hints.iter().all(|hint| !hint.advice.is_empty()), "{hints:?}");
            }
        }
    }
}
