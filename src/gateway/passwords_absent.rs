//! What stands for `passwords.rs` in a program without WPA3: nothing.

use super::effects::Gateway;
use crate::adapters::hostapd::HostapdControl;
use crate::model::{GrantId, KeyId, MacAddr};

/// Nobody is told any.
#[derive(Debug, Default)]
pub(super) struct Passwords;

/// None.
pub(super) struct ToSay;

#[allow(clippy::unused_self)]
impl Passwords {
    pub fn bind(&mut self, _: GrantId, _: MacAddr) {}

    pub fn forgotten(&mut self, _: &str) {}

    pub fn key_at(&self, _: &str, _: MacAddr) -> Option<KeyId> {
        None
    }
}

#[allow(clippy::unused_self)]
impl ToSay {
    #[allow(clippy::unused_async)]
    pub async fn carry_out(self, _: &HostapdControl) -> Vec<(String, String)> {
        Vec::new()
    }
}

#[allow(clippy::unused_self)]
impl Gateway {
    pub fn passwords_to_say(&mut self) -> ToSay {
        ToSay
    }
}
