//! `wayleave gateway enroll` and `wayleave terminal enroll`: the token, from the words or from standard input.
//!
//! The token itself is in no message and no output: whoever reads it can enrol. Keeping it is the role's work.

use std::io::{self, BufRead, Read, Write};

use zeroize::Zeroizing;

use super::Failure;
use super::args::EnrollArgs;
use super::table::plain;
use crate::wire::claim::{BadToken, ClaimToken};

/// Reads the token, has it kept, says what happens next.
pub fn with(
    args: &EnrollArgs,
    json: bool,
    keep: impl FnOnce(ClaimToken) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let token = token(args)?;
    let host = token.coordinator.to_string();
    keep(token)?;
    if json {
        return Ok(writeln!(io::stdout(), "{}", serde_json::json!({ "coordinator": host }))?);
    }
    Ok(writeln!(io::stdout(), "the next start enrols with {}", plain(&host))?)
}

fn token(args: &EnrollArgs) -> Result<ClaimToken, Failure> {
    let parse = |text: &str| text.parse().map_err(|error: BadToken| Failure::usage(error.to_string()));
    if args.token.expose() != "-" {
        return parse(args.token.expose());
    }
    let mut line = Zeroizing::new(String::new());
    // What is longer is no token.
    io::stdin().lock().take(4096).read_line(&mut line).map_err(|error| Failure::failed("input", error))?;
    parse(&line)
}
