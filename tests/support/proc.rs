//! Real programs: started with captured output, waited for with deadlines, killed with the value.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::wait::wait_for;

/// A program that runs. Dropping it kills it; on a panic its last lines are shown.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Program {
    /// Starts it; standard output and standard error become one list of lines.
    #[track_caller]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::<Output>::default();
        collect(child.stdout.take().expect("piped"), &output);
        collect(child.stderr.take().expect("piped"), &output);
        Self { name: name.to_owned(), child, output }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it said so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().expect("no reader panics").clone()
    }

    /// Waits for a line that contains `text`, from the first one on; the line.
    #[track_caller]
    pub fn wait_line(&mut self, text: &str, limit: Duration) -> String {
        self.wait_line_from(0, text, limit).1
    }

    /// Waits for a line that contains `text`, the first `seen` lines left out; how many lines were read up to
    /// and with it, and the line.
    #[track_caller]
    pub fn wait_line_from(&mut self, seen: usize, text: &str, limit: Duration) -> (usize, String) {
        let deadline = Instant::now() + limit;
        let output = Arc::clone(&self.output);
        let mut lines = output.lines.lock().expect("no reader panics");
        loop {
            let found = lines.iter().enumerate().skip(seen).find(|(_, line)| line.contains(text));
            if let Some((index, line)) = found {
                return (index + 1, line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Both readers are gone when the program has closed its output: nothing more can come.
            let over = left.is_zero() || Arc::strong_count(&output) == 2;
            if over {
                let said = lines.join("\n  ");
                drop(lines);
                panic!("{} never said {text:?} within {limit:?}; it said:\n  {said}", self.name);
            }
            lines = output.more.wait_timeout(lines, left.min(Duration::from_millis(50))).expect("as above").0;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = signal::kill(Pid::from_raw(self.pid()), signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        wait_for(&format!("{} to end", self.name), limit, || self.child.try_wait().expect("our child"))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(limit)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("---- {} said last:\n{}", self.name, last.join("\n"));
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.lines.lock().expect("no reader panics").push(text);
            output.more.notify_all();
            line.clear();
        }
    });
}
