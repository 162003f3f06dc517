//! `wayleave generate`: shell completions and man pages from the definitions in `args.rs`.
//!
//! What a man page has and `--help` has not (files, signals, exit status) is in `man.rs`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::args::{Cli, Generate};
use super::{Failure, man};

pub(super) fn run(what: Generate) -> Result<(), Failure> {
    let done = match &what {
        Generate::Completions { dir } => completions(dir),
        Generate::Man { dir } => pages(dir),
    };
    done.map_err(|error| Failure::failed("generate", error))
}

/// `wayleave.bash`, `_wayleave`, `wayleave.fish`.
fn completions(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut public(), "wayleave", dir)
            .with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

/// `wayleave.1`, and one for each verb: `wayleave-grant.1`.
fn pages(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut whole = public().disable_help_subcommand(true);
    whole.build();
    man::write(&whole, dir).with_context(|| dir.display().to_string())
}

/// The definitions as a router has them: without this verb.
fn public() -> Command {
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("wayleave")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .long_about(whole.get_long_about().cloned().unwrap_or_default())
        .after_help(whole.get_after_help().cloned().unwrap_or_default())
        .args(whole.get_arguments().cloned())
        .subcommands(shown)
        .subcommand_required(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_there_and_this_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        run(Generate::Completions { dir: dir.path().join("c") }).unwrap();
        run(Generate::Man { dir: dir.path().join("m") }).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        for path in ["c/wayleave.bash", "c/_wayleave", "c/wayleave.fish"] {
            let text = read(path);
            for command in public().get_subcommands() {
                assert!(text.contains(command.get_name()), "{path}: {}", command.get_name());
            }
            assert!(!text.contains("generate"), "{path}");
        }
        let script = dir.path().join("c/wayleave.bash");
        assert!(std::process::Command::new("bash").arg("-n").arg(script).status().unwrap().success());
        assert!(read("m/wayleave-config-check.1").contains("\\-\\-role"));
        assert!(!dir.path().join("m/wayleave-generate.1").exists());
        for page in fs::read_dir(dir.path().join("m")).unwrap() {
            let page = fs::read_to_string(page.unwrap().path()).unwrap();
            assert!(page.contains(".SH \"EXIT STATUS\"") && page.contains(".SH \"SEE ALSO\""), "{page}");
        }
    }
}
