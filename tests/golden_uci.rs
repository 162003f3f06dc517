//! UCI → settings → ruleset: one text file per case in `golden/uci/`.
//!
//! A case opens with a sentence. `-- uci` is the file; `-- toml` says the same in TOML; `-- settings` is what differs
//! from a configuration with one network only, and `-- ruleset` the same of what the kernel holds; `-- error` is what is
//! said of a file that is wrong. `WAYLEAVE_GOLDEN=write` writes these anew.
#![cfg(all(feature = "uci", feature = "coordinator", feature = "terminal", feature = "portal"))]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use support::lab::{self, Lab};
use support::proc::Program;
use support::wait::{SOON, wait_for};
use wayleave::config::gateway;

/// What the others are compared with.
const LEAST: &str = "tests/golden/uci/one-network.txt";

#[test]
fn a_file_becomes_settings_or_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let least = settings(&write(dir.path(), "wayleave", &Case::read(Path::new(LEAST)).part("uci")));
    for path in cases() {
        let case = Case::read(&path);
        let found = settings(&write(dir.path(), "wayleave", &case.part("uci")));
        match found {
            Ok(found) => {
                let toml = write(dir.path(), "gateway.toml", &case.part("toml"));
                assert_eq!(Ok(&found), settings(&toml).as_ref(), "{}", path.display());
                case.expect("settings", &difference(least.as_ref().unwrap(), &found));
            }
            Err(error) => case.expect("error", &error.replace(&dir.path().display().to_string(), "…")),
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let start: &[u8] = b"config network 'guest'\n\toption interface 'br-";
    for (rest, wanted) in [
        (b"\xff'\n".as_slice(), ":2: found the byte 0xff; allowed: text in UTF-8"),
        (b"\0'\n", ":2: found the byte 0x00; allowed: text without control characters"),
        (&[b' '; 300_000], ": found a larger file; allowed: 262144 bytes"),
    ] {
        let path = dir.path().join("wayleave");
        fs::write(&path, [start, rest].concat()).unwrap();
        let error = gateway::load(&path).unwrap_err().to_string();
        assert!(error.ends_with(wanted), "{error}");
    }
    assert!(gateway::load(&dir.path().join("none")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn what_the_package_installs_is_a_configuration() {
    let path = Path::new("openwrt/wayleave/files/wayleave.config");
    let text = fs::read_to_string(path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    settings(&write(dir.path(), "wayleave", &text)).unwrap();
    // With everything that is commented out: `#` and a tab or `config`, where prose has a blank.
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(['\t', 'c']) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(whole.matches("\nconfig ").count() > text.matches("\nconfig ").count());
    settings(&write(dir.path(), "wayleave", &whole)).unwrap_or_else(|error| panic!("{error}\n{whole}"));
}

#[test]
#[ignore = "needs root: sudo ./run test golden"]
fn the_kernel_holds_what_the_file_says() {
    let ruleset = |case: &Case, name: &str| {
        let lab = Lab::with_stations(0);
        let dir = lab.path().join(name);
        fs::create_dir_all(dir.join("run")).unwrap();
        let (state, run) = (dir.join("state"), dir.join("run"));
        let path = match name {
            "uci" => {
                let text = format!(
                    "{}\nconfig gateway 'gateway'\n\toption dbus '0'\n\toption state_dir '{}'\n\toption runtime_dir '{}'\n",
                    case.part("uci"),
                    state.display(),
                    run.display()
                );
                write(&dir, "wayleave", &text)
            }
            _ => {
                let text = case.part("toml");
                let text = text.lines().filter(|line| !line.starts_with("state_dir"));
                let text = format!(
                    "dbus = false\nstate_dir = \"{}\"\nruntime_dir = \"{}\"\n{}\n",
                    state.display(),
                    run.display(),
                    text.collect::<Vec<_>>().join("\n")
                );
                write(&dir, "gateway.toml", &text)
            }
        };
        let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_wayleave"));
        command.args(["gateway", "--config"]).arg(path);
        let mut program = Program::start("gateway", command);
        wait_for("the gateway to listen", SOON, || UnixStream::connect(run.join("gateway.sock")).ok());
        let listed = wait_for("a ruleset", SOON, || {
            let listed = lab.gateway.run("nft -s list ruleset");
            listed.contains(lab::BRIDGE).then_some(listed)
        });
        program.terminate(SOON);
        // Whose the table is, and with which version of the rules, is the kernel's and the program's.
        listed
            .lines()
            .filter(|line| !line.trim_start().starts_with("flags ") && !line.contains("comment \"wayleave "))
            .map(|line| line.split(" # ").next().unwrap_or(line).to_owned() + "\n")
            .collect::<String>()
    };
    let least = ruleset(&Case::read(Path::new(LEAST)), "uci");
    for path in cases() {
        let case = Case::read(&path);
        if !case.text.contains("\n-- ruleset\n") {
            continue;
        }
        let by_uci = ruleset(&case, "uci");
        assert_eq!(by_uci, ruleset(&case, "toml"), "{}", path.display());
        case.expect("ruleset", &difference(&least, &by_uci));
    }
}

fn settings(path: &Path) -> Result<String, String> {
    gateway::load(path).map(|settings| format!("{settings:#?}\n")).map_err(|error| error.to_string() + "\n")
}

/// Lines that only the first has, after `-`, and those that only the second has, after `+`, where they stand.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for (i, one) in before.iter().enumerate().rev() {
        for (j, other) in after.iter().enumerate().rev() {
            common[i][j] = match one == other {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[i + 1][j] >= common[i][j + 1] {
            writeln!(text, "-{}", before[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "+{}", after[j]).unwrap();
            j += 1;
        }
    }
    text
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir("tests/golden/uci").unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "txt")).collect();
    cases.sort();
    assert!(cases.len() > 10);
    cases
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

struct Case {
    path: PathBuf,
    text: String,
}

impl Case {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: fs::read_to_string(path).unwrap() }
    }

    /// Empty where the case has none.
    fn part(&self, name: &str) -> String {
        let Some((_, rest)) = self.text.split_once(&format!("\n-- {name}\n")) else { return String::new() };
        rest.split_inclusive('\n').take_while(|line| !line.starts_with("-- ")).collect()
    }

    /// Compares with a part; `WAYLEAVE_GOLDEN=write` writes it anew.
    fn expect(&self, name: &str, found: &str) {
        let wanted = self.part(name);
        if wanted == found {
            return;
        }
        let path = self.path.display();
        if std::env::var_os("WAYLEAVE_GOLDEN").is_some_and(|value| value == "write") {
            let others = self.text.replace(&format!("-- {name}\n{wanted}"), "");
            return fs::write(&self.path, format!("{others}-- {name}\n{found}")).unwrap();
        }
        panic!("{path}: {name} differs; WAYLEAVE_GOLDEN=write takes this over:\n{found}");
    }
}
