//! Commands to the BSSes that are up. Every sequence of commands has a socket of its own, so that no reply can be
//! taken for that to another command, and a long walk holds nobody up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::error::HostapdError;
use super::{BssInfo, StationInfo, StationState, codec};
use crate::adapters::wpa_ctrl::{Command, CtrlError, Reply, WpaCtrl, WpaEvents};
use crate::model::{Few, MacAddr};
use crate::wire::interworking::Interworking;

/// hostapd answers within microseconds; what takes longer will not be waited for by an eviction.
const DEADLINE: Duration = Duration::from_millis(500);

/// A walk begins anew when the station it had come to is gone; so often.
const WALKS: u32 = 3;

/// More stations than hostapd has (`max_num_sta` is at most 2007): a walk that does not end is no walk.
const MOST_STATIONS: usize = 4096;

/// The commands. Cheap to clone; usable while the events are waited for.
#[derive(Clone, Debug)]
pub struct HostapdControl {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) own_dir: PathBuf,
    bsses: Mutex<Few<String, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    info: BssInfo,
    /// Told when a command found nobody there.
    lost: Arc<Notify>,
}

impl HostapdControl {
    /// The BSSes that are up, by interface name.
    pub fn bsses(&self) -> Vec<BssInfo> {
        self.shared.bsses().values().map(|known| known.info.clone()).collect()
    }

    /// Every station of a BSS that hostapd knows, those on their way out included: look at
    /// [`StationInfo::state`].
    pub async fn stations(&self, bss: &str) -> Result<Vec<StationInfo>, HostapdError> {
        let mut session = self.session(bss)?;
        let mut walks = 0;
        'walk: loop {
            walks += 1;
            let (mut stations, mut seen) = (Vec::new(), BTreeSet::new());
            let mut reply = session.ask("STA-FIRST", Command::new("STA-FIRST")).await?;
            while let Some(station) = codec::station("STA-FIRST", &reply)? {
                if !seen.insert(station.mac) || seen.len() > MOST_STATIONS {
                    return Err(HostapdError::garbled("STA-NEXT", "another station", reply.as_bytes()));
                }
                let next = Command::new("STA-NEXT").mac(station.mac);
                stations.push(station);
                reply = session.ask("STA-NEXT", next).await?;
                if reply.is_refusal() && walks < WALKS {
                    continue 'walk;
                }
            }
            if reply.is_refusal() {
                let reply = "FAIL, again and again".to_owned();
                return Err(HostapdError::Refused { command: "STA-NEXT", reply });
            }
            return Ok(stations);
        }
    }

    /// What each BSS says of a station; `None`: it does not know it.
    pub async fn station(
        &self,
        station: MacAddr,
    ) -> Vec<(String, Result<Option<StationInfo>, HostapdError>)> {
        join_all(self.sessions().into_iter().map(|(name, session)| async move {
            let known = match session {
                Ok(mut session) => session.station(station).await,
                Err(error) => Err(error),
            };
            (name, known)
        }))
        .await
    }

    /// Sends the station away from every BSS that knows it, all at once, with this reason code (IEEE
    /// 802.11-2020, table 9-49). Says of each whether the station was present there; `known`: where it is for certain.
    ///
    /// What is said there is on its way after the first poll.
    ///
    /// hostapd goes on knowing it for some five seconds, without flags.
    pub async fn deauthenticate(
        &self,
        station: MacAddr,
        known: &BTreeSet<String>,
        reason: u16,
    ) -> Vec<(String, Result<bool, HostapdError>)> {
        join_all(self.sessions().into_iter().map(|(name, session)| async move {
            let was_present = match session {
                Ok(mut session) => session.send_away(station, known.contains(&name), reason).await,
                Err(error) => Err(error),
            };
            (name, was_present)
        }))
        .await
    }

    /// What a BSS adds to its beacons and probe responses, from now on: these elements and no others.
    ///
    /// hostapd keeps them until it reads its configuration again, and does not say which it has. It refuses what
    /// is no hexadecimal; that they are elements is not looked at.
    pub async fn set_vendor_elements(&self, bss: &str, elements: &[u8]) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        // Without octets the blank behind the name stays, which hostapd wants.
        let set = Command::new("SET").word("vendor_elements").hex(elements);
        session.order("SET vendor_elements", set).await?;
        session.order("UPDATE_BEACON", Command::new("UPDATE_BEACON")).await
    }

    /// Lets a BSS pass nothing from one station to another (`ap_isolate`), until hostapd reads its configuration again.
    pub async fn isolate_stations(&self, bss: &str) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        let set = Command::new("SET").word("ap_isolate").number(1u32);
        session.order("SET ap_isolate", set).await?;
        // The driver is told with the beacon.
        session.order("UPDATE_BEACON", Command::new("UPDATE_BEACON")).await
    }

    /// What a BSS tells before anybody joins, from its next [`Self::set_vendor_elements`] on. What is absent stays as it is.
    ///
    /// A hostapd without `CONFIG_INTERWORKING` refuses it. Names and URLs go as `anqp_elem`, whose hexadecimal
    /// replaces what there was: every `venue_name` and `venue_url` would add another one.
    pub async fn set_interworking(&self, bss: &str, told: &Interworking) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        let set = |name| Command::new("SET").word(name);
        session.order("SET interworking", set("interworking").number(1u32)).await?;
        let network = set("access_network_type").number(told.network as u32);
        session.order("SET access_network_type", network).await?;
        session.order("SET internet", set("internet").number(u32::from(told.internet))).await?;
        if let Some((group, kind)) = told.venue {
            session.order("SET venue_group", set("venue_group").number(group)).await?;
            session.order("SET venue_type", set("venue_type").number(kind)).await?;
        }
        if let Some(hessid) = told.hessid {
            session.order("SET hessid", set("hessid").mac(hessid.0)).await?;
        }
        for (id, payload) in told.anqp() {
            let element = set("anqp_elem").tagged_hex(id, &payload);
            session.order("SET anqp_elem", element).await?;
        }
        Ok(())
    }

    /// Takes the Interworking element off the air, from the next [`Self::set_vendor_elements`] on: nobody is invited
    /// to ask for names and URLs any more.
    pub async fn end_interworking(&self, bss: &str) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        let set = Command::new("SET").word("interworking").number(0u32);
        session.order("SET interworking", set).await
    }

    /// One for every BSS.
    fn sessions(&self) -> Vec<(String, Result<Session, HostapdError>)> {
        let names = self.bsses().into_iter().map(|bss| bss.name);
        names.map(|name| (name.clone(), self.session(&name))).collect()
    }

    pub(super) fn session(&self, bss: &str) -> Result<Session, HostapdError> {
        let path = self.shared.directory.join(bss);
        // Only names that were found: nothing else becomes a path.
        let known = self.shared.bsses().get(bss).cloned();
        let Some(known) = known else { return Err(HostapdError::NotThere { path }) };
        Session::open(&self.shared, path, Some(known.lost))
    }
}

impl Shared {
    pub(super) fn new(directory: PathBuf, own_dir: PathBuf) -> Self {
        Self { directory, own_dir, bsses: Mutex::default() }
    }

    pub(super) fn control(self: &Arc<Self>) -> HostapdControl {
        HostapdControl { shared: Arc::clone(self) }
    }

    pub(super) fn up(&self, info: BssInfo, lost: &Arc<Notify>) {
        self.bsses().insert(info.name.clone(), Known { info, lost: Arc::clone(lost) });
    }

    pub(super) fn down(&self, bss: &str) {
        self.bsses().remove(bss);
    }

    fn bsses(&self) -> MutexGuard<'_, Few<String, Known>> {
        // Held for a look or an insertion; what a panic left is whole.
        self.bsses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One socket for one sequence of commands.
pub(super) struct Session {
    socket: WpaCtrl,
    path: PathBuf,
    own_dir: PathBuf,
    lost: Option<Arc<Notify>>,
}

impl Session {
    pub(super) fn open(
        shared: &Shared,
        path: PathBuf,
        lost: Option<Arc<Notify>>,
    ) -> Result<Session, HostapdError> {
        match WpaCtrl::open(&path, &shared.own_dir) {
            Ok(socket) => Ok(Session { socket, path, own_dir: shared.own_dir.clone(), lost }),
            Err(error) => {
                tell_if_gone(&error, lost.as_ref());
                Err(HostapdError::of(error, "ATTACH", &path))
            }
        }
    }

    /// The reply, refusals too.
    pub(super) async fn ask(&mut self, verb: &'static str, command: Command) -> Result<Reply, HostapdError> {
        self.socket.request(&command, DEADLINE).await.map_err(|error| {
            tell_if_gone(&error, self.lost.as_ref());
            HostapdError::of(error, verb, &self.path)
        })
    }

    /// What happens at this BSS from now on.
    pub(super) async fn events(&self) -> Result<WpaEvents, HostapdError> {
        let events = WpaEvents::attach(&self.path, &self.own_dir).await;
        events.map_err(|error| HostapdError::of(error, "ATTACH", &self.path))
    }

    pub(super) async fn order(&mut self, verb: &'static str, command: Command) -> Result<(), HostapdError> {
        let reply = self.ask(verb, command).await?;
        match reply.as_bytes() {
            b"OK" => Ok(()),
            bytes if reply.is_refusal() => {
                Err(HostapdError::Refused { command: verb, reply: bytes.escape_ascii().to_string() })
            }
            bytes => Err(HostapdError::garbled(verb, "OK", bytes)),
        }
    }

    pub(super) async fn send_away(
        &mut self,
        station: MacAddr,
        is_known: bool,
        reason: u16,
    ) -> Result<bool, HostapdError> {
        // To one that hostapd does not know it would first make an entry.
        let was_present = match is_known {
            true => true,
            false => match self.station(station).await? {
                Some(found) if found.state != StationState::default() => found.state.is_present(),
                // Or it is on its way out.
                Some(_) | None => return Ok(false),
            },
        };
        let command = Command::new("DEAUTHENTICATE").mac(station).set("reason", reason);
        self.order("DEAUTHENTICATE", command).await?;
        Ok(was_present)
    }

    pub(super) async fn station(&mut self, mac: MacAddr) -> Result<Option<StationInfo>, HostapdError> {
        let reply = self.ask("STA", Command::new("STA").mac(mac)).await?;
        match codec::station("STA", &reply)? {
            Some(station) if station.mac != mac => {
                Err(HostapdError::garbled("STA", "of the station asked for", reply.as_bytes()))
            }
            station => Ok(station),
        }
    }
}

fn tell_if_gone(error: &CtrlError, lost: Option<&Arc<Notify>>) {
    if let (CtrlError::Gone, Some(lost)) = (error, lost) {
        lost.notify_one();
    }
}
