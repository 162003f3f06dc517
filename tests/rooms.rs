//! Which room of `src/` may name which other room. ARCHITECTURE.md draws the table; this makes it true.

use std::fs;
use std::path::{Path, PathBuf};

const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("host", &["model", "wire"]),
    ("config", &["model", "wire"]),
    ("logic", &["model", "wire"]),
    ("adapters", &["model", "wire", "host"]),
    ("ctl", &["model", "wire", "config"]),
    ("gateway", &["model", "wire", "config", "logic", "host", "adapters"]),
    ("terminal", &["model", "wire", "config", "logic", "host", "adapters"]),
    ("coordinator", &["model", "wire", "config", "logic", "host"]),
];

/// Crates that decisions and words must not name.
const KEPT_OUT: &[(&str, &[&str])] = &[
    ("model", &["tokio", "nix", "ring", "tracing", "netlink_sys"]),
    ("wire", &["tokio", "nix", "tracing", "netlink_sys"]),
    ("logic", &["tokio", "nix", "netlink_sys", "futures_util"]),
];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let mut broken = Vec::new();
    for (room, allowed) in MAY_USE {
        for (place, line) in lines_of(room) {
            for (other, _) in MAY_USE {
                if names(&line, &format!("crate::{other}")) && other != room && !allowed.contains(other) {
                    broken.push(format!("{place}: {line}"));
                }
            }
            // What this test cannot follow is not written.
            if line.contains("super::super::super") || line.contains("crate::{") {
                broken.push(format!("{place}: write `use crate::room::…` in full: {line}"));
            }
        }
    }
    assert!(broken.is_empty(), "imports against the grain:\n{}", broken.join("\n"));
}

#[test]
fn decisions_and_words_name_no_world() {
    let mut broken = Vec::new();
    for (room, crates) in KEPT_OUT {
        for (place, line) in lines_of(room) {
            if crates.iter().any(|name| names(&line, &format!("{name}::"))) {
                broken.push(format!("{place}: {line}"));
            }
        }
    }
    assert!(broken.is_empty(), "the world reached in:\n{}", broken.join("\n"));
}

#[test]
fn no_room_can_start_a_process() {
    let starts = ["process::Command", "execv", "fork(", "posix_spawn", "libc::system("];
    let mut broken = Vec::new();
    for (room, _) in MAY_USE {
        for (place, line) in lines_of(room) {
            // Shell completions are tried with their shells by the tests of the command line. The terminal runs the
            // program that its person names for messages; no gateway and no coordinator has that file.
            let may =
                ["src/ctl/generate.rs", "src/adapters/hook.rs"].iter().any(|file| place.starts_with(file));
            if starts.iter().any(|start| line.contains(start)) && !may {
                broken.push(format!("{place}: {line}"));
            }
        }
    }
    assert!(broken.is_empty(), "processes are started:\n{}", broken.join("\n"));
}

#[test]
fn no_room_is_missing_from_the_table() {
    for entry in fs::read_dir("src").expect("src/") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let known = MAY_USE.iter().any(|(room, _)| *room == name) || ["main", "lib"].contains(&name);
        assert!(known, "src/{name} is in no line of MAY_USE");
    }
}

fn names(line: &str, path: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        let ends = path.ends_with("::") || !after.is_some_and(|char| char.is_alphanumeric() || char == '_');
        ends && !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
    })
}

fn lines_of(room: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for file in rust_files(&Path::new("src").join(room)) {
        let text = fs::read_to_string(&file).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            lines.push((format!("{}:{}", file.display(), number + 1), line.to_owned()));
        }
    }
    assert!(!lines.is_empty(), "src/{room} has no lines");
    lines
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a room") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
