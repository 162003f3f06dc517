//! Lines on standard output, in their order, for whoever reads there: perhaps slowly, perhaps nobody.
//!
//! A thread of its own writes them, which nobody waits for; the end of the program does for a moment.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Lines that wait for the reader.
const QUEUE: usize = 64;
/// For what is left to be written at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writes lines.
#[derive(Debug)]
pub struct Printer {
    lines: Option<SyncSender<String>>,
    /// Disconnected when all are written.
    written: Receiver<()>,
}

impl Printer {
    /// To standard output.
    pub fn new() -> Self {
        Self::to(std::io::stdout())
    }

    fn to(mut out: impl Write + Send + 'static) -> Self {
        let (lines, to_write) = sync_channel::<String>(QUEUE);
        let (writing, written) = channel::<()>();
        std::thread::spawn(move || {
            for line in to_write {
                // Nobody may read it; then it is shown elsewhere.
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }
            drop(writing);
        });
        Self { lines: Some(lines), written }
    }

    /// Writes a line behind those before; `false`: too many wait.
    pub fn print(&self, line: String) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok())
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        drop(self.lines.take());
        // Whoever does not read by then has lost what was left.
        let _ = self.written.recv_timeout(PATIENCE);
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn lines_keep_their_order_and_a_reader_that_sleeps_holds_up_nobody() {
        let (read, write) = std::io::pipe().unwrap();
        let printer = Printer::to(write);
        // More than a pipe holds (64 KiB, pipe(7)).
        let line = |number: usize| format!("{number} {}", "x".repeat(4096));
        let taken = (0..1000).take_while(|number| printer.print(line(*number))).count();
        assert!((QUEUE..1000).contains(&taken), "{taken}");
        let mut lines = BufReader::new(read).lines();
        for number in 0..taken - 1 {
            assert_eq!(lines.next().unwrap().unwrap(), line(number));
        }
        drop(printer);
        assert_eq!(lines.next().unwrap().unwrap(), line(taken - 1), "what was taken is written");
        assert!(lines.next().is_none(), "the thread ends with it");
    }
}
