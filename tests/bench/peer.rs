//! openNDS beside ours, in the same run: to admit a client, to end it, and what forwarding costs, with 1, 100 and
//! 1000 clients present.
//!
//! openNDS is the real program of Debian's package, unpacked by `support/opennds.sh`; `./run bench peer` says where.
//! Admitting and ending are timed over each program's own control socket, for a client beyond those present;
//! forwarding as in `forward.rs`, for its oldest and its newest client, because its rules are lists.
//!
//! Asked by an address of more than eight characters, openNDS starts four processes for every client that it
//! knows: to admit a thousand such clients takes hours. Those that only have to be there have short addresses, with
//! which it is quick; whoever is timed has an ordinary one. `present` says how many there were when time was up.
//! With a thousand it may say "No" to a client that it took before: `refused` counts those, and they have no time.

#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use support::bench::{Caller, Quiet, grants, guest, kernel, load, median, quantile, rounded};
use support::daemons::WAYLEAVE;
use support::forwarding::{Costs, Inside, Router, Way};
use support::frame::mac_text;
use support::lab::BRIDGE;
use support::proc::Program;

/// How many clients are to be present, and how often one more comes and goes at openNDS.
const PRESENT: [(u32, usize); 3] = [(1, 20), (100, 10), (1_000, 4)];
/// How often at ours.
const TIMES: usize = 200;
const ROUNDS: usize = 15;
const SAMPLE: Duration = Duration::from_millis(20);
/// For openNDS to take clients in; then it is measured with those that are there.
const FILLING: Duration = Duration::from_secs(400);
const PATIENCE: Duration = Duration::from_secs(120);
/// By then it answers on its socket, or has ended.
const SETTLING: Duration = Duration::from_secs(5);
const STARTS: usize = 4;
/// Larger than a lab's: there must be a thousand addresses of at most eight characters.
const INSIDE: Inside = (Ipv4Addr::new(10, 0, 0, 1), 12);

const OLDEST: u32 = 0;
/// The first of those that come last, one for each number of clients present: with a thousand of them openNDS does
/// not take everybody again that it sent away before.
const NEWEST: u32 = 1;
/// The first of those that come and go, likewise.
const PASSING: u32 = NEWEST + PRESENT.len() as u32;
/// From here on they are only there.
const OTHERS: u32 = PASSING + PRESENT.len() as u32;

fn main() {
    let Some(unpacked) = std::env::var_os("OPENNDS") else {
        panic!("OPENNDS is to name the directory with its unpacked packages: ./run bench peer")
    };
    let load_before = load();
    let routers = [(); 3].map(|()| Router::new(INSIDE));
    let [plain, our_router, their_router] = &routers;
    for router in &routers {
        for client in 0..OTHERS {
            router.add_client(guest(client), address(client));
        }
    }
    let gateway = Quiet::start(Path::new(WAYLEAVE), &our_router.gateway, our_router.dir.path());
    let opennds = OpenNds::start(their_router, Path::new(&unpacked));
    let version = opennds.version();
    println!("openNDS {version} runs");

    let (begin, mut others, mut figures) = (Instant::now(), 0, Map::new());
    opennds.ask("auth", OLDEST);
    gateway.caller().ask(&grants([guest(OLDEST)]));
    for (stage, (wanted, times)) in (0..).zip(PRESENT) {
        let passing = PASSING + stage;
        let before = others;
        while others + 2 < wanted && begin.elapsed() < FILLING {
            their_router.add_client(guest(OTHERS + others), address(OTHERS + others));
            opennds.ask("auth", OTHERS + others);
            others += 1;
        }
        // Who is measured as the newest comes when the others are there, and leaves before more come.
        let newest = if wanted > 1 { NEWEST + stage } else { OLDEST };
        if newest != OLDEST {
            opennds.ask("auth", newest);
            let new = (before..others).map(|number| guest(OTHERS + number));
            gateway.caller().ask(&grants(new.chain([guest(newest)])));
        }
        let mut row = Map::new();
        let present = if newest != OLDEST { others + 2 } else { 1 };
        row.insert("present".to_owned(), json!(present));
        println!("{present} clients present after {:.0} s", begin.elapsed().as_secs_f64());

        let theirs = come_and_go(times, |verb| opennds.try_ask(verb, passing));
        // Anew: the gateway does not wait for a caller that is silent for as long as openNDS takes.
        let mut ours = gateway.caller();
        let our_own = come_and_go(TIMES, |verb| Some(ask_ours(&mut ours, verb, passing)));
        for (name, [auth, deauth]) in [("opennds", theirs), ("wayleave", our_own)] {
            let attempts = if name == "opennds" { times } else { TIMES };
            let mut spans = json!({"times": auth.len(), "refused": attempts - auth.len()});
            for (word, spent) in
                [("auth", auth), ("deauth", deauth)].iter().filter(|(_, spent)| !spent.is_empty())
            {
                spans[format!("{word}_ms_p50")] = json!(rounded(median(spent)));
                spans[format!("{word}_ms_most")] = json!(rounded(quantile(spent, 1.0)));
            }
            println!("{present:>5} {name:<15} {spans}");
            row.insert(name.to_owned(), spans);
        }
        let paths = [
            ("plain", plain, OLDEST),
            ("wayleave", our_router, OLDEST),
            ("opennds_oldest", their_router, OLDEST),
            ("opennds_newest", their_router, newest),
        ];
        for (way, word) in [(Way::Up, "up_ratio"), (Way::Down, "down_ratio")] {
            let senders = paths.map(|(_, router, client)| router.sender(way, guest(client), address(client)));
            let costs = Costs::of(&senders, ROUNDS, SAMPLE);
            let ratios: Map<String, Value> = (1..paths.len())
                .map(|at| (paths[at].0.to_owned(), json!(rounded(median(&costs.ratios(at))))))
                .collect();
            let ratios = Value::Object(ratios);
            println!("{present:>5} {word:<15} {ratios}");
            row.insert(word.to_owned(), ratios);
        }
        if newest != OLDEST {
            opennds.ask("deauth", newest);
            ask_ours(&mut gateway.caller(), "deauth", newest);
        }
        figures.insert(wanted.to_string(), Value::Object(row));
    }
    let line = json!({
        "n": figures,
        "opennds": version,
        "rounds": ROUNDS,
        "took_s": begin.elapsed().as_secs(),
        "load_before": load_before,
        "kernel": kernel(),
    });
    println!("{line}");
}

/// Milliseconds for each `auth` and each `deauth`; who is refused (`None`) has none.
fn come_and_go(times: usize, mut ask: impl FnMut(&str) -> Option<Duration>) -> [Vec<f64>; 2] {
    let [mut auths, mut deauths] = [Vec::new(), Vec::new()];
    for _ in 0..times {
        let Some(auth) = ask("auth") else { continue };
        auths.push(auth.as_secs_f64() * 1e3);
        deauths.extend(ask("deauth").map(|deauth| deauth.as_secs_f64() * 1e3));
    }
    [auths, deauths]
}

/// The same of ours: a grant, or an eviction with everything it frees.
fn ask_ours(ours: &mut Caller, verb: &str, client: u32) -> Duration {
    let request = match verb {
        "auth" => grants([guest(client)]),
        _ => json!({"verb": "evict", "target": {"station": mac_text(guest(client))}}),
    };
    let (begin, end, _) = ours.timed(&request);
    end - begin
}

/// Short for those that are only there, ordinary for the others; none is the beginning of another, because `deauth`
/// takes the rules of such a one along.
fn address(client: u32) -> Ipv4Addr {
    match client.checked_sub(OTHERS) {
        None => Ipv4Addr::new(10, 7, 100, client as u8 + 1),
        Some(other) => {
            // 10.0.0.1 is the router.
            let digit = |unit: u32| ((other + 2) / unit % 10) as u8;
            Ipv4Addr::new(10, digit(100), digit(10), digit(1))
        }
    }
}

/// The real program.
struct OpenNds {
    _program: Program,
    socket: PathBuf,
}

impl OpenNds {
    /// Starts it on [`BRIDGE`] of a router. Every client must be in the lease file, or it is refused; it must not
    /// look for idle ones meanwhile (`checkinterval`, in seconds), and take clients that saw no portal.
    #[track_caller]
    fn start(router: &Router, unpacked: &Path) -> Self {
        let files = router.dir.path().join("opennds");
        fs::create_dir(&files).expect("a directory");
        let config = format!(
            "gatewayinterface {BRIDGE}\nmaxclients 2000\ncheckinterval 3000\npreauthidletimeout 120\n\
             allow_preemptive_authentication 1\nndsctlsocket /tmp/files/ndsctl.sock\n\
             FirewallRuleSet authenticated-users {{\n}}\n\
             FirewallRuleSet users-to-router {{\nFirewallRule allow udp port 53\nFirewallRule allow udp port 67\n}}\n"
        );
        fs::write(files.join("opennds.conf"), config).expect("a file");
        let mut leases = String::new();
        for client in 0..OTHERS + PRESENT[2].0 {
            let (station, address) = (mac_text(guest(client)), address(client));
            let _ = writeln!(leases, "4000000000 {station} {address} host{client} *");
        }
        fs::write(files.join("dhcp.leases"), leases).expect("a file");

        // It ends by itself, soon after some of its starts, when it has not read the routes.
        (0..STARTS)
            .find_map(|_| Self::try_start(router, unpacked, &files))
            .unwrap_or_else(|| panic!("openNDS ended after each of {STARTS} starts"))
    }

    /// `None`: it did not stay.
    #[track_caller]
    fn try_start(router: &Router, unpacked: &Path, files: &Path) -> Option<Self> {
        let mut command = router.gateway.command("unshare");
        command.args(["--kill-child", "--fork", "--pid", "--mount-proc", "--mount"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/opennds.sh"));
        command.arg("run").arg(unpacked).arg(files);
        let mut program = Program::start("openNDS", command);
        program.wait_line("openNDS is now running", PATIENCE);
        let opennds = Self { _program: program, socket: files.join("ndsctl.sock") };
        // It makes the socket later, and leaves whoever comes too early without an answer.
        std::thread::sleep(SETTLING);
        opennds.try_say("status", PATIENCE).ok().map(|_| opennds)
    }

    /// One request as its `ndsctl` makes it, without that program's own time.
    fn try_say(&self, request: &str, patience: Duration) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(format!("{request}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[track_caller]
    fn say(&self, request: &str) -> String {
        self.try_say(request, PATIENCE).unwrap_or_else(|error| panic!("openNDS: {request}: {error}"))
    }

    /// `auth` or `deauth`, which must succeed.
    #[track_caller]
    fn ask(&self, verb: &str, client: u32) {
        let took = self.try_ask(verb, client);
        assert!(took.is_some(), "openNDS said No: {verb} {}", address(client));
    }

    /// How long `auth` or `deauth` took; `None`: it said No.
    #[track_caller]
    fn try_ask(&self, verb: &str, client: u32) -> Option<Duration> {
        let begin = Instant::now();
        match &*self.say(&format!("{verb} {}", address(client))) {
            "Yes" => Some(begin.elapsed()),
            "No" => None,
            answer => panic!("openNDS: {verb} {}: {answer}", address(client)),
        }
    }

    #[track_caller]
    fn version(&self) -> String {
        let status = self.say("status");
        let version = status.lines().find_map(|line| line.strip_prefix("Version: "));
        version.unwrap_or_else(|| panic!("no version in {status}")).to_owned()
    }
}
