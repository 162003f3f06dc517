//! `wayleave config check`: whether a role could start with a file.

use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use super::args::{ConfigAction, Role};
use super::output::Output;
use super::table::plain;

pub(super) fn run(action: ConfigAction, output: &mut Output<'_>) -> Result<(), Failure> {
    let ConfigAction::Check { file, role } = action;
    for (role, path) in choose(file, role)? {
        check(role, &path)?;
        show(role, &path, output)?;
    }
    Ok(())
}

/// Which files to check, as which role's.
fn choose(file: Option<PathBuf>, role: Option<Role>) -> Result<Vec<(Role, PathBuf)>, Failure> {
    match (file, role) {
        (Some(file), Some(role)) => Ok(vec![(role, file)]),
        (None, Some(role)) => Ok(vec![(role, role.config().to_owned())]),
        (Some(file), None) => {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let named = Role::ALL.into_iter().find(|role| role.word() == stem);
            let role = named.or_else(|| is_uci(&file).then_some(Role::Gateway)).ok_or_else(|| {
                let file = file.display();
                Failure::usage(format!(
                    "{file}: its name tells no role; add --role gateway, --role coordinator or --role terminal"
                ))
            })?;
            Ok(vec![(role, file)])
        }
        (None, None) => {
            let there: Vec<_> = Role::ALL
                .into_iter()
                .map(|role| (role, role.config().to_owned()))
                .chain(uci().map(|path| (Role::Gateway, path.to_owned())))
                .filter(|(_, path)| path.exists())
                .collect();
            if there.is_empty() {
                return Err(Failure::failed(
                    "config",
                    anyhow::anyhow!(
                        "no configuration in /etc/wayleave: none of gateway.toml, coordinator.toml, terminal.toml"
                    ),
                ));
            }
            Ok(there)
        }
    }
}

/// Where OpenWrt has the gateway's configuration; there is one for no other role.
fn uci() -> Option<&'static Path> {
    #[cfg(feature = "uci")]
    return Some(Path::new(crate::config::uci::PATH));
    #[cfg(not(feature = "uci"))]
    None
}

/// By the name that the file has on OpenWrt, wherever it is.
fn is_uci(file: &Path) -> bool {
    uci().is_some_and(|usual| file.file_name() == usual.file_name())
}

// A build with fewer roles has fewer arms.
#[allow(unreachable_patterns, clippy::match_single_binding)]
fn check(role: Role, path: &Path) -> Result<(), Failure> {
    match role {
        #[cfg(feature = "gateway")]
        Role::Gateway => crate::config::gateway::load(path).map(drop).map_err(Failure::config),
        #[cfg(feature = "coordinator")]
        Role::Coordinator => {
            crate::config::coordinator::Settings::load(path).map(drop).map_err(Failure::config)
        }
        #[cfg(feature = "terminal")]
        Role::Terminal => crate::config::terminal::Settings::load(path).map(drop).map_err(Failure::config),
        absent => {
            let (file, role) = (path.display(), absent.word());
            Err(Failure::usage(format!("{file}: this program was built without the {role}")))
        }
    }
}

fn show(role: Role, path: &Path, output: &mut Output<'_>) -> io::Result<()> {
    let file = path.display().to_string();
    if output.json {
        return output.line(&serde_json::json!({ "file": file, "role": role.word(), "good": true }));
    }
    writeln!(output.out, "{}: good ({})", plain(&file), role.word())
}
