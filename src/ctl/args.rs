//! What can be said on the command line. Help, completions and man pages are made from this.
//!
//! Each role and its verbs are there only in a build that has the role. Values are checked here as far as
//! their text goes; what they mean is the daemon's business.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

#[cfg(feature = "gateway")]
use crate::model::MacAddr;
#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
use crate::model::Millis;
#[cfg(any(feature = "gateway", feature = "terminal"))]
use crate::model::Secret;
use crate::model::unhex;
#[cfg(any(feature = "push", feature = "coordinator"))]
use crate::model::{Audience, Link, MessageId, MessageText};
#[cfg(feature = "push")]
use crate::model::{GrantId, Ssid};
#[cfg(any(feature = "push", feature = "coordinator"))]
use crate::wire::local::MessageAsk;
#[cfg(feature = "gateway")]
use crate::wire::local::Target;

#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
use super::units;
#[cfg(any(feature = "coordinator", feature = "portal"))]
use crate::model::trade::Money;
#[cfg(feature = "coordinator")]
use crate::model::{Area, ServiceId, SessionId};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon answers.";

/// What examples after a verb's help begin with.
pub const EXAMPLES: &str = "Examples:\n";

#[cfg(feature = "gateway")]
const GRANT: &str = "Examples:
  wayleave grant 02:00:5e:10:00:01
  wayleave grant 02:00:5e:10:00:01 02:00:5e:10:00:02 --for 2h --quota 500MB
  wayleave grant --code --for 2h";

#[cfg(feature = "gateway")]
const TOPUP: &str = "Examples:
  wayleave topup 02:00:5e:10:00:01 --quota 500MB
  wayleave topup a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 --for 1h --quota 1GB";

#[cfg(feature = "push")]
const PUSH: &str = "Examples:
  wayleave push 'We close at 17:00'
  wayleave push 'Pay here for another hour' --link https://pay.example/ --for 15m \
    --grant a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";

#[cfg(feature = "coordinator")]
const CLAIM: &str = "Examples:
  wayleave claim                 then, on the router: wayleave gateway enroll TOKEN
  wayleave claim --role terminal --for 7d";

#[cfg(feature = "trade")]
const VERIFY: &str = "Examples:
  wayleave ledger verify
  wayleave ledger verify ledger.csv";

#[cfg(any(feature = "coordinator", feature = "portal"))]
const VOUCHERS: &str = "Examples:
  wayleave vouchers print '5.00 EUR' --count 20 --for 90d
  wayleave vouchers print '2.00 EUR' --own";

const DECODE: &str = "Examples:
  wayleave beacon decode dd320266ff010101a0a1a2a3a4a5a6a7a8a9aaabacadaeafe0e1e2e3e4e5e6e704030201ee18bd27c76f0b70f43860d67c3fcf4d";

/// Admits, meters, limits and evicts the guests of a network
///
/// The first word is a role to run (gateway, coordinator, terminal) or a request to the daemon on this machine. A
/// gateway needs no coordinator: its owner lets stations in with `grant` and ends their access with `evict`.
#[derive(Debug, Parser)]
#[command(name = "wayleave", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Print JSON, one object or array per line
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's control socket, if not the usual one below /run
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The first word.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A verb for the gateway on this machine.
    #[cfg(feature = "gateway")]
    #[command(flatten)]
    Verb(GatewayVerb),
    /// A verb for the coordinator on this machine.
    #[cfg(feature = "coordinator")]
    #[command(flatten)]
    CoordinatorVerb(CoordinatorVerb),
    /// A verb for the terminal on this machine.
    #[cfg(feature = "terminal")]
    #[command(flatten)]
    TerminalVerb(TerminalVerb),
    /// Read what access points announce on the air
    Beacon {
        /// What to do with it.
        #[command(subcommand)]
        action: BeaconAction,
    },
    /// Look at configuration files
    Config {
        /// What to do with them.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Check and export what was written down of money
    #[cfg(feature = "trade")]
    Ledger {
        /// What to do with it.
        #[command(subcommand)]
        action: LedgerAction,
    },
    /// Make vouchers
    #[cfg(all(feature = "portal", not(feature = "coordinator")))]
    Vouchers {
        /// What to do.
        #[command(subcommand)]
        action: VouchersAction,
    },
    /// Run the gateway: on the router that is shared
    #[cfg(feature = "gateway")]
    Gateway(GatewayRole),
    /// Run the coordinator: on a server
    #[cfg(feature = "coordinator")]
    Coordinator(CoordinatorRole),
    /// Run the terminal: on the device that wants access
    #[cfg(feature = "terminal")]
    Terminal(TerminalRole),
    /// Write shell completions or man pages, for packagers
    #[cfg(feature = "docs")]
    #[command(hide = true)]
    Generate {
        /// What to write.
        #[command(subcommand)]
        what: Generate,
    },
}

/// Verbs of a gateway's owner.
#[cfg(feature = "gateway")]
#[derive(Debug, Subcommand)]
pub enum GatewayVerb {
    /// The gateway at a glance
    Status,
    /// List the stations that are present
    Stations,
    /// List the grants that are enforced
    Grants,
    /// Let stations in, or whoever has a code: for good, or for a time or a quota
    ///
    /// A code opens the networks that have a wpa_psk_file, for one device at a time, whatever its address. It is shown
    /// once: as a QR code that a telephone joins with, and as 64 digits in eight groups, to be typed without blanks
    /// where a password is asked for. Where a network has an eap_user_file, a name and a password are shown as well.
    /// While its device is there, another one with the same code is turned away.
    #[command(after_help = GRANT)]
    Grant(GrantArgs),
    /// Give a grant more time or more bytes, without interrupting it
    ///
    /// It counts on from what was used. The kernel says again when few bytes are left.
    #[command(after_help = TOPUP)]
    Topup(TopupArgs),
    /// End a grant and free everything that its station held
    ///
    /// First its elements in the kernel's tables: nothing passes any more. Then its association, its neighbour entries
    /// and its lease, and beside them its connections; then it looks whether anything is left. The report says what
    /// each step freed and how long it took.
    Evict {
        /// A station's address, or the id of a grant
        #[arg(value_name = "MAC|GRANT-ID", value_parser = parse_target)]
        target: Target,
    },
    /// Tell terminals something: each of them once
    ///
    /// Those that are connected get it at once, those that come later when they come, until its time is over. It is shown
    /// as text, whatever is in it. Devices without `wayleave terminal` get nothing.
    #[cfg(feature = "push")]
    #[command(after_help = PUSH)]
    Push(PushArgs),
    /// List what terminals are told
    #[cfg(feature = "push")]
    Messages,
    /// Tell a message to nobody any more; who has it keeps it
    #[cfg(feature = "push")]
    Withdraw {
        /// The message's id
        #[arg(value_name = "MESSAGE-ID", value_parser = parse_message)]
        message: MessageId,
    },
    /// Show what happens, as it happens, until Ctrl-C
    Watch,
    /// Say what was found, what is missing and what to do about it
    ///
    /// Each finding is good, a hint or a problem, with what to do about it. The exit code is 1 if there is a problem.
    Doctor,
}

/// What `grant` takes.
#[cfg(feature = "gateway")]
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// Addresses of stations; all are let in, or none
    #[arg(value_name = "MAC", required_unless_present = "code", value_parser = parse_station)]
    pub stations: Vec<MacAddr>,
    /// Instead of a station's address: make a code, for whoever comes with it
    #[arg(long, conflicts_with = "stations")]
    pub code: bool,
    /// Write the QR code to this file, too; whoever can read it can join
    #[cfg(feature = "qr")]
    #[arg(long, value_name = "FILE", requires = "code", conflicts_with = "stations")]
    pub svg: Option<PathBuf>,
    /// Ask a RADIUS server: this name, with the password in the first line of standard input; it says how long and how
    /// much
    #[cfg(feature = "radius")]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["code", "lease", "quota"])]
    pub radius: Option<String>,
    /// How long, as 90s, 15m, 2h or 7d; for good if absent
    #[arg(long = "for", value_name = "TIME", value_parser = units::parse_time)]
    pub lease: Option<Millis>,
    /// How much, both directions together, as 500MB, 1.5GB or 2GiB; without limit if absent
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub quota: Option<u64>,
}

/// What `topup` takes.
#[cfg(feature = "gateway")]
#[derive(Debug, Args)]
pub struct TopupArgs {
    /// A station's address, or the id of a grant
    #[arg(value_name = "MAC|GRANT-ID", value_parser = parse_target)]
    pub target: Target,
    /// How much longer, as 90s, 15m, 2h or 7d
    #[arg(long = "for", value_name = "TIME", required_unless_present = "quota", value_parser = units::parse_time)]
    pub lease: Option<Millis>,
    /// How many bytes more, as 500MB, 1.5GB or 2GiB
    #[arg(long, value_name = "SIZE", required_unless_present = "lease", value_parser = units::parse_size)]
    pub quota: Option<u64>,
}

/// What `push` takes.
#[cfg(feature = "push")]
#[derive(Debug, Args)]
pub struct PushArgs {
    /// What is said.
    #[command(flatten)]
    pub said: SaidArgs,
    /// Only the terminal with this grant; everybody if absent
    #[arg(long, value_name = "GRANT-ID", value_parser = parse_grant, conflicts_with = "network")]
    pub grant: Option<GrantId>,
    /// Only those on the network with this name, or hex:… for other octets
    #[arg(long, value_name = "SSID", value_parser = parse_ssid)]
    pub network: Option<Ssid>,
}

#[cfg(feature = "push")]
impl PushArgs {
    /// As it is asked.
    pub fn ask(self) -> MessageAsk {
        let network = self.network.map(Audience::Network);
        self.said.ask(self.grant.map(Audience::Grant).or(network).unwrap_or(Audience::Everybody))
    }
}

/// What a message says, and for how long.
#[cfg(any(feature = "push", feature = "coordinator"))]
#[derive(Debug, Args)]
pub struct SaidArgs {
    /// One line, 1000 bytes of UTF-8 at most
    #[arg(value_name = "TEXT", value_parser = |text: &str| MessageText::new(text))]
    pub text: MessageText,
    /// Where there is more: an http or https URL
    #[arg(long, value_name = "URL", value_parser = |url: &str| Link::new(url))]
    pub link: Option<Link>,
    /// How long it is told, as 90s, 15m, 2h or 7d; a day if absent
    #[arg(long = "for", value_name = "TIME", value_parser = units::parse_time)]
    pub valid: Option<Millis>,
}

#[cfg(any(feature = "push", feature = "coordinator"))]
impl SaidArgs {
    /// To these.
    pub fn ask(self, to: Audience) -> MessageAsk {
        MessageAsk { to, text: self.text, link: self.link, valid: self.valid }
    }
}

/// Verbs of `beacon`.
#[derive(Debug, Subcommand)]
pub enum BeaconAction {
    /// Read a Wayleave element, or find it in a whole list of elements
    ///
    /// Such lists are what `wpa_cli bss` shows as `ie` and `beacon_ie`. The elements of others are named and passed
    /// over. Whether the token is good only the gateway's coordinator can say.
    #[command(after_help = DECODE)]
    Decode {
        /// Hexadecimal digits; blanks and colons between them do no harm
        #[arg(value_name = "HEX", value_parser = parse_octets)]
        elements: Octets,
    },
}

/// Verbs of `ledger`.
#[cfg(feature = "trade")]
#[derive(Debug, Subcommand)]
pub enum LedgerAction {
    /// Check that every entry follows from the one before, and show what each account holds
    ///
    /// An entry that was changed, left out or put in is named with its line. Without FILE the coordinator's ledgers are
    /// checked, or with --own that of the gateway on this machine; the one who checks is this program, not the daemon.
    #[command(after_help = VERIFY)]
    Verify {
        /// What `export` wrote, or a gateway's own ledger.jsonl
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// That of the gateway on this machine, which sells by itself
        #[cfg(feature = "portal")]
        #[arg(long, conflicts_with = "file")]
        own: bool,
    },
    /// Write the coordinator's ledgers, or the gateway's own, to standard output
    #[cfg(any(feature = "coordinator", feature = "portal"))]
    Export {
        /// As a table for other programs, or one JSON object per line
        #[arg(long, value_name = "FORMAT", default_value = "csv")]
        format: LedgerFormat,
        /// Only that of this gateway
        #[cfg(feature = "coordinator")]
        #[arg(long, value_name = "SERVICE-ID", value_parser = parse_service)]
        gateway: Option<ServiceId>,
        /// That of the gateway on this machine, which sells by itself
        #[cfg(feature = "portal")]
        #[arg(long)]
        #[cfg_attr(feature = "coordinator", arg(conflicts_with = "gateway"))]
        own: bool,
    },
}

/// How a ledger is exported.
#[cfg(any(feature = "coordinator", feature = "portal"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LedgerFormat {
    Csv,
    Json,
}

/// Verbs of `vouchers`.
#[cfg(any(feature = "coordinator", feature = "portal"))]
#[derive(Debug, Subcommand)]
pub enum VouchersAction {
    /// Make vouchers and print them, each with a QR code; their codes are shown this once
    #[command(after_help = VOUCHERS)]
    Print {
        /// What each is good for
        #[arg(value_name = "AMOUNT", value_parser = parse_money)]
        value: Money,
        /// How many
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// How long they are good for, as 2h, 7d or 90d; a year if absent
        #[arg(long = "for", value_name = "TIME", value_parser = units::parse_time)]
        valid: Option<Millis>,
        /// For the portal of the gateway on this machine, which sells by itself, and not for a coordinator
        #[cfg(feature = "portal")]
        #[arg(long)]
        own: bool,
    },
}

/// Octets of a captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Check a file; without FILE and --role, every role's file that is there
    Check {
        /// The file; its role is told from its name unless --role is given
        file: Option<PathBuf>,
        /// Check as this role's; without FILE, the file at its usual place
        #[arg(long)]
        role: Option<Role>,
    },
}

/// A role of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// On the router.
    Gateway,
    /// On a server.
    Coordinator,
    /// On the device that wants access.
    Terminal,
}

impl Role {
    /// All roles, whether or not this build has them.
    pub const ALL: [Role; 3] = [Role::Gateway, Role::Coordinator, Role::Terminal];

    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Coordinator => "coordinator",
            Role::Terminal => "terminal",
        }
    }

    /// The usual place of its configuration.
    pub fn config(self) -> &'static Path {
        Path::new(match self {
            Role::Gateway => "/etc/wayleave/gateway.toml",
            Role::Coordinator => "/etc/wayleave/coordinator.toml",
            Role::Terminal => "/etc/wayleave/terminal.toml",
        })
    }
}

/// How a role is run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Its configuration, if not /etc/wayleave/ROLE.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much it logs
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[allow(missing_docs)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `wayleave gateway`.
#[cfg(feature = "gateway")]
#[derive(Debug, Args)]
pub struct GatewayRole {
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Instead of running it.
    #[command(subcommand)]
    pub action: Option<GatewayAction>,
}

/// What `wayleave gateway` does instead of running.
#[cfg(feature = "gateway")]
#[derive(Debug, Subcommand)]
pub enum GatewayAction {
    /// Enrol with a coordinator; takes effect at the next start
    Enroll(EnrollArgs),
    /// Take its rules out of the kernel once it has stopped: every station passes then
    ///
    /// A gateway that stops leaves its rules in force: who has access keeps it, who has none gets none. This ends
    /// that. Grants are kept and count again when the gateway starts. Needs root; needs no configuration.
    Clear,
}

/// `wayleave coordinator`.
#[cfg(feature = "coordinator")]
#[derive(Debug, Args)]
pub struct CoordinatorRole {
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Instead of running it.
    #[command(subcommand)]
    pub action: Option<CoordinatorAction>,
}

/// What `wayleave coordinator` does instead of running.
#[cfg(feature = "coordinator")]
#[derive(Debug, Subcommand)]
pub enum CoordinatorAction {
    /// The coordinator at a glance
    Status,
    /// Print the OpenAPI document of its HTTP API
    Openapi,
    /// End a session
    Evict {
        /// The session's id
        #[arg(value_name = "SESSION-ID", value_parser = parse_session)]
        session: SessionId,
    },
    /// Tell terminals something: each of them once, by whichever side reaches it first
    Push {
        /// What is said.
        #[command(flatten)]
        said: SaidArgs,
        /// The terminal of this session
        #[arg(long, value_name = "SESSION-ID", value_parser = parse_session, required_unless_present_any = ["gateway", "area"])]
        session: Option<SessionId>,
        /// All terminals at this gateway
        #[arg(long, value_name = "SERVICE-ID", value_parser = parse_service, conflicts_with = "session")]
        gateway: Option<ServiceId>,
        /// All terminals at the gateways of this area
        #[arg(long, value_name = "REGION/NAME", conflicts_with_all = ["session", "gateway"])]
        area: Option<Area>,
    },
    /// List what terminals are told
    Messages,
    /// Tell a message to nobody any more; who has it keeps it
    Withdraw {
        /// The message's id
        #[arg(value_name = "MESSAGE-ID", value_parser = parse_message)]
        message: MessageId,
    },
    /// A verb that needs no role before it.
    #[command(flatten)]
    Verb(CoordinatorVerb),
}

/// Verbs of whoever runs a coordinator.
#[cfg(feature = "coordinator")]
#[derive(Debug, Subcommand)]
pub enum CoordinatorVerb {
    /// Print a token that enrols one gateway or one terminal, once
    #[command(after_help = CLAIM)]
    Claim {
        /// Who may enrol with it
        #[arg(long, value_name = "ROLE", default_value = "gateway")]
        role: Client,
        /// How long it is good for, as 15m, 2h or 7d; an hour if absent
        #[arg(long = "for", value_name = "TIME", value_parser = units::parse_time)]
        valid: Option<Millis>,
    },
    /// List the gateways that are enrolled
    Gateways,
    /// List the sessions
    Sessions {
        /// Only those at this gateway
        #[arg(long, value_name = "SERVICE-ID", value_parser = parse_service)]
        gateway: Option<ServiceId>,
    },
    /// Make vouchers
    Vouchers {
        /// What to do.
        #[command(subcommand)]
        action: VouchersAction,
    },
    /// Say what the silence of a terminal leads to at a gateway
    Policy {
        /// The gateway, as `wayleave gateways` names it
        #[arg(value_name = "SERVICE-ID", value_parser = parse_service)]
        gateway: ServiceId,
        /// corroborate: ask the gateway first; strict: evict at once; default: as configured
        policy: PolicyChoice,
    },
}

/// Who enrols.
#[cfg(feature = "coordinator")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// A router that shares.
    Gateway,
    /// A device that wants access.
    Terminal,
}

/// What a gateway's policy is set to.
#[cfg(feature = "coordinator")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum PolicyChoice {
    Corroborate,
    Strict,
    Default,
}

/// `wayleave terminal`.
#[cfg(feature = "terminal")]
#[derive(Debug, Args)]
pub struct TerminalRole {
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Instead of running it.
    #[command(subcommand)]
    pub action: Option<TerminalAction>,
}

/// What `wayleave terminal` does instead of running.
#[cfg(feature = "terminal")]
#[derive(Debug, Subcommand)]
pub enum TerminalAction {
    /// Enrol with a coordinator; takes effect at the next start
    Enroll(EnrollArgs),
    /// The terminal at a glance
    Status,
    /// A verb that needs no role before it.
    #[command(flatten)]
    Verb(TerminalVerb),
}

/// Verbs of whoever uses a terminal.
#[cfg(feature = "terminal")]
#[derive(Debug, Subcommand)]
pub enum TerminalVerb {
    /// Get access through a gateway that is near
    Ask,
    /// Say that this device will sleep, so that its silence ends nothing
    Sleep {
        /// For how long: seconds, or as 15m or 2h
        #[arg(value_name = "SECONDS", value_parser = units::parse_seconds)]
        time: Millis,
    },
    /// Give access back, and ask for no other
    Leave,
}

/// What `enroll` takes.
#[cfg(any(feature = "gateway", feature = "terminal"))]
#[derive(Debug, Args)]
pub struct EnrollArgs {
    // Not parsed here: a message about a value repeats it, and whoever reads the token can enrol.
    /// The token that the coordinator printed; `-`: read it from standard input
    #[arg(value_name = "TOKEN", value_parser = secret)]
    pub token: Secret,
}

/// Verbs of `generate`.
#[cfg(feature = "docs")]
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Completions for bash, zsh and fish
    Completions {
        /// Where to; is made if it is not there
        dir: PathBuf,
    },
    /// Man pages, section 1
    Man {
        /// Where to; is made if it is not there
        dir: PathBuf,
    },
}

/// Reads a command line, program name first.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(words).map_err(|mut error| {
        if error.kind() == ErrorKind::InvalidSubcommand {
            // clap names what was given; name what is allowed there, too.
            let usage = error.get(ContextKind::Usage).map(|usage| usage.to_string()).unwrap_or_default();
            let allowed = StyledStr::from(&format!("there are {}", words_at(&usage).join(", ")));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![allowed]));
        }
        error
    })
}

/// The subcommands of the command that a usage line (`Usage: wayleave config …`) is about.
fn words_at(usage: &str) -> Vec<String> {
    let mut command = &Cli::command();
    for word in usage.split_whitespace().skip(2) {
        let Some(next) = command.find_subcommand(word) else { break };
        command = next;
    }
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

#[cfg(any(feature = "gateway", feature = "terminal"))]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

fn parse_octets(text: &str) -> Result<Octets, String> {
    let digits: String = text.chars().filter(|char| !char.is_ascii_whitespace() && *char != ':').collect();
    unhex(&digits).map(Octets).ok_or_else(|| "write pairs of hexadecimal digits, as dd320266ff01".to_owned())
}

#[cfg(feature = "coordinator")]
fn parse_session(text: &str) -> Result<SessionId, String> {
    text.parse().map_err(|_| "write the 32 hexadecimal digits of a session's id".to_owned())
}

#[cfg(feature = "coordinator")]
fn parse_service(text: &str) -> Result<ServiceId, String> {
    text.parse().map_err(|_| "write the 32 hexadecimal digits of a gateway's service id".to_owned())
}

#[cfg(any(feature = "coordinator", feature = "portal"))]
fn parse_money(text: &str) -> Result<Money, String> {
    let money: Money = text.parse().map_err(|error| format!("{error}"))?;
    (!money.is_none()).then_some(money).ok_or_else(|| "more than nothing".to_owned())
}

#[cfg(any(feature = "push", feature = "coordinator"))]
fn parse_message(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|_| "write the 32 hexadecimal digits of a message's id".to_owned())
}

#[cfg(feature = "push")]
fn parse_grant(text: &str) -> Result<GrantId, String> {
    text.parse().map_err(|_| "write the 32 hexadecimal digits of a grant's id".to_owned())
}

#[cfg(feature = "push")]
fn parse_ssid(text: &str) -> Result<Ssid, String> {
    let octets = match text.strip_prefix("hex:") {
        Some(digits) => unhex(digits).ok_or("write pairs of hexadecimal digits after hex:")?,
        None => text.as_bytes().to_vec(),
    };
    Ssid::new(octets).map_err(|error| error.to_string())
}

#[cfg(feature = "gateway")]
fn parse_station(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr =
        text.parse().map_err(|_| "write six octets in hexadecimal, as 02:00:5e:10:00:01".to_owned())?;
    if mac.is_station() {
        return Ok(mac);
    }
    Err("a group address, or all zero; no station has it".to_owned())
}

#[cfg(feature = "gateway")]
fn parse_target(text: &str) -> Result<Target, String> {
    if let Ok(grant) = text.parse() {
        return Ok(Target::Grant(grant));
    }
    if text.parse::<MacAddr>().is_ok() {
        return parse_station(text).map(Target::Station);
    }
    Err("write a station's address, as 02:00:5e:10:00:01, or the 32 hexadecimal digits of a grant's id"
        .to_owned())
}
