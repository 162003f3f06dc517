//! Why there is nothing on the bus, and what a caller is told that asks in vain.

use zbus::DBusError;
use zbus::message::{Header, Message};
use zbus::names::{ErrorName, OwnedErrorName};

use super::codec;
use crate::model::Refusal;

/// Why nobody is served by D-Bus.
#[derive(Debug, thiserror::Error)]
pub enum DbusError {
    /// There is no bus at the address, or it does not take us in.
    #[error("no bus: {0}")]
    NoBus(#[source] zbus::Error),
    /// Another process has the name.
    #[error("the name org.wayleave.Gateway1 is taken: another gateway is on this bus")]
    NameTaken,
    /// The policy of the bus forbids the name.
    #[error("the bus does not allow the name org.wayleave.Gateway1; its policy belongs into system.d: {0}")]
    Forbidden(String),
    /// The bus was there and is gone.
    #[error("the bus is gone")]
    Lost,
    /// Anything else.
    #[error("D-Bus: {0}")]
    Other(#[source] zbus::Error),
}

impl From<zbus::Error> for DbusError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::NameTaken => DbusError::NameTaken,
            zbus::Error::FDO(denied) if matches!(*denied, zbus::fdo::Error::AccessDenied(_)) => {
                DbusError::Forbidden(codec::text(denied.description().unwrap_or_default()))
            }
            zbus::Error::InputOutput(_)
            | zbus::Error::Connection(..)
            | zbus::Error::Handshake(_)
            | zbus::Error::Address(_) => DbusError::NoBus(error),
            error => DbusError::Other(error),
        }
    }
}

/// A [`Refusal`] as D-Bus has it: the word in the name of the error, the sentence as its message.
#[derive(Debug)]
pub(super) struct Refused {
    name: OwnedErrorName,
    sentence: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { name: codec::error_name(&refusal.word), sentence: codec::text(&refusal.sentence) }
    }
}

impl DBusError for Refused {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name.as_ref()).build(&self.sentence)
    }

    fn name(&self) -> ErrorName<'_> {
        self.name.as_ref()
    }

    fn description(&self) -> Option<&str> {
        Some(&self.sentence)
    }
}
