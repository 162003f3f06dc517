//! The package for opkg, unpacked: every path, mode and owner, and what it tells opkg.
#![cfg(feature = "uci")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Made of a stand-in for the program: what is in it does not matter here.
fn package(dir: &Path) -> PathBuf {
    let program = dir.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let output = Command::new("packaging/openwrt/ipk.sh")
        .args(["mips_24kc".as_ref(), program.as_os_str(), dir.join("out").as_os_str()])
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

fn shell(line: &str, dir: &Path) -> String {
    let output = Command::new("sh").args(["-c", line]).current_dir(dir).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_holds_what_the_list_says_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let ipk = package(dir.path());
    assert_eq!(
        ipk.file_name().unwrap(),
        concat!("wayleave_", env!("CARGO_PKG_VERSION"), "-r1_mips_24kc.ipk")
    );
    let tar = "tar -tv --numeric-owner --full-time -zf";
    // Mode, owner, path; sizes and dates are not the package's word.
    let columns = "awk '{ print $1, $2, $6 }'";
    let mut text = format!("== ipk\n{}", shell(&format!("{tar} {} | {columns}", ipk.display()), dir.path()));
    shell(&format!("tar -xzf {}", ipk.display()), dir.path());
    text += &format!("== data\n{}", shell(&format!("{tar} data.tar.gz | {columns}"), dir.path()));
    text += &format!("== control\n{}", shell(&format!("{tar} control.tar.gz | {columns}"), dir.path()));
    shell("tar -xzf control.tar.gz", dir.path());
    for file in ["debian-binary", "conffiles", "control", "postinst", "prerm", "prerm-pkg"] {
        let said = fs::read_to_string(dir.path().join(file)).unwrap();
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("Installed-Size: ")).collect();
        text += &format!("== {file}\n{}\n", said.join("\n"));
    }
    golden("package.txt", &text);
}

#[test]
fn the_same_files_make_the_same_octets() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(fs::read(package(one.path())).unwrap() == fs::read(package(other.path())).unwrap());
}

#[test]
fn each_conffile_is_there_or_made_by_the_program() {
    let makefile = fs::read_to_string("openwrt/wayleave/Makefile").unwrap();
    let (_, rest) = makefile.split_once("define Package/wayleave/conffiles\n").unwrap();
    let (conffiles, _) = rest.split_once("endef").unwrap();
    assert_eq!(conffiles, "/etc/config/wayleave\n/etc/wayleave/\n");
    let keep = fs::read_to_string("openwrt/wayleave/files/wayleave.keep").unwrap();
    assert_eq!(keep, "/etc/wayleave/\n");
}

/// Compares with a file; `WAYLEAVE_GOLDEN=write` writes it anew.
fn golden(name: &str, found: &str) {
    let path = Path::new("tests/golden/openwrt").join(name);
    if std::env::var_os("WAYLEAVE_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == found, "{} differs; WAYLEAVE_GOLDEN=write takes this over:\n{found}", path.display());
}
