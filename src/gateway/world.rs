//! What interfaces and addresses this machine has, and which of them are shared.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::adapters::dhcp::Served;
use crate::adapters::rtnetlink::{Address, Link};
use crate::config::gateway::{Network, Settings};
use crate::logic::presence::Bss;
use crate::model::{Bssid, Few, Gather, MacAddr};
use crate::wire::local::Layout;

/// Interfaces and addresses as rtnetlink tells them.
#[derive(Debug, Default)]
pub struct World {
    links: Few<u32, Link>,
    addresses: Few<(u32, IpAddr), u8>,
}

impl World {
    /// An interface is new or has changed; whether that matters to the ruleset.
    pub fn link(&mut self, link: Link) -> bool {
        let before = self.links.insert(link.index, link.clone());
        before.is_none_or(|before| {
            (before.name, before.mac, before.master) != (link.name, link.mac, link.master)
        })
    }

    /// An interface is gone.
    pub fn link_gone(&mut self, index: u32) -> bool {
        self.addresses.retain(|(of, _), _| *of != index);
        self.links.remove(&index).is_some()
    }

    /// An address is there; whether it is new.
    pub fn address(&mut self, address: Address) -> bool {
        self.addresses.insert((address.index, address.ip), address.prefix).is_none()
    }

    /// An address is gone; whether it was there.
    pub fn address_gone(&mut self, address: &Address) -> bool {
        self.addresses.remove(&(address.index, address.ip)).is_some()
    }

    /// This is all there is.
    pub fn learn(&mut self, links: &[Link], addresses: &[Address]) {
        self.links = links.iter().map(|link| (link.index, link.clone())).gather();
        self.addresses =
            addresses.iter().map(|address| ((address.index, address.ip), address.prefix)).gather();
    }

    /// The name of an interface.
    pub fn name(&self, index: u32) -> Option<&str> {
        self.links.get(&index).map(|link| link.name.as_str())
    }

    /// The index of an interface.
    pub fn index(&self, name: &str) -> Option<u32> {
        self.links.values().find(|link| link.name == name).map(|link| link.index)
    }

    /// Whether an interface of this machine has this MAC address.
    pub fn is_ours(&self, mac: MacAddr) -> bool {
        self.links.values().any(|link| link.mac == Some(mac))
    }

    /// Whether an interface of this machine has this address.
    #[cfg(feature = "radius")]
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.keys().any(|(_, own)| *own == ip)
    }

    /// The shared interfaces that exist.
    pub fn shared<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = &'a Link> {
        settings
            .networks
            .iter()
            .filter_map(|network| self.links.values().find(|link| link.name == network.interface))
    }

    /// Whether stations may be behind this interface: a shared one, or a port of one.
    pub fn is_shared(&self, settings: &Settings, index: u32) -> bool {
        self.network_of(settings, index).is_some()
    }

    /// The network behind an interface or port.
    pub fn network_of<'a>(&self, settings: &'a Settings, index: u32) -> Option<&'a Network> {
        let link = self.links.get(&index)?;
        let master = link.master.and_then(|master| self.name(master));
        settings
            .networks
            .iter()
            .find(|network| network.interface == link.name || Some(network.interface.as_str()) == master)
    }

    /// The network of an access point: of one that hostapd serves, or on a wire of the interface itself.
    pub fn network_with<'a>(
        &self,
        settings: &'a Settings,
        bsses: &Few<String, Bss>,
        bssid: Bssid,
    ) -> Option<&'a Network> {
        let mut own = bsses.iter().filter(|(_, bss)| bss.bssid == bssid);
        let served = own.find_map(|(name, _)| self.network_of(settings, self.index(name)?));
        let wired = || settings.networks.iter().find(|network| self.bssid(&network.interface) == Some(bssid));
        served.or_else(wired)
    }

    /// The ports of a shared bridge that are not isolated and belong to a BSS: its own, and those that its hostapd makes
    /// for a VLAN or a station (`BSS.N`: `vlan_file`, `per_sta_vif`).
    pub fn joined<'a>(&'a self, settings: &'a Settings, bss: &'a str) -> impl Iterator<Item = &'a Link> {
        let is_its_own = move |name: &str| {
            name.strip_prefix(bss).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let ports = self.links.values().filter(move |link| is_its_own(&link.name));
        ports.filter(move |link| link.isolated == Some(false) && self.is_shared(settings, link.index))
    }

    /// The ports of a bridge.
    pub fn ports(&self, bridge: u32) -> impl Iterator<Item = &Link> {
        self.links.values().filter(move |link| link.master == Some(bridge))
    }

    /// Where stations may be: the shared interfaces and their ports.
    #[cfg(feature = "nl80211")]
    pub fn sharing<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = &'a Link> {
        self.links.values().filter(|link| self.is_shared(settings, link.index))
    }

    /// Where chains hang: the shared interfaces, or the ports behind them.
    pub fn hooked(&self, settings: &Settings, layout: Layout) -> Vec<String> {
        let names: BTreeSet<String> = match layout {
            Layout::Netdev => self.shared(settings).map(|link| link.name.clone()).gather(),
            Layout::Bridge => self
                .shared(settings)
                .flat_map(|link| {
                    let ports: Vec<String> = self.ports(link.index).map(|port| port.name.clone()).collect();
                    if link.master.is_some() { vec![link.name.clone()] } else { ports }
                })
                .gather(),
        };
        names.into_iter().collect()
    }

    /// The gateway's own addresses on the shared interfaces, and on the bridge above a shared port.
    pub fn gateway_addresses(&self, settings: &Settings) -> Vec<IpAddr> {
        let above: Vec<u32> =
            self.shared(settings).flat_map(|link| [Some(link.index), link.master]).flatten().collect();
        self.addresses.keys().filter(|(index, _)| above.contains(index)).map(|(_, ip)| *ip).collect()
    }

    /// The prefixes of the same interfaces.
    pub fn visitor_prefixes(&self, settings: &Settings) -> Vec<(IpAddr, u8)> {
        let gateway = self.gateway_addresses(settings);
        let prefixes = self.addresses.iter().filter(|((_, ip), _)| gateway.contains(ip));
        prefixes.map(|((_, ip), length)| (*ip, *length)).collect()
    }

    /// Where guests speak to this machine itself: the shared interfaces, or the bridge above a shared port.
    #[cfg(any(feature = "push", feature = "portal"))]
    pub fn guests(&self, settings: &Settings) -> Few<u32, String> {
        let above = self.shared(settings).map(|link| link.master.unwrap_or(link.index));
        above.filter_map(|index| Some((index, self.name(index)?.to_owned()))).gather()
    }

    /// Where a DHCP server of this machine would serve.
    pub fn served(&self, settings: &Settings) -> Vec<Served> {
        let above: Few<u32, ()> =
            self.shared(settings).map(|link| (link.master.unwrap_or(link.index), ())).gather();
        above
            .keys()
            .filter_map(|index| {
                let addresses = self.addresses.iter().filter(|((of, _), _)| of == index);
                let addresses = addresses.map(|((_, ip), length)| (*ip, *length)).collect();
                Some(Served { name: self.name(*index)?.to_owned(), addresses })
            })
            .collect()
    }

    /// The address of a shared interface: what stands for an access point on a wire.
    pub fn bssid(&self, interface: &str) -> Option<Bssid> {
        self.links.values().find(|link| link.name == interface).and_then(|link| link.mac).map(Bssid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ssid;

    #[test]
    fn a_bridge_is_shared_with_its_ports_and_its_addresses() {
        let mut world = World::default();
        let link = |index: u32, name: &str, master| Link {
            index,
            name: name.into(),
            up: true,
            running: true,
            mac: Some(MacAddr([2, 0, 0, 0, 0, index as u8])),
            master,
            isolated: master.map(|_| false),
        };
        assert!(world.link(link(1, "br-guest", None)));
        assert!(world.link(link(2, "ap0", Some(1))));
        assert!(world.link(link(3, "wan", None)));
        assert!(!world.link(link(2, "ap0", Some(1))), "the same again changes nothing");
        for (index, ip) in [(1, [10, 0, 0, 1]), (3, [192, 0, 2, 1])] {
            assert!(world.address(Address { index, ip: ip.into(), prefix: 24 }));
        }
        let settings = settings();
        assert_eq!(world.hooked(&settings, Layout::Netdev), ["br-guest"]);
        assert_eq!(world.hooked(&settings, Layout::Bridge), ["ap0"]);
        assert_eq!(world.gateway_addresses(&settings), [IpAddr::from([10, 0, 0, 1])]);
        #[cfg(feature = "push")]
        assert_eq!(world.guests(&settings), Few::from([(1, "br-guest".to_owned())]));
        assert!(world.is_shared(&settings, 2) && !world.is_shared(&settings, 3));
        assert!(world.link(link(4, "ap0.4096", Some(1))) && world.link(link(5, "ap01", Some(1))));
        let joined = |world: &World, bss| -> Vec<u32> {
            world.joined(&settings, bss).map(|port| port.index).collect()
        };
        assert_eq!(joined(&world, "ap0"), [2, 4], "with the port of a station of its own");
        assert!(world.link_gone(4) && world.link_gone(5));
        assert_eq!(joined(&world, "br-guest"), [0; 0], "it is no port");
        assert!(
            !world.link(Link { isolated: Some(true), ..link(2, "ap0", Some(1)) }),
            "the rules are the same"
        );
        assert_eq!(joined(&world, "ap0"), [0; 0]);
        assert_eq!(world.visitor_prefixes(&settings), [([10, 0, 0, 1].into(), 24)]);
        let bssid = |last| Bssid(MacAddr([2, 0, 0, 0, 0, last]));
        let bss = |last| Bss { bssid: bssid(last), ssid: Ssid::default() };
        let bsses = [("ap0".to_owned(), bss(2)), ("wan".to_owned(), bss(3))].into();
        let shared_by =
            |last| world.network_with(&settings, &bsses, bssid(last)).map(|found| found.interface.as_str());
        assert_eq!([shared_by(1), shared_by(2)], [Some("br-guest"); 2]);
        assert_eq!([shared_by(3), shared_by(4)], [None; 2], "not shared, and not here");
        assert_eq!(world.served(&settings)[0].addresses, [([10, 0, 0, 1].into(), 24)]);
        assert!(world.link_gone(1));
        assert!(world.gateway_addresses(&settings).is_empty());
    }

    fn settings() -> Settings {
        let path = std::env::temp_dir().join(format!("wayleave-world-{}.toml", std::process::id()));
        std::fs::write(&path, "[[network]]\ninterface = \"br-guest\"\n").unwrap();
        let settings = crate::config::gateway::load(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        settings
    }
}
