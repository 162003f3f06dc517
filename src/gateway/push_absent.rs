//! What stands for `push.rs` in a program that tells terminals nothing: nothing.

use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "messages")]
use std::time::Duration;

use super::effects::Gateway;
use crate::config::gateway::Settings;
use crate::host::keep::KeepError;
use crate::model::{BootTime, GrantId};
#[cfg(feature = "messages")]
use crate::model::{Message, MessageId};
#[cfg(feature = "messages")]
use crate::wire::push::SignedMessage;
use crate::wire::sign::Identity;

/// Nobody has one.
pub(super) struct Messages;

/// Nothing is kept.
pub type KeptMessage = ();

/// Nobody calls.
pub(super) enum ChannelEvent {}

impl Messages {
    pub fn begin(_: Arc<Identity>, _: &Settings, _: Option<Vec<KeptMessage>>, _: BootTime) -> Self {
        Self
    }

    pub fn kept(&self, _: BootTime) -> Vec<KeptMessage> {
        Vec::new()
    }

    pub fn save(&mut self, _: &Path, _: BootTime) -> Result<(), KeepError> {
        Ok(())
    }

    pub async fn next(&mut self) -> ChannelEvent {
        std::future::pending().await
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        None
    }

    pub fn handle_timeout(&mut self, _: BootTime) {}
}

#[allow(clippy::unused_self)]
impl Gateway {
    pub fn listen(&mut self) {}

    pub fn channel_event(&mut self, event: ChannelEvent) {
        match event {}
    }

    pub fn place_terminals(&mut self, _: BootTime) {}

    pub fn hush(&mut self, _: GrantId, _: BootTime) {}

    #[cfg(feature = "portal")]
    pub fn messages_for(&self, _: crate::model::MacAddr) -> Vec<(String, Option<String>)> {
        Vec::new()
    }

    pub fn post_turn(&mut self, _: BootTime) -> bool {
        false
    }

    pub fn coordinator_begins(&mut self, _: BootTime) {}

    /// It reaches them by its own link.
    #[cfg(feature = "messages")]
    pub fn push_of_coordinator(&mut self, _: Message, _: SignedMessage, _: Duration, _: BootTime) {}

    #[cfg(feature = "messages")]
    pub fn withdraw_of_coordinator(&mut self, _: MessageId, _: BootTime) {}
}
