//! Commands that belong to codes: read the file again, forget cached keys, send one station away from one BSS, keep an
//! address off a BSS, ask whether a station still answers.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::codec::{self, BssEvent};
use super::control::HostapdControl;
use super::error::HostapdError;
use crate::adapters::wpa_ctrl::Command;
use crate::model::{Code, MacAddr};

/// How long a station has for an answer: one that sleeps wakes for a beacon in ten at least, most for every third.
const ANSWER: Duration = Duration::from_secs(3);

/// INVALID_AUTHENTICATION (IEEE 802.11-2020, table 9-49): as hostapd says it to whose key has ended.
const NO_LONGER_VALID: u16 = 2;

/// What the driver's clock may be off: it counts in jiffies, and the command takes its time.
const SLACK: Duration = Duration::from_millis(20);

impl HostapdControl {
    /// Lets a BSS read its `wpa_psk_file` again. hostapd 2.10 then sends away, for reason 2, every station whose key
    /// is not there; on a BSS without such keys that would be everybody, so it is not said to one.
    ///
    /// And forget cached keys (PMKSA), all of them: hostapd 2.10 can forget no single one. Who still has a key joins
    /// with it anew.
    pub async fn read_codes(&self, bss: &str) -> Result<(), HostapdError> {
        if !self.bsses().iter().any(|info| info.name == bss && info.takes_codes()) {
            return Ok(());
        }
        let mut session = self.session(bss)?;
        session.order("RELOAD_WPA_PSK", Command::new("RELOAD_WPA_PSK")).await?;
        session.order("PMKSA_FLUSH", Command::new("PMKSA_FLUSH")).await
    }

    /// Gives an address a password for SAE (WPA3) that goes before those it had. `anew`: who is there by one of those is
    /// sent away, and no cached key opens.
    pub async fn set_password(
        &self,
        bss: &str,
        station: MacAddr,
        password: &Code,
        anew: bool,
    ) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        let set = Command::new("SET").word("sae_password").password_of(password.digits().expose(), station);
        session.order("SET sae_password", set).await?;
        if !anew {
            return Ok(());
        }
        session.order("PMKSA_FLUSH", Command::new("PMKSA_FLUSH")).await?;
        session.send_away(station, false, NO_LONGER_VALID).await.map(|_| ())
    }

    /// Lets a BSS read names and passwords again, without a word to its stations, and forget cached keys.
    pub async fn read_accounts(&self, bss: &str, file: &Path) -> Result<(), HostapdError> {
        let mut session = self.session(bss)?;
        let set = Command::new("SET").word("eap_user_file");
        let set = set.text(&file.to_string_lossy());
        let set = set.map_err(|_| HostapdError::Unfit { path: file.to_owned() })?;
        session.order("SET eap_user_file", set).await?;
        session.order("PMKSA_FLUSH", Command::new("PMKSA_FLUSH")).await
    }

    /// The name by which a station has joined a BSS, if it has one.
    pub async fn identity(&self, bss: &str, station: MacAddr) -> Result<Option<String>, HostapdError> {
        let found = self.session(bss)?.station(station).await?;
        Ok(found.and_then(|info| info.identity))
    }

    /// Whether this hostapd can bind an SAE password to one station (`SAE_PASSWORD_BIND`, which 2.10 does not have).
    pub async fn binds_sae_passwords(&self, bss: &str) -> Result<bool, HostapdError> {
        // Without a station and a password it does nothing but answer.
        let asked = Command::new("SAE_PASSWORD_BIND");
        let reply = self.session(bss)?.ask("SAE_PASSWORD_BIND", asked).await?;
        Ok(!reply.as_bytes().starts_with(b"UNKNOWN COMMAND"))
    }

    /// Sends a station away from a BSS that has just said that it is there.
    pub async fn turn_away(&self, bss: &str, station: MacAddr, reason: u16) -> Result<bool, HostapdError> {
        self.session(bss)?.send_away(station, true, reason).await
    }

    /// Lets a BSS refuse this address and send it away, until it is allowed again (`deny` is false), or hostapd reads its
    /// configuration or ends. Whether it was refused already.
    pub async fn deny(&self, bss: &str, station: MacAddr, deny: bool) -> Result<bool, HostapdError> {
        let mut session = self.session(bss)?;
        let shown = session.ask("DENY_ACL", Command::new("DENY_ACL").word("SHOW")).await?;
        let verb = if deny { "ADD_MAC" } else { "DEL_MAC" };
        session.order("DENY_ACL", Command::new("DENY_ACL").word(verb).mac(station)).await?;
        Ok(codec::lists(&shown, station))
    }

    /// Whether a station acknowledges a frame sent to it (`POLL_STA`), on any BSS that has it. `None`: no BSS could
    /// ask.
    pub async fn answers(&self, station: MacAddr) -> Option<bool> {
        let mut answer = None;
        for bss in self.bsses() {
            match self.answers_at(&bss.name, station).await {
                Ok(true) => return Some(true),
                Ok(false) => answer = Some(false),
                Err(error) => tracing::debug!(%error, bss = bss.name, "whether a station is there"),
            }
        }
        answer
    }

    async fn answers_at(&self, bss: &str, station: MacAddr) -> Result<bool, HostapdError> {
        let mut session = self.session(bss)?;
        if !session.station(station).await?.is_some_and(|known| known.state.is_present()) {
            return Ok(false);
        }
        let mut events = session.events().await?;
        session.order("POLL_STA", Command::new("POLL_STA").mac(station)).await?;
        let asked = Instant::now();
        let answer = timeout(ANSWER, async {
            loop {
                match codec::event(&events.next().await.ok()?) {
                    Some(BssEvent::Answered { station: who }) if who == station => return Some(true),
                    Some(BssEvent::Disconnected { station: who }) if who == station => return Some(false),
                    _ => {}
                }
            }
        });
        if let Ok(Some(answer)) = answer.await {
            return Ok(answer);
        }
        // A driver that does not say whether frames are acknowledged may have heard it.
        let waited = asked.elapsed();
        let known = session.station(station).await?.filter(|known| known.state.is_present());
        Ok(known.and_then(|known| known.inactive).is_some_and(|inactive| inactive + SLACK < waited))
    }
}
