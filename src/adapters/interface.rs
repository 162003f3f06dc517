//! What the kernel says about one network interface: its address and what it moved (sysfs).

use std::io;
use std::path::{Path, PathBuf};

use crate::model::MacAddr;

/// Bytes of an Ethernet header, which the counters of an interface include.
const ETHERNET_HEADER: u64 = 14;

/// One interface.
#[derive(Clone, Debug)]
pub struct Interface {
    dir: PathBuf,
}

/// Layer-3 bytes since the interface was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Received.
    pub rx: u64,
    /// Sent.
    pub tx: u64,
}

impl Interface {
    /// The interface `name`, which is a checked interface name and not a path.
    pub fn new(name: &str) -> Self {
        Self { dir: Path::new("/sys/class/net").join(name) }
    }

    /// Its address (`ip link show`).
    pub fn address(&self) -> io::Result<MacAddr> {
        let text = std::fs::read_to_string(self.dir.join("address"))?;
        text.trim().parse().map_err(io::Error::other)
    }

    /// What it moved (`ip -s link show`), without Ethernet headers.
    pub fn moved(&self) -> io::Result<Moved> {
        let layer3 = |direction| -> io::Result<u64> {
            let bytes = self.counter(&format!("{direction}_bytes"))?;
            let packets = self.counter(&format!("{direction}_packets"))?;
            Ok(bytes.saturating_sub(packets.saturating_mul(ETHERNET_HEADER)))
        };
        Ok(Moved { rx: layer3("rx")?, tx: layer3("tx")? })
    }

    fn counter(&self, name: &str) -> io::Result<u64> {
        let text = std::fs::read_to_string(self.dir.join("statistics").join(name))?;
        text.trim().parse().map_err(io::Error::other)
    }
}

impl Moved {
    /// What was moved after `earlier`; zero if the counters began anew.
    pub fn since(self, earlier: Moved) -> Moved {
        Moved { rx: self.rx.saturating_sub(earlier.rx), tx: self.tx.saturating_sub(earlier.tx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_layer_three() {
        let dir = tempfile::tempdir().unwrap();
        let statistics = dir.path().join("statistics");
        std::fs::create_dir(&statistics).unwrap();
        for (name, value) in [("rx_bytes", 1140), ("rx_packets", 10), ("tx_bytes", 14), ("tx_packets", 1)] {
            std::fs::write(statistics.join(name), format!("{value}\n")).unwrap();
        }
        std::fs::write(dir.path().join("address"), "02:00:00:00:00:01\n").unwrap();
        let interface = Interface { dir: dir.path().to_owned() };
        let moved = interface.moved().unwrap();
        assert_eq!(moved, Moved { rx: 1000, tx: 0 });
        assert_eq!(moved.since(Moved { rx: 400, tx: 9 }), Moved { rx: 600, tx: 0 });
        assert_eq!(interface.address().unwrap(), MacAddr([2, 0, 0, 0, 0, 1]));
        std::fs::write(statistics.join("rx_bytes"), "many").unwrap();
        assert!(interface.moved().is_err());
    }
}
