//! TOUCHES: one folder per peer. Each turns bytes into words and words into bytes, and decides nothing.
//!
//! An adapter has its struct in `mod.rs`, its bytes in `codec.rs` (pure) and its errors in `error.rs`.

#[cfg(any(feature = "push", feature = "terminal"))]
pub mod channel;
#[cfg(feature = "gateway")]
pub mod conntrack;
#[cfg(feature = "dbus")]
pub mod dbus;
#[cfg(feature = "gateway")]
pub mod dhcp;
pub mod enrolment;
#[cfg(feature = "terminal")]
pub mod hook;
#[cfg(feature = "gateway")]
pub mod hostapd;
#[cfg(feature = "terminal")]
pub mod interface;
#[cfg(feature = "terminal")]
pub mod kept_codes;
#[cfg(feature = "terminal")]
pub mod kept_directory;
pub mod link;
#[cfg(any(feature = "push", feature = "portal"))]
mod listener;
#[cfg(feature = "gateway")]
pub mod nftables;
#[cfg(feature = "nl80211")]
pub mod nl80211;
#[cfg(all(feature = "dbus", feature = "terminal"))]
pub mod notifications;
#[cfg(feature = "terminal")]
pub mod printer;
#[cfg(feature = "radius")]
pub mod radius;
#[cfg(feature = "gateway")]
pub mod rtnetlink;
#[cfg(feature = "ubus")]
pub mod ubus;
#[cfg(feature = "portal")]
pub mod web;
pub mod wpa_ctrl;
#[cfg(feature = "terminal")]
pub mod wpa_supplicant;
