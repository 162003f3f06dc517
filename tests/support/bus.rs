//! A message bus of its own: the real dbus-daemon, in a temporary directory, ended with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::proc::Program;

/// What everybody may do on a bus for tests.
pub const OPEN: &str = r#"<policy context="default">
  <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy>"#;

/// What Debian's system bus allows before a service adds its own policy (dbus 1.14, system.conf).
pub const LIKE_SYSTEM: &str = r#"<policy context="default">
  <allow user="*"/>
  <deny own="*"/><deny send_type="method_call"/>
  <allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/>
  <allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/>
  <allow receive_type="error"/><allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
</policy>"#;

/// A running bus.
pub struct Bus {
    daemon: Program,
    /// Where it is.
    pub address: String,
    dir: tempfile::TempDir,
}

impl Bus {
    /// Starts it with this policy.
    pub fn start(policy: &str) -> Self {
        Self::start_with(policy, None)
    }

    /// Starts it with this policy and a service's own. Its group `wayleave` is this one.
    pub fn start_with(policy: &str, service: Option<(&Path, &str)>) -> Self {
        let dir = tempfile::Builder::new().prefix("wlbus-").tempdir().expect("a temporary directory");
        // Other users are to reach the socket.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let address = format!("unix:path={}", dir.path().join("bus").display());
        let mut include = String::new();
        if let Some((path, group)) = service {
            let text = fs::read_to_string(path).expect("the service's policy");
            let text = text.replace("group=\"wayleave\"", &format!("group=\"{group}\""));
            let copy = dir.path().join("service.conf");
            fs::write(&copy, text).expect("writable");
            include = format!("<include>{}</include>", copy.display());
        }
        let config = dir.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>{policy}{include}</busconfig>"
        );
        fs::write(&config, text).expect("writable");
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(&config).args(["--nofork", "--nopidfile", "--print-address"]);
        let mut daemon = Program::start("dbus-daemon", command);
        daemon.wait_line("unix:path=", Duration::from_secs(10));
        Self { daemon, address, dir }
    }

    /// A command that speaks to this bus as `program --address=…`, as this user and group if they are given.
    pub fn command(&self, program: &str, user: Option<(u32, u32)>) -> Command {
        let mut command = match user {
            None => Command::new(program),
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}")]);
                command.args(["--clear-groups", "--", program]);
                command
            }
        };
        match program {
            "dbus-monitor" => command.args(["--address", &self.address]),
            _ => command.arg(format!("--address={}", self.address)),
        };
        command.current_dir(self.dir.path());
        command
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.daemon.kill();
    }
}
