//! What the doctor says of the portal.

use crate::gateway::doctor::finding;
use crate::gateway::effects::Gateway;
use crate::model::{sentence, trade::Answer};
use crate::wire::local::{Finding, Layout, Severity};

use super::answer::API;

/// Nothing where there is none.
pub(in crate::gateway) fn findings(gateway: &Gateway) -> Vec<Finding> {
    let Some(portal) = &gateway.settings.portal else { return Vec::new() };
    let mut findings = Vec::new();
    let state = &gateway.portal;
    if let Some(why) = &state.broken {
        findings.push(finding(
            "portal",
            Severity::Problem,
            format!("nothing is sold: {why}"),
            "put the file in state_dir right, and restart the gateway",
        ));
    }
    match state.unheard.as_slice() {
        [] => findings.push(finding(
            "portal",
            Severity::Good,
            format!("pages at port {} of the shared interfaces", portal.port),
            "this router's own firewall must let guests reach that port",
        )),
        unheard => findings.push(finding(
            "portal",
            Severity::Problem,
            format!("it does not listen at {}", unheard.join("; ")),
            "another program has the port: set portal.port",
        )),
    }
    if !gateway.nft.abilities().redirect {
        findings.push(finding(
            "portal",
            Severity::Problem,
            "visitors are not redirected: the kernel cannot redirect and reset in the inet family".into(),
            "load nft_chain_nat, nft_redir and nft_reject_inet (kmod-nft-nat); pages can be opened by their address",
        ));
    }
    let early = passes_early(gateway.nft.layout());
    if !early.is_empty() {
        findings.push(finding(
            "portal",
            Severity::Problem,
            format!("visitors are not redirected: the bridge runs iptables first ({} = 1)", early.join(", ")),
            "set them to 0 unless another program needs them (Docker does), or enforcement.layout = \"bridge\"",
        ));
    }
    let sales = &gateway.settings.shop.sales;
    if !sales.iter().any(|sale| sale.answer == Answer::Accept) {
        findings.push(finding(
            "portal",
            Severity::Hint,
            "there is nothing to choose from: no tariff whose answer is accept".into(),
            "add a [[tariff]]; one without a price is the free allowance of a day",
        ));
    }
    let Some(tls) = &portal.tls else {
        findings.push(finding(
            "captive-api",
            Severity::Hint,
            "telephones are not told of the portal by DHCP: that needs HTTPS".into(),
            "set portal.host, portal.certificate and portal.key; docs/portal.md",
        ));
        return findings;
    };
    match state.certificate.as_ref().map(crate::adapters::web::Certificate::check) {
        Some(Err(error)) => findings.push(finding(
            "captive-api",
            Severity::Problem,
            format!("no HTTPS: {}", sentence(&error)),
            "put the certificate and its key there as PEM; they are read again when they change",
        )),
        _ => {
            let port = if tls.port == 443 { String::new() } else { format!(":{}", tls.port) };
            let url = format!("https://{}{port}{API}", portal.host);
            let dnsmasq = format!(
                "dnsmasq: dhcp-option-force=114,{url} and dhcp-option-force=option6:103,{url}, {}",
                addresses(gateway, &portal.host)
            );
            findings.push(finding("captive-api", Severity::Good, format!("at {url}"), &dnsmasq));
            findings.push(finding(
                "captive-api",
                Severity::Good,
                "DHCPv4 114, DHCPv6 103 and router advertisements (37) on OpenWrt, by odhcpd".into(),
                &format!(
                    "uci set dhcp.guest.captive_portal_uri='{url}'; uci commit dhcp; service odhcpd reload"
                ),
            ));
        }
    }
    findings
}

/// Settings by which packets meet the redirect in the bridge, before it is known whose they are (br_netfilter).
pub(super) fn passes_early(layout: Layout) -> Vec<&'static str> {
    let is_on = |name: &&str| {
        let path = format!("/proc/sys/net/bridge/{name}");
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
    };
    match layout {
        Layout::Netdev => {
            ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"].into_iter().filter(is_on).collect()
        }
        // There it is known before.
        Layout::Bridge => Vec::new(),
    }
}

/// How the name is known to guests.
fn addresses(gateway: &Gateway, host: &str) -> String {
    let own = gateway.world.gateway_addresses(&gateway.settings);
    let lines: Vec<String> = own
        .iter()
        .filter(|ip| !matches!(ip, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .map(|ip| format!("address=/{host}/{ip}"))
        .collect();
    match lines.is_empty() {
        true => format!("and the address of {host}"),
        false => lines.join(" and "),
    }
}
