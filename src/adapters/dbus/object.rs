//! The object: methods and properties ask the gateway, signals tell what it told.
//!
//! The comments of methods and signals are not on the bus; `docs/dbus.md` is the text for callers.

use serde::de::DeserializeOwned;
use zbus::interface;
use zbus::object_server::SignalEmitter;

use super::codec::{self, Dict};
use super::error::Refused;
use crate::host::control::Asker;
use crate::model::{MacAddr, Millis, Refusal};
use crate::wire::local::{
    Event, Evicted, GatewayRequest, GatewayStatus, GrantAsk, GrantRow, Granted, StationRow, Target,
};

/// What is served at [`super::PATH`].
pub(super) struct Object {
    gateway: Asker<GatewayRequest>,
}

impl Object {
    pub(super) fn new(gateway: Asker<GatewayRequest>) -> Self {
        Self { gateway }
    }

    async fn ask<T: DeserializeOwned>(&self, request: GatewayRequest) -> Result<T, Refused> {
        Ok(self.gateway.ask(request).await?)
    }

    async fn now(&self) -> Result<GatewayStatus, Refused> {
        self.ask(GatewayRequest::Status).await
    }
}

#[interface(name = "org.wayleave.Gateway1", introspection_docs = false)]
impl Object {
    /// Program version.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> Result<String, Refused> {
        Ok(codec::text(&self.now().await?.version))
    }

    /// What the owner calls the gateway; SIGHUP may change it.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn name(&self) -> Result<String, Refused> {
        Ok(codec::text(&self.now().await?.name))
    }

    /// How the downlink is enforced.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn layout(&self) -> Result<String, Refused> {
        Ok(self.now().await?.layout.word().to_owned())
    }

    /// The gateway at a glance.
    #[zbus(out_args("status"))]
    async fn status(&self) -> Result<Dict, Refused> {
        Ok(codec::status(&self.now().await?))
    }

    /// Stations that are present.
    #[zbus(out_args("stations"))]
    async fn stations(&self) -> Result<Vec<Dict>, Refused> {
        let rows: Vec<StationRow> = self.ask(GatewayRequest::Stations).await?;
        Ok(rows.iter().map(codec::station).collect())
    }

    /// Grants that are enforced.
    #[zbus(out_args("grants"))]
    async fn grants(&self) -> Result<Vec<Dict>, Refused> {
        let rows: Vec<GrantRow> = self.ask(GatewayRequest::Grants).await?;
        Ok(rows.iter().map(codec::grant).collect())
    }

    /// Grants to a station by hand; 0 is no limit.
    #[zbus(out_args("grant"))]
    async fn grant(&self, station: &str, lease_ms: u64, quota: u64) -> Result<String, Refused> {
        let station: MacAddr = station.parse().map_err(|error| Refusal::new("bad-request", said(error)))?;
        let ask = GrantAsk {
            station,
            lease: (lease_ms != 0).then_some(Millis(lease_ms)),
            quota: (quota != 0).then_some(quota),
        };
        let granted: Vec<Granted> = self.ask(GatewayRequest::Grant { grants: vec![ask] }).await?;
        let one = granted.first().ok_or_else(|| Refusal::new("other-answer", "nothing was granted"))?;
        Ok(one.id.to_string())
    }

    /// More time or bytes for a grant by hand; 0 adds nothing.
    #[zbus(out_args("grant"))]
    async fn topup(&self, target: &str, lease_ms: u64, quota: u64) -> Result<Dict, Refused> {
        let target = target.parse::<Target>()?;
        let lease = (lease_ms != 0).then_some(Millis(lease_ms));
        let quota = (quota != 0).then_some(quota);
        let row: GrantRow = self.ask(GatewayRequest::Topup { target, lease, quota }).await?;
        Ok(codec::grant(&row))
    }

    /// Evicts by hand; returns when everything is freed.
    #[zbus(out_args("report"))]
    async fn evict(&self, target: &str) -> Result<Dict, Refused> {
        let target = target.parse::<Target>()?;
        let evicted: Evicted = self.ask(GatewayRequest::Evict { target }).await?;
        Ok(codec::report(&evicted.report))
    }

    #[zbus(signal)]
    async fn admitted(emitter: &SignalEmitter<'_>, grant: String, station: String) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn evicting(
        emitter: &SignalEmitter<'_>,
        grant: String,
        station: String,
        cause: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn evicted(
        emitter: &SignalEmitter<'_>,
        grant: String,
        station: String,
        cause: &str,
        report: Dict,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn low(
        emitter: &SignalEmitter<'_>,
        grant: String,
        station: String,
        quota: u64,
        left: u64,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn joined(emitter: &SignalEmitter<'_>, station: String, interface: String) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn gone(emitter: &SignalEmitter<'_>, station: String, interface: String) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn restored(emitter: &SignalEmitter<'_>, grants: u32, took_us: u64) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn link_changed(
        emitter: &SignalEmitter<'_>,
        link: &str,
        coordinator: String,
        why: String,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn dropped(emitter: &SignalEmitter<'_>, word: String, sentence: String) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn missed(emitter: &SignalEmitter<'_>, events: u64) -> zbus::Result<()>;
}

/// Emits the signal of an event.
pub(super) async fn signal(event: Event, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
    match event {
        Event::Admitted { grant, station } => {
            Object::admitted(emitter, grant.to_string(), station.to_string()).await
        }
        Event::Evicting { cause, grant, station } => {
            Object::evicting(emitter, grant.to_string(), station.to_string(), cause.word()).await
        }
        Event::Evicted { report } => {
            let (grant, station) = (report.grant.to_string(), codec::station_or_none(report.station));
            Object::evicted(emitter, grant, station, report.cause.word(), codec::report(&report)).await
        }
        Event::Low { grant, station, quota, left } => {
            Object::low(emitter, grant.to_string(), station.to_string(), quota, left).await
        }
        Event::Joined { station, interface } => {
            Object::joined(emitter, station.to_string(), codec::text(&interface)).await
        }
        Event::Gone { station, interface } => {
            Object::gone(emitter, station.to_string(), codec::text(&interface)).await
        }
        Event::Restored { grants, took_us } => Object::restored(emitter, grants, took_us).await,
        Event::Link { state } => {
            let (word, host, why) = codec::link(&state);
            Object::link_changed(emitter, word, host, why).await
        }
        // Messages are not on the bus.
        Event::Delivered { .. } => Ok(()),
        Event::Dropped { refusal } => {
            Object::dropped(emitter, codec::text(&refusal.word), codec::text(&refusal.sentence)).await
        }
        Event::Missed { events } => Object::missed(emitter, events).await,
    }
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}
