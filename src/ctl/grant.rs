//! `wayleave grant`: lets stations in by hand, or whoever has a code; back when the kernel enforces it, or hostapd
//! has it.

use std::io;
#[cfg(feature = "qr")]
use std::path::Path;

use super::Failure;
use super::args::GrantArgs;
use super::client::Door;
use super::output::Output;
#[cfg(feature = "qr")]
use super::qr::Qr;
use super::units::{bytes, time};
use crate::model::Millis;
use crate::wire::local::{GatewayRequest, GrantAsk, Granted, GrantedCode};

pub(super) fn run(door: &Door, asked: GrantArgs, output: &mut Output<'_>) -> Result<(), Failure> {
    let GrantArgs { stations, lease, quota, .. } = asked;
    let terms = terms(lease, quota);
    if asked.code {
        let request = GatewayRequest::GrantCode { lease, quota };
        let show = |granted: &GrantedCode, output: &mut Output<'_>| show_code(granted, &terms, output);
        let _granted = output.ask(door, &request, show)?;
        #[cfg(feature = "qr")]
        if let Some(path) = asked.svg {
            save(&_granted, &path)?;
        }
        return Ok(());
    }
    #[cfg(feature = "radius")]
    if let Some(name) = asked.radius {
        return radius::run(door, &stations, name, output);
    }
    let grants = stations.iter().map(|station| GrantAsk { station: *station, lease, quota }).collect();
    output
        .ask(door, &GatewayRequest::Grant { grants }, |granted: &Vec<Granted>, output| {
            show(granted, &terms, output)
        })
        .map(drop)
}

#[cfg(feature = "radius")]
mod radius {
    //! For a name and a password.

    use std::io::{self, BufRead, Read};
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::{Failure, Output, terms};
    use crate::ctl::client::Door;
    use crate::model::{MacAddr, Secret};
    use crate::wire::local::{GatewayRequest, GrantedRadius};

    /// Several servers may be asked several times.
    const PATIENCE: Duration = Duration::from_secs(120);

    pub(super) fn run(
        door: &Door,
        stations: &[MacAddr],
        name: String,
        output: &mut Output<'_>,
    ) -> Result<(), Failure> {
        let &[station] = stations else {
            return Err(Failure::usage("--radius lets one station in; name one".to_owned()));
        };
        let door = Door { deadline: PATIENCE, ..door.clone() };
        let request = GatewayRequest::GrantRadius { station, name, password: password()? };
        output.ask(&door, &request, show).map(drop)
    }

    /// The first line of standard input.
    fn password() -> Result<Secret, Failure> {
        let mut line = Zeroizing::new(String::with_capacity(4096));
        // What is longer is no password.
        let input = io::stdin().lock().take(4096).read_line(&mut line);
        input.map_err(|error| Failure::failed("input", error))?;
        Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
    }

    fn show(granted: &GrantedRadius, output: &mut Output<'_>) -> io::Result<()> {
        let terms = terms(granted.lease, granted.quota);
        writeln!(output.out, "{}  grant {}  {terms}", granted.station, granted.id)?;
        match &granted.message {
            Some(message) => writeln!(output.out, "{}", crate::ctl::table::plain(message)),
            None => Ok(()),
        }
    }
}

fn terms(lease: Option<Millis>, quota: Option<u64>) -> String {
    format!(
        "{}, {}",
        lease.map_or_else(|| "for good".to_owned(), |lease| format!("for {}", time(lease))),
        quota.map_or_else(|| "without limit".to_owned(), |quota| format!("up to {}", bytes(quota))),
    )
}

pub(super) fn show(granted: &[Granted], terms: &str, output: &mut Output<'_>) -> io::Result<()> {
    for grant in granted {
        writeln!(output.out, "{}  grant {}  {terms}", grant.station, grant.id)?;
    }
    Ok(())
}

pub(super) fn show_code(granted: &GrantedCode, terms: &str, output: &mut Output<'_>) -> io::Result<()> {
    writeln!(output.out, "grant    {}  {terms}", granted.id)?;
    for network in &granted.networks {
        match network.ssid.as_bytes() {
            [] => writeln!(
                output.out,
                "network  without a name yet: give it ssid in gateway.toml, or start hostapd"
            )?,
            _ => writeln!(output.out, "network  {}", network.ssid)?,
        }
    }
    if let Some(account) = &granted.account {
        writeln!(output.out, "name     {}", account.name)?;
        writeln!(output.out, "password {}", account.password.expose())?;
    }
    if granted.networks.is_empty() {
        return Ok(());
    }
    writeln!(output.out, "code     {}  (without the blanks)", granted.code.groups().expose())?;
    #[cfg(not(feature = "qr"))]
    for wifi in granted.networks.iter().filter_map(|network| network.wifi.as_ref()) {
        writeln!(output.out, "as a QR code: {}", wifi.expose())?;
    }
    #[cfg(feature = "qr")]
    for network in &granted.networks {
        if let Some(qr) = network.wifi.as_ref().and_then(|wifi| Qr::new(wifi.expose())) {
            writeln!(output.out)?;
            qr.write(output.out, output.colours)?;
        }
    }
    Ok(())
}

/// Writes the QR code of the first network that can be said in one.
#[cfg(feature = "qr")]
fn save(granted: &GrantedCode, path: &Path) -> Result<(), Failure> {
    let unwritten = || format!("the grant stands, and {} cannot be written", path.display());
    let wifi = granted.networks.iter().find_map(|network| network.wifi.as_ref());
    let Some(qr) = wifi.and_then(|wifi| Qr::new(wifi.expose())) else {
        let why = anyhow::anyhow!("the network has no name that a QR code can say");
        return Err(Failure::failed("no-name", why.context(unwritten())));
    };
    qr.save(path).map_err(|error| Failure::failed("svg", anyhow::Error::new(error).context(unwritten())))
}
