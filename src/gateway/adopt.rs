//! What a start finds: the layout that this kernel can have, what it enforces already, the coordinator known.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use super::Error;
use super::persist::{self, Kept};
use crate::adapters::enrolment::Enrolment;
use crate::adapters::nftables::{Abilities, Enforced, Nftables};
use crate::config::gateway::Settings;
use crate::logic::grants::{Grant, Grants, KERNEL_GRACE};
use crate::model::{BootTime, GrantId, MacAddr, Traffic};
use crate::wire::local::Layout;

/// What the kernel enforces already; after a reboot, what was kept.
pub(super) fn adopt(
    nft: &mut Nftables,
    settings: &Settings,
    codes: Option<Vec<Kept>>,
    abilities: Abilities,
    now: BootTime,
    figures: &mut BTreeMap<GrantId, (u64, Traffic)>,
) -> Grants {
    let kept = LazyCell::new(|| persist::load_grants(&settings.state_dir));
    // What was kept since the machine booted says which codes still count; after a reboot, what was kept across it.
    let codes: Vec<Grant> = match codes {
        Some(codes) => {
            figures.extend(codes.iter().map(|kept| (kept.grant(now).id, kept.figures())));
            codes.iter().map(|kept| kept.grant_of_this_boot(now)).collect()
        }
        None => kept.iter().map(|kept| kept.grant(now)).filter(|grant| grant.code.is_some()).collect(),
    };
    let mut found = nft.enforced().ok();
    if found.is_none() {
        // The daemon before this one may have used the other layout.
        let other = match nft.layout() {
            Layout::Netdev => Layout::Bridge,
            Layout::Bridge => Layout::Netdev,
        };
        found = Nftables::open(other, false, abilities).and_then(|mut other| other.enforced()).ok();
    }
    if let Some(found) = found {
        let mut grants: Vec<Grant> =
            found.iter().filter_map(|(station, enforced)| grant_of(*station, enforced, now)).collect();
        for by_code in codes {
            match grants.iter_mut().find(|grant| grant.id == by_code.id) {
                // The join that its code belongs to: where the kernel knew a later one already, its notice comes again.
                Some(grant) => {
                    (grant.code, grant.incarnation) = (by_code.code, by_code.incarnation);
                }
                None => grants.push(Grant { station: None, ..by_code }),
            }
        }
        for enforced in found.values() {
            if let Some(tag) = enforced.tag {
                figures.insert(tag.grant, (enforced.quota.map_or(0, |quota| quota.used), enforced.moved));
            }
        }
        return Grants::adopt(grants, true, now);
    }
    for one in kept.iter() {
        figures.entry(one.grant(now).id).or_insert(one.figures());
    }
    let by_address = kept.iter().map(|kept| kept.grant(now)).filter(|grant| grant.code.is_none());
    let by_code = codes.into_iter().map(|grant| Grant { station: None, ..grant });
    // They are put into the kernel with the first ruleset.
    Grants::adopt(by_address.chain(by_code).collect(), true, now)
}

fn grant_of(station: MacAddr, enforced: &Enforced, now: BootTime) -> Option<Grant> {
    let tag = enforced.tag?;
    Some(Grant {
        id: tag.grant,
        station: Some(station),
        code: None,
        origin: tag.origin,
        holder: tag.holder,
        incarnation: tag.incarnation,
        deadline: enforced.expires_in.map(|left| now + left.saturating_sub(KERNEL_GRACE)),
        quota: enforced.quota.map(|quota| quota.limit),
    })
}

pub(super) fn choose(settings: &Settings, abilities: Abilities) -> Result<Layout, Error> {
    let netdev = abilities.ingress_hook && abilities.egress_hook;
    match settings.layout.layout() {
        Some(Layout::Netdev) if netdev => Ok(Layout::Netdev),
        Some(Layout::Netdev) => Err(Error::NoLayout {
            wanted: "in layout netdev",
            lacks: "it needs the netdev ingress and egress hooks (CONFIG_NETFILTER_EGRESS, 5.16); use layout = \"auto\"",
        }),
        Some(Layout::Bridge) if abilities.bridge_family => Ok(Layout::Bridge),
        Some(Layout::Bridge) => Err(Error::NoLayout {
            wanted: "in layout bridge",
            lacks: "it needs the bridge family of nftables (CONFIG_NF_TABLES_BRIDGE, kmod-nft-bridge)",
        }),
        None if netdev => Ok(Layout::Netdev),
        None if abilities.bridge_family => Ok(Layout::Bridge),
        None => Err(Error::NoLayout {
            wanted: "access",
            lacks: "it has neither the netdev egress hook (CONFIG_NETFILTER_EGRESS) nor the bridge family (kmod-nft-bridge)",
        }),
    }
}

pub(super) fn enrolment(settings: &Settings) -> Result<Option<Enrolment>, Error> {
    let kept = Enrolment::load(&settings.state_dir)?;
    Ok(match &settings.coordinator {
        None => kept,
        // A claim belongs to the coordinator that gave it.
        Some(coordinator) => Some(
            kept.filter(|kept| kept.coordinator == *coordinator)
                .unwrap_or(Enrolment { coordinator: coordinator.clone(), claim: None }),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that there can be, and everything that an owner can ask of it.
    #[test]
    fn a_layout_is_chosen_that_the_kernel_has_or_it_is_said_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let asked = [("auto", None), ("netdev", Some(Layout::Netdev)), ("bridge", Some(Layout::Bridge))];
        for (word, wanted) in asked {
            let text =
                format!("network = [{{ interface = \"br-guest\" }}]\nenforcement.layout = \"{word}\"\n");
            let path = dir.path().join(word).with_extension("toml");
            std::fs::write(&path, text).unwrap();
            let settings = crate::config::gateway::load(&path).unwrap();
            for kernel in 0..8_u8 {
                let [ingress_hook, egress_hook, bridge_family] = [1, 2, 4].map(|bit| kernel & bit != 0);
                let abilities = Abilities { ingress_hook, egress_hook, bridge_family, ..Default::default() };
                let netdev = ingress_hook && egress_hook;
                let expected = match wanted {
                    Some(Layout::Netdev) | None if netdev => Some(Layout::Netdev),
                    Some(Layout::Bridge) | None if bridge_family => Some(Layout::Bridge),
                    _ => None,
                };
                match (choose(&settings, abilities), expected) {
                    (Ok(chosen), Some(expected)) => assert_eq!(chosen, expected, "{word}: {abilities:?}"),
                    (Err(error), None) => {
                        let said = error.to_string();
                        let names_it = said.contains("hook") || said.contains("bridge");
                        assert!(names_it, "{word}: {abilities:?}: {said}");
                    }
                    (found, _) => panic!("{word}: {abilities:?}: {found:?}"),
                }
            }
        }
    }
}
