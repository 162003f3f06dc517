//! How a call of the program can fail: the exit code, the stable word, the sentence.

use std::io::{self, Write};
use std::process::ExitCode;

use super::client::ClientError;
use super::table::plain;
use crate::config::ConfigError;
use crate::model::{Refusal, sentence};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon was not reached, or did not do it.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The words cannot be meant so.
    #[error("{sentence}")]
    Usage {
        /// For people.
        sentence: String,
    },
    /// Something else failed.
    #[error("{source}")]
    Failed {
        /// The stable word.
        word: String,
        /// What.
        source: anyhow::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output")]
    Output(#[from] io::Error),
    /// What is wrong stands in the output already.
    #[error("there is a problem")]
    Shown,
}

impl Failure {
    /// For words that cannot be meant so.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Failure::Usage { sentence: sentence.into() }
    }

    /// For whatever else fails, with its stable word.
    pub fn failed(word: impl Into<String>, source: impl Into<anyhow::Error>) -> Self {
        Failure::Failed { word: word.into(), source: source.into() }
    }

    /// For a configuration that cannot be used.
    pub fn config(source: ConfigError) -> Self {
        Failure::failed("config", source)
    }

    /// 1 refused or failed, 2 wrong usage, 3 no daemon answers. 0: whoever read the output has enough.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Daemon(error) if error.is_unreachable() => 3,
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Usage { .. } => 2,
            Failure::Daemon(_) | Failure::Failed { .. } | Failure::Output(_) | Failure::Shown => 1,
        }
    }

    /// The stable word.
    pub fn word(&self) -> &str {
        match self {
            Failure::Daemon(error) => error.word(),
            Failure::Usage { .. } => "usage",
            Failure::Failed { word, .. } => word,
            Failure::Output(_) => "output",
            Failure::Shown => "problem",
        }
    }

    /// The sentence with its causes, on one line.
    pub fn sentence(&self) -> String {
        sentence(self)
    }

    /// Writes what failed: a line for people, or `{"error": …}` as the control sockets have it.
    pub fn write(&self, to: &mut dyn Write, json: bool) -> io::Result<()> {
        if matches!(self, Failure::Shown) || self.exit_code() == 0 {
            return Ok(());
        }
        if json {
            let refusal = Refusal::new(self.word(), self.sentence());
            return writeln!(to, "{}", serde_json::json!({ "error": refusal }));
        }
        match self {
            Failure::Daemon(ClientError::Refused(refusal)) => {
                writeln!(to, "wayleave: refused ({}): {}", plain(&refusal.word), plain(&refusal.sentence))
            }
            _ => writeln!(to, "wayleave: {}", plain(&self.sentence())),
        }
    }
}

/// The exit code for how a call ended; what failed goes to standard error.
pub fn end(result: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    // There is nobody to tell that standard error is closed.
    let _ = failure.write(&mut io::stderr().lock(), json);
    ExitCode::from(failure.exit_code())
}

/// The exit code for words that cannot be read, or that ask for help; says so.
pub fn unparsed(error: &clap::Error) -> ExitCode {
    // Help goes to standard output and is no failure; whoever has enough of it may hang up.
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|word| word == "--json") {
        return end(Err(Failure::usage(in_one_line(&error.to_string()))), true);
    }
    let _ = error.print();
    ExitCode::from(2)
}

/// What clap says in several paragraphs, without the last ones: usage and where help is.
fn in_one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines = text.lines().map(str::trim);
    let said =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_has_enough_is_no_failure() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 1);
    }

    #[test]
    fn what_the_parser_says_becomes_one_sentence() {
        let text = "error: unexpected argument 'x' found\n\n  tip: there is none\n\nUsage: a\n\nFor more information";
        assert_eq!(in_one_line(text), "unexpected argument 'x' found; tip: there is none");
    }

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let cause = io::Error::other("the disk\nis full");
        let failure = Failure::failed("state", anyhow::Error::new(cause).context("cannot write x"));
        let mut text = Vec::new();
        failure.write(&mut text, false).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "wayleave: cannot write x: the disk\\u{a}is full\n");
        let mut text = Vec::new();
        failure.write(&mut text, true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"error\":{\"sentence\":\"cannot write x: the disk\\nis full\",\"word\":\"state\"}}\n"
        );
    }
}
