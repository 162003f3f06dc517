//! What every task of the coordinator shares.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::core::{Core, patience};
use super::metrics::Metrics;
use super::payments::{Payments, Stripe};
use super::store::Loaded;
use super::store::writer::Writer;
use crate::config::coordinator::Settings;
use crate::host::clock;
use crate::logic::limit::Limit;
use crate::logic::session::{Patience, heartbeat_due};
use crate::logic::trade::vouchers::Vouchers;
use crate::logic::wheel::Deadlines;
use crate::model::{BootTime, PublicKey};
use crate::wire::sign::Identity;

/// Addresses that are told apart by each limit.
const ADDRESSES: usize = 100_000;
/// Terminals that are told apart by the limit of their look-ups.
const TERMINALS: usize = 100_000;

/// What every task shares.
#[derive(Debug)]
pub struct Hub {
    /// Signs notices.
    pub identity: Identity,
    /// Its public half.
    pub key: PublicKey,
    /// The words that heartbeats move, without the lock.
    pub deadlines: Arc<Deadlines>,
    /// The way to the store.
    pub writer: Writer,
    /// Counts.
    pub metrics: Metrics,
    /// How purchases are paid.
    pub payments: Payments,
    /// When this run began.
    pub started: BootTime,
    patience: Patience,
    settings: RwLock<Arc<Settings>>,
    core: Mutex<Core>,
    vouchers: Mutex<Vouchers>,
    doors: Mutex<Doors>,
}

/// An address as limits see it: IPv4 whole, IPv6 by its /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbourhood([u8; 8]);

#[derive(Debug)]
struct Doors {
    hellos: Limit<Neighbourhood>,
    wrong_claims: Limit<Neighbourhood>,
    lookups: Limit<PublicKey>,
    lookups_from: Limit<Neighbourhood>,
    open: BTreeMap<Neighbourhood, u32>,
    all: u32,
}

/// One connection, counted for as long as it lives.
#[derive(Debug)]
pub struct Counted {
    hub: Arc<Hub>,
    from: Neighbourhood,
}

impl From<IpAddr> for Neighbourhood {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // ::ffff:0:0/96 would put all of IPv4 into one /64.
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self([0, 0, 0xff, 0xff, a, b, c, d])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Hub {
    /// With everything that was kept.
    pub fn new(identity: Identity, settings: Settings, writer: Writer, mut loaded: Loaded) -> Arc<Self> {
        let now = clock::now();
        let stripe = settings.stripe.as_ref().and_then(|stripe| {
            let made = Stripe::configured(stripe);
            made.inspect_err(|why| tracing::error!(why, "no cards: the authorities cannot be read")).ok()
        });
        let vouchers = Vouchers::new(std::mem::take(&mut loaded.vouchers));
        let hub = Arc::new_cyclic(|hub| {
            let core = Core::new(hub.clone(), writer.clone(), &settings, now);
            Self {
                key: identity.public(),
                identity,
                deadlines: core.deadlines(),
                writer,
                metrics: Metrics::default(),
                payments: Payments::new(stripe),
                started: now,
                patience: patience(&settings),
                core: Mutex::new(core),
                vouchers: Mutex::new(vouchers),
                doors: Mutex::new(Doors::new(&settings)),
                settings: RwLock::new(Arc::new(settings)),
            }
        });
        hub.core().restore(loaded, now);
        hub
    }

    /// The owner of all state. Held for microseconds: nothing is awaited with it.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        // A panic in between leaves maps that agree or a session that is dropped; going on is better than
        // taking every link down with it.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Vouchers as they are kept. Never taken before [`Hub::core`] and held with it.
    pub fn vouchers(&self) -> MutexGuard<'_, Vouchers> {
        self.vouchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From a heartbeat to the lapse.
    pub fn due(&self, next: Option<Duration>) -> Duration {
        heartbeat_due(next, &self.patience)
    }

    /// Takes over what may change while it runs.
    pub fn reload(&self, new: Settings) {
        let old = self.settings();
        for (key, same) in [
            ("listen", old.listen == new.listen),
            ("public", old.public == new.public),
            ("state_dir", old.state_dir == new.state_dir),
            ("runtime_dir", old.runtime_dir == new.runtime_dir),
            ("heartbeat.interval", old.heartbeat == new.heartbeat),
            ("heartbeat.lapse_factor", old.lapse_factor == new.lapse_factor),
            ("heartbeat.sleep_most", old.sleep_most == new.sleep_most),
            ("stripe", old.stripe == new.stripe),
        ] {
            if !same {
                tracing::warn!(key, "needs a restart; the old value stays");
            }
        }
        let kept = Settings {
            listen: old.listen,
            public: old.public.clone(),
            state_dir: old.state_dir.clone(),
            runtime_dir: old.runtime_dir.clone(),
            heartbeat: old.heartbeat,
            lapse_factor: old.lapse_factor,
            sleep_most: old.sleep_most,
            stripe: old.stripe.clone(),
            ..new
        };
        self.core().reload(&kept);
        let mut doors = self.doors();
        let Doors { hellos, wrong_claims, .. } = Doors::new(&kept);
        (doors.hellos, doors.wrong_claims) = (hellos, wrong_claims);
        drop(doors);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept);
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection; `None` when there are as many as there may be.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let from = Neighbourhood::from(address);
        let limits = self.settings().limits;
        let mut doors = self.doors();
        let open = doors.open.get(&from).copied().unwrap_or(0);
        if doors.all >= limits.links || open >= limits.links_per_address {
            return None;
        }
        doors.open.insert(from, open + 1);
        doors.all += 1;
        self.metrics.connections.inc();
        Some(Counted { hub: Arc::clone(self), from })
    }

    /// Takes one hello of an address, or says how long to wait.
    pub fn take_hello(&self, address: IpAddr) -> Result<(), Duration> {
        self.doors().hellos.take(&address.into(), clock::now())
    }

    /// Takes one look-up of a terminal at an address, or says how long to wait.
    pub fn take_lookup(&self, terminal: &PublicKey, address: IpAddr, now: BootTime) -> Result<(), Duration> {
        let mut doors = self.doors();
        doors.lookups.take(terminal, now)?;
        doors.lookups_from.take(&address.into(), now)
    }

    /// The same of another question, for which a key is no limit: keys are free.
    pub fn take_from(&self, address: IpAddr, now: BootTime) -> Result<(), Duration> {
        self.doors().lookups_from.take(&address.into(), now)
    }

    /// Whether an address may try another claim code.
    pub fn may_claim(&self, address: IpAddr) -> Result<(), Duration> {
        self.doors().wrong_claims.look(&address.into(), clock::now())
    }

    /// An address showed a code that does not work.
    pub fn wrong_claim(&self, address: IpAddr) {
        // Whether there was a token left is asked before the next try.
        let _ = self.doors().wrong_claims.take(&address.into(), clock::now());
    }

    /// Connections that stand.
    pub fn connections(&self) -> u32 {
        self.doors().all
    }
}

impl Doors {
    fn new(settings: &Settings) -> Self {
        let limits = settings.limits;
        Self {
            hellos: Limit::new(
                limits.hellos_per_minute,
                Duration::from_secs(60) / limits.hellos_per_minute,
                ADDRESSES,
            ),
            wrong_claims: Limit::new(
                limits.claims_per_hour,
                Duration::from_secs(3600) / limits.claims_per_hour,
                ADDRESSES,
            ),
            lookups: Limit::new(
                limits.lookups_per_minute,
                Duration::from_secs(60) / limits.lookups_per_minute,
                TERMINALS,
            ),
            lookups_from: Limit::new(
                limits.lookups_per_address,
                Duration::from_secs(60) / limits.lookups_per_address,
                ADDRESSES,
            ),
            open: BTreeMap::new(),
            all: 0,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.hub.metrics.connections.dec();
        let mut doors = self.hub.doors();
        doors.all = doors.all.saturating_sub(1);
        if let Some(open) = doors.open.get_mut(&self.from) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                doors.open.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbourhood_is_one_ipv4_address_or_one_64() {
        let of = |text: &str| Neighbourhood::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
