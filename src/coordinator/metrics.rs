//! What `/metrics` says. No identities and no addresses: counts only.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One label, `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Links that stand, by role.
    pub links: Family<Kind, Gauge>,
    /// Connections, whatever they do.
    pub connections: Gauge,
    /// Heartbeats that counted.
    pub heartbeats: Counter,
    /// Heartbeats that needed the lock: the first of a join, and after a lapse.
    pub heartbeats_slow: Counter,
    /// Sessions that fell silent.
    pub lapses: Counter,
    /// Silent sessions that were heard or seen again.
    pub rescues: Counter,
    /// Evictions decided, by cause.
    pub evictions: Family<Kind, Counter>,
    /// Reports of evictions that gateways sent.
    pub reports: Counter,
    /// Frames dropped, by reason.
    pub frames_dropped: Family<Kind, Counter>,
    /// Links and requests refused, by word.
    pub refused: Family<Kind, Counter>,
    /// TLS handshakes that failed or took too long.
    pub tls_failed: Counter,
    /// Compare-and-swaps that failed: must stay 0.
    pub swaps_lost: Counter,
    /// Sessions by state.
    pub sessions: Family<Kind, Gauge>,
    /// Notices not acknowledged.
    pub outbox: Gauge,
    /// Scopes that the brake holds.
    pub braked: Gauge,
    /// 1 while the disk is full.
    pub store_full: Gauge,
    /// Transactions of the store.
    pub store_commits: Gauge,
    /// Changes in them.
    pub store_changes: Gauge,
}

impl Metrics {
    /// One more of a kind.
    pub fn count(family: &Family<Kind, Counter>, kind: &'static str) {
        family.get_or_create(&Kind { kind }).inc();
    }

    /// The gauge of a kind.
    pub fn gauge(family: &Family<Kind, Gauge>, kind: &'static str) -> Gauge {
        family.get_or_create(&Kind { kind }).clone()
    }

    /// In the text format of OpenMetrics 1.0.
    pub fn render(&self) -> String {
        let mut registry = Registry::with_prefix("wayleave");
        registry.register("links", "Links that stand", self.links.clone());
        registry.register("connections", "TCP connections", self.connections.clone());
        registry.register("heartbeats", "Heartbeats that counted", self.heartbeats.clone());
        registry.register("heartbeats_slow", "Heartbeats that took the lock", self.heartbeats_slow.clone());
        registry.register("lapses", "Sessions that fell silent", self.lapses.clone());
        registry.register("rescues", "Silent sessions heard or seen again", self.rescues.clone());
        registry.register("evictions", "Evictions decided", self.evictions.clone());
        registry.register("reports", "Reports of evictions", self.reports.clone());
        registry.register("frames_dropped", "Frames dropped", self.frames_dropped.clone());
        registry.register("refused", "Links and requests refused", self.refused.clone());
        registry.register("tls_failed", "TLS handshakes that failed", self.tls_failed.clone());
        registry.register("swaps_lost", "Compare-and-swaps that failed", self.swaps_lost.clone());
        registry.register("sessions", "Sessions by state", self.sessions.clone());
        registry.register("outbox", "Notices not acknowledged", self.outbox.clone());
        registry.register("braked", "Scopes that the brake holds", self.braked.clone());
        registry.register("store_full", "1 while the disk is full", self.store_full.clone());
        registry.register("store_commits", "Transactions of the store", self.store_commits.clone());
        registry.register("store_changes", "Changes in the store", self.store_changes.clone());
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}
