//! A small file system that can be filled: tmpfs, unmounted with the value. Needs root.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file system.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many bytes (`16m`) on a directory.
    #[track_caller]
    pub fn mount(on: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(on).status();
        assert!(mounted.expect("mount starts").success(), "mounting needs root");
        Self(on.to_owned())
    }

    /// Takes what room is left.
    #[track_caller]
    pub fn fill(&self) {
        let filler = self.0.join("filler");
        let mut file = OpenOptions::new().create(true).append(true).open(filler).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Gives back what [`Disk::fill`] took.
    #[track_caller]
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an assertion that failed may have left files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
