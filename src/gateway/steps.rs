//! The steps of an eviction wave, and inquiries: what takes longer than a transaction.
//!
//! Each step works on what was known of its stations when the wave began, and ends with an outcome for every
//! target. A peer that is not there is `Absent`, one that fails is `Failed` with a reason, and neither holds up
//! the next step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::future::{FutureExt, join_all};

use super::associations::Associations;
use super::effects::{Done, Gateway};
use crate::adapters::conntrack::is_forwarded;
use crate::adapters::dhcp::DhcpError;
use crate::adapters::rtnetlink::Deleted;
use crate::logic::grants::{self, Target};
use crate::model::{BootTime, Gather, GrantId, MacAddr, Step, StepOutcome, sentence};
use crate::wire::gateway::{FromGateway, Presence};

/// What was known of a station when its eviction began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Its addresses, with the index of the interface behind which each is.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// What a step came to for one target.
type Outcome = (GrantId, StepOutcome);

/// Begins a step. Its end comes as [`Done::Step`], except for the first, which is over at once.
pub(super) fn start(gateway: &mut Gateway, wave: u64, step: Step, targets: &[Target], now: BootTime) {
    if step == Step::Enforcement {
        return enforcement(gateway, wave, targets, now);
    }
    let known = gateway.waves.get(&wave).cloned().unwrap_or_default();
    let targets: Vec<(Target, Known)> = targets
        .iter()
        .map(|target| (*target, known.get(&target.grant).cloned().unwrap_or_default()))
        .collect();
    match step {
        Step::Enforcement => {}
        Step::Flows => flows(gateway, wave, targets),
        Step::Association => association(gateway, wave, targets),
        Step::Neighbours => neighbours(gateway, wave, targets),
        Step::Leases => leases(gateway, wave, targets),
        Step::Verification => verification(gateway, wave, targets),
    }
}

fn enforcement(gateway: &mut Gateway, wave: u64, targets: &[Target], now: BootTime) {
    let known = targets.iter().map(|target| (target.grant, known(gateway, target.station))).gather();
    gateway.waves.insert(wave, known);
    gateway.running_changed = true;
    let stations: Vec<(MacAddr, Option<GrantId>)> =
        targets.iter().map(|target| (target.station, target.limited.then_some(target.grant))).collect();
    let (outcomes, moved): (Vec<Outcome>, _) = match gateway.nft.dismiss(&stations) {
        Ok(moved) => {
            let outcome = |target: &Target| {
                // One element for each direction.
                let freed = if moved.contains_key(&target.station) { 2 } else { 0 };
                (target.grant, StepOutcome::Done { freed })
            };
            (targets.iter().map(outcome).collect(), moved)
        }
        Err(error) => {
            tracing::error!(%error, "stations are not shut out; the ruleset is said again");
            gateway.refused = true;
            gateway.grants.handle_input(grants::Input::RulesLost { refused: true }, now);
            (targets.iter().map(|target| (target.grant, failed(&error))).collect(), BTreeMap::new())
        }
    };
    for target in targets {
        gateway.radius_ended(target, moved.get(&target.station).copied(), now);
    }
    let stations: BTreeSet<MacAddr> = targets.iter().map(|target| target.station).gather();
    gateway.unpin_stations(&stations);
    for target in targets {
        gateway.tell(&crate::wire::local::Event::Evicting {
            cause: target.cause,
            grant: target.grant,
            station: target.station,
        });
    }
    let now = crate::host::clock::now();
    let outcomes = outcomes.into_iter().gather();
    gateway
        .grants
        .handle_input(grants::Input::StepDone { wave, step: Step::Enforcement, outcomes, moved }, now);
}

fn known(gateway: &Gateway, station: MacAddr) -> Known {
    let present = gateway.presence.get(station).into_iter().flat_map(|found| found.addresses.iter());
    let present = present.map(|(ip, interface)| (*ip, interface.as_str()));
    let addresses = present
        .chain(gateway.former.of(station))
        .filter_map(|(ip, interface)| Some((ip, gateway.world.index(interface)?)))
        .collect();
    Known { addresses }
}

fn flows(gateway: &mut Gateway, wave: u64, targets: Vec<(Target, Known)>) {
    let conntrack = gateway.conntrack.clone();
    let dhcp = gateway.dhcp.clone();
    later(gateway, wave, Step::Flows, async move {
        let mut theirs: Vec<(&Target, Vec<IpAddr>)> = targets
            .iter()
            .map(|(target, known)| (target, known.addresses.iter().map(|(ip, _)| *ip).collect()))
            .collect();
        // Whoever was silent before this daemon began has left only a lease.
        let unknown = |addresses: &[IpAddr]| !addresses.iter().any(|ip| ip.is_ipv4() && is_forwarded(ip));
        if theirs.iter().any(|(_, addresses)| unknown(addresses)) {
            let leased = dhcp.leased().await.unwrap_or_default();
            for (target, addresses) in theirs.iter_mut().filter(|(_, addresses)| unknown(addresses)) {
                let own = leased.iter().filter(|(mac, ip)| *mac == target.station && !addresses.contains(ip));
                let own: Vec<IpAddr> = own.map(|(_, ip)| *ip).collect();
                addresses.extend(own);
            }
        }
        let all = theirs.iter().flat_map(|(_, addresses)| addresses.iter().copied()).collect();
        match conntrack.free(all).await {
            Ok(freed) => theirs
                .iter()
                .map(|(target, addresses)| {
                    let flows = addresses.iter().filter_map(|ip| freed.per_address.get(ip)).sum();
                    let outcome = match freed.left {
                        0 => StepOutcome::Done { freed: flows },
                        left => StepOutcome::Failed { why: format!("{left} flows are still there") },
                    };
                    (target.grant, outcome)
                })
                .collect(),
            Err(error) => targets.iter().map(|(target, _)| (target.grant, failed(&error))).collect(),
        }
    });
}

fn association(gateway: &mut Gateway, wave: u64, targets: Vec<(Target, Known)>) {
    let associations = Associations::of(gateway);
    let asked: BTreeSet<String> = gateway.hostapd.bsses().into_iter().map(|bss| bss.name).gather();
    let now = crate::host::clock::now();
    for (target, _) in &targets {
        gateway.farewells.evicted(target.station, target.cause.reason_code(), asked.clone(), now);
    }
    let known: Vec<BTreeSet<String>> = targets
        .iter()
        .map(|(target, _)| {
            gateway
                .presence
                .get(target.station)
                .map(|found| found.bsses.keys().cloned().gather())
                .unwrap_or_default()
        })
        .collect();
    let again: Vec<(MacAddr, u16)> =
        targets.iter().map(|(target, _)| (target.station, target.cause.reason_code())).collect();
    let mut ends = Box::pin(async move {
        let ends = targets.iter().zip(&known).map(async |((target, _), known)| {
            let answers = associations.end(target.station, known, target.cause.reason_code()).await;
            let silent = answers.iter().filter(|(_, answer)| answer.is_err());
            let unsaid: Vec<_> = silent.map(|(bss, _)| (target.station, bss.clone())).collect();
            ((target.grant, disassociated(&answers)), unsaid)
        });
        let (outcomes, unsaid): (Vec<Outcome>, Vec<_>) = join_all(ends).await.into_iter().unzip();
        (outcomes, unsaid.concat())
    });
    // Said before the file is written, which takes longer than the air. Until hostapd has read the file, who is back by a
    // key that has ended, or one cached from it, is let in by hostapd and by nobody else.
    let ended = (&mut ends).now_or_never();
    let codes_end = gateway.write_codes(now);
    let associations = Associations::of(gateway);
    gateway.pending.push(Box::pin(async move {
        let (mut outcomes, unsaid) = match ended {
            Some(ended) => ended,
            None => ends.await,
        };
        let is_said = codes_end.says_anything();
        if let Some(why) = codes_end.carry_out().await.anywhere() {
            for (_, outcome) in &mut outcomes {
                *outcome = StepOutcome::Failed { why: why.clone() };
            }
        }
        if is_said {
            let nowhere = BTreeSet::new();
            for (station, reason) in again {
                associations.end(station, &nowhere, reason).await;
            }
        }
        Done::Step { wave, step: Step::Association, outcomes: outcomes.into_iter().gather(), unsaid }
    }));
}

fn disassociated(answers: &[(String, Result<bool, String>)]) -> StepOutcome {
    if answers.is_empty() {
        return StepOutcome::Absent;
    }
    let failures: Vec<String> = answers
        .iter()
        .filter_map(|(bss, answer)| Some(format!("{bss}: {}", answer.as_ref().err()?)))
        .collect();
    if !failures.is_empty() {
        return StepOutcome::Failed { why: failures.join("; ") };
    }
    let freed = answers.iter().filter(|(_, answer)| matches!(answer, Ok(true))).count();
    StepOutcome::Done { freed: super::effects::count(freed) }
}

fn neighbours(gateway: &mut Gateway, wave: u64, targets: Vec<(Target, Known)>) {
    let rtnetlink = gateway.rtnetlink;
    later(gateway, wave, Step::Neighbours, async move {
        let entries =
            |known: &Known| known.addresses.iter().map(|(ip, index)| (*index, *ip)).collect::<Vec<_>>();
        let mut outcomes = Vec::new();
        for (target, known) in targets {
            let outcome = match rtnetlink.delete_neighbours(entries(&known)).await {
                Ok(Deleted { deleted, left: 0 }) => StepOutcome::Done { freed: deleted },
                Ok(Deleted { left, .. }) => {
                    StepOutcome::Failed { why: format!("{left} entries are still there") }
                }
                Err(error) => failed(&error),
            };
            outcomes.push((target.grant, outcome));
        }
        outcomes
    });
}

fn leases(gateway: &mut Gateway, wave: u64, targets: Vec<(Target, Known)>) {
    let dhcp = gateway.dhcp.clone();
    let served = gateway.world.served(&gateway.settings);
    later(gateway, wave, Step::Leases, async move {
        let ends = targets.iter().map(async |(target, known)| {
            let addresses: Vec<IpAddr> = known.addresses.iter().map(|(ip, _)| *ip).collect();
            let outcome = match dhcp.release(target.station, &addresses, &served).await {
                Ok(freed) => StepOutcome::Done { freed },
                Err(DhcpError::Absent { .. }) => StepOutcome::Absent,
                Err(error) => failed(&error),
            };
            (target.grant, outcome)
        });
        join_all(ends).await
    });
}

/// Reads back what kernel and hostapd hold. Flows were read back when they were freed.
fn verification(gateway: &mut Gateway, wave: u64, targets: Vec<(Target, Known)>) {
    let enforced = gateway.nft.enforced_of(targets.iter().map(|(target, _)| target.station));
    let enforced = enforced.map(|found| found.into_keys().gather::<BTreeSet<MacAddr>>());
    // Granted anew a moment ago is no remainder.
    let granted: BTreeSet<MacAddr> = targets
        .iter()
        .map(|(target, _)| target.station)
        .filter(|station| gateway.grants.of_station(*station).is_some())
        .gather();
    let associations = Associations::of(gateway);
    later(gateway, wave, Step::Verification, async move {
        let ends = targets.iter().map(async |(target, _)| {
            let station = target.station;
            if granted.contains(&station) {
                return (target.grant, StepOutcome::Absent);
            }
            let mut left = Vec::new();
            match &enforced {
                Ok(found) if found.contains(&station) => left.push("nft elements".to_owned()),
                Ok(_) => {}
                Err(error) => left.push(format!("unknown to nftables: {error}")),
            }
            for (bss, answer) in associations.look(station).await {
                match answer {
                    Ok(Some(_)) => left.push(format!("association with {bss}")),
                    Ok(None) => {}
                    Err(error) => left.push(format!("unknown on {bss}: {error}")),
                }
            }
            let outcome = match left.is_empty() {
                true => StepOutcome::Done { freed: 0 },
                false => StepOutcome::Failed { why: left.join("; ") },
            };
            (target.grant, outcome)
        });
        join_all(ends).await
    });
}

/// Tells the coordinator what is known of the station of a grant.
pub(super) fn inquire(gateway: &mut Gateway, grant: GrantId, inquiry: u64) {
    let Some(held) = gateway.grants.get(grant).cloned() else {
        let presence = Presence {
            grant,
            moved: Default::default(),
            inquiry,
            associated: None,
            inactive_ms: None,
            incarnation: None,
        };
        return gateway.send(FromGateway::Presence(presence));
    };
    let Some(station) = held.station else {
        // Nobody is here with its code.
        let (_, moved) = gateway.figures.get(&grant).copied().unwrap_or_default();
        let (associated, incarnation) = (Some(false), Some(held.incarnation));
        let presence = Presence { grant, moved, inquiry, associated, inactive_ms: None, incarnation };
        return gateway.send(FromGateway::Presence(presence));
    };
    let moved = match gateway.nft.enforced_of([station].into_iter()) {
        Ok(found) => found.get(&station).map(|enforced| enforced.moved).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "figures for the coordinator");
            Default::default()
        }
    };
    let seen = gateway.presence.get(station).is_some_and(|found| found.port.is_some());
    let associations = Associations::of(gateway);
    gateway.pending.push(Box::pin(async move {
        let answers = associations.look(station).await;
        let untold = answers.iter().any(|(_, answer)| answer.is_err());
        let watched = !answers.is_empty();
        let found: Vec<_> = answers.into_iter().filter_map(|(_, answer)| answer.ok().flatten()).collect();
        // An access point knows best; on a bare wire the bridge does.
        let associated = match (found.is_empty(), untold, watched) {
            (false, ..) => Some(true),
            (true, true, _) => None,
            (true, false, true) => Some(false),
            (true, false, false) => Some(seen),
        };
        let inactive = found.iter().filter_map(|association| association.inactive).min();
        Done::Presence(FromGateway::Presence(Presence {
            grant,
            moved,
            inquiry,
            associated,
            inactive_ms: inactive.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            incarnation: Some(held.incarnation),
        }))
    }));
}

fn later(gateway: &mut Gateway, wave: u64, step: Step, work: impl Future<Output = Vec<Outcome>> + 'static) {
    gateway.pending.push(Box::pin(async move {
        let outcomes = work.await.into_iter().gather();
        Done::Step { wave, step, outcomes, unsaid: Vec::new() }
    }));
}

fn failed(error: &dyn std::error::Error) -> StepOutcome {
    StepOutcome::Failed { why: sentence(error) }
}
