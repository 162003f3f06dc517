//! The program that the person wants to be run for each message. The one process that a daemon of ours starts, and only
//! the terminal does.
//!
//! It gets what it is told in its environment, as data; no shell reads it. It runs alone, for ten seconds at most.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// From its start to its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that wait for it.
const QUEUE: usize = 32;

/// Variables of the environment.
pub type Variables = Vec<(&'static str, String)>;

/// Why it did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It cannot be run.
    #[error("cannot be run")]
    Start(#[from] io::Error),
    /// It ended with another status than 0.
    #[error("failed: {0}")]
    Failed(ExitStatus),
    /// It took too long and was killed, with what it had started.
    #[error("took longer than {} s and was killed", PATIENCE.as_secs())]
    Slow,
}

/// Runs it for each message, one after the other.
#[derive(Debug)]
pub struct Hook(mpsc::Sender<Variables>);

impl Hook {
    /// The program at this absolute path. Needs a tokio runtime.
    pub fn new(path: PathBuf) -> Self {
        let (sender, mut messages) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Some(variables) = messages.recv().await {
                if let Err(error) = run(&path, variables).await {
                    tracing::warn!(path = %path.display(), "the hook {}", crate::model::sentence(&error));
                }
            }
        });
        Self(sender)
    }

    /// Runs it when those before are done; `false`: too many wait.
    pub fn tell(&self, variables: Variables) -> bool {
        self.0.try_send(variables).is_ok()
    }
}

async fn run(path: &Path, variables: Variables) -> Result<(), HookError> {
    let mut hook = Command::new(path)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(variables)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = hook.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    match timeout(PATIENCE, hook.wait()).await {
        Ok(status) => match status? {
            status if status.success() => Ok(()),
            status => Err(HookError::Failed(status)),
        },
        Err(_) => {
            if let Some(group) = group {
                // It may just have ended.
                let _ = killpg(group, Signal::SIGKILL);
            }
            hook.wait().await?;
            Err(HookError::Slow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process makes the program: what a test beside this one starts at that moment would inherit the open
    /// file, and a file that somebody has open to write cannot be run (`ETXTBSY`, execve(2)).
    fn script(dir: &Path, text: &str) -> PathBuf {
        let (source, path) = (dir.join("text"), dir.join("hook"));
        std::fs::write(&source, text).unwrap();
        let mut install = std::process::Command::new("install");
        assert!(install.args(["-m", "755"]).args([&source, &path]).status().unwrap().success());
        path
    }

    #[tokio::test]
    async fn what_it_is_told_is_data_and_its_environment_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let path = script(dir.path(), &format!("#!/bin/sh\nenv | sort > {}\n", out.display()));
        let text = "$(touch /tmp/x) `id` ; rm -rf / \"' %s";
        run(&path, vec![("WAYLEAVE_MESSAGE_TEXT", text.to_owned())]).await.unwrap();
        let found = std::fs::read_to_string(out).unwrap();
        let lines: Vec<&str> =
            found.lines().filter(|line| !line.starts_with("_=") && !line.starts_with("PWD=")).collect();
        let wanted = format!("WAYLEAVE_MESSAGE_TEXT={text}");
        assert_eq!(lines, ["PATH=/usr/local/bin:/usr/bin:/bin", &wanted]);
    }

    #[tokio::test]
    async fn one_that_fails_or_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "#!/bin/sh\nexit 3\n");
        assert!(
            matches!(run(&path, vec![]).await, Err(HookError::Failed(status)) if status.code() == Some(3))
        );
        assert!(matches!(run(Path::new("/nonexistent"), vec![]).await, Err(HookError::Start(_))));
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let child = dir.path().join("child");
        let path =
            script(dir.path(), &format!("#!/bin/sh\nsleep 300 &\necho $! > {}\nwait\n", child.display()));
        assert!(matches!(run(&path, vec![]).await, Err(HookError::Slow)));
        let child: i32 = std::fs::read_to_string(child).unwrap().trim().parse().unwrap();
        let ended = || nix::sys::signal::kill(Pid::from_raw(child), None).is_err() || is_zombie(child);
        for _ in 0..100 {
            if ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it goes on");
    }

    fn is_zombie(pid: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
    }
}
