//! What the privileged tests and the benches stand on: namespaces, a router with its guests, real programs.
//!
//! Not a test itself and not linked into the program. Take it in with `mod support;`.
//! Everything started here ends with the value that holds it, also when a test panics: processes are killed
//! by their own pid, namespaces are removed.
//!
//! Read next: [`lab`] for the topology, [`netns`] for what carries it; `tests/README.md` shows a whole test.
#![allow(dead_code)]

pub mod bench;
pub mod daemons;
pub mod dhcp;
pub mod disk;
pub mod dnsmasq;
pub mod forwarding;
pub mod frame;
pub mod freeradius;
pub mod hostapd;
pub mod lab;
pub mod netns;
pub mod proc;
pub mod stage;
pub mod stream;
pub mod wait;
pub mod web;
pub mod wired;
pub mod wpa;
