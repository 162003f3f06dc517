//! `[radius]` of the gateway's configuration: who is told of sessions, is asked about names, and may end sessions.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::duration::Span;
use super::error::ConfigError;
use crate::model::Secret;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RadiusFragment {
    nas_identifier: Option<String>,
    interim: Option<Span>,
    timeout: Option<Span>,
    tries: Option<u32>,
    disconnect: Option<SocketAddr>,
    #[serde(default)]
    server: Vec<ServerFragment>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerFragment {
    address: IpAddr,
    secret_file: PathBuf,
    accounting_port: Option<u16>,
    authentication_port: Option<u16>,
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Radius {
    /// NAS-Identifier; empty: the gateway's name.
    pub nas_identifier: String,
    /// How often the server hears of a session that goes on; `None`: never.
    pub interim: Option<Duration>,
    /// For the first answer; it doubles with each try.
    pub timeout: Duration,
    /// Packets to one server before the next one is asked.
    pub tries: u32,
    /// Where servers may ask to end sessions; `None`: nowhere.
    pub disconnect: Option<SocketAddr>,
    /// The first one that answers is used.
    pub servers: Vec<Server>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where; what it asks must come from there, too.
    pub address: IpAddr,
    /// What it and we know.
    pub secret: Secret,
    /// Where it is told of sessions; `None`: it is not.
    pub accounting: Option<SocketAddr>,
    /// Where it is asked about names; `None`: it is not.
    pub authentication: Option<SocketAddr>,
}

/// "at least 16 octets" (RFC 2865, 3); FreeRADIUS takes no more than 128 well.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 16..=128;

type Wrong<'a> = &'a dyn Fn(&str, &str, &str) -> ConfigError;

/// `wrong` takes the key, what was found, and what is allowed.
pub(super) fn check(fragment: RadiusFragment, wrong: Wrong<'_>) -> Result<Radius, ConfigError> {
    let span = |key: &str, found: Option<Span>, default: Span, allowed: [Span; 2]| {
        let span = found.unwrap_or(default);
        match (allowed[0].0..=allowed[1].0).contains(&span.0) {
            true => Ok(span.0),
            false => {
                let allowed = format!("\"{}\" to \"{}\"", allowed[0], allowed[1]);
                Err(wrong(key, &format!("\"{span}\""), &allowed))
            }
        }
    };
    let seconds = |seconds| Span(Duration::from_secs(seconds));
    let nas_identifier = fragment.nas_identifier.unwrap_or_default();
    if nas_identifier.len() > 253 || nas_identifier.chars().any(char::is_control) {
        let found = format!("{} bytes", nas_identifier.len());
        return Err(wrong(
            "radius.nas_identifier",
            &found,
            "at most 253 bytes of text without control characters",
        ));
    }
    let interim = match fragment.interim {
        Some(Span(Duration::ZERO)) => None,
        // A server may ask for no less than a minute (RFC 2869, 5.16); the owner of both may want it sooner.
        interim => Some(span("radius.interim", interim, seconds(600), [seconds(10), seconds(86_400)])?),
    };
    let least = Span(Duration::from_millis(200));
    let timeout = span("radius.timeout", fragment.timeout, seconds(3), [least, seconds(16)])?;
    let tries = fragment.tries.unwrap_or(3);
    if !(1..=4).contains(&tries) {
        return Err(wrong("radius.tries", &tries.to_string(), "1 to 4"));
    }
    if fragment.server.is_empty() {
        return Err(wrong("radius.server", "none", "at least one server with an address and a secret_file"));
    }
    let mut servers: Vec<Server> = Vec::new();
    for (number, server) in fragment.server.into_iter().enumerate() {
        let key = |field: &str| format!("radius.server.{number}.{field}");
        if servers.iter().any(|other| other.address == server.address) {
            let found = server.address.to_string();
            return Err(wrong(&key("address"), &found, "an address that no other server has"));
        }
        let port = |port: Option<u16>, usual: u16| match port.unwrap_or(usual) {
            0 => None,
            port => Some(SocketAddr::new(server.address, port)),
        };
        servers.push(Server {
            address: server.address,
            secret: secret(&server.secret_file, &key("secret_file"), wrong)?,
            accounting: port(server.accounting_port, 1813),
            authentication: port(server.authentication_port, 1812),
        });
    }
    Ok(Radius { nas_identifier, interim, timeout, tries, disconnect: fragment.disconnect, servers })
}

/// The first line of a file that is not everybody's to read. What it holds is not repeated.
fn secret(file: &Path, key: &str, wrong: Wrong<'_>) -> Result<Secret, ConfigError> {
    let shown = format!("{file:?}");
    let allowed = "a file that the gateway can read and others cannot (chmod 640, chgrp wayleave)";
    let text = std::fs::read_to_string(file)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| wrong(key, &format!("{shown}: {error}"), allowed))?;
    let mode = std::fs::metadata(file).map_or(0o777, |file| file.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        return Err(wrong(key, &format!("{shown} with mode {mode:o}"), allowed));
    }
    let line = text.lines().next().unwrap_or_default();
    if !SECRET_OCTETS.contains(&line.len()) || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        let found = format!("{shown} with a first line of {} bytes", line.len());
        return Err(wrong(key, &found, "one line of 16 to 128 letters, digits and signs"));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    fn load(radius: &str) -> Result<Radius, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, secret, mode) in [
            ("secret", "0123456789abcdef\n", 0o640),
            ("open", "0123456789abcdef\n", 0o644),
            ("short", "hunter2\n", 0o600),
        ] {
            write(dir.path().join(name), secret).unwrap();
            set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        let path = dir.path().join("gateway.toml");
        let radius = radius.replace("DIR", &dir.path().display().to_string());
        write(&path, format!("[[network]]\ninterface = \"br-guest\"\n[radius]\n{radius}")).unwrap();
        let settings = crate::config::gateway::load(&path).map_err(|error| error.to_string())?;
        Ok(settings.radius.unwrap())
    }

    const SERVER: &str = "[[radius.server]]\naddress = \"192.0.2.1\"\nsecret_file = \"DIR/secret\"\n";

    #[test]
    fn one_server_with_a_secret_is_enough() {
        let radius = load(SERVER).unwrap();
        assert_eq!((radius.tries, radius.interim), (3, Some(Duration::from_secs(600))));
        let server = &radius.servers[0];
        assert_eq!(server.accounting.unwrap().to_string(), "192.0.2.1:1813");
        assert_eq!(server.authentication.unwrap().to_string(), "192.0.2.1:1812");
        assert!(!format!("{radius:?}").contains("0123"), "{radius:?}");

        let radius = load(&format!(
            "interim = \"0s\"\ndisconnect = \"[::]:3799\"\n{SERVER}authentication_port = 0\naccounting_port = 99\n"
        ));
        let radius = radius.unwrap();
        assert_eq!((radius.interim, radius.servers[0].authentication), (None, None));
        assert_eq!(radius.servers[0].accounting.unwrap().port(), 99);
    }

    #[test]
    fn what_is_wrong_is_named_and_a_secret_is_not() {
        for (text, wanted) in [
            ("", "radius.server: found none; allowed: at least one server"),
            ("interim = \"5s\"\n", "radius.interim: found \"5s\"; allowed: \"10s\" to \"1d\""),
            ("tries = 9\n", "radius.tries: found 9; allowed: 1 to 4"),
            ("timeout = \"1ms\"\n", "radius.timeout: found \"1ms\""),
            ("nas_identifier = \"a\\nb\"\n", "radius.nas_identifier: found 3 bytes"),
            (
                &format!("{SERVER}{SERVER}"),
                "radius.server.1.address: found 192.0.2.1; allowed: an address that no",
            ),
            (&SERVER.replace("DIR/secret", "DIR/none"), "radius.server.0.secret_file: found"),
            (
                &SERVER.replace("DIR/secret", "DIR/open"),
                "with mode 644; allowed: a file that the gateway can read",
            ),
            (
                &SERVER.replace("DIR/secret", "DIR/short"),
                "with a first line of 7 bytes; allowed: one line of 16",
            ),
            (&SERVER.replace("192.0.2.1", "radius.example"), "radius.server.0.address: found"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
            assert!(!error.contains("hunter2") && !error.contains("0123"), "{error}");
        }
    }
}
