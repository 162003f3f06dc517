//! Man pages: what `--help` says, and beside it examples, exit status, files, signals.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

type Items = &'static [(&'static str, &'static str)];

const EXIT_STATUS: Items = &[
    ("0", "It was done. A daemon: it ended as it was asked to."),
    (
        "1",
        "It was refused, or it failed. evict: not everything was freed. doctor: there is a problem. config check: \
         the file cannot be used.",
    ),
    ("2", "The words cannot be meant so."),
    ("3", "No daemon answers: it does not run, does not let this user in, or hangs."),
];

const ERRORS: &str = "What failed is one sentence on standard error; with --json it is {\"error\": {\"word\": …, \
    \"sentence\": …}}, where the word is for programs and stays the same between versions. In JSON, times are in \
    milliseconds unless their name says otherwise; bytes are those of layer 3, the IP header included.";

const FILES: Items = &[
    (
        "/etc/wayleave/gateway.toml, coordinator.toml, terminal.toml",
        "The configuration of each role. /usr/share/doc/wayleave/examples has one of each, with every key.",
    ),
    (
        "/run/wayleave/gateway.sock, /run/wayleave-coordinator/coordinator.sock, /run/wayleave-terminal/terminal.sock",
        "The control sockets: for root and the group of the daemon. One JSON object per line in each direction.",
    ),
    (
        "/var/lib/wayleave, /var/lib/wayleave-coordinator, /var/lib/wayleave-terminal",
        "What survives a reboot: the key of the role, with whom it is enrolled, grants, the coordinator's database.",
    ),
];

const ENVIRONMENT: Items = &[
    (
        "NO_COLOR",
        "If it is set and not empty, tables have no colours. They have none either where the output is no terminal.",
    ),
    ("DBUS_SYSTEM_BUS_ADDRESS", "The bus of a gateway, if not the usual one."),
];

/// One page for the command and one for each of its subcommands.
pub(super) fn write(command: &Command, dir: &Path) -> io::Result<()> {
    let shown: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    for subcommand in &shown {
        write(subcommand, dir)?;
    }
    let page = Man::new(command.clone()).manual("Wayleave");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if !shown.is_empty() {
        page.render_subcommands_section(&mut text)?;
    }
    more(command).to_writer(&mut text)?;
    fs::write(dir.join(page.get_filename()), text)
}

fn more(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let is_whole = name == "wayleave";
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some(examples) = examples.strip_prefix(super::args::EXAMPLES) {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines().filter(|line| !line.is_empty()) {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
    section(&mut roff, "EXIT STATUS", EXIT_STATUS);
    roff.control("PP", []);
    roff.text([roman(ERRORS)]);
    if let Some(signals) = signals(name) {
        section(&mut roff, "SIGNALS", signals);
    }
    if is_whole || signals(name).is_some() {
        section(&mut roff, "FILES", FILES);
        section(&mut roff, "ENVIRONMENT", ENVIRONMENT);
    }
    roff.control("SH", ["SEE ALSO"]);
    let parent = name.rsplit_once('-').map_or("wayleave-gateway", |(parent, _)| parent);
    roff.text([bold(parent), roman("(1), /usr/share/doc/wayleave/README.md")]);
    roff
}

fn signals(name: &str) -> Option<Items> {
    Some(match name {
        "wayleave-gateway" => &[
            ("SIGHUP", "Reads its configuration again; stations are not touched."),
            ("SIGTERM, SIGINT", "Ends. What is enforced stays enforced; see wayleave-gateway-clear(1)."),
        ],
        "wayleave-coordinator" => &[
            ("SIGHUP", "Reads its configuration again; links stay."),
            ("SIGTERM, SIGINT", "Ends once everything decided is on the disk."),
        ],
        "wayleave-terminal" => &[("SIGTERM, SIGINT", "Gives access back, leaves the network and ends.")],
        _ => return None,
    })
}

fn section(roff: &mut Roff, heading: &str, items: Items) {
    roff.control("SH", [heading]);
    for (term, text) in items {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}
