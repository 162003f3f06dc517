//! The claim token: one line with which an owner enrols a gateway, or a person a terminal.
//!
//! `wayleave://HOST:PORT/KEY/CODE`: where the coordinator is, its public key (to be pinned), and a code that
//! works once. Whoever holds it can enrol, so it is shown once and never logged.

use std::fmt;
use std::str::FromStr;

use super::sign::random;
use crate::model::{PublicKey, Secret};

/// Letters of a claim code: nothing that is mistaken for another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Letters in a claim code; 5 bits each.
const CODE_LETTERS: usize = 26;

/// Where a coordinator is and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorAddress {
    /// Name or address, and port: `coordinator.example:7443`.
    pub host: String,
    /// Its public key, pinned.
    pub key: PublicKey,
}

/// A claim token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToken {
    /// The coordinator.
    pub coordinator: CoordinatorAddress,
    /// The one-time code.
    pub code: Secret,
}

/// A text that is not a claim token. Does not repeat the text: it may hold a code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a claim token: {wrong}; the coordinator prints one as wayleave://HOST:PORT/KEY/CODE")]
pub struct BadToken {
    wrong: &'static str,
}

impl ClaimToken {
    /// A token with a new random code.
    pub fn new(coordinator: CoordinatorAddress) -> Self {
        let code: String = random::<CODE_LETTERS>()
            .iter()
            .map(|octet| char::from(ALPHABET[usize::from(octet % 32)]))
            .collect();
        Self { coordinator, code: Secret::new(code) }
    }

    /// The token in full, to be shown once.
    pub fn reveal(&self) -> String {
        format!("wayleave://{}/{}/{}", self.coordinator.host, self.coordinator.key, self.code.expose())
    }
}

impl FromStr for ClaimToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let bad = |wrong| BadToken { wrong };
        let rest =
            text.trim().strip_prefix("wayleave://").ok_or(bad("it does not begin with wayleave://"))?;
        let [host, key, code] = rest
            .split('/')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| bad("it does not have three parts"))?;
        let code_fits = code.len() == CODE_LETTERS && code.bytes().all(|letter| ALPHABET.contains(&letter));
        Ok(Self {
            coordinator: CoordinatorAddress {
                host: check_host(host).ok_or(bad("the host is not NAME:PORT"))?,
                key: key.parse().map_err(|_| bad("the key is not 64 hexadecimal digits"))?,
            },
            code: if code_fits { Secret::new(code) } else { return Err(bad("the code is not one")) },
        })
    }
}

/// `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`, and nothing else.
fn check_host(text: &str) -> Option<String> {
    let (name, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        }
    };
    fits.then(|| text.to_owned())
}

impl CoordinatorAddress {
    /// The name without port and brackets.
    pub fn name(&self) -> &str {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        name.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(7443)
    }

    /// An address with the host checked.
    pub fn new(host: &str, key: PublicKey) -> Result<Self, BadToken> {
        let host = check_host(host).ok_or(BadToken { wrong: "the host is not NAME:PORT" })?;
        Ok(Self { host, key })
    }
}

impl fmt::Display for CoordinatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back() {
        for host in ["coordinator.example:7443", "192.0.2.1:443", "[2001:db8::1]:7443"] {
            let token = ClaimToken::new(CoordinatorAddress::new(host, PublicKey([5; 32])).unwrap());
            assert_eq!(token.reveal().parse(), Ok(token.clone()));
            assert!(!format!("{token:?}").contains(token.code.expose()));
        }
        let address = CoordinatorAddress::new("[2001:db8::1]:7443", PublicKey([5; 32])).unwrap();
        assert_eq!((address.name(), address.port()), ("2001:db8::1", 7443));
    }

    #[test]
    fn another_text_is_refused_without_being_repeated() {
        let good = ClaimToken::new(CoordinatorAddress::new("a:1", PublicKey([5; 32])).unwrap()).reveal();
        let bad = [
            String::new(),
            "http://a:1/b/c".into(),
            good.replace("a:1", "a"),
            good.replace("a:1", "a b:1"),
            good.replace("a:1", "a:0"),
            good.replace("0505", "05zz"),
            good[..good.len() - 1].to_owned(),
            format!("{good}/x"),
        ];
        for text in bad {
            let error = text.parse::<ClaimToken>().unwrap_err().to_string();
            assert!(error.contains("wayleave://HOST:PORT/KEY/CODE"), "{text}: {error}");
        }
    }
}
