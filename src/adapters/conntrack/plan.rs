//! Which walks of the flow table find the flows of some addresses soonest. Pure.
//!
//! A dump visits every bucket and every flow of the machine, and lists: locking a bucket and listing a flow are the
//! dear parts. The kernel can delete by one IPv4 address at one end ([`Filter::Deletes`], Linux 6.11), which locks
//! no empty bucket and lists nothing, or list by it ([`Filter::Lists`], Linux 5.8; older ones list all, and the
//! caller compares anyway). So the choice is between one long list and two walks per IPv4 address.
//! IPv6 is always listed whole: the kernel's comparison of IPv6 addresses is inverted (seen on 6.18), a filter
//! for `X` gives everybody but `X`.
//!
//! A wrong estimate costs time, never a flow: every plan finds the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::codec::Family;

/// Nanoseconds, as measured on Linux 6.18 at 2.5 GHz; only their proportions matter.
const BUCKET: u64 = 40;
const PASSED_BUCKET: u64 = 2;
const VISIT: u64 = 150;
const LISTED: u64 = 1_200;

/// What the kernel does by one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// It lists (or lists everything, which does as well).
    Lists,
    /// It deletes.
    Deletes,
}

/// What to walk.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Listed whole and compared here.
    pub whole: Option<Family>,
    /// Listed or deleted by the kernel's filter, one walk for each end of each.
    pub filtered: Vec<Ipv4Addr>,
}

impl Plan {
    /// For these addresses, in a namespace of so many flows and a table of so many buckets.
    pub fn of(addresses: &BTreeSet<IpAddr>, flows: u32, buckets: u32, filter: Filter) -> Plan {
        let nothing = Plan { whole: None, filtered: Vec::new() };
        let Some(family) = Family::of(addresses.iter().filter(|address| is_forwarded(address))) else {
            return nothing;
        };
        if flows == 0 {
            return nothing;
        }
        let whole = Plan { whole: Some(family), filtered: Vec::new() };
        if family == Family::V6 {
            return whole;
        }
        let v4: Vec<Ipv4Addr> = addresses
            .iter()
            .filter(|address| is_forwarded(address))
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .collect();
        let (flows, buckets) = (u64::from(flows), u64::from(buckets));
        let list = buckets * BUCKET + flows * LISTED;
        let bucket = match filter {
            Filter::Lists => BUCKET,
            Filter::Deletes => PASSED_BUCKET,
        };
        let filters = 2 * v4.len() as u64 * (buckets * bucket + flows * VISIT);
        match family {
            Family::Any => {
                // Both at a time; how many flows are IPv6 is not known beforehand.
                let v6 = buckets * BUCKET + flows / 2 * LISTED;
                let split = Plan { whole: Some(Family::V6), filtered: v4 };
                if filters.max(v6) < list { split } else { whole }
            }
            _ if filters < list => Plan { whole: None, filtered: v4 },
            _ => whole,
        }
    }
}

/// Whether a router forwards packets of such an address. One that it does not forward is no reason for a walk.
pub fn is_forwarded(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            !(ip.is_link_local() || ip.is_multicast() || ip.is_loopback() || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            !(ip.is_unicast_link_local() || ip.is_multicast() || ip.is_loopback() || ip.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Plan = Plan { whole: None, filtered: Vec::new() };

    fn plan(addresses: &[&str], flows: u32, buckets: u32) -> Plan {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Plan::of(&addresses, flows, buckets, Filter::Lists)
    }

    #[test]
    fn deletes_pass_many_buckets_sooner_than_a_list() {
        let station = vec![Ipv4Addr::new(10, 0, 0, 1)];
        let both = ["10.0.0.1", "fd00::1"].iter().map(|address| address.parse().unwrap()).collect();
        let split = Plan { whole: Some(Family::V6), filtered: station };
        assert_eq!(Plan::of(&both, 10_000, 262_144, Filter::Deletes), split);
        let many = (1..100).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect();
        assert_eq!(Plan::of(&many, 10_000, 16_384, Filter::Deletes), whole(Family::V4));
    }

    fn whole(family: Family) -> Plan {
        Plan { whole: Some(family), filtered: Vec::new() }
    }

    #[test]
    fn without_flows_or_forwarded_addresses_nothing_is_walked() {
        assert_eq!(plan(&[], 10_000, 16_384), NOTHING);
        assert_eq!(plan(&["10.0.0.1", "fd00::1"], 0, 16_384), NOTHING);
        assert_eq!(plan(&["fe80::1", "ff02::1", "169.254.0.1", "224.0.0.1"], 10_000, 16_384), NOTHING);
    }

    #[test]
    fn many_flows_in_few_buckets_are_filtered_by_the_kernel() {
        let station = vec![Ipv4Addr::new(10, 0, 0, 1)];
        let split = Plan { whole: Some(Family::V6), filtered: station.clone() };
        assert_eq!(plan(&["10.0.0.1", "fd00::1"], 10_000, 16_384), split);
        let filtered = Plan { whole: None, filtered: station };
        // A link-local address alone asks for no IPv6 walk.
        assert_eq!(plan(&["10.0.0.1", "fe80::1"], 10_000, 16_384), filtered);
        assert_eq!(plan(&["10.0.0.1"], 10_000, 65_536), filtered);
    }

    #[test]
    fn many_buckets_or_many_addresses_are_walked_once() {
        assert_eq!(plan(&["10.0.0.1", "fd00::1"], 10_000, 262_144), whole(Family::Any));
        assert_eq!(plan(&["10.0.0.1"], 1_000, 262_144), whole(Family::V4));
        assert_eq!(plan(&["fd00::1"], 10_000, 16_384), whole(Family::V6));
        let many: Vec<String> = (1..100).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(plan(&many, 10_000, 16_384), whole(Family::V4));
    }
}
