//! Linker settings of the build for routers, profile `size`; for every other profile nothing.
//!
//! Whoever builds that profile gets them: `./run bench footprint`, OpenWrt, `cargo build --profile size`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Nothing unwinds a program that aborts when it panics: its unwind tables are an eighth of its size.
///
/// The compiler writes them all the same, because the debug information of the standard library asks for call
/// frames (LLVM, `AsmPrinter::getFunctionCFISectionType`) and `-C force-unwind-tables=no` does not change that.
/// What belongs to the C runtime stays: its start files name the section.
const NO_UNWIND_TABLES: &str = "SECTIONS {
  /DISCARD/ : {
    *(EXCLUDE_FILE(*crt1.o *crt?.o *crtbegin*.o *crtend*.o) .eh_frame)
    *(.eh_frame_hdr .gcc_except_table .gcc_except_table.*)
  }
} INSERT AFTER .text;
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // `src/main.rs` refuses to be built with these settings and unwinding panics.
    println!("cargo::rustc-check-cfg=cfg(no_unwind_tables)");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    if profile(&out) != Some(OsStr::new("size")) || env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux")
    {
        return;
    }
    let script = out.join("size.ld");
    fs::write(&script, NO_UNWIND_TABLES).expect("OUT_DIR is there to be written to");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    // Relative relocations as a bitmap (SHT_RELR; glibc 2.36, musl 1.2.4): a twentieth of their size otherwise
    // written out. A linker that cannot do it for its architecture says so and goes on.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // The same instructions twice are kept once: much of what generic code becomes is. Rust promises no function an
    // address of its own. LLD can do that, with which rustc links for this target by itself; GNU ld cannot.
    if env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu")
        && env::var_os("RUSTC_LINKER").is_none()
    {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
    println!("cargo::rustc-cfg=no_unwind_tables");
}

/// `PROFILE/build/…/out`. Cargo tells a build script its profile's settings, but neither its name nor what a panic
/// does (`CARGO_CFG_PANIC` is the target's default).
fn profile(out: &Path) -> Option<&OsStr> {
    out.ancestors().find(|path| path.ends_with("build"))?.parent()?.file_name()
}
