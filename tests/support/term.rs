//! A terminal's world: a real hostapd (driver=wired, EAP) and a real wpa_supplicant at the two ends of a veth
//! pair, each in a network namespace of its own. Everything goes when it is dropped, by a panic too.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;

/// The station's interface.
pub const STATION_IF: &str = "wlsta0";

/// The access point's interface.
pub const AP_IF: &str = "wlap0";

/// Two namespaces, a wire, hostapd, wpa_supplicant.
pub struct TermPlace {
    supplicant: Option<Child>,
    hostapd: Option<Child>,
    /// Files and sockets of this place.
    pub dir: TempDir,
    ap: String,
    sta: String,
}

impl TermPlace {
    /// Makes the place; `name` is unique among the tests of one run.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let ap = format!("wl-{name}-ap-{}", std::process::id());
        let sta = format!("wl-{name}-sta-{}", std::process::id());
        let dir = tempfile::tempdir().expect("a directory");
        let mut place = Self { supplicant: None, hostapd: None, dir, ap, sta };
        for netns in [&place.ap, &place.sta] {
            ip(&["netns", "add", netns]);
            ip(&["-n", netns, "link", "set", "lo", "up"]);
        }
        ip(&[
            "link", "add", AP_IF, "netns", &place.ap, "type", "veth", "peer", "name", STATION_IF, "netns",
            &place.sta,
        ]);
        ip(&["-n", &place.ap, "link", "set", AP_IF, "up"]);
        ip(&["-n", &place.sta, "link", "set", STATION_IF, "up"]);
        for own in ["own", "state", "run"] {
            fs::create_dir(place.path(own)).expect("a directory");
        }
        place.start_hostapd();
        place.start_supplicant();
        place
    }

    /// A path in this place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of wpa_supplicant's control sockets.
    pub fn supplicant_dir(&self) -> PathBuf {
        self.path("wctl")
    }

    /// hostapd's control socket.
    pub fn hostapd_socket(&self) -> PathBuf {
        self.path("hctl").join(AP_IF)
    }

    /// The station's namespace.
    pub fn station_netns(&self) -> &str {
        &self.sta
    }

    /// hostapd as `reference`d for wired 802.1X: `user` with `testpass` by EAP-MD5.
    fn start_hostapd(&mut self) {
        let users = self.path("eap_user");
        fs::write(&users, "\"user\" MD5 \"testpass\"\n").expect("writable");
        let config = self.path("hostapd.conf");
        let text = format!(
            "interface={AP_IF}\ndriver=wired\nctrl_interface={}\nieee8021x=1\neapol_version=2\n\
             use_pae_group_addr=0\neap_reauth_period=0\neap_server=1\neap_user_file={}\n",
            self.path("hctl").display(),
            users.display()
        );
        fs::write(&config, text).expect("writable");
        self.hostapd = Some(self.start(&self.ap, "hostapd", &[config.to_str().expect("UTF-8")]));
        wait_for(&self.hostapd_socket());
    }

    /// wpa_supplicant with one network of the person's, which is disabled by nobody but us.
    pub fn start_supplicant(&mut self) {
        let config = self.path("wpa.conf");
        let text = format!("ctrl_interface={}\nap_scan=0\n", self.supplicant_dir().display());
        fs::write(&config, text).expect("writable");
        let config = config.to_str().expect("UTF-8");
        let arguments = ["-D", "wired", "-i", STATION_IF, "-c", config];
        self.supplicant = Some(self.start(&self.sta, "wpa_supplicant", &arguments));
        wait_for(&self.supplicant_dir().join(STATION_IF));
    }

    /// SIGKILL for wpa_supplicant.
    pub fn kill_supplicant(&mut self) {
        end(&mut self.supplicant);
    }

    /// Answer of `wpa_cli` or `hostapd_cli`: the world's word, not ours.
    pub fn wpa_cli(&self, arguments: &[&str]) -> String {
        let dir = self.supplicant_dir();
        let output =
            Command::new("wpa_cli").arg("-p").arg(dir).args(["-i", STATION_IF]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("wpa_cli").stdout).into_owned()
    }

    /// As [`TermPlace::wpa_cli`], of the access point.
    pub fn hostapd_cli(&self, arguments: &[&str]) -> String {
        let dir = self.path("hctl");
        let output =
            Command::new("hostapd_cli").arg("-p").arg(dir).args(["-i", AP_IF]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("hostapd_cli").stdout).into_owned()
    }

    fn start(&self, netns: &str, program: &str, arguments: &[&str]) -> Child {
        let log = File::create(self.path(&format!("{program}.log"))).expect("a log");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, program]).args(arguments);
        let errors = log.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("iproute2")
    }
}

impl Drop for TermPlace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["hostapd.log", "wpa_supplicant.log"] {
                eprintln!("--- {log}\n{}", fs::read_to_string(self.path(log)).unwrap_or_default());
            }
        }
        end(&mut self.supplicant);
        end(&mut self.hostapd);
        for netns in [&self.ap, &self.sta] {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

/// `ip netns exec` becomes the program: the child is it.
fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Until somebody is bound to the socket: a killed daemon leaves its path behind.
#[track_caller]
fn wait_for(socket: &Path) {
    let started = Instant::now();
    while UnixDatagram::unbound().and_then(|probe| probe.connect(socket)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "nobody at {}", socket.display());
        sleep(Duration::from_millis(10));
    }
}

/// Moves the calling thread, and what it starts, into a namespace: sockets and `/sys` are that one's from
/// here on. For a thread that ends with its test.
#[track_caller]
pub fn enter(netns: &str) {
    let file = File::open(Path::new("/run/netns").join(netns)).expect("the namespace");
    setns(file, CloneFlags::CLONE_NEWNET).expect("root");
    unshare(CloneFlags::CLONE_NEWNS).expect("root");
    for arguments in [["--make-rprivate", "/"].as_slice(), &["-t", "sysfs", "sysfs", "/sys"]] {
        assert!(Command::new("mount").args(arguments).status().expect("mount").success());
    }
}
