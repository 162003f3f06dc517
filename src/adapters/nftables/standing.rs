//! The table that stands: whose it is, whether it is whole, and going on with it in place.
//!
//! Deleting a table and making it anew in one transaction is not free of loss: from the moment the new generation
//! counts until the kernel has taken the old base chains off their hooks (`nf_tables_commit`), the old rules still
//! run and find their maps empty. So what stands and is right stays; only the contents of its sets are said again.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(feature = "portal")]
use super::captive;
use super::chains;
use super::codec::{self, Family, attribute, flags, message, text};
use super::elements::{self, Admission, Quota};
use super::error::NftError;
use super::ruleset::{self, Ruleset, TABLE};
use super::{Enforced, Listed, Nftables};
use crate::model::{Gather, GrantId, MacAddr};
use crate::wire::local::Layout;

/// What the kernel says of a table.
struct Table {
    flags: u32,
    comment: Option<String>,
}

impl Table {
    /// Whether it was made for one owner: it outlives that owner as an orphan (`nft_table_is_orphan`).
    fn persists(&self) -> bool {
        self.flags & ruleset::NFT_TABLE_F_PERSIST != 0
    }
}

/// The chains and rules of our table.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Names of the base chains.
    pub bases: Vec<String>,
    /// Of each base chain, in layout `netdev`.
    devices: Vec<Vec<String>>,
    rules: usize,
}

impl Nftables {
    /// Goes on with the table that stands, if it has the chains, rules and sets that this ruleset would make. It
    /// is claimed where it is ours alone; what is open, who holds which address and who passes become those of
    /// the ruleset. Stations that pass as they should are not touched, and no packet is lost; the counters of those
    /// that are said again go on.
    ///
    /// `false`: another table stands, or a damaged one, or none; nothing was changed.
    pub fn go_on(&mut self, ruleset: &Ruleset) -> Result<bool, NftError> {
        let wanted = Ruleset { owned: self.owned, ..ruleset.clone() };
        let Some(found) = self.table(self.layout)? else { return Ok(false) };
        let same = found.comment.as_deref() == Some(wanted.fingerprint().as_str());
        let web = wanted.openings.web();
        if !same || found.persists() != self.owned || !self.stands(&ruleset.interfaces, web)? {
            return Ok(false);
        }
        self.claim(self.layout)?;
        let listed = self.listed()?;
        let quotas = self.quotas()?;
        let family = ruleset::family(self.layout);
        let mut missing = missing(&wanted.admissions, &listed, &quotas);
        let strangers = strangers(&wanted.admissions, &missing, &listed, &quotas);
        carry_over(&mut missing, &super::join(family, listed.up, listed.down, &quotas));
        let destroy = self.abilities.destroy;
        self.change("go on with the table", missing.len(), |batch| {
            wanted.refill(batch);
            elements::dismiss(batch, family, &strangers, destroy, false);
            elements::admit(batch, family, &missing);
        })?;
        Ok(true)
    }

    /// Whether the table stands with all its rules and its base chains on these interfaces, and the portal's beside it.
    pub fn stands(&mut self, interfaces: &[String], web: bool) -> Result<bool, NftError> {
        #[cfg(feature = "portal")]
        if self.captive_stands()? != web.then(captive::rules) {
            return Ok(false);
        }
        let bases = chains::chains(self.layout, web).iter().filter(|chain| chain.hook.is_some()).count();
        match self.standing() {
            Ok(found) => {
                let hooked = found.devices.iter().all(|on| interfaces.iter().all(|name| on.contains(name)));
                Ok(found.bases.len() == bases && hooked && found.rules == ruleset::rules(self.layout, web))
            }
            Err(NftError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Chains and rules of the table, none if there is none.
    pub(super) fn standing(&mut self) -> Result<Standing, NftError> {
        let family = ruleset::family(self.layout);
        let mut found = Standing::default();
        let ours = |payload: &[u8]| attribute(payload, 1).and_then(text) == Some(TABLE);
        self.requests.ask(
            "list the chains",
            true,
            |batch| batch.message(message::GET_CHAIN, family, flags::DUMP, |_| ()),
            |message| {
                let Some(hook) = attribute(message.payload, 4).filter(|_| ours(message.payload)) else {
                    return;
                };
                found.bases.extend(attribute(message.payload, 3).and_then(text).map(str::to_owned));
                if family == Family::Netdev {
                    let devices = codec::attributes(attribute(hook, 4).unwrap_or_default());
                    found
                        .devices
                        .push(devices.filter_map(|(_, name)| text(name)).map(str::to_owned).collect());
                }
            },
        )?;
        self.requests.ask(
            "list the rules",
            true,
            |batch| {
                batch.message(message::GET_RULE, family, flags::DUMP, |rules| rules.text(1, TABLE));
            },
            |message| {
                // Said again with the sets: `Ruleset::refill`.
                let chain = attribute(message.payload, 2).and_then(text);
                let varies = chains::FROM_STATIONS.map(Some).contains(&chain);
                found.rules += usize::from(ours(message.payload) && !varies);
            },
        )?;
        Ok(found)
    }

    /// How many rules the portal's table has; `None`: there is none. One that its owner has left becomes ours.
    #[cfg(feature = "portal")]
    pub(super) fn captive_stands(&mut self) -> Result<Option<usize>, NftError> {
        let Some(found) = self.table_of(Family::Inet)? else { return Ok(None) };
        if self.owned && found.persists() {
            self.own(Family::Inet)?;
        }
        let mut rules = 0;
        self.requests.ask(
            "list the portal's rules",
            true,
            |batch| {
                batch.message(message::GET_RULE, Family::Inet, flags::DUMP, |rules| rules.text(1, TABLE));
            },
            |message| rules += usize::from(attribute(message.payload, 1).and_then(text) == Some(TABLE)),
        )?;
        Ok(Some(rules))
    }

    fn table(&mut self, layout: Layout) -> Result<Option<Table>, NftError> {
        self.table_of(ruleset::family(layout))
    }

    fn table_of(&mut self, family: Family) -> Result<Option<Table>, NftError> {
        const ENOENT: i32 = 2;
        let mut found = None;
        let looked = self.requests.ask(
            "look for the table",
            false,
            |batch| {
                batch.message(message::GET_TABLE, family, 0, |table| table.text(1, TABLE));
            },
            |message| {
                found = Some(Table {
                    flags: attribute(message.payload, 2).and_then(codec::be32).unwrap_or(0),
                    comment: attribute(message.payload, 6).and_then(ruleset::parse_comment),
                });
            },
        );
        match looked {
            Err(error) if error.errno() == Some(ENOENT) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// Whether the table is there. An orphaned one, left by a daemon that is gone, becomes ours.
    pub(super) fn claim(&mut self, layout: Layout) -> Result<bool, NftError> {
        let Some(found) = self.table(layout)? else { return Ok(false) };
        // An orphan has lost its owner's flag; whoever sets it again owns the table.
        if self.owned && found.persists() {
            self.own(ruleset::family(layout))?;
        }
        Ok(true)
    }

    fn own(&mut self, family: Family) -> Result<(), NftError> {
        self.requests.transact(
            "claim the table",
            |batch| {
                batch.message(message::NEW_TABLE, family, 0, |table| {
                    table.text(1, TABLE);
                    table.be32(2, ruleset::table_flags(true));
                });
            },
            |_| (),
        )
    }
}

/// Admissions that the kernel does not have in both directions, or has otherwise.
fn missing(
    wanted: &[Admission],
    Listed { up, down }: &Listed,
    quotas: &BTreeMap<GrantId, Quota>,
) -> Vec<Admission> {
    let stands = |admission: &Admission| {
        let (Some(up), Some(down)) = (up.get(&admission.station), down.get(&admission.station)) else {
            return false;
        };
        let limit = up.limited.then(|| quotas.get(&admission.grant)).flatten().map(|quota| quota.limit);
        up.tag == Some(admission.tag())
            && up.limited == down.limited
            && up.limited == admission.quota.is_some()
            && limit == admission.quota.map(|quota| quota.limit)
            && [up, down].iter().all(|one| one.expires_in.is_some() == admission.timeout.is_some())
    };
    wanted.iter().filter(|admission| !stands(admission)).cloned().collect()
}

/// What the kernel has counted for a grant is counted.
fn carry_over(admissions: &mut [Admission], enforced: &BTreeMap<MacAddr, Enforced>) {
    for admission in admissions {
        let Some(found) = enforced.get(&admission.station) else { continue };
        if found.tag.is_none_or(|tag| tag.grant != admission.grant) {
            continue;
        }
        admission.moved = found.moved;
        if let (Some(quota), Some(found)) = (&mut admission.quota, found.quota) {
            quota.used = found.used;
        }
    }
}

/// Stations that the kernel lets through, in either direction, and that must go or come back otherwise; with the
/// grants whose quota objects go with them.
fn strangers(
    wanted: &[Admission],
    missing: &[Admission],
    Listed { up, down }: &Listed,
    quotas: &BTreeMap<GrantId, Quota>,
) -> Vec<(MacAddr, Option<GrantId>)> {
    let stay: BTreeSet<MacAddr> = wanted.iter().map(|admission| admission.station).gather();
    let come: BTreeSet<MacAddr> = missing.iter().map(|admission| admission.station).gather();
    let found: BTreeSet<MacAddr> = up.keys().chain(down.keys()).copied().gather();
    found
        .into_iter()
        .filter(|station| !stay.contains(station) || come.contains(station))
        .map(|station| {
            let grant = up.get(&station).and_then(|element| element.tag).map(|tag| tag.grant);
            (station, grant.filter(|grant| quotas.contains_key(grant)))
        })
        .collect()
}
