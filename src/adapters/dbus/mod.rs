//! `org.wayleave.Gateway1` on the system bus: the control socket's questions as methods, its events as signals.
//!
//! Decides nothing and knows no gateway: every call is a request like one of the control socket, and the
//! answer is turned into D-Bus types. What each method takes, gives and refuses is in `docs/dbus.md`. Who may
//! call and hear is for the bus to enforce: `packaging/dbus/`.
//!
//! Read next: `object.rs` for methods, properties and signals, `codec.rs` for the types.

mod codec;
mod error;
mod object;

pub use error::DbusError;

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use zbus::connection::Builder;
use zbus::object_server::SignalEmitter;

use crate::host::control::Asker;
use crate::wire::local::{Event, GatewayRequest};
use object::Object;

/// The name on the bus, and of the interface.
pub const NAME: &str = "org.wayleave.Gateway1";

/// The one object.
pub const PATH: &str = "/org/wayleave/Gateway1";

/// Serves on the system bus until the gateway ends. Where there is none, or no right to be on it, says so once
/// and returns: the gateway does not need it. `DBUS_SYSTEM_BUS_ADDRESS` names another bus.
pub async fn run(asker: Asker<GatewayRequest>) {
    match serve(Builder::system(), asker).await {
        Ok(()) => {}
        Err(error @ DbusError::NoBus(_)) => tracing::info!("nobody is served by D-Bus: {error}"),
        Err(error) => tracing::warn!("nobody is served by D-Bus until the next start: {error}"),
    }
}

/// Serves on the bus at `address` (D-Bus specification, "Server Addresses") until the gateway ends.
pub async fn run_at(address: &str, asker: Asker<GatewayRequest>) -> Result<(), DbusError> {
    serve(Builder::address(address), asker).await
}

async fn serve(bus: Builder<'_>, asker: Asker<GatewayRequest>) -> Result<(), DbusError> {
    // Before the name is there: whoever sees it misses nothing from then on.
    let Ok(events) = asker.watch(GatewayRequest::Watch).await else { return Ok(()) };
    let connection = bus
        .allow_name_replacements(false)
        .replace_existing_names(false)
        .serve_at(PATH, Object::new(asker))
        .name(NAME)
        .build()
        .await?;
    tracing::info!(name = NAME, "on D-Bus");
    let emitter = SignalEmitter::new(&connection, PATH)?;
    tokio::select! {
        () = connection.closed() => Err(DbusError::Lost),
        end = tell(events, &emitter) => end,
    }
}

async fn tell(mut events: Receiver<Arc<[u8]>>, emitter: &SignalEmitter<'_>) -> Result<(), DbusError> {
    loop {
        let event = match events.recv().await {
            Ok(line) => match serde_json::from_slice(&line) {
                Ok(event) => event,
                Err(error) => {
                    tracing::debug!(%error, "an event without a signal");
                    continue;
                }
            },
            Err(RecvError::Lagged(events)) => Event::Missed { events },
            Err(RecvError::Closed) => return Ok(()),
        };
        object::signal(event, emitter).await?;
    }
}
