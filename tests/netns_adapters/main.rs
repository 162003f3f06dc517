//! The gateway's adapters against the real kernel, the real hostapd and the real dnsmasq.
//!
//! One file per adapter; each looks at the world from outside (`ip`, `bridge`, `conntrack`, lease files, control
//! sockets), not at what the adapter says of itself.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod conntrack;
mod dhcp;
mod flows;
mod hostapd;
mod rtnetlink;

use std::future::Future;

use support::netns::Netns;

/// Runs a future as the gateway does, on a current-thread runtime, inside of a namespace.
#[track_caller]
fn inside<T: Send>(netns: &Netns, future: impl Future<Output = T> + Send) -> T {
    netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    })
}
