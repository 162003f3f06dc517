//! nftables by netlink: the one table that decides who passes.
//!
//! [`Nftables`] keeps no opinion: it makes the kernel hold a [`Ruleset`], lets single stations in and out, and
//! says what the kernel counted. Each change is one transaction.
//!
//! Read next: `chains.rs` for the rules, `ruleset.rs` for how they are rendered, `elements.rs` for stations,
//! `standing.rs` for the table that is there already.

#[cfg(feature = "portal")]
mod captive;
mod chains;
pub mod codec;
mod elements;
mod error;
mod events;
mod expr;
mod ruleset;
mod socket;
mod standing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

pub use elements::{Admission, ETHERNET_HEADER, Element, MOST_BYTES, Quota, Tag};
pub use error::NftError;
pub use events::{NftEvent, NftEvents};
pub use ruleset::{Openings, Ruleset, TABLE};

use codec::{Batch, Family, attribute, be64, flags, message, text};
use events::Ear;
use socket::Requests;

use crate::model::{Gather, GrantId, MacAddr, Traffic};
use crate::wire::local::Layout;

/// What this kernel can do; found out by trying it in a table of our own that is gone afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The `netdev` ingress hook (4.2, kmod-nft-netdev).
    pub ingress_hook: bool,
    /// The `netdev` egress hook (5.16, CONFIG_NETFILTER_EGRESS).
    pub egress_hook: bool,
    /// The `bridge` family (kmod-nft-bridge, CONFIG_NF_TABLES_BRIDGE). Tried only where it is wanted or nothing
    /// else is left: the trial hangs in the path of every bridge for a moment.
    pub bridge_family: bool,
    /// `NFT_MSG_DESTROYSETELEM` (6.3).
    pub destroy: bool,
    /// Tables that are one process's alone and outlive it: `flags owner, persist` (6.9).
    pub owner_persist: bool,
    /// Adding an element again changes its timeout in place and keeps its counter (6.12).
    pub timeout_in_place: bool,
    /// Redirecting and resetting in the `inet` family (5.2, kmod-nft-nat), which the portal needs.
    #[cfg(feature = "portal")]
    pub redirect: bool,
}

/// What the kernel enforces for one station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Who it is for; absent in elements that are not the daemon's.
    pub tag: Option<Tag>,
    /// What is left of its time.
    pub expires_in: Option<Duration>,
    /// What it moved; layer-3 bytes.
    pub moved: Traffic,
    /// Bytes granted and used.
    pub quota: Option<Quota>,
}

/// The elements of both directions.
#[derive(Default)]
struct Listed {
    up: BTreeMap<MacAddr, Element>,
    down: BTreeMap<MacAddr, Element>,
}

/// The table in the kernel.
#[derive(Debug)]
pub struct Nftables {
    requests: Requests,
    layout: Layout,
    owned: bool,
    abilities: Abilities,
    ear: Option<Ear>,
}

/// From so many stations on nobody listens while a transaction runs. Below it the time is not worth the look at
/// quotas that follows.
const MANY: usize = 500;

/// Finds out what the kernel can do. `interface`: any that exists. `bridge`: whether that family is wanted.
pub fn probe(interface: &str, bridge: bool) -> Result<Abilities, NftError> {
    let mut requests = Requests::open()?;
    let hooks = |requests: &mut Requests, number| {
        try_in_scratch(requests, Family::Netdev, |batch| {
            batch.message(message::NEW_CHAIN, Family::Netdev, flags::CREATE, |chain| {
                chain.text(1, SCRATCH);
                chain.text(3, "probe");
                chain.nest(4, |hook| {
                    hook.be32(1, number);
                    hook.be32(2, 0);
                    hook.nest(4, |devices| devices.text(1, interface));
                });
                chain.be32(5, 1);
                chain.text(7, "filter");
            });
        })
    };
    let (ingress_hook, egress_hook) = (hooks(&mut requests, 0)?, hooks(&mut requests, 1)?);
    let bridge = bridge || !ingress_hook || !egress_hook;
    Ok(Abilities {
        ingress_hook,
        egress_hook,
        bridge_family: bridge
            && try_in_scratch(&mut requests, Family::Bridge, |batch| {
                batch.message(message::NEW_CHAIN, Family::Bridge, flags::CREATE, |chain| {
                    chain.text(1, SCRATCH);
                    chain.text(3, "probe");
                    chain.nest(4, |hook| {
                        hook.be32(1, 0);
                        hook.be32(2, 0);
                    });
                    chain.be32(5, 1);
                    chain.text(7, "filter");
                });
            })?,
        destroy: try_in_scratch(&mut requests, Family::Inet, |batch| {
            scratch_set(batch);
            batch
                .message(message::DESTROY_ELEMENT, Family::Inet, 0, |element| scratch_element(element, None));
        })?,
        owner_persist: owner_persist(&mut requests)?,
        timeout_in_place: timeout_in_place(&mut requests)?,
        #[cfg(feature = "portal")]
        redirect: try_in_scratch(&mut requests, Family::Inet, |batch| captive::declare(batch, SCRATCH))?,
    })
}

/// Deletes the tables of every layout that a daemon which is gone has left: from here on nothing of ours
/// filters. Refused while the daemon that owns them runs.
pub fn clear() -> Result<(), NftError> {
    for layout in [Layout::Netdev, Layout::Bridge] {
        Nftables::open(layout, false, Abilities::default())?.remove()?;
    }
    Ok(())
}

const SCRATCH: &str = "wayleave-probe";

/// Whether a transaction is taken; nothing of it stays.
fn try_in_scratch(
    requests: &mut Requests,
    family: Family,
    write: impl FnOnce(&mut Batch),
) -> Result<bool, NftError> {
    let tried = requests.transact(
        "probe",
        |batch| {
            batch.message(message::NEW_TABLE, family, flags::CREATE, |table| table.text(1, SCRATCH));
            write(batch);
            batch.message(message::DEL_TABLE, family, 0, |table| table.text(1, SCRATCH));
        },
        |_| (),
    );
    match tried {
        Ok(()) => Ok(true),
        Err(NftError::Refused { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn owner_persist(requests: &mut Requests) -> Result<bool, NftError> {
    let tried = requests.transact(
        "probe",
        |batch| {
            batch.message(message::NEW_TABLE, Family::Inet, flags::CREATE, |table| {
                table.text(1, SCRATCH);
                table.be32(2, ruleset::table_flags(true));
            });
            batch.message(message::DEL_TABLE, Family::Inet, 0, |table| table.text(1, SCRATCH));
        },
        |_| (),
    );
    match tried {
        Ok(()) => Ok(true),
        Err(NftError::Refused { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn timeout_in_place(requests: &mut Requests) -> Result<bool, NftError> {
    let mut left = 0;
    let outcome = (|| {
        requests.transact(
            "probe",
            |batch| {
                batch
                    .message(message::NEW_TABLE, Family::Inet, flags::CREATE, |table| table.text(1, SCRATCH));
                scratch_set(batch);
                batch.message(message::NEW_ELEMENT, Family::Inet, flags::CREATE, |element| {
                    scratch_element(element, Some(10_000));
                });
            },
            |_| (),
        )?;
        requests.transact(
            "probe",
            |batch| {
                batch.message(message::NEW_ELEMENT, Family::Inet, flags::CREATE, |element| {
                    scratch_element(element, Some(1_000_000));
                });
            },
            |_| (),
        )?;
        requests.ask(
            "probe",
            false,
            |batch| {
                batch
                    .message(message::GET_ELEMENT, Family::Inet, 0, |element| scratch_element(element, None));
            },
            |found| {
                let element = attribute(found.payload, 3).and_then(|list| attribute(list, 1));
                left = element.and_then(|element| attribute(element, 5)).and_then(be64).unwrap_or(0);
            },
        )
    })();
    let cleaned = requests.transact(
        "probe",
        |batch| batch.message(message::DEL_TABLE, Family::Inet, 0, |table| table.text(1, SCRATCH)),
        |_| (),
    );
    match outcome.and(cleaned) {
        Ok(()) => Ok(left > 500_000),
        Err(NftError::Refused { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn scratch_set(batch: &mut Batch) {
    batch.message(message::NEW_SET, Family::Inet, flags::CREATE, |set| {
        set.text(1, SCRATCH);
        set.text(2, "probe");
        set.be32(3, 0x10);
        set.be32(4, 9);
        set.be32(5, 6);
        set.be32(10, 1);
    });
}

fn scratch_element(attributes: &mut codec::Attributes<'_>, timeout_ms: Option<u64>) {
    attributes.text(1, SCRATCH);
    attributes.text(2, "probe");
    attributes.nest(3, |list| {
        list.nest(1, |element| {
            element.nest(1, |key| key.bytes(1, &[2, 0, 0, 0, 0, 1]));
            if let Some(timeout) = timeout_ms {
                element.be64(4, timeout);
            }
        });
    });
}

impl Nftables {
    /// Opens the socket. Nothing in the kernel changes yet.
    pub fn open(layout: Layout, owned: bool, abilities: Abilities) -> Result<Self, NftError> {
        Ok(Self {
            requests: Requests::open()?,
            layout,
            owned: owned && abilities.owner_persist,
            abilities,
            ear: None,
        })
    }

    /// The address of the request socket, by which [`NftEvents`] knows our own changes.
    pub fn port(&self) -> u32 {
        self.requests.port()
    }

    /// Whether the table is ours alone.
    pub fn owned(&self) -> bool {
        self.owned
    }

    /// Where the downlink is enforced.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What the kernel can do.
    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Makes the kernel hold exactly this, in one transaction: no packet sees anything in between.
    pub fn replace(&mut self, ruleset: &Ruleset) -> Result<(), NftError> {
        let other = match self.layout {
            Layout::Netdev => Layout::Bridge,
            Layout::Bridge => Layout::Netdev,
        };
        let standing = if self.claim(self.layout)? { Some(self.standing()?.bases) } else { None };
        // Left behind when the layout was changed.
        let remains = self.claim(other)?;
        #[cfg(feature = "portal")]
        let captive = self.captive_stands()?.is_some();
        let owned = self.owned;
        self.change("replace the ruleset", ruleset.admissions.len(), |batch| {
            if remains {
                batch.message(message::DEL_TABLE, ruleset::family(other), 0, |table| table.text(1, TABLE));
            }
            #[cfg(feature = "portal")]
            if captive {
                captive::remove(batch);
            }
            Ruleset { owned, ..ruleset.clone() }.render(batch, standing.as_deref());
        })
    }

    /// One transaction about so many stations.
    fn change(
        &mut self,
        doing: &'static str,
        stations: usize,
        write: impl FnOnce(&mut Batch),
    ) -> Result<(), NftError> {
        let Some(ear) = self.ear.take_if(|_| stations >= MANY) else {
            return self.requests.transact(doing, write, |_| ());
        };
        let failed = |source| NftError::Socket { doing: "listen", source };
        let outcome = (|| {
            let before = self.generation()?;
            ear.cover().map_err(failed)?;
            let changed = self.requests.transact(doing, write, |_| ());
            // Each transaction, anybody's, makes one generation.
            let after = self.generation();
            let own = u32::from(changed.is_ok());
            let alone = after.is_ok_and(|after| after == before.wrapping_add(own));
            ear.uncover(if alone { NftEvent::Unheard } else { NftEvent::Overrun }).map_err(failed)?;
            changed
        })();
        self.ear = Some(ear);
        outcome
    }

    /// The number of the last transaction in this network namespace (`NFTA_GEN_ID`).
    fn generation(&mut self) -> Result<u32, NftError> {
        let mut generation = 0;
        self.requests.ask(
            "ask for the generation",
            false,
            |batch| batch.message(message::GET_GENERATION, Family::Unspecified, 0, |_| ()),
            |found| generation = attribute(found.payload, 1).and_then(codec::be32).unwrap_or(0),
        )?;
        Ok(generation)
    }

    /// Deletes the table of this layout, and that of the portal.
    pub fn remove(&mut self) -> Result<(), NftError> {
        #[cfg(feature = "portal")]
        if self.captive_stands()?.is_some() {
            self.requests.transact("remove the portal's table", captive::remove, |_| ())?;
        }
        if !self.claim(self.layout)? {
            return Ok(());
        }
        let family = ruleset::family(self.layout);
        self.requests.transact(
            "remove the table",
            |batch| batch.message(message::DEL_TABLE, family, 0, |table| table.text(1, TABLE)),
            |_| (),
        )
    }

    /// Lets stations in, replacing what they had: all of them or none.
    pub fn admit(
        &mut self,
        admissions: &[Admission],
        replaced: &[(MacAddr, Option<GrantId>)],
    ) -> Result<(), NftError> {
        let family = ruleset::family(self.layout);
        let destroy = self.abilities.destroy;
        self.change("admit stations", admissions.len(), |batch| {
            elements::dismiss(batch, family, replaced, destroy, false);
            elements::admit(batch, family, admissions);
        })
    }

    /// Shuts stations out and says what they had moved in the end. A station that was not in is not in the answer.
    pub fn dismiss(
        &mut self,
        stations: &[(MacAddr, Option<GrantId>)],
    ) -> Result<BTreeMap<MacAddr, Traffic>, NftError> {
        let family = ruleset::family(self.layout);
        let destroy = self.abilities.destroy;
        let present: Vec<(MacAddr, Option<GrantId>)> = if destroy {
            stations.to_vec()
        } else {
            // Naming an absent element would abort the transaction, which takes the kernel 8 to 16 ms.
            let enforced = self.enforced_of(stations.iter().map(|(station, _)| *station))?;
            stations.iter().copied().filter(|(station, _)| enforced.contains_key(station)).collect()
        };
        let mut up = BTreeMap::new();
        let mut down = BTreeMap::new();
        self.requests.transact(
            "dismiss stations",
            |batch| elements::dismiss(batch, family, &present, destroy, true),
            |message| collect(message.payload, &mut up, &mut down),
        )?;
        Ok(up
            .keys()
            .chain(down.keys())
            .map(|station| (*station, elements::traffic(family, up.get(station), down.get(station))))
            .gather())
    }

    /// Gives stations that are in a new time-out and a new limit, in place: their counters go on.
    pub fn refresh(&mut self, admissions: &[Admission]) -> Result<(), NftError> {
        if self.abilities.timeout_in_place {
            let family = ruleset::family(self.layout);
            return self.change("renew stations", admissions.len(), |batch| {
                elements::admit(batch, family, admissions);
            });
        }
        // Older kernels ignore the new time-out: the elements go out and in again, with what they had counted. What passes
        // between is missing in that, not in the quotas: those stay, and get their new limit in place.
        let enforced = self.enforced_of(admissions.iter().map(|admission| admission.station))?;
        let moved = |station| enforced.get(&station).map(|found| found.moved);
        let renewed: Vec<Admission> = admissions
            .iter()
            .map(|admission| Admission {
                moved: moved(admission.station).unwrap_or(admission.moved),
                ..admission.clone()
            })
            .collect();
        let present = renewed.iter().filter(|admission| enforced.contains_key(&admission.station));
        let replaced: Vec<_> = present.map(|admission| (admission.station, None)).collect();
        self.admit(&renewed, &replaced)
    }

    /// Adds or removes who holds which address.
    pub fn pin(&mut self, add: &[(IpAddr, MacAddr)], remove: &[(IpAddr, MacAddr)]) -> Result<(), NftError> {
        let family = ruleset::family(self.layout);
        let kind = if self.abilities.destroy { message::DESTROY_ELEMENT } else { message::DEL_ELEMENT };
        self.requests.transact(
            "pin addresses",
            |batch| {
                for (pins, adding) in [(remove, false), (add, true)] {
                    for (ip, mac) in pins {
                        let v4 = ip.is_ipv4();
                        let (claimed, pinned) =
                            if v4 { ("claimed4", "pinned4") } else { ("claimed6", "pinned6") };
                        let address = vec![ruleset::octets(*ip)];
                        let pair = vec![ruleset::pinned_key(*ip, *mac)];
                        if adding {
                            ruleset::plain_elements(batch, family, claimed, &address);
                            ruleset::plain_elements(batch, family, pinned, &pair);
                        } else {
                            // Without destroy both have to be there: they are removed by who has added them.
                            remove_plain(batch, kind, family, claimed, &address[0]);
                            remove_plain(batch, kind, family, pinned, &pair[0]);
                        }
                    }
                }
            },
            |_| (),
        )
    }

    /// All that the kernel enforces.
    pub fn enforced(&mut self) -> Result<BTreeMap<MacAddr, Enforced>, NftError> {
        let Listed { up, down } = self.listed()?;
        let limited = up.values().any(|element| element.limited);
        let quotas = if limited { self.quotas()? } else { BTreeMap::new() };
        Ok(join(ruleset::family(self.layout), up, down, &quotas))
    }

    /// The elements of both directions.
    fn listed(&mut self) -> Result<Listed, NftError> {
        let family = ruleset::family(self.layout);
        let Listed { mut up, mut down } = Listed::default();
        for map in ["up", "down"] {
            self.requests.ask(
                "list the stations",
                true,
                |batch| {
                    batch.message(message::GET_ELEMENT, family, flags::DUMP, |set| {
                        set.text(1, TABLE);
                        set.text(2, map);
                    });
                },
                |message| collect(message.payload, &mut up, &mut down),
            )?;
        }
        Ok(Listed { up, down })
    }

    /// The addresses that dnsmasq has opened.
    pub fn names(&mut self) -> Result<Vec<IpAddr>, NftError> {
        let family = ruleset::family(self.layout);
        let mut names = Vec::new();
        for (set, _) in ruleset::NAMES {
            self.requests.ask(
                "list the names",
                true,
                |batch| {
                    batch.message(message::GET_ELEMENT, family, flags::DUMP, |elements| {
                        elements.text(1, TABLE);
                        elements.text(2, set);
                    });
                },
                |message| names.extend(elements::parse_addresses(message.payload)),
            )?;
        }
        Ok(names)
    }

    /// All limits on bytes, with what is used of them.
    pub fn quotas(&mut self) -> Result<BTreeMap<GrantId, Quota>, NftError> {
        let family = ruleset::family(self.layout);
        let mut quotas = BTreeMap::new();
        self.requests.ask(
            "list the quotas",
            true,
            |batch| {
                batch.message(message::GET_OBJECT, family, flags::DUMP, |object| {
                    object.text(1, TABLE);
                    object.be32(3, 2);
                });
            },
            |message| quotas.extend(elements::parse_quota(message.payload)),
        )?;
        Ok(quotas)
    }

    /// What the kernel enforces for these stations; those that are not in are not in the answer.
    pub fn enforced_of(
        &mut self,
        stations: impl Iterator<Item = MacAddr>,
    ) -> Result<BTreeMap<MacAddr, Enforced>, NftError> {
        const ENOENT: i32 = 2;
        let family = ruleset::family(self.layout);
        let mut up = BTreeMap::new();
        let mut down = BTreeMap::new();
        let mut quotas = BTreeMap::new();
        for station in stations {
            for map in ["up", "down"] {
                let asked = self.requests.ask(
                    "look at a station",
                    false,
                    |batch| {
                        batch.message(message::GET_ELEMENT, family, 0, |set| {
                            elements::keyed(set, map, [station])
                        });
                    },
                    |message| collect(message.payload, &mut up, &mut down),
                );
                match asked {
                    Err(error) if error.errno() != Some(ENOENT) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            let limited = up.get(&station).filter(|element: &&Element| element.limited);
            if let Some(tag) = limited.and_then(|element| element.tag) {
                let asked = self.requests.ask(
                    "look at a quota",
                    false,
                    |batch| {
                        batch.message(message::GET_OBJECT, family, 0, |object| {
                            object.text(1, TABLE);
                            object.text(2, &elements::quota_name(tag.grant));
                            object.be32(3, 2);
                        });
                    },
                    |message| quotas.extend(elements::parse_quota(message.payload)),
                );
                match asked {
                    Err(error) if error.errno() != Some(ENOENT) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(join(family, up, down, &quotas))
    }

    /// Packets refused for want of a grant, and packets with an address that is not the sender's.
    pub fn refusals(&mut self) -> Result<(u64, u64), NftError> {
        let family = ruleset::family(self.layout);
        let mut counts = (0, 0);
        self.requests.ask(
            "read the counters",
            true,
            |batch| {
                batch.message(message::GET_OBJECT, family, flags::DUMP, |object| {
                    object.text(1, TABLE);
                    object.be32(3, 1);
                });
            },
            |message| {
                if attribute(message.payload, 1).and_then(text) != Some(TABLE) {
                    return;
                }
                let packets = attribute(message.payload, 4)
                    .and_then(|data| attribute(data, 2))
                    .and_then(be64)
                    .unwrap_or(0);
                match attribute(message.payload, 2).and_then(text) {
                    Some("refused") => counts.0 = packets,
                    Some("spoofed") => counts.1 = packets,
                    _ => {}
                }
            },
        )?;
        Ok(counts)
    }
}

fn remove_plain(batch: &mut Batch, kind: u8, family: Family, set: &str, key: &[u8]) {
    batch.message(kind, family, 0, |attributes| {
        attributes.text(1, TABLE);
        attributes.text(2, set);
        attributes.nest(3, |list| list.nest(1, |element| element.nest(1, |value| value.bytes(1, key))));
    });
}

fn collect(payload: &[u8], up: &mut BTreeMap<MacAddr, Element>, down: &mut BTreeMap<MacAddr, Element>) {
    match elements::parse(payload) {
        Some(("up", found)) => up.extend(found.into_iter().map(|element| (element.station, element))),
        Some(("down", found)) => down.extend(found.into_iter().map(|element| (element.station, element))),
        _ => {}
    }
}

fn join(
    family: Family,
    up: BTreeMap<MacAddr, Element>,
    down: BTreeMap<MacAddr, Element>,
    quotas: &BTreeMap<GrantId, Quota>,
) -> BTreeMap<MacAddr, Enforced> {
    up.iter()
        .map(|(station, element)| {
            let enforced = Enforced {
                tag: element.tag,
                expires_in: element.expires_in,
                moved: elements::traffic(family, Some(element), down.get(station)),
                quota: element.tag.and_then(|tag| quotas.get(&tag.grant)).copied(),
            };
            (*station, enforced)
        })
        .gather()
}
