//! A real FreeRADIUS, with a directory of its own: nothing of `/etc/freeradius` is read, and no service is started.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::netns::Netns;
use super::proc::Program;
use super::wait::SOON;

/// What servers and gateway know.
pub const SECRET: &str = "a-secret-of-the-lab";

/// A running server.
#[derive(Debug)]
pub struct FreeRadius {
    /// The program.
    pub program: Program,
    dir: PathBuf,
    netns: String,
}

/// One accounting record as the server wrote it down.
pub type Record = BTreeMap<String, String>;

impl FreeRadius {
    /// Serves accounting and access at this address; `users` as in its file `users`. Files below `dir`. Back when it
    /// serves.
    #[track_caller]
    pub fn start(netns: &Netns, address: IpAddr, dir: &Path, users: &str) -> Self {
        let dir = dir.join(format!("radius-{address}"));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("users"), users).expect("writable");
        fs::write(dir.join("radiusd.conf"), config(&dir, address)).expect("writable");
        let program = launch(netns.name(), &dir);
        Self { program, dir, netns: netns.name().to_owned() }
    }

    /// Starts it again after it was killed.
    #[track_caller]
    pub fn again(&mut self) {
        self.program = launch(&self.netns, &self.dir);
    }

    /// From its next start on its answers about access have no Message-Authenticator.
    #[track_caller]
    pub fn signs_nothing(&self) {
        let path = self.dir.join("radiusd.conf");
        let text = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, text.replace("Message-Authenticator := 0x00", "Reply-Message += \"\""))
            .expect("writable");
    }

    /// All that it has written down of what it was told.
    pub fn text(&self) -> String {
        fs::read_to_string(self.dir.join("detail")).unwrap_or_default()
    }

    /// What it was told, in its order.
    pub fn records(&self) -> Vec<Record> {
        let text = self.text();
        let entries = text.split("\n\n").filter(|entry| entry.contains('='));
        entries
            .map(|entry| {
                let pairs = entry.lines().filter_map(|line| line.strip_prefix('\t')?.split_once(" = "));
                pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
            })
            .collect()
    }

    /// Those of one kind (Acct-Status-Type).
    pub fn of_kind(&self, kind: &str) -> Vec<Record> {
        self.records().into_iter().filter(|record| record["Acct-Status-Type"] == kind).collect()
    }
}

/// Octets of a record, both words of them.
pub fn octets(record: &Record, direction: &str) -> u64 {
    let word = |name: &str| record[&format!("Acct-{direction}-{name}")].parse::<u64>().expect("a number");
    word("Gigawords") << 32 | word("Octets")
}

/// The part of the gateway's configuration that names these servers; `more` is added to `[radius]`.
pub fn settings(dir: &Path, servers: &[IpAddr], more: &str) -> String {
    let secret = dir.join("radius.secret");
    fs::write(&secret, format!("{SECRET}\n")).expect("writable");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let mut text = format!("[radius]\n{more}\n");
    for server in servers {
        text +=
            &format!("[[radius.server]]\naddress = \"{server}\"\nsecret_file = \"{}\"\n", secret.display());
    }
    text
}

#[track_caller]
fn launch(netns: &str, dir: &Path) -> Program {
    let mut command = std::process::Command::new("ip");
    command
        .args(["netns", "exec", netns, "freeradius", "-f", "-l", "stdout", "-n", "radiusd", "-d"])
        .arg(dir);
    let mut program = Program::start("freeradius", command);
    program.wait_line("Ready to process requests", SOON);
    program
}

/// FreeRADIUS before 3.2.5 signs its answers about access only when it is told to.
fn config(dir: &Path, address: IpAddr) -> String {
    let dir = dir.display();
    let family = if address.is_ipv4() { "ipaddr" } else { "ipv6addr" };
    let any = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    format!(
        "prefix = /usr
name = radiusd
libdir = /usr/lib/freeradius
confdir = {dir}
logdir = {dir}
run_dir = {dir}
max_request_time = 5
cleanup_delay = 2
hostname_lookups = no
proxy_requests = no
log {{
  destination = stdout
}}
security {{
  max_attributes = 200
  reject_delay = 0
  status_server = no
}}
client lab {{
  {family} = {any}
  secret = {SECRET}
  require_message_authenticator = yes
}}
modules {{
  pap {{
  }}
  files {{
    usersfile = {dir}/users
  }}
  detail {{
    filename = {dir}/detail
    permissions = 0600
  }}
}}
server default {{
  listen {{
    type = auth
    {family} = {address}
    port = 1812
  }}
  listen {{
    type = acct
    {family} = {address}
    port = 1813
  }}
  authorize {{
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
  }}
  post-auth {{
    update reply {{
      Message-Authenticator := 0x00
    }}
    Post-Auth-Type REJECT {{
      update reply {{
        Message-Authenticator := 0x00
      }}
    }}
  }}
  accounting {{
    detail
  }}
}}
"
    )
}
