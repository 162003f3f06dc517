//! The command line against a socket: what it asks, what it makes of good answers and of bad ones.
//!
//! The daemon here is a thread that reads one line and then does what the test says. How answers look as
//! text is tested in `src/ctl/tests.rs`.
#![cfg(feature = "gateway")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wayleave::ctl::Failure;
use wayleave::ctl::client::{ClientError, Daemon, Door};
use wayleave::wire::local::{GatewayRequest, GrantRow};

#[test]
fn a_request_is_one_line_and_the_answer_comes_back() {
    let daemon = FakeDaemon::answering(r#"{"ok":[]}"#);
    assert!(daemon.door(2000).ask::<Vec<GrantRow>>(&GatewayRequest::Grants).unwrap().is_empty());
    assert_eq!(daemon.heard(), r#"{"verb":"grants"}"#);
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let daemon = FakeDaemon::new(|mut stream| {
        for byte in br#"{"ok":"a string of some length"}"# {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(b"\n").unwrap();
    });
    assert_eq!(daemon.ask(2000).unwrap(), "a string of some length");
}

#[test]
fn a_long_answer_is_read_to_its_end() {
    let text = "x".repeat(5_000_000);
    let daemon = FakeDaemon::answering(&format!(r#"{{"ok":"{text}"}}"#));
    assert!(daemon.ask(8000).unwrap() == text);
}

#[test]
fn a_refusal_keeps_its_word_and_its_sentence() {
    let daemon = FakeDaemon::answering(r#"{"error":{"word":"no-such-grant","sentence":"none of 3"}}"#);
    let error = daemon.ask(2000).unwrap_err();
    assert_eq!((error.word(), error.to_string().as_str()), ("no-such-grant", "none of 3"));
    assert_eq!(Failure::from(error).exit_code(), 1);
}

#[test]
fn an_answer_that_is_none_is_told_as_such() {
    for line in ["", "hello", "{}", r#"{"ok":7}"#, r#"{"ok":"a"}{"ok":"b"}"#, "\u{0}", r#"{"ok":"a""#] {
        let error = FakeDaemon::answering(line).ask(2000).unwrap_err();
        assert!(matches!(error, ClientError::Unreadable { .. }), "{line:?}: {error}");
        assert_eq!(Failure::from(error).exit_code(), 1);
    }
    let not_text = FakeDaemon::new(|mut stream| stream.write_all(b"{\"ok\":\"\xff\"}\n").unwrap());
    assert!(matches!(not_text.ask(2000), Err(ClientError::Unreadable { .. })));
}

#[test]
fn a_daemon_that_says_nothing_is_given_up_at_the_deadline() {
    let daemon = FakeDaemon::new(|mut stream| drop(stream.read(&mut [0])));
    let (error, waited) = timed(|| daemon.ask(300).unwrap_err());
    assert!(matches!(error, ClientError::Hung { .. }), "{error}");
    assert!(error.to_string().contains("the gateway does not answer: 300 ms went by at /"), "{error}");
    assert_eq!(Failure::from(error).exit_code(), 3);
    assert!(waited >= Duration::from_millis(290) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_daemon_that_drips_does_not_move_the_deadline() {
    let daemon = FakeDaemon::new(|mut stream| {
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let (error, waited) = timed(|| daemon.ask(300).unwrap_err());
    assert!(matches!(error, ClientError::Hung { .. }), "{error}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_daemon_that_accepts_nothing_is_given_up_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("g.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    // Until the queue of connections that wait to be accepted is full (listen(2), somaxconn).
    let door = door(&socket, 100);
    let mut held = Vec::new();
    let error = loop {
        match door.send(&GatewayRequest::Status) {
            Ok(conversation) => held.push(conversation),
            Err(error) => break error,
        }
        assert!(held.len() < 10_000, "no end of the queue");
    };
    assert!(matches!(error, ClientError::Hung { .. }), "{error}");
}

#[test]
fn a_daemon_that_hangs_up_early_is_told_as_such() {
    for part in ["", r#"{"ok":"#] {
        let daemon = FakeDaemon::new(move |mut stream| stream.write_all(part.as_bytes()).unwrap());
        let error = daemon.ask(2000).unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error}");
        assert_eq!(Failure::from(error).exit_code(), 3);
    }
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("g.sock");
    let error = door(&socket, 300).ask::<String>(&GatewayRequest::Status).unwrap_err().to_string();
    assert!(error.contains("g.sock does not exist. Is `wayleave gateway` running?"), "{error}");

    drop(UnixListener::bind(&socket).unwrap());
    let error = door(&socket, 300).ask::<String>(&GatewayRequest::Status).unwrap_err().to_string();
    assert!(error.contains("nobody listens at /") && error.contains("start it again"), "{error}");

    let long = dir.path().join("x".repeat(200));
    let error = door(&long, 300).ask::<String>(&GatewayRequest::Status).unwrap_err();
    assert!(matches!(error, ClientError::System { .. }), "{error}");
}

#[test]
fn text_is_for_people_and_json_for_programs() {
    let row = r#"{"id":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","station":"02:00:5e:10:00:01","origin":"owner","incarnation":1,"moved":{"up_bytes":1,"down_bytes":2,"up_packets":1,"down_packets":1},"present":true,"newer":[1]}"#;
    let answer = format!(r#"{{"ok":[{row}]}}"#);

    let done = FakeDaemon::answering(&answer).run(&["grants"]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.starts_with("GRANT ") && text.contains("for good") && !text.contains('\x1b'), "{text}");
    assert_eq!(done.status.code(), Some(0));

    let done = FakeDaemon::answering(&answer).run(&["grants", "--json"]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    // What this program does not know yet is there, too.
    assert_eq!(found, serde_json::from_str::<serde_json::Value>(&format!("[{row}]")).unwrap());
}

#[test]
fn a_grant_asks_for_what_was_said() {
    let daemon = FakeDaemon::answering(
        r#"{"ok":[{"id":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","station":"02:00:5e:10:00:01"}]}"#,
    );
    let done = daemon.run(&["grant", "02:00:5e:10:00:01", "--for", "2h", "--quota", "500MB"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let wanted =
        r#"{"verb":"grant","grants":[{"station":"02:00:5e:10:00:01","lease":7200000,"quota":500000000}]}"#;
    assert_eq!(daemon.heard(), wanted);
}

#[test]
fn each_end_has_its_exit_code_and_its_line() {
    let refusing = || FakeDaemon::answering(r#"{"error":{"word":"full","sentence":"no\nroom"}}"#);
    let done = refusing().run(&["grant", "02:00:5e:10:00:01"]);
    assert_eq!(ended(&done), (Some(1), "wayleave: refused (full): no\\u{a}room\n".into()));
    let done = refusing().run(&["grant", "02:00:5e:10:00:01", "--json"]);
    let wanted = "{\"error\":{\"sentence\":\"no\\nroom\",\"word\":\"full\"}}\n";
    assert_eq!(ended(&done), (Some(1), wanted.into()));

    let done = wayleave(Path::new("/nonexistent/g.sock"), &["status"]).output().unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert!(ended(&done).1.starts_with("wayleave: no gateway here: /nonexistent/g.sock"), "{done:?}");

    let done = wayleave(Path::new("/x"), &["grant", "corner"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));

    let problem = r#"{"ok":[{"word":"hostapd","severity":"problem","found":"none","advice":"start it"}]}"#;
    let done = FakeDaemon::answering(problem).run(&["doctor"]);
    assert_eq!(ended(&done), (Some(1), String::new()));
}

#[test]
fn words_that_cannot_be_read_are_told_in_json_too() {
    for words in [&["--json", "frobnicate"][..], &["evict", "zz", "--json"], &["grant", "--json"]] {
        let done = wayleave(Path::new("/x"), words).output().unwrap();
        let (code, text) = ended(&done);
        let error: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!((code, &error["error"]["word"]), (Some(2), &"usage".into()), "{text}");
    }
}

#[test]
fn an_eviction_that_left_something_fails() {
    let report = |outcome: &str| {
        format!(
            r#"{{"ok":{{"report":{{"cause":"owner","grant":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","moved":{{"up_bytes":1,"down_bytes":2,"up_packets":1,"down_packets":1}},"steps":[{{"step":"flows","outcome":{outcome},"took_us":1}}],"station":"02:00:5e:10:00:01","total_us":2,"incarnation":1}}}}}}"#
        )
    };
    for (outcome, code) in
        [(r#"{"done":{"freed":3}}"#, 0), (r#""absent""#, 0), (r#"{"failed":{"why":"x"}}"#, 1)]
    {
        let daemon = FakeDaemon::answering(&report(outcome));
        let done = daemon.run(&["evict", "02:00:5e:10:00:01"]);
        assert_eq!(done.status.code(), Some(code), "{outcome}: {done:?}");
        assert_eq!(daemon.heard(), r#"{"verb":"evict","target":{"station":"02:00:5e:10:00:01"}}"#);
    }
}

#[test]
fn watch_shows_every_event_when_it_happens() {
    let (tell, told) = std::sync::mpsc::channel::<&str>();
    let daemon = FakeDaemon::new(move |mut stream| {
        for line in told {
            writeln!(stream, "{line}").unwrap();
        }
    });
    let mut child = wayleave(&daemon.socket, &["watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let missed = r#"{"event":"missed","events":7}"#;
    let unknown = r#"{"event":"of-a-newer-daemon"}"#;
    // Each is there before the next one is sent.
    for (line, shown) in
        [(missed, Some(missed)), (r#"{"ok":null}"#, None), (unknown, Some(unknown)), (missed, Some(missed))]
    {
        tell.send(line).unwrap();
        if let Some(shown) = shown {
            assert_eq!(lines.next().unwrap().unwrap(), shown);
        }
    }
    drop(tell);
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(3), "the daemon has gone");
}

#[test]
fn watch_may_be_refused() {
    let done = FakeDaemon::answering(r#"{"error":{"word":"too-many","sentence":"8 watch"}}"#).run(&["watch"]);
    assert_eq!(ended(&done), (Some(1), "wayleave: refused (too-many): 8 watch\n".into()));
}

#[test]
fn whoever_has_seen_enough_may_hang_up() {
    let daemon =
        FakeDaemon::new(|mut stream| while writeln!(stream, r#"{{"event":"missed","events":7}}"#).is_ok() {});
    let mut child = wayleave(&daemon.socket, &["watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "missed    7 events: this terminal was too slow\n");
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_socket_for_others_names_its_group() {
    if nix::unistd::geteuid().is_root() {
        // For root every socket is open: be somebody else, in a child.
        let daemon = FakeDaemon::answering("{}");
        std::fs::set_permissions(daemon.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&daemon.socket, std::fs::Permissions::from_mode(0o660)).unwrap();
        std::os::unix::fs::chown(&daemon.socket, None, Some(nix::unistd::Gid::from_raw(4).as_raw())).unwrap();
        let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(4)).unwrap().unwrap().name;
        // The program may lie where only root can go.
        let copy = daemon.dir.path().join("wayleave");
        std::fs::copy(env!("CARGO_BIN_EXE_wayleave"), &copy).unwrap();
        let mut command = Command::new(&copy);
        command.arg("--socket").arg(&daemon.socket).arg("status").current_dir("/");
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        std::os::unix::process::CommandExt::gid(&mut command, 65534);
        let done = command.output().unwrap();
        let (code, text) = ended(&done);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains(&format!("it is for root and the group {group}; use sudo")), "{text}");
        return;
    }
    let daemon = FakeDaemon::answering("{}");
    std::fs::set_permissions(&daemon.socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let error = daemon.ask(300).unwrap_err();
    assert!(matches!(error, ClientError::Forbidden { group: Some(_), .. }), "{error}");
}

#[test]
fn a_configuration_is_checked_by_its_name_or_by_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, words: &[&str]| {
        let path = dir.path().join(name);
        let words = [&["config", "check", path.to_str().unwrap()], words].concat();
        let done = wayleave(Path::new("/x"), &words).output().unwrap();
        (String::from_utf8(done.stdout.clone()).unwrap(), ended(&done))
    };
    std::fs::write(dir.path().join("gateway.toml"), "[[network]]\ninterface = \"br-guest\"\n").unwrap();
    let (out, end) = check("gateway.toml", &[]);
    assert!(out.ends_with("/gateway.toml: good (gateway)\n") && end.0 == Some(0), "{out}{end:?}");
    let (out, _) = check("gateway.toml", &["--json"]);
    assert!(out.ends_with("/gateway.toml\",\"good\":true,\"role\":\"gateway\"}\n"), "{out}");

    std::fs::write(dir.path().join("other.toml"), "\nnetwrk = 1\n").unwrap();
    let (_, (code, error)) = check("other.toml", &["--role", "gateway"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("/other.toml:2: netwrk: found an unknown key; allowed: `name`"), "{error}");
    let (_, (code, error)) = check("other.toml", &[]);
    assert!(code == Some(2) && error.contains("add --role gateway, --role coordinator or"), "{error}");
    let (_, (code, error)) = check("absent.toml", &["--role", "gateway"]);
    assert!(code == Some(1) && error.contains("/absent.toml: cannot be read: No such file"), "{error}");
}

#[test]
#[cfg(feature = "terminal")]
fn enrolling_keeps_the_token_and_never_shows_it() {
    let key = "ab".repeat(32);
    let code = "abcdefghijkmnpqrstuvwxyz23";
    let token = format!("wayleave://c.example:7443/{key}/{code}");
    for (role, settings) in ENROLLING {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("role.toml");
        std::fs::write(&config, format!("state_dir = {:?}\n{settings}", dir.path())).unwrap();
        let kept = dir.path().join("coordinator.json");
        let enroll = |token: &str, input: &str| {
            let words = [role, "enroll", token, "--config", config.to_str().unwrap()];
            let mut command = wayleave(Path::new("/x"), &words);
            let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // Whoever got the token as a word does not read.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        };
        let wrong = token.replace(':', ";");
        for (word, input) in [(wrong.as_str(), ""), ("-", wrong.as_str()), ("-", "")] {
            let done = enroll(word, input);
            assert_eq!(done.status.code(), Some(2));
            assert!(ended(&done).1.starts_with("wayleave: not a claim token: "), "{done:?}");
            assert!(!format!("{done:?}").contains(code), "{done:?}");
            assert!(!kept.exists());
        }
        for (word, input) in [(token.as_str(), String::new()), ("-", format!("{token}\n"))] {
            let done = enroll(word, &input);
            assert_eq!(ended(&done), (Some(0), String::new()));
            let out = String::from_utf8(done.stdout).unwrap();
            assert!(out.contains("c.example:7443") && !out.contains(code), "{out}");
            assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
            let found: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
            assert_eq!(found["coordinator"]["host"], "c.example:7443");
            assert_eq!(found["coordinator"]["key"], key.as_str());
            assert_eq!(found["claim"], code);
            std::fs::remove_file(&kept).unwrap();
        }
    }
}

/// Roles that enrol, with what their configuration must have.
#[cfg(feature = "terminal")]
const ENROLLING: &[(&str, &str)] =
    &[("terminal", "interface = \"lo\"\n"), ("gateway", "[[network]]\ninterface = \"lo\"\n")];

#[test]
#[cfg(feature = "coordinator")]
fn a_real_coordinator_is_asked_and_told() {
    let mut coordinator = RealCoordinator::start();
    let ask = |words: &[&str]| {
        let done = wayleave(&coordinator.socket, words).output().unwrap();
        (String::from_utf8(done.stdout.clone()).unwrap(), ended(&done))
    };
    let (out, end) = ask(&["coordinator", "status"]);
    assert_eq!(end, (Some(0), String::new()));
    assert!(out.starts_with("public     c.example:7443\n") && out.contains("0, 0 connected"), "{out}");

    let (token, (code, beside)) = ask(&["claim", "--role", "terminal", "--for", "15m"]);
    assert_eq!(code, Some(0));
    let token: wayleave::wire::claim::ClaimToken = token.trim_end().parse().unwrap();
    assert_eq!(token.coordinator.host, "c.example:7443");
    assert!(beside.starts_with("enrols one terminal, once, within 15 min: "), "{beside}");
    assert!(!beside.contains(token.code.expose()));

    assert_eq!(ask(&["gateways"]).0, "no gateways; `wayleave claim` prints a token that enrols one\n");
    assert_eq!(ask(&["gateways", "--json"]).0, "[]\n");
    assert_eq!(ask(&["sessions"]).0, "no sessions\n");
    assert_eq!(ask(&["sessions", "--json"]).0, "{\"sessions\":[]}\n");
    let unknown = "ab".repeat(16);
    for words in [&["policy", &unknown, "strict"][..], &["coordinator", "evict", &unknown]] {
        let (_, (code, error)) = ask(words);
        assert!(code == Some(1) && error.starts_with("wayleave: refused ("), "{error}");
    }

    let status = coordinator.stop();
    assert_eq!(status.code(), Some(0));
    let done = wayleave(&coordinator.socket, &["gateways"]).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
}

/// `wayleave coordinator` on a port of its own choice.
#[cfg(feature = "coordinator")]
struct RealCoordinator {
    child: std::process::Child,
    socket: PathBuf,
    _dir: TempDir,
}

#[cfg(feature = "coordinator")]
impl RealCoordinator {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("coordinator.toml");
        let (state, runtime) = (dir.path().join("state"), dir.path().join("run"));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir(&runtime).unwrap();
        let text = format!(
            "public = \"c.example:7443\"\nlisten = \"127.0.0.1:0\"\nstate_dir = {state:?}\nruntime_dir = {runtime:?}\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_wayleave"))
            .args(["coordinator", "--log", "warn", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let coordinator = Self { child, socket: runtime.join("coordinator.sock"), _dir: dir };
        let start = Instant::now();
        while UnixStream::connect(&coordinator.socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "no control socket");
            thread::sleep(Duration::from_millis(20));
        }
        coordinator
    }

    fn stop(&mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }
}

#[cfg(feature = "coordinator")]
impl Drop for RealCoordinator {
    fn drop(&mut self) {
        // Nothing to do where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread behind a socket; answers one caller.
struct FakeDaemon {
    dir: TempDir,
    socket: PathBuf,
    thread: JoinHandle<String>,
}

impl FakeDaemon {
    /// Reads one line, then does this.
    fn new(behave: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("gateway.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            behave(reader.into_inner());
            line.strip_suffix('\n').expect("a whole line").to_owned()
        });
        Self { dir, socket, thread }
    }

    fn answering(line: &str) -> Self {
        let line = line.to_owned();
        // A caller that has read enough may be gone.
        Self::new(move |mut stream| drop(writeln!(stream, "{line}")))
    }

    fn door(&self, millis: u64) -> Door {
        door(&self.socket, millis)
    }

    fn ask(&self, millis: u64) -> Result<String, ClientError> {
        self.door(millis).ask(&GatewayRequest::Status)
    }

    fn run(&self, words: &[&str]) -> Output {
        wayleave(&self.socket, words).output().unwrap()
    }

    fn heard(self) -> String {
        self.thread.join().unwrap()
    }
}

fn door(socket: &Path, millis: u64) -> Door {
    let deadline = Duration::from_millis(millis);
    Door { deadline, ..Door::new(Daemon::Gateway, Some(socket.to_owned())) }
}

fn wayleave(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayleave"));
    command.args(words).arg("--socket").arg(socket).stdin(Stdio::null());
    command
}

fn ended(done: &Output) -> (Option<i32>, String) {
    (done.status.code(), String::from_utf8(done.stderr.clone()).unwrap())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}
