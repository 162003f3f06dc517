//! The configurations that the packages bring are configurations.
#![cfg(all(feature = "gateway", feature = "terminal"))]

use std::path::Path;

use wayleave::config::{gateway, terminal};

#[test]
fn the_examples_are_accepted() {
    for file in ["packaging/etc/gateway.toml", "openwrt/files/gateway.toml"] {
        gateway::load(Path::new(file)).unwrap();
    }
    terminal::Settings::load(Path::new("packaging/etc/terminal.toml")).unwrap();
}
