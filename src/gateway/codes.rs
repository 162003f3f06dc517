//! Codes of grants, as files and hostapd have them: written, read again, put right; a second device turned away.
//!
//! Which code counts and who may stay is decided in `logic/grants/codes.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, join3};

use super::effects::{Done, Gateway};
use super::passwords::ToSay;
use crate::adapters::hostapd::{CodeFile, Form, Found, HostapdControl};
use crate::config::gateway::{EapMethod, Network};
use crate::model::{BootTime, Bssid, Code, GrantId, Incarnation, MacAddr, Refusal, Ssid, sentence};
use crate::wire::local::CodeNetwork;

/// Between two looks at a file that somebody else keeps editing; hostapd interrupts who is joining when it reads it.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Why a station that is one too many is sent away: AUTHORIZED_ACCESS_LIMIT_REACHED (IEEE 802.11-2020, table 9-49).
const ONE_TOO_MANY: u16 = 46;

/// What remains to be said to hostapd after the files were written.
pub(super) struct ToRead {
    hostapd: HostapdControl,
    bsses: Vec<String>,
    /// BSSes with the file that each has its names and passwords from.
    accounts: Vec<(String, PathBuf)>,
    unwritten: Vec<(PathBuf, String)>,
    /// For one address each.
    passwords: ToSay,
}

impl ToRead {
    /// Whether hostapd is told anything.
    pub fn says_anything(&self) -> bool {
        !(self.bsses.is_empty() && self.accounts.is_empty())
    }

    /// Lets each BSS read its file, and forget cached keys; all at once, for one that hangs takes its time.
    pub async fn carry_out(self) -> Untold {
        let Self { hostapd, bsses, accounts, unwritten, passwords } = self;
        let hostapd = &hostapd;
        let keys = bsses.into_iter().map(async |bss| {
            let error = hostapd.read_codes(&bss).await.err()?;
            let why = format!("{bss} has not read its codes: {}", sentence(&error));
            Some((bss, why))
        });
        let names = accounts.into_iter().map(async |(bss, file)| {
            let error = hostapd.read_accounts(&bss, &file).await.err()?;
            let why = format!("{bss} has not read its names and passwords: {}", sentence(&error));
            Some((bss, why))
        });
        let (keys, names, passwords) =
            join3(join_all(keys), join_all(names), passwords.carry_out(hostapd)).await;
        let bsses = keys.into_iter().chain(names).flatten().chain(passwords).collect();
        Untold { files: unwritten, bsses }
    }
}

/// Where codes are not as they should be, and why.
#[derive(Debug, Default)]
pub(super) struct Untold {
    files: Vec<(PathBuf, String)>,
    bsses: Vec<(String, String)>,
}

impl Untold {
    /// All of it; `None`: it is as it should be everywhere.
    pub fn anywhere(&self) -> Option<String> {
        joined(self.reasons(|_| true, |_| true))
    }

    /// What concerns these BSSes, which read this file.
    pub fn at(&self, bsses: &[&str], file: &Path) -> Option<String> {
        joined(self.reasons(|unwritten| unwritten == file, |bss| bsses.contains(&bss)))
    }

    fn reasons(&self, file: impl Fn(&Path) -> bool, bss: impl Fn(&str) -> bool) -> Vec<&str> {
        let files = self.files.iter().filter(|(path, _)| file(path)).map(|(_, why)| why.as_str());
        let bsses = self.bsses.iter().filter(|(name, _)| bss(name)).map(|(_, why)| why.as_str());
        files.chain(bsses).collect()
    }
}

fn joined(reasons: Vec<&str>) -> Option<String> {
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

impl Gateway {
    /// Lets files and hostapd have the codes that count; hostapd later.
    /// `made`: the join that was given its code; it is told of after that.
    pub fn hold_codes(&mut self, made: Option<(GrantId, Incarnation)>, now: BootTime) {
        let to_read = self.write_codes(now);
        self.read_later(to_read, made);
    }

    fn read_later(&mut self, to_read: ToRead, made: Option<(GrantId, Incarnation)>) {
        self.pending.push(Box::pin(async move {
            let untold = to_read.carry_out().await;
            if let Some(why) = untold.anywhere() {
                tracing::warn!(why, "codes");
            }
            Done::CodesRead { made, untold }
        }));
    }

    /// Lets the files have the codes that count.
    pub fn write_codes(&mut self, now: BootTime) -> ToRead {
        self.code_files_at = None;
        // One that is kept would count again after a loss of power.
        if self.kept_codes.iter().any(|(id, incarnation)| !self.grants.has_code(*id, *incarnation)) {
            self.pace.at_once(now);
        }
        let wanted: Vec<(PathBuf, Form)> = self.code_networks().flat_map(files).collect();
        for (path, form) in &wanted {
            if self.code_files.iter().all(|file| (file.path(), file.form()) != (path, *form)) {
                self.code_files.push(CodeFile::new(path, *form));
            }
        }
        let mut changed = Vec::new();
        let mut edited = Vec::new();
        self.unwritten.clear();
        for file in &mut self.code_files {
            // One that is no longer configured is emptied: hostapd does not start where it is missing.
            let counts =
                wanted.iter().any(|(path, form)| (path.as_path(), *form) == (file.path(), file.form()));
            match file.hold(self.grants.codes().filter(|_| counts)) {
                Ok(Found::Same) => {}
                Ok(Found::Ours) => changed.push(file.path().to_owned()),
                Ok(Found::Edited) => {
                    changed.push(file.path().to_owned());
                    edited.push(file.path().display().to_string());
                }
                Err(error) => self.unwritten.push((file.path().to_owned(), sentence(&error))),
            }
        }
        self.code_files.retain(|file| {
            wanted.iter().any(|(path, form)| (path.as_path(), *form) == (file.path(), file.form()))
        });
        for path in edited {
            let sentence = format!(
                "{path} was changed by somebody else and is as it was: the gateway writes it; `wayleave grant --code` makes codes"
            );
            self.drop_outside(Refusal::new("codes-edited", sentence));
            self.code_files_at = Some(now + LOOK_PAUSE);
        }
        if let Some((_, why)) = self.unwritten.first() {
            tracing::error!(
                why,
                "codes that are not in the file open nothing, and one that ended may still do; trying again"
            );
            self.code_files_at = Some(now + LOOK_PAUSE);
        }
        let bsses = self.bsses_reading(&changed);
        let (hostapd, accounts) = (self.hostapd.clone(), self.accounts_in(&changed));
        let passwords = self.passwords_to_say();
        ToRead { hostapd, bsses, accounts, unwritten: self.unwritten.clone(), passwords }
    }

    /// A BSS serves: it may have read its file before the last change.
    pub fn read_codes_at(&mut self, bss: String) {
        let Some(network) = self.network_at(&bss) else { return };
        let accounts = network.eap_user_file.iter().map(|(file, _)| (bss.clone(), file.clone())).collect();
        let bsses = network.wpa_psk_file.iter().map(|_| bss.clone()).collect();
        self.passwords.forgotten(&bss);
        let (hostapd, passwords) = (self.hostapd.clone(), self.passwords_to_say());
        self.read_later(ToRead { hostapd, bsses, accounts, unwritten: Vec::new(), passwords }, None);
    }

    pub fn turn_away(&mut self, bss: String, station: MacAddr) {
        // Where its address should have been refused, it is no longer.
        self.denials.forgotten(&bss, Some(station));
        self.running_changed = true;
        self.send_away(bss, station, ONE_TOO_MANY);
    }

    /// Sends a station away from one BSS, which has just said that it is there.
    pub fn send_away(&mut self, bss: String, station: MacAddr, reason: u16) {
        let hostapd = self.hostapd.clone();
        self.pending.push(Box::pin(async move {
            if let Err(error) = hostapd.turn_away(&bss, station, reason).await {
                tracing::warn!(error = sentence(&error), "a station that has no right to be there stays");
            }
            Done::Nothing
        }));
    }

    pub fn probe(&mut self, grant: GrantId, station: MacAddr) {
        let hostapd = self.hostapd.clone();
        self.pending.push(Box::pin(async move {
            // Who cannot be asked is taken to be there: nobody loses access by a question.
            let there = hostapd.answers(station).await.unwrap_or(true);
            Done::Probed { grant, station, there }
        }));
    }

    /// The networks that a code opens, each by its name.
    pub fn opened_by(&self, code: &Code) -> Vec<CodeNetwork> {
        let mut ssids: Vec<Ssid> = Vec::new();
        for network in self.code_networks().filter(|network| network.wpa_psk_file.is_some()) {
            let served = self.presence.bsses().iter();
            let served = served
                .filter(|(bss, _)| self.network_at(bss).is_some_and(|at| at.interface == network.interface));
            let keyed = self.hostapd.bsses();
            let mut named: Vec<Ssid> = served
                .filter(|(name, _)| keyed.iter().any(|info| info.name == **name && info.takes_codes()))
                .map(|(_, bss)| bss.ssid.clone())
                .collect();
            if named.is_empty() {
                named.push(network.ssid.clone());
            }
            ssids.extend(named);
        }
        ssids.sort();
        ssids.dedup();
        ssids.into_iter().map(|ssid| CodeNetwork { wifi: code.wifi(&ssid), ssid }).collect()
    }

    /// The file that an access point reads keys from, and its BSSes: where a sealed code opens it.
    pub fn keys_of(&self, bssid: Bssid) -> Result<(&Path, Vec<&str>), Refusal> {
        let bsses = self.presence.bsses();
        let network = self.world.network_with(&self.settings, bsses, bssid);
        let file = network.and_then(|network| network.wpa_psk_file.as_deref()).ok_or_else(|| {
            let sentence = format!("the network of {} takes no keys by wpa_psk_file", bssid.0);
            Refusal::new("no-code-network", sentence)
        })?;
        let own = bsses.iter().filter(|(_, bss)| bss.bssid == bssid).map(|(name, _)| name.as_str());
        Ok((file, own.collect()))
    }

    /// Whether any network takes codes.
    pub fn check_code_network(&self) -> Result<(), Refusal> {
        if self.code_networks().next().is_some() {
            return Ok(());
        }
        let sentence = "no network takes codes; give one a wpa_psk_file or an eap_user_file in gateway.toml and in \
                        hostapd.conf";
        Err(Refusal::new("no-code-network", sentence))
    }

    /// The networks that codes open.
    pub fn code_networks(&self) -> impl Iterator<Item = &Network> {
        let networks = self.settings.networks.iter();
        networks.filter(|network| network.wpa_psk_file.is_some() || network.eap_user_file.is_some())
    }

    /// The network that a BSS is an access point of.
    pub fn network_at(&self, bss: &str) -> Option<&Network> {
        self.world.network_of(&self.settings, self.world.index(bss)?)
    }

    /// BSSes with names and passwords in one of these files.
    fn accounts_in(&self, files: &[PathBuf]) -> Vec<(String, PathBuf)> {
        let names = self.presence.bsses().keys();
        let reads = |bss: &String| {
            let (file, _) = self.network_at(bss)?.eap_user_file.as_ref()?;
            files.contains(file).then(|| (bss.clone(), file.clone()))
        };
        names.filter_map(reads).collect()
    }

    /// Whether stations of a BSS may have joined it by name and password.
    pub fn has_accounts(&self, bss: &str) -> bool {
        self.network_at(bss).is_some_and(|network| network.eap_user_file.is_some())
    }

    fn bsses_reading(&self, files: &[PathBuf]) -> Vec<String> {
        let names = self.presence.bsses().keys();
        let reads = |bss: &&String| {
            let file = self.network_at(bss).and_then(|network| network.wpa_psk_file.as_ref());
            file.is_some_and(|file| files.contains(file))
        };
        names.filter(reads).cloned().collect()
    }
}

/// The files of a network, and what each tells of a code.
fn files(network: &Network) -> Vec<(PathBuf, Form)> {
    let keys = network.wpa_psk_file.iter().map(|file| (file.clone(), Form::Key));
    let accounts = network.eap_user_file.iter().map(|(file, method)| {
        let form = match method {
            EapMethod::Md5 => Form::Md5,
            EapMethod::Pwd => Form::Pwd,
            EapMethod::Ttls => Form::Ttls,
            EapMethod::Peap => Form::Peap,
        };
        (file.clone(), form)
    });
    keys.chain(accounts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_elsewhere_is_nothing_to_an_access_point() {
        let untold = Untold {
            files: vec![("a.psk".into(), "no room".into())],
            bsses: vec![("ap1".into(), "ap1 says nothing".into())],
        };
        assert_eq!(untold.at(&["ap0"], Path::new("b.psk")), None);
        assert_eq!(untold.at(&["ap0"], Path::new("a.psk")).as_deref(), Some("no room"));
        assert_eq!(untold.at(&["ap0", "ap1"], Path::new("b.psk")).as_deref(), Some("ap1 says nothing"));
        assert_eq!(untold.anywhere().as_deref(), Some("no room; ap1 says nothing"));
        assert_eq!(Untold::default().anywhere(), None);
    }
}
