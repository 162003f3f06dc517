//! dnsmasq's lease file and the two release messages, as bytes. No I/O.
//!
//! The file's text comes partly from stations (names, client ids): what does not parse is skipped and counted.
//! Read next: `mod.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::MacAddr;

/// More octets than an option can carry (RFC 2132, 2); a longer client id is not one.
const MOST_OF_AN_OPTION: usize = 255;

/// A DUID has at most 128 octets of data behind its type (RFC 8415, 11.1).
const MOST_OF_A_DUID: usize = 130;

/// What a lease file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// IPv4 leases of stations with an EUI-48 address.
    pub v4: Vec<LeaseV4>,
    /// IPv6 leases.
    pub v6: Vec<LeaseV6>,
    /// Who the DHCPv6 server is.
    pub server: Option<Vec<u8>>,
    /// Lines that are no lease.
    pub skipped: u32,
}

/// One DHCPv4 lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseV4 {
    /// The hardware type (RFC 1700, "Number Hardware Type"); Ethernet is 1.
    pub hardware: u8,
    /// The station.
    pub mac: MacAddr,
    /// Its address.
    pub ip: Ipv4Addr,
    /// What it calls itself (option 61), if it does.
    pub client: Option<Vec<u8>>,
}

/// One DHCPv6 lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseV6 {
    /// Which of the client's identity associations.
    pub iaid: u32,
    /// IA_TA rather than IA_NA.
    pub temporary: bool,
    /// Its address.
    pub ip: Ipv6Addr,
    /// The client's DUID.
    pub client: Vec<u8>,
}

impl Leases {
    /// Reads a whole file. A line: `expiry mac ip name client-id`; behind the line `duid …` instead
    /// `expiry iaid ip name duid`.
    pub fn parse(file: &[u8]) -> Leases {
        let mut leases = Leases::default();
        for line in file.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            if leases.line(line).is_none() {
                leases.skipped += 1;
            }
        }
        leases
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let first = words.next()?;
        match first {
            "duid" => self.server = Some(octets(words.next()?, MOST_OF_A_DUID)?),
            // What dnsmasq keeps for its scripts.
            "vendorclass" | "agent-info" => {}
            _ => {
                first.parse::<u64>().ok()?;
                let [who, ip, _name, client] = [words.next()?, words.next()?, words.next()?, words.next()?];
                match self.server {
                    None => self.v4.push(v4(who, ip, client)?),
                    Some(_) => self.v6.push(v6(who, ip, client)?),
                }
            }
        }
        words.next().is_none().then_some(())
    }
}

impl LeaseV6 {
    /// The link-layer address in the client's DUID, if it is of a kind that has one (RFC 8415, 11.2 and 11.4).
    pub fn mac(&self) -> Option<MacAddr> {
        match self.client.as_slice() {
            // DUID-LLT of Ethernet, four octets of time; DUID-LL of Ethernet.
            [0, 1, 0, 1, _, _, _, _, mac @ ..] | [0, 3, 0, 1, mac @ ..] => mac.try_into().ok().map(MacAddr),
            _ => None,
        }
    }
}

fn v4(who: &str, ip: &str, client: &str) -> Option<LeaseV4> {
    // `06-02:00:…` where the hardware is not Ethernet.
    let (hardware, mac) = match who.split_once('-') {
        Some((hardware, mac)) => (u8::from_str_radix(hardware, 16).ok()?, mac),
        None => (1, who),
    };
    let client = match client {
        "*" => None,
        text => Some(octets(text, MOST_OF_AN_OPTION)?),
    };
    Some(LeaseV4 { hardware, mac: mac.parse().ok()?, ip: ip.parse().ok()?, client })
}

fn v6(who: &str, ip: &str, client: &str) -> Option<LeaseV6> {
    let (temporary, iaid) = match who.strip_prefix('T') {
        Some(iaid) => (true, iaid),
        None => (false, who),
    };
    let client = octets(client, MOST_OF_A_DUID)?;
    Some(LeaseV6 { iaid: iaid.parse().ok()?, temporary, ip: ip.parse().ok()?, client })
}

/// `01:02:0a`, between one and `most` octets.
fn octets(text: &str, most: usize) -> Option<Vec<u8>> {
    let octet = |digits: &str| match digits.as_bytes() {
        [_, _] if !digits.starts_with('+') => u8::from_str_radix(digits, 16).ok(),
        _ => None,
    };
    let octets: Vec<u8> = text.split(':').map(octet).collect::<Option<_>>()?;
    (octets.len() <= most).then_some(octets)
}

/// DHCPRELEASE as RFC 2131, table 5 has it: the lease's address in `ciaddr`, no broadcast flag; the server's
/// address, and the client id if the lease was made with one.
pub fn release_v4(lease: &LeaseV4, server: Ipv4Addr, transaction: [u8; 4]) -> Vec<u8> {
    const BOOTREQUEST: u8 = 1;
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    const DHCPRELEASE: u8 = 7;
    // RFC 1542, 2.1: a message has at least 300 octets.
    const LEAST: usize = 300;

    let mut message = vec![BOOTREQUEST, lease.hardware, 6, 0];
    message.extend(transaction);
    message.extend([0; 4]);
    message.extend(lease.ip.octets());
    // yiaddr, siaddr, giaddr
    message.extend([0; 12]);
    message.extend(lease.mac.0);
    // The rest of chaddr, sname, file.
    message.extend([0; 10 + 64 + 128]);
    message.extend(COOKIE);
    message.extend([53, 1, DHCPRELEASE]);
    message.extend([54, 4]);
    message.extend(server.octets());
    if let Some(client) = &lease.client {
        message.push(61);
        // At most 255: the parser takes no longer one.
        message.push(client.len() as u8);
        message.extend(client);
    }
    message.push(255);
    message.resize(message.len().max(LEAST), 0);
    message
}

/// The client's RELEASE, forwarded by a relay agent on the client's link (RFC 8415, 19.1.1); `link` is an address
/// of ours there. From a client itself it would have to come from the client's link-local address: dnsmasq looks
/// for its MAC address, and for one that does not answer it stands still for half a second.
pub fn release_v6(lease: &LeaseV6, server: &[u8], link: Ipv6Addr, transaction: [u8; 3]) -> Vec<u8> {
    const RELAY_FORW: u8 = 12;
    const OPTION_RELAY_MSG: u16 = 9;
    const HOPS: u8 = 0;

    let mut message = vec![RELAY_FORW, HOPS];
    message.extend(link.octets());
    message.extend(lease.ip.octets());
    option(&mut message, OPTION_RELAY_MSG, &clients_release(lease, server, transaction));
    message
}

/// RELEASE as RFC 8415, 18.2.7 has it: both identifiers, the elapsed time, and the address in its association.
fn clients_release(lease: &LeaseV6, server: &[u8], transaction: [u8; 3]) -> Vec<u8> {
    const RELEASE: u8 = 8;
    const OPTION_CLIENTID: u16 = 1;
    const OPTION_SERVERID: u16 = 2;
    const OPTION_IA_NA: u16 = 3;
    const OPTION_IA_TA: u16 = 4;
    const OPTION_IAADDR: u16 = 5;
    const OPTION_ELAPSED_TIME: u16 = 8;

    let mut association = lease.iaid.to_be_bytes().to_vec();
    if !lease.temporary {
        // T1, T2
        association.extend([0; 8]);
    }
    // Preferred and valid lifetime are zero in what a client sends.
    option(&mut association, OPTION_IAADDR, &[&lease.ip.octets()[..], &[0; 8]].concat());

    let mut message = vec![RELEASE];
    message.extend(transaction);
    option(&mut message, OPTION_CLIENTID, &lease.client);
    option(&mut message, OPTION_SERVERID, server);
    option(&mut message, OPTION_ELAPSED_TIME, &[0; 2]);
    option(&mut message, if lease.temporary { OPTION_IA_TA } else { OPTION_IA_NA }, &association);
    message
}

fn option(message: &mut Vec<u8>, code: u16, payload: &[u8]) {
    message.extend(code.to_be_bytes());
    // Nothing here comes near 64 KiB.
    message.extend((payload.len() as u16).to_be_bytes());
    message.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dnsmasq 2.89 wrote it.
    const FILE: &str = "1763717000 02:bb:00:00:00:01 10.77.1.10 phone 01:02:bb:00:00:00:01\n\
        1763717001 02:bb:00:00:00:02 10.77.1.11 * *\n\
        0 06-02:bb:00:00:00:03 10.77.1.12 old-ring ff:aa\n\
        duid 00:01:00:01:30:b3:67:1c:02:aa:00:00:00:01\n\
        1763717002 12345 fd77::1005 phone 00:01:00:01:2f:00:00:01:02:bb:00:00:00:01\n\
        1763717003 T7 fd77::1006 * 00:04:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00\n";

    #[test]
    fn a_lease_file_is_read() {
        let leases = Leases::parse(FILE.as_bytes());
        assert_eq!(leases.skipped, 0);
        assert_eq!(leases.server.as_deref().map(<[u8]>::len), Some(14));
        let v4: Vec<_> = leases.v4.iter().map(|lease| (lease.hardware, lease.mac.0[5], lease.ip)).collect();
        assert_eq!(
            v4,
            [
                (1, 1, Ipv4Addr::new(10, 77, 1, 10)),
                (1, 2, Ipv4Addr::new(10, 77, 1, 11)),
                (6, 3, Ipv4Addr::new(10, 77, 1, 12))
            ]
        );
        assert_eq!(leases.v4[0].client.as_deref(), Some([1, 2, 0xbb, 0, 0, 0, 1].as_slice()));
        assert_eq!(leases.v4[1].client, None);
        let [llt, uuid] = leases.v6.as_slice() else { panic!("{leases:?}") };
        assert_eq!((llt.iaid, llt.temporary, llt.ip.to_string()), (12345, false, "fd77::1005".into()));
        assert_eq!(llt.mac(), Some(MacAddr([2, 0xbb, 0, 0, 0, 1])));
        assert_eq!((uuid.iaid, uuid.temporary, uuid.mac()), (7, true, None));
    }

    #[test]
    fn what_is_no_lease_is_skipped_and_counted() {
        let bad = [
            "x 02:bb:00:00:00:01 10.0.0.1 a *",
            "1 02:bb:00:00:00 10.0.0.1 a *",
            "1 02:bb:00:00:00:01 10.0.0.256 a *",
            "1 02:bb:00:00:00:01 10.0.0.1 a",
            "1 02:bb:00:00:00:01 10.0.0.1 a b *",
            "1 02:bb:00:00:00:01 10.0.0.1 a 1:2",
            "1 02:bb:00:00:00:01 10.0.0.1 a +1",
            "1 02:bb:00:00:00:01 fd77::1 a *",
            "1 zz-02:bb:00:00:00:01 10.0.0.1 a *",
            "duid",
            "duid zz",
            " ",
            "\u{fffd}\u{1b}[2J",
        ];
        for line in bad {
            let leases = Leases::parse(line.as_bytes());
            assert_eq!((leases.skipped, leases.v4.len() + leases.v6.len()), (1, 0), "{line:?}");
        }
        let long = format!("1 02:bb:00:00:00:01 10.0.0.1 a {}", ["01"; 256].join(":"));
        assert_eq!(Leases::parse(long.as_bytes()).skipped, 1);
        assert_eq!(Leases::parse(b"\xff\xfe\n\n1 02:bb:00:00:00:01 10.0.0.1 a *").v4.len(), 1);
        // IPv4 lines behind the server's identifier are not IPv4 lines.
        assert_eq!(Leases::parse(b"duid 00:01\n1 02:bb:00:00:00:01 10.0.0.1 a *\n").skipped, 1);
    }

    #[test]
    fn no_cut_of_the_file_makes_a_lease_of_somebody_else() {
        let whole = Leases::parse(FILE.as_bytes());
        for end in 0..FILE.len() {
            let cut = Leases::parse(&FILE.as_bytes()[..end]);
            for lease in cut.v4 {
                assert!(whole.v4.iter().any(|one| (one.mac, one.ip) == (lease.mac, lease.ip)), "at {end}");
            }
        }
    }

    #[test]
    fn a_release_is_that_of_rfc_2131() {
        let lease = LeaseV4 {
            hardware: 1,
            mac: MacAddr([2, 0xbb, 0, 0, 0, 1]),
            ip: Ipv4Addr::new(10, 77, 1, 10),
            client: Some(vec![1, 2, 0xbb, 0, 0, 0, 1]),
        };
        let message = release_v4(&lease, Ipv4Addr::new(10, 77, 0, 1), [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(message.len(), 300);
        // op BOOTREQUEST, htype Ethernet, hlen 6, hops 0; xid; secs 0, flags 0 (no broadcast); ciaddr
        assert_eq!(message[..16], [1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 10, 77, 1, 10]);
        // yiaddr, siaddr, giaddr
        assert_eq!(message[16..28], [0; 12]);
        assert_eq!(message[28..34], [2, 0xbb, 0, 0, 0, 1]);
        assert_eq!(message[34..236], [0; 202]);
        assert_eq!(
            message[236..],
            [
                &[99, 130, 83, 99][..],
                &[53, 1, 7],
                &[54, 4, 10, 77, 0, 1],
                &[61, 7, 1, 2, 0xbb, 0, 0, 0, 1],
                &[255],
                &[0; 41]
            ]
            .concat()
        );
        let nameless = release_v4(&LeaseV4 { client: None, ..lease }, Ipv4Addr::LOCALHOST, [0; 4]);
        assert_eq!(nameless[249..], [&[255][..], &[0; 50]].concat());
    }

    #[test]
    fn a_release_is_that_of_rfc_8415() {
        let lease = LeaseV6 {
            iaid: 0x0102_0304,
            temporary: false,
            ip: "fd77::1005".parse().unwrap(),
            client: vec![0, 3, 0, 1, 2, 0xbb, 0, 0, 0, 1],
        };
        let address = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x05];
        let link = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let message = release_v6(&lease, &[0, 3, 0, 1, 2, 0xaa, 0, 0, 0, 1], link.into(), [1, 2, 3]);
        assert_eq!(
            message,
            [
                // RELAY-FORW, no hop before, link, peer
                &[12, 0][..],
                &link,
                &address,
                // OPTION_RELAY_MSG
                &[0, 9, 0, 82],
                // RELEASE, transaction
                &[8, 1, 2, 3],
                // OPTION_CLIENTID
                &[0, 1, 0, 10, 0, 3, 0, 1, 2, 0xbb, 0, 0, 0, 1],
                // OPTION_SERVERID
                &[0, 2, 0, 10, 0, 3, 0, 1, 2, 0xaa, 0, 0, 0, 1],
                // OPTION_ELAPSED_TIME
                &[0, 8, 0, 2, 0, 0],
                // OPTION_IA_NA: IAID, T1, T2; OPTION_IAADDR: address, lifetimes
                &[0, 3, 0, 40, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0],
                &[0, 5, 0, 24],
                &address,
                &[0; 8]
            ]
            .concat()
        );
        let temporary = clients_release(&LeaseV6 { temporary: true, ..lease }, &[0, 3], [1, 2, 3]);
        // OPTION_IA_TA has no T1 and T2.
        assert_eq!(temporary[30..38], [0, 4, 0, 32, 1, 2, 3, 4]);
    }
}
