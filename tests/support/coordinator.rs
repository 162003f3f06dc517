//! A coordinator for tests: in this process, or as a process that can be killed and stopped.
//!
//! Include `link_client.rs` beside it as `crate::link_client`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wayleave::config::coordinator::Settings;
use wayleave::model::{
    Cause, GrantId, Incarnation, Report, SessionId, Step, StepOutcome, StepReport, Traffic,
};
use wayleave::wire::claim::ClaimToken;
use wayleave::wire::gateway::{FromGateway, Presence, ToGateway};
use wayleave::wire::notice::{Notice, NoticeBody};
use wayleave::wire::sign::Identity;
use wayleave::wire::terminal::Joined;

use crate::link_client::{Door, Gateway, SOON, Terminal, bssid, station, tls};

/// Heartbeats every 200 ms, silence after 600 ms.
pub const QUICK: &str = "
[heartbeat]
interval = \"200ms\"
lapse_factor = 3
[patience]
lease = \"30s\"
grant = \"1s\"
join = \"3s\"
inquiry = \"300ms\"
[limits]
joins_per_minute = 6000
";
pub const SILENCE: Duration = Duration::from_millis(600);

/// A coordinator in this process, with a runtime of its own.
pub struct Coordinator {
    pub dir: PathBuf,
    pub door: Door,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Coordinator {
    pub fn start(dir: &Path, more: &str) -> Self {
        Self::try_start(dir, more).unwrap()
    }

    pub fn try_start(dir: &Path, more: &str) -> Result<Self, String> {
        let settings = settings(dir, more);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let ready_now = ready.clone();
            let run = wayleave::coordinator::run_until(
                settings,
                move |address| ready_now.send(Ok(address)).unwrap(),
                async { drop(stopped.await) },
            );
            if let Err(error) = runtime.block_on(run) {
                let mut why = error.to_string();
                let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
                while let Some(error) = cause {
                    why = format!("{why}: {error}");
                    cause = error.source();
                }
                let _ = ready.send(Err(why));
            }
        });
        let address = is_ready.recv_timeout(SOON).unwrap()?;
        let status = control(dir, &json!({"verb": "status"}));
        let key = status["ok"]["key"].as_str().unwrap().parse().unwrap();
        Ok(Self { dir: dir.to_owned(), door: Door { address, key }, stop: Some(stop), thread: Some(thread) })
    }

    pub fn claim(&self, role: &str) -> String {
        claim(&self.dir, role)
    }

    /// A gateway that is enrolled, connected and announced as access point `number`.
    pub async fn gateway(&self, number: u8) -> (Gateway, Identity) {
        let identity = Identity::generate();
        drop(Gateway::connect(self.door, &identity, Some(&self.claim("gateway"))).await.unwrap());
        (Gateway::up(self.door, &identity, number, "cafe").await, identity)
    }

    /// A session with a first heartbeat.
    pub async fn session(&self, gateway: &mut Gateway, number: u8) -> (Terminal, Identity, Joined) {
        let identity = Identity::generate();
        let mut terminal = Terminal::up(self.door, &identity).await;
        // The announcement came on another link: wait until it is known.
        until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
        let joined = terminal.join(gateway, bssid(1), station(number)).await;
        terminal.heartbeat(&joined).await;
        (terminal, identity, joined)
    }

    pub fn stop(mut self) {
        self.finish();
    }

    pub fn finish(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.finish();
    }
}

pub fn settings(dir: &Path, more: &str) -> Settings {
    Settings::from_text(&dir.join("coordinator.toml"), &text(dir, more)).unwrap()
}

/// What stands before the first table comes before what a test adds.
pub fn text(dir: &Path, more: &str) -> String {
    let (top, tables) =
        more.split_once("\n[").map_or((more, String::new()), |(top, rest)| (top, format!("\n[{rest}")));
    format!(
        "public = \"coordinator.test:7443\"\nlisten = \"127.0.0.1:0\"\nstate_dir = {:?}\nruntime_dir = {:?}\n{top}\n{tables}",
        dir.join("state"),
        dir.join("run")
    )
}

/// One request on the control socket.
pub fn control(dir: &Path, request: &Value) -> Value {
    let mut stream = UnixStream::connect(dir.join("run/coordinator.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

pub fn claim(dir: &Path, role: &str) -> String {
    let answer = control(dir, &json!({"verb": "claim", "role": role}));
    let token: ClaimToken = answer["ok"]["token"].as_str().unwrap().parse().unwrap();
    assert_eq!(token.coordinator.host, "coordinator.test:7443");
    token.code.expose().to_owned()
}

pub fn state_of(dir: &Path, session: &SessionId) -> Option<String> {
    let answer = control(dir, &json!({"verb": "sessions"}));
    let rows = answer["ok"]["sessions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["session"] == session.to_string())?;
    Some(row["state"].as_str().unwrap().to_owned())
}

pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < SOON, "it does not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn presence(
    notice: &Notice,
    associated: Option<bool>,
    inactive_ms: Option<u64>,
    up_bytes: u64,
) -> FromGateway {
    let NoticeBody::Inquire { grant, inquiry, incarnation } = notice.body else {
        panic!("{notice:?} instead of an inquiry")
    };
    FromGateway::Presence(Presence {
        grant,
        moved: Traffic { up_bytes, ..Traffic::default() },
        inquiry,
        associated,
        inactive_ms,
        incarnation: Some(incarnation),
    })
}

pub fn eviction(notice: &Notice) -> (Cause, GrantId, Incarnation) {
    match notice.body {
        NoticeBody::Evict { cause, grant, incarnation } => (cause, grant, incarnation),
        ref other => panic!("{other:?} instead of an eviction"),
    }
}

pub fn report(cause: Cause, grant: GrantId, incarnation: Incarnation) -> Report {
    Report {
        cause,
        grant,
        moved: Traffic { up_bytes: 10, ..Traffic::default() },
        steps: vec![StepReport { step: Step::Flows, outcome: StepOutcome::Done { freed: 3 }, took_us: 40 }],
        station: Some(station(1)),
        total_us: 90,
        incarnation,
    }
}

/// The next message that is no notice.
pub async fn last_message(gateway: &mut Gateway) -> ToGateway {
    loop {
        match gateway.message().await {
            ToGateway::Notice(_) => {}
            other => return other,
        }
    }
}

/// One HTTP request over TLS; status and body.
pub async fn http(door: Door, head: &str) -> (u16, String) {
    http_with(door, head, "").await
}

pub async fn http_with(door: Door, head: &str, body: &str) -> (u16, String) {
    let mut stream = tls(door).await.unwrap();
    let request = format!(
        "{head}\r\nHost: coordinator.test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The peer may close TCP without a TLS close.
    let _ = stream.read_to_string(&mut answer).await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// The program as a coordinator in a process of its own, with this test as its service manager.
pub struct Process {
    pub child: Child,
    pub door: Door,
    manager: UnixDatagram,
    dir: PathBuf,
}

impl Process {
    pub fn start(dir: &Path, more: &str) -> Self {
        let manager_path = dir.join("notify");
        let _ = std::fs::remove_file(&manager_path);
        let manager = UnixDatagram::bind(&manager_path).unwrap();
        manager.set_read_timeout(Some(SOON)).unwrap();
        // A port that is free now.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::configure_at(dir, address, more);
        let mut process = Self {
            child: Command::new(env!("CARGO_BIN_EXE_wayleave"))
                .args(["coordinator", "--config"])
                .arg(dir.join("coordinator.toml"))
                .env("NOTIFY_SOCKET", &manager_path)
                .env("WATCHDOG_USEC", "1000000")
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap(),
            door: Door { address, key: wayleave::model::PublicKey([0; 32]) },
            manager,
            dir: dir.to_owned(),
        };
        process.told("READY=1");
        let status = control(dir, &json!({"verb": "status"}));
        process.door.key = status["ok"]["key"].as_str().unwrap().parse().unwrap();
        process
    }

    /// Writes its configuration anew.
    pub fn configure(&self, more: &str) {
        Self::configure_at(&self.dir, self.door.address, more);
    }

    fn configure_at(dir: &Path, address: std::net::SocketAddr, more: &str) {
        let text = text(dir, more).replace("127.0.0.1:0", &address.to_string());
        std::fs::write(dir.join("coordinator.toml"), text).unwrap();
    }

    /// Waits until it tells its service manager so.
    pub fn told(&self, what: &str) {
        let mut buffer = [0; 512];
        loop {
            let length = self.manager.recv(&mut buffer).expect("it tells its service manager");
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == what) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap()), signal)
            .unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn enrolled(dir: &Path, door: Door) -> (Gateway, Identity) {
    let identity = Identity::generate();
    drop(Gateway::connect(door, &identity, Some(&claim(dir, "gateway"))).await.unwrap());
    (Gateway::up(door, &identity, 1, "cafe").await, identity)
}
