//! The coordinator's configuration, `/etc/wayleave/coordinator.toml`.
//!
//! `packaging/etc/coordinator.toml` is the text for people: every key, what it does, what holds without it;
//! `tests/examples.rs` holds that true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::duration::Span;
use super::error::{ConfigError, parse, read};
use crate::model::{Link, PublicKey, Secret, ServiceId};
use crate::wire::claim::CoordinatorAddress;

/// Where the file is, unless the command line says otherwise.
pub const PATH: &str = "/etc/wayleave/coordinator.toml";

/// What the file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    public: Option<String>,
    listen: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    policy: Option<DefaultPolicy>,
    terminals: Option<Terminals>,
    api_token_file: Option<PathBuf>,
    #[serde(default)]
    heartbeat: HeartbeatFragment,
    #[serde(default)]
    patience: PatienceFragment,
    #[serde(default)]
    brake: BrakeFragment,
    #[serde(default)]
    limits: LimitsFragment,
    #[serde(default)]
    owners: BTreeMap<String, Vec<String>>,
    stripe: Option<StripeFragment>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StripeFragment {
    key_file: PathBuf,
    webhook_secret_file: PathBuf,
    return_url: String,
    base: Option<String>,
    authorities: Option<PathBuf>,
}

/// A provider of cards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Where it is.
    pub base: String,
    /// The authorities that it is trusted by: a PEM file.
    pub authorities: PathBuf,
    /// The secret key of its API.
    pub key: Secret,
    /// What its webhooks are signed with: any of them.
    pub webhook_secrets: Vec<Secret>,
    /// Where buyers come back to.
    pub return_url: Link,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatFragment {
    interval: Option<Span>,
    lapse_factor: Option<u32>,
    sleep_most: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatienceFragment {
    lease: Option<Span>,
    grant: Option<Span>,
    join: Option<Span>,
    ahead: Option<Span>,
    inquiry: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrakeFragment {
    share_percent: Option<u32>,
    at_least: Option<u32>,
    window: Option<Span>,
    hold: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFragment {
    links: Option<u32>,
    links_per_address: Option<u32>,
    hellos_per_minute: Option<u32>,
    claims_per_hour: Option<u32>,
    joins_per_minute: Option<u32>,
    lookups_per_minute: Option<u32>,
    lookups_per_address: Option<u32>,
    sessions_per_terminal: Option<u32>,
}

/// What silence leads to at a gateway for which nothing else was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultPolicy {
    /// The gateway is asked first.
    #[default]
    Corroborate,
    /// The terminal is evicted at once.
    Strict,
}

/// Which terminals may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terminals {
    /// Any key.
    #[default]
    Open,
    /// A key that was enrolled with a claim.
    Enrolled,
}

/// Settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file they came from; read again on SIGHUP.
    pub source: Option<PathBuf>,
    /// `host:port` under which gateways and terminals reach it; stands in claim tokens.
    pub public: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The identity and the database.
    pub state_dir: PathBuf,
    /// The control socket.
    pub runtime_dir: PathBuf,
    /// For gateways for which nothing else was set.
    pub policy: DefaultPolicy,
    /// Which terminals may ask.
    pub terminals: Terminals,
    /// What opens the HTTP API; `None`: it answers nobody.
    pub api_token: Option<Secret>,
    /// How often terminals are to send a heartbeat.
    pub heartbeat: Duration,
    /// Silence begins after so many intervals.
    pub lapse_factor: u32,
    /// The longest sleep that a terminal may declare.
    pub sleep_most: Duration,
    /// How long grants outlive a lost coordinator.
    pub lease: Duration,
    /// For a gateway to acknowledge a grant.
    pub grant_patience: Duration,
    /// From the grant to the first heartbeat.
    pub join_patience: Duration,
    /// From a grant whose code was given ahead of time to the first heartbeat; zero: no code is.
    pub ahead_patience: Duration,
    /// For a gateway to answer an inquiry.
    pub inquiry_patience: Duration,
    /// The brake on mass silence.
    pub brake: BrakeShare,
    /// Rates and numbers.
    pub limits: Limits,
    /// Gateways that sell in common, by the name of their owner.
    pub owners: BTreeMap<String, BTreeSet<ServiceId>>,
    /// A provider of cards; `None`: vouchers only.
    pub stripe: Option<Stripe>,
}

/// When the brake engages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrakeShare {
    /// More than this share, in percent.
    pub share_percent: u32,
    /// And at least so many.
    pub at_least: u32,
    /// Within this time.
    pub window: Duration,
    /// From then on what gateways themselves do not see any more may be evicted.
    pub hold: Duration,
}

/// Rates and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub links: u32,
    /// Connections at once from one address (one /64 in IPv6).
    pub links_per_address: u32,
    /// Hellos a minute from one address.
    pub hellos_per_minute: u32,
    /// Wrong claim codes an hour from one address.
    pub claims_per_hour: u32,
    /// Joins a minute of one terminal.
    pub joins_per_minute: u32,
    /// Questions which of some access points give access, of one terminal.
    pub lookups_per_minute: u32,
    /// Questions of all terminals at one address, joins and parts of a directory too: many share a telephone company's.
    pub lookups_per_address: u32,
    /// Sessions at once of one terminal.
    pub sessions_per_terminal: u32,
}

impl Settings {
    /// From a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_text(path, &read(path)?)
    }

    /// From a text; `path` is for the errors and for reading it again.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let fragment: Fragment = parse(path, text)?;
        let check = Check { path, text };
        let public = fragment.public.ok_or_else(|| {
            check.invalid("public", "nothing", "the host:port under which gateways and terminals reach it")
        })?;
        if CoordinatorAddress::new(&public, PublicKey([0; 32])).is_err() {
            let allowed = "NAME:PORT, such as \"coordinator.example:7443\" or \"[2001:db8::1]:7443\"";
            return Err(check.invalid("public", format!("{public:?}"), allowed));
        }
        let api_token = match &fragment.api_token_file {
            Some(file) => Some(check.token(file)?),
            None => None,
        };
        let stripe = fragment.stripe.map(|fragment| check.stripe(fragment)).transpose()?;
        let HeartbeatFragment { interval, lapse_factor, sleep_most } = fragment.heartbeat;
        let patience = fragment.patience;
        let brake = fragment.brake;
        let limits = fragment.limits;
        let owners = check.owners(fragment.owners)?;
        Ok(Self {
            source: Some(path.to_owned()),
            public,
            listen: fragment.listen.unwrap_or(SocketAddr::from(([0u16; 8], 7443))),
            state_dir: check.absolute("state_dir", fragment.state_dir, "/var/lib/wayleave-coordinator")?,
            runtime_dir: check.absolute("runtime_dir", fragment.runtime_dir, "/run/wayleave-coordinator")?,
            policy: fragment.policy.unwrap_or_default(),
            terminals: fragment.terminals.unwrap_or_default(),
            api_token,
            heartbeat: check.span("heartbeat.interval", interval, "30s", "100ms", "1h")?,
            lapse_factor: check.number("heartbeat.lapse_factor", lapse_factor, 3, 2, 100)?,
            sleep_most: check.span("heartbeat.sleep_most", sleep_most, "1h", "0ms", "7d")?,
            lease: check.span("patience.lease", patience.lease, "10m", "1s", "7d")?,
            grant_patience: check.span("patience.grant", patience.grant, "10s", "100ms", "10m")?,
            join_patience: check.span("patience.join", patience.join, "2m", "500ms", "1d")?,
            ahead_patience: check.span("patience.ahead", patience.ahead, "7d", "0ms", "365d")?,
            inquiry_patience: check.span("patience.inquiry", patience.inquiry, "15s", "100ms", "10m")?,
            brake: BrakeShare {
                share_percent: check.number("brake.share_percent", brake.share_percent, 15, 1, 100)?,
                at_least: check.number("brake.at_least", brake.at_least, 20, 1, u32::MAX)?,
                window: check.span("brake.window", brake.window, "1m", "1s", "1d")?,
                hold: check.span("brake.hold", brake.hold, "15m", "1s", "30d")?,
            },
            limits: Limits {
                links: check.number("limits.links", limits.links, 200_000, 1, 10_000_000)?,
                links_per_address: check.number(
                    "limits.links_per_address",
                    limits.links_per_address,
                    4096,
                    1,
                    10_000_000,
                )?,
                hellos_per_minute: check.number(
                    "limits.hellos_per_minute",
                    limits.hellos_per_minute,
                    600,
                    1,
                    10_000_000,
                )?,
                claims_per_hour: check.number(
                    "limits.claims_per_hour",
                    limits.claims_per_hour,
                    10,
                    1,
                    10_000,
                )?,
                joins_per_minute: check.number(
                    "limits.joins_per_minute",
                    limits.joins_per_minute,
                    30,
                    1,
                    1_000_000,
                )?,
                lookups_per_minute: check.number(
                    "limits.lookups_per_minute",
                    limits.lookups_per_minute,
                    60,
                    1,
                    1_000_000,
                )?,
                lookups_per_address: check.number(
                    "limits.lookups_per_address",
                    limits.lookups_per_address,
                    6000,
                    1,
                    10_000_000,
                )?,
                sessions_per_terminal: check.number(
                    "limits.sessions_per_terminal",
                    limits.sessions_per_terminal,
                    8,
                    1,
                    10_000,
                )?,
            },
            owners,
            stripe,
        })
    }

    /// From the last heartbeat to the lapse.
    pub fn silence(&self) -> Duration {
        self.heartbeat * self.lapse_factor
    }
}

struct Check<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Check<'_> {
    fn invalid(
        &self,
        key: &str,
        found: impl std::fmt::Display,
        allowed: impl std::fmt::Display,
    ) -> ConfigError {
        ConfigError::invalid(self.path, self.text, key, found, allowed)
    }

    fn number(
        &self,
        key: &str,
        found: Option<u32>,
        default: u32,
        least: u32,
        most: u32,
    ) -> Result<u32, ConfigError> {
        match found.unwrap_or(default) {
            number if (least..=most).contains(&number) => Ok(number),
            number => Err(self.invalid(key, number, format!("{least} to {most}"))),
        }
    }

    fn span(
        &self,
        key: &str,
        found: Option<Span>,
        default: &str,
        least: &str,
        most: &str,
    ) -> Result<Duration, ConfigError> {
        let known = |text| Span::parse(text).unwrap_or(Span(Duration::ZERO));
        let span = found.unwrap_or(known(default));
        if (known(least).0..=known(most).0).contains(&span.0) {
            return Ok(span.0);
        }
        Err(self.invalid(key, format!("\"{span}\""), format!("\"{least}\" to \"{most}\"")))
    }

    fn absolute(&self, key: &str, found: Option<PathBuf>, default: &str) -> Result<PathBuf, ConfigError> {
        let path = found.unwrap_or_else(|| PathBuf::from(default));
        if path.is_absolute() {
            return Ok(path);
        }
        Err(self.invalid(key, format!("{path:?}"), "a path that begins with /"))
    }

    /// What was bought at one gateway counts at all of its owner, so each has one owner.
    fn owners(
        &self,
        fragment: BTreeMap<String, Vec<String>>,
    ) -> Result<BTreeMap<String, BTreeSet<ServiceId>>, ConfigError> {
        let mut all = BTreeSet::new();
        let mut owners: BTreeMap<String, BTreeSet<ServiceId>> = BTreeMap::new();
        for (owner, gateways) in fragment {
            let key = format!("owners.{owner}");
            for text in gateways {
                let allowed =
                    "service ids of gateways, as `wayleave gateways` shows them: 32 hexadecimal digits";
                let service: ServiceId =
                    text.parse().map_err(|_| self.invalid(&key, format!("{text:?}"), allowed))?;
                if !all.insert(service) {
                    let found = format!("{service} for the second time");
                    return Err(self.invalid(&key, found, "each gateway once, with one owner"));
                }
                owners.entry(owner.clone()).or_default().insert(service);
            }
        }
        Ok(owners)
    }

    fn stripe(&self, fragment: StripeFragment) -> Result<Stripe, ConfigError> {
        let secrets = |key: &str, file: &Path| {
            let text = std::fs::read_to_string(file).map_err(|error| {
                self.invalid(key, format!("{file:?}: {error}"), "a file that can be read")
            })?;
            let lines: Vec<Secret> =
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect();
            let good = |secret: &Secret| {
                secret.expose().len() >= 16 && secret.expose().bytes().all(|byte| byte.is_ascii_graphic())
            };
            if lines.is_empty() || !lines.iter().all(good) {
                let found = format!("{file:?} with {} lines", lines.len());
                return Err(self.invalid(
                    key,
                    found,
                    "one secret of 16 letters, digits and signs at least in each line",
                ));
            }
            Ok(lines)
        };
        let base = fragment.base.unwrap_or_else(|| "https://api.stripe.com".to_owned());
        let url = Link::new(fragment.return_url.clone());
        let allowed = "an http or https URL of at most 500 printable ASCII characters";
        Ok(Stripe {
            base,
            authorities: self.absolute(
                "stripe.authorities",
                fragment.authorities,
                "/etc/ssl/certs/ca-certificates.crt",
            )?,
            key: secrets("stripe.key_file", &fragment.key_file)?.swap_remove(0),
            webhook_secrets: secrets("stripe.webhook_secret_file", &fragment.webhook_secret_file)?,
            return_url: url.map_err(|_| self.invalid("stripe.return_url", &fragment.return_url, allowed))?,
        })
    }

    /// The first line of a file; long enough not to be guessed.
    fn token(&self, file: &Path) -> Result<Secret, ConfigError> {
        let key = "api_token_file";
        let text = std::fs::read_to_string(file)
            .map_err(|error| self.invalid(key, format!("{file:?}: {error}"), "a file that can be read"))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < 32 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let found = format!("{file:?} with a first line of {} characters", token.len());
            return Err(self.invalid(key, found, "one line of at least 32 letters, digits and signs"));
        }
        Ok(Secret::new(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<Settings, String> {
        Settings::from_text(Path::new("c.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_is_enough() {
        let settings = from("public = \"c.example:7443\"\n").unwrap();
        assert_eq!(settings.silence(), Duration::from_secs(90));
        assert_eq!(settings.lease, Duration::from_secs(600));
        assert_eq!(settings.policy, DefaultPolicy::Corroborate);
        assert!(settings.api_token.is_none());
    }

    #[test]
    fn every_error_says_where_what_and_what_instead() {
        for (text, expected) in [
            ("", "c.toml: public: found nothing; allowed: the host:port"),
            ("public = \"x\"", "c.toml:1: public: found \"x\"; allowed: NAME:PORT"),
            ("public = \"c:1\"\nlisten = \"here\"", "c.toml:2: listen: found"),
            ("public = \"c:1\"\npolicy = \"lax\"", "allowed: `corroborate` or `strict`"),
            (
                "public = \"c:1\"\n[heartbeat]\ninterval = \"1ms\"",
                "c.toml:3: heartbeat.interval: found \"1ms\"; allowed: \"100ms\" to \"1h\"",
            ),
            ("public = \"c:1\"\n[heartbeat]\ninterval = 30", "allowed: a duration such as"),
            (
                "public = \"c:1\"\n[brake]\nshare_percent = 0",
                "c.toml:3: brake.share_percent: found 0; allowed: 1 to 100",
            ),
            ("public = \"c:1\"\nstate_dir = \"x\"", "c.toml:2: state_dir: found \"x\"; allowed: a path"),
            (
                "public = \"c:1\"\napi_token_file = \"/nonexistent\"",
                "c.toml:2: api_token_file: found \"/nonexistent\"",
            ),
            (
                "public = \"c:1\"\n[owners]\nanne = [\"x\"]",
                "c.toml:3: owners.anne: found \"x\"; allowed: service ids",
            ),
            (
                "public = \"c:1\"\n[owners]\nanne = [\"00112233445566778899aabbccddeeff\"]\n\
                 bob = [\"00112233445566778899aabbccddeeff\"]",
                "c.toml:4: owners.bob: found 00112233445566778899aabbccddeeff for the second time; allowed: each",
            ),
            ("public = \"c:1\"\n[heartbeet]", "c.toml:2: heartbeet: found an unknown key"),
        ] {
            let error = from(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_short_token_is_refused_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let text = format!("public = \"c:1\"\napi_token_file = {:?}", file.path());
        let error = from(&text).unwrap_err();
        assert!(error.contains("first line of 7 characters") && !error.contains("hunter2"), "{error}");
    }
}
