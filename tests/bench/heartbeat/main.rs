//! Heartbeats over real TLS WebSockets to the real coordinator program: how many a second, what a connection
//! costs, and how late a lapse is noticed.
//!
//! Coordinator, gateways and terminals share this machine's processors, in a network namespace of their own. A
//! lapse is seen from outside: from the deadline, which is the configured silence after the last heartbeat was
//! handed to the kernel, to the inquiry that the gateway reads on its link. It is measured while everybody else
//! sends as much as the coordinator takes. What the generator costs, and the wheel alone, are printed too.

#[path = "../../support/coordinator.rs"]
#[allow(dead_code)]
mod coordinator;
#[path = "../../support/link_client.rs"]
#[allow(dead_code)]
mod link_client;
#[path = "../../support/mod.rs"]
mod support;
mod terminals;
mod wheel;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coordinator::{claim, control};
use link_client::{Door, Gateway, Nothing, tls};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use support::bench::{kernel, load, median, quantile, rounded, rss_bytes};
use support::daemons::WAYLEAVE;
use support::proc::Program;
use support::wait::{SOON, wait_for};
use terminals::{Crowd, Load, number_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wayleave::model::{GrantId, Traffic};
use wayleave::wire::gateway::{FromGateway, Presence, ToGateway};
use wayleave::wire::notice::NoticeBody;
use wayleave::wire::sign::Identity;

/// As many as the limit of open files lets the coordinator and this process have, and no more than these.
const MOST_TERMINALS: u64 = 20_000;
/// Open files that are no terminals.
const OTHER_FILES: u64 = 500;
const GATEWAYS: u8 = 100;
/// Every so many-th terminal falls silent, at some time within the spread. Prime: they are scattered over the
/// gateways, and too few at each for its brake.
const SILENT: usize = 41;
const SPREAD: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(15);
/// Between two looks at the coordinator's count.
const LOOK: Duration = Duration::from_millis(20);
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7443);
const SILENCE: Duration = Duration::from_secs(6);
const SETTINGS: &str = "
[heartbeat]
interval = \"2s\"
lapse_factor = 3
[limits]
hellos_per_minute = 1000000
lookups_per_address = 10000000
";

/// What a gateway was told of a station.
struct Told {
    at: Instant,
    station: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Inquire,
    Evict,
}

fn main() {
    let load_before = load();
    let wheel = wheel::alone();
    println!("the wheel alone: {wheel}");

    // Before there is a second thread: all of them are to be in it, and the coordinator too.
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "ip link set lo up");
    let most = raise_file_limit(MOST_TERMINALS + OTHER_FILES).saturating_sub(OTHER_FILES);
    let connections = u32::try_from(most.min(MOST_TERMINALS)).expect("thousands");

    let dir = tempfile::Builder::new().prefix("wltest-").tempdir().expect("a temporary directory");
    let coordinator = start(dir.path());
    let pid = coordinator.pid();
    let status = control(dir.path(), &json!({"verb": "status"}));
    let key = status["ok"]["key"].as_str().and_then(|text| text.parse().ok()).expect("a key");
    let door = Door { address: SocketAddr::from(ADDRESS), key };

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads");
    let (tell, mut told) = mpsc::unbounded_channel();
    runtime.block_on(async {
        for number in 0..GATEWAYS {
            let identity = Identity::generate();
            let code = claim(dir.path(), "gateway");
            drop(Gateway::connect(door, &identity, Some(&code)).await.expect("it enrols"));
            tokio::spawn(serve(Gateway::up(door, &identity, number, "cafe").await, tell.clone()));
        }
    });
    wait_for("the announcements", SOON, || {
        let answer = control(dir.path(), &json!({"verb": "gateways"}));
        let announced = answer["ok"].as_array()?.iter().filter(|row| row["bssids"] == 1).count();
        (announced == usize::from(GATEWAYS)).then_some(())
    });

    let before = rss_bytes(pid);
    let begin = Instant::now();
    let mut crowd = runtime.block_on(terminals::join(door, connections, GATEWAYS));
    let joins_per_s = f64::from(connections) / begin.elapsed().as_secs_f64();
    let after_joins = rss_bytes(pid);
    println!("{connections} terminals joined, {joins_per_s:.0} a second");

    let handled = Arc::new(AtomicU64::new(0));
    runtime.spawn(watch(door, Arc::clone(&handled)));
    crowd.saturate(&handled, Instant::now() + WARM_UP);
    let (cpu, count, begin) = (cpu_time(pid), handled.load(Ordering::Relaxed), Instant::now());
    let Load { sent, cpu: generator } = crowd.saturate(&handled, begin + MEASURED);
    let wall = begin.elapsed().as_secs_f64();
    let (cpu, count) =
        ((cpu_time(pid) - cpu).as_secs_f64(), (handled.load(Ordering::Relaxed) - count) as f64);
    let per_s = count / wall;
    let after_load = rss_bytes(pid);
    let rss = (after_load.max(after_joins) - before) as f64 / f64::from(connections);
    println!("{per_s:.0} heartbeats a second, {:.1} us of the coordinator each", cpu / count * 1e6);

    let lapses = lapse(&mut crowd, &handled, &mut told);
    let figures = json!({
        "terminals": connections,
        "gateways": GATEWAYS,
        "joins_per_s": joins_per_s.round(),
        "per_s": per_s.round(),
        "cpu_cores": rounded(cpu / wall),
        "cpu_us_per_heartbeat": rounded(cpu / count * 1e6),
        "generator_cores": rounded(generator.as_secs_f64() / wall),
        "generator_us_per_heartbeat": rounded(generator.as_secs_f64() / sent as f64 * 1e6),
        "rss_bytes_per_connection": rss.round(),
        "rss_bytes": {"without": before, "joined": after_joins, "under_load": after_load},
        "lapses": lapses.inquired.len(),
        "lapses_under_load_per_s": lapses.per_s.round(),
        "lapse_late_ms_p50": rounded(median(&lapses.inquired)),
        "lapse_late_ms_p99": rounded(quantile(&lapses.inquired, 0.99)),
        "evict_late_ms_p99": rounded(quantile(&lapses.evicted, 0.99)),
        "wheel": wheel,
        "load_before": load_before,
        "kernel": kernel(),
    });
    println!("{figures}");
}

/// As many open files as asked for, or as the system allows; the coordinator inherits it.
fn raise_file_limit(files: u64) -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // Above the hard limit only with CAP_SYS_RESOURCE, which containers leave out.
    let raised = [files.max(hard), hard]
        .into_iter()
        .find(|limit| setrlimit(Resource::RLIMIT_NOFILE, *limit, *limit).is_ok());
    raised.expect("the soft limit may be raised to the hard one")
}

/// The coordinator, as it is installed: its usual log level, its files on a disk.
fn start(dir: &Path) -> Program {
    let listen = SocketAddr::from(ADDRESS).to_string();
    let text = coordinator::text(dir, SETTINGS).replace("127.0.0.1:0", &listen);
    let config = dir.join("coordinator.toml");
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(WAYLEAVE);
    command.args(["coordinator", "--config"]).arg(&config);
    let program = Program::start("coordinator", command);
    wait_for("the coordinator to answer", SOON, || {
        std::os::unix::net::UnixStream::connect(dir.join("run/coordinator.sock")).ok()
    });
    program
}

/// A gateway that does at once what it is told, and sees nobody.
async fn serve(mut gateway: Gateway, tell: mpsc::UnboundedSender<Told>) {
    let mut stations: HashMap<GrantId, usize> = HashMap::new();
    loop {
        let signed = match gateway.socket.receive_within(Duration::from_secs(3600)).await {
            Ok(ToGateway::Notice(signed)) => signed,
            Ok(ToGateway::ReportTaken { .. }) => continue,
            Err(Nothing::Gone | Nothing::Closed(..) | Nothing::Silence) => return,
        };
        let at = Instant::now();
        let notice = gateway.open(&signed);
        let tell_of = |grant: &GrantId, what| {
            let _ = tell.send(Told { at, station: stations[grant], what });
        };
        match &notice.body {
            NoticeBody::Grant(spec) => {
                stations.insert(spec.id, number_of(spec.station));
            }
            NoticeBody::Inquire { grant, inquiry, incarnation } => {
                tell_of(grant, What::Inquire);
                let presence = Presence {
                    grant: *grant,
                    moved: Traffic::default(),
                    inquiry: *inquiry,
                    associated: Some(false),
                    inactive_ms: None,
                    incarnation: Some(*incarnation),
                };
                gateway.socket.send(&FromGateway::Presence(presence)).await;
            }
            NoticeBody::Evict { grant, .. } => tell_of(grant, What::Evict),
            NoticeBody::Renew { .. }
            | NoticeBody::Desired { .. }
            | NoticeBody::Bid(_)
            | NoticeBody::Push { .. }
            | NoticeBody::Withdraw { .. } => {}
        }
        if notice.seq.is_some() {
            gateway.acknowledge(&notice).await;
        }
    }
}

/// Reads the coordinator's count of heartbeats, for ever.
async fn watch(door: Door, handled: Arc<AtomicU64>) {
    let mut stream = tls(door).await.expect("TLS");
    let mut answer = Vec::new();
    loop {
        let request = b"GET /metrics HTTP/1.1\r\nHost: coordinator.test\r\n\r\n";
        if stream.write_all(request).await.is_err() {
            return;
        }
        answer.clear();
        // OpenMetrics ends with this line.
        while !answer.ends_with(b"# EOF\n") {
            match stream.read_buf(&mut answer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let count = text.lines().find_map(|line| line.strip_prefix("wayleave_heartbeats_total "));
        handled.store(count.and_then(|word| word.parse().ok()).expect("a count"), Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
}

struct Lapses {
    per_s: f64,
    /// Milliseconds from the deadline.
    inquired: Vec<f64>,
    evicted: Vec<f64>,
}

/// Some fall silent while the others go on.
fn lapse(crowd: &mut Crowd, handled: &AtomicU64, told: &mut mpsc::UnboundedReceiver<Told>) -> Lapses {
    assert!(told.try_recv().is_err(), "somebody lapsed whose heartbeats came");
    let begin = Instant::now();
    let silent = crowd.terminals.len().div_ceil(SILENT);
    for (turn, terminal) in crowd.terminals.iter_mut().step_by(SILENT).enumerate() {
        terminal.silent_from = Some(begin + SPREAD * u32::try_from(turn).expect("few") / silent as u32);
    }
    let until = begin + SPREAD + SILENCE + Duration::from_secs(5);
    let Load { sent, .. } = crowd.saturate(handled, until);
    let mut lapses = Lapses {
        per_s: sent as f64 / begin.elapsed().as_secs_f64(),
        inquired: Vec::new(),
        evicted: Vec::new(),
    };
    while let Ok(Told { at, station, what }) = told.try_recv() {
        let terminal = &crowd.terminals[station];
        assert!(terminal.silent_from.is_some(), "somebody lapsed whose heartbeats came");
        let deadline = terminal.last + SILENCE;
        let late = at.checked_duration_since(deadline).expect("nobody lapses early");
        match what {
            What::Inquire => lapses.inquired.push(late.as_secs_f64() * 1e3),
            What::Evict => lapses.evicted.push(late.as_secs_f64() * 1e3),
        }
    }
    assert_eq!(lapses.inquired.len(), silent, "everybody silent is inquired of, once");
    assert_eq!(lapses.evicted.len(), silent, "and evicted, once");
    lapses
}

/// CPU time of all threads of a process: `/proc/PID/task/TID/schedstat`, in nanoseconds.
fn cpu_time(pid: i32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanos = tasks.flatten().map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}
