//! What the doctor says of RADIUS.

use super::super::doctor::finding;
use super::super::effects::Gateway;
use super::channel::Channel;
use crate::host::clock;
use crate::logic::radius::{Standing, Worth};
use crate::wire::local::{Finding, Severity};

/// One finding for each thing that servers are used for; none without servers.
pub(in crate::gateway) fn findings(gateway: &Gateway) -> Vec<Finding> {
    let Some(radius) = &gateway.radius else { return Vec::new() };
    let mut findings = Vec::new();
    if radius.accounts.is_used() {
        findings.push(channel("radius-accounting", "sessions are told to", &radius.accounts));
    }
    if radius.access.is_used() {
        findings.push(channel("radius-access", "names and passwords are shown to", &radius.access));
    }
    if let Some(address) = radius.settings.disconnect {
        findings.push(match &radius.asked.failure {
            None => finding(
                "radius-disconnect",
                Severity::Good,
                format!(
                    "servers may end sessions at {address}; {} requests were ignored",
                    radius.asked.ignored
                ),
                "",
            ),
            Some(why) => finding(
                "radius-disconnect",
                Severity::Problem,
                why.clone(),
                "is that address one of this machine's, and the port free? It is tried again and again",
            ),
        });
    }
    let lost = |worth| radius.lost.get(&worth).copied().unwrap_or(0);
    let (stops, starts, interims) = (lost(Worth::Stop), lost(Worth::Start), lost(Worth::Interim));
    if stops + starts + interims > 0 {
        findings.push(finding(
            "radius-lost",
            Severity::Problem,
            format!("more records waited than are kept; lost are {stops} ends, {starts} begins, {interims} updates"),
            "let a RADIUS server answer; what a grant has moved in all `wayleave grants` still shows",
        ));
    }
    findings
}

fn channel(word: &str, used_for: &str, channel: &Channel) -> Finding {
    let now = clock::now();
    let (mut up, mut silent) = (Vec::new(), Vec::new());
    for (address, standing) in channel.servers().zip(channel.requests.standings()) {
        match standing {
            Standing::Up => up.push(address.to_string()),
            Standing::Silent(since) => {
                silent.push(format!("{address} has not answered for {} s", now.since(since).as_secs()));
            }
        }
    }
    let waits = channel.requests.open().count();
    let mut found = match up.first() {
        Some(first) => format!("{used_for} {first}"),
        None => format!("{waits} record{} wait", if waits == 1 { "" } else { "s" }),
    };
    if !silent.is_empty() {
        found = format!("{found}; {}", silent.join("; "));
    }
    if let Some(why) = channel.refusal() {
        found = format!("{found}; {} answers were not used, the last one because {why}", channel.refused);
    }
    let severity = match (up.is_empty(), silent.is_empty() && channel.refusal().is_none()) {
        (true, _) => Severity::Problem,
        (false, false) => Severity::Hint,
        (false, true) => Severity::Good,
    };
    let advice = match severity {
        Severity::Good => "",
        _ => "is the server up, does it know this router by the address it sees, and is the secret the same?",
    };
    finding(word, severity, found, advice)
}
