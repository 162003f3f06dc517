//! The expressions of a rule (linux/netfilter/nf_tables.h): what `nft` compiles its text to.
//!
//! Each helper names the nft text it stands for. `ruleset.rs` puts them together.

use super::codec::Attributes;

/// A register of the nf_tables machine. `R1` has 16 bytes; `C0`… are its 4-byte quarters and those behind,
/// so that a concatenation can be laid out in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Register {
    Verdict = 0,
    R1 = 1,
    C0 = 8,
    C1 = 9,
    C4 = 12,
}

/// Where a payload offset counts from (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Base {
    /// Ethernet header.
    Link = 0,
    /// IP or ARP header.
    Network = 1,
    /// TCP, UDP, ICMP header.
    Transport = 2,
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub Base, pub u32, pub u32);

/// The fields that our rules look at: base, offset, length.
#[allow(missing_docs)]
pub mod field {
    use super::{Base, Field};
    pub const ETHER_DADDR: Field = Field(Base::Link, 0, 6);
    pub const ETHER_SADDR: Field = Field(Base::Link, 6, 6);
    pub const ARP_SADDR_ETHER: Field = Field(Base::Network, 8, 6);
    pub const ARP_SADDR_IP: Field = Field(Base::Network, 14, 4);
    pub const IP_SADDR: Field = Field(Base::Network, 12, 4);
    pub const IP_DADDR: Field = Field(Base::Network, 16, 4);
    pub const IP6_HOPLIMIT: Field = Field(Base::Network, 7, 1);
    pub const IP6_SADDR: Field = Field(Base::Network, 8, 16);
    pub const IP6_DADDR: Field = Field(Base::Network, 24, 16);
    pub const TH_SPORT: Field = Field(Base::Transport, 0, 2);
    pub const TH_DPORT: Field = Field(Base::Transport, 2, 2);
    #[cfg(feature = "portal")]
    pub const TCP_FLAGS: Field = Field(Base::Transport, 13, 1);
    pub const ICMP_TYPE: Field = Field(Base::Transport, 0, 1);
    pub const ND_TARGET: Field = Field(Base::Transport, 8, 16);
}

/// What a packet is marked with (`enum nft_meta_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// The EtherType.
    Protocol = 1,
    /// The packet's mark, in the machine's order.
    #[cfg(feature = "portal")]
    Mark = 3,
    /// Interface it came in by.
    Iifname = 6,
    /// Interface it goes out by.
    Oifname = 7,
    /// TCP, UDP, ICMP …
    L4proto = 16,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passes this hook.
    Accept,
    /// Ends here.
    Drop,
    /// Goes on in that chain and comes back.
    Jump(&'static str),
    /// Goes on in that chain.
    Goto(&'static str),
}

impl Verdict {
    /// `NFTA_DATA_VERDICT` inside a data attribute.
    pub fn write(self, data: &mut Attributes<'_>) {
        const NF_DROP: u32 = 0;
        const NF_ACCEPT: u32 = 1;
        const NFT_JUMP: u32 = -3i32 as u32;
        const NFT_GOTO: u32 = -4i32 as u32;
        let (code, chain) = match self {
            Verdict::Accept => (NF_ACCEPT, None),
            Verdict::Drop => (NF_DROP, None),
            Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
            Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
        };
        data.nest(2, |verdict| {
            verdict.be32(1, code);
            if let Some(chain) = chain {
                verdict.text(2, chain);
            }
        });
    }
}

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads a field.
    Payload(Field, Register),
    /// Loads a mark.
    Meta(Meta, Register),
    /// Goes on if the register holds these bytes.
    Equal(Register, Vec<u8>),
    /// Keeps these bits of the register.
    Mask(Register, Vec<u8>),
    /// Goes on if the register is in the set.
    In(Register, &'static str),
    /// Goes on if it is not.
    NotIn(Register, &'static str),
    /// Loads what the map has for the first register into the second, or does not go on.
    Map(Register, &'static str, Register),
    /// Counts in the named counter object.
    Count(&'static str),
    /// Counts in the quota object that the map has for the register, and goes on if that had bytes left.
    WithinQuotaOf(Register, &'static str),
    /// Loads these bytes into the register.
    #[cfg(feature = "portal")]
    Load(Register, Vec<u8>),
    /// Marks the packet with what the register holds.
    #[cfg(feature = "portal")]
    SetMeta(Meta, Register),
    /// Sends the packet to this machine, to the port in the register. Ends here.
    #[cfg(feature = "portal")]
    Redirect(Register),
    /// Answers with a reset of the connection. Ends here.
    #[cfg(feature = "portal")]
    Reset,
    /// The end.
    Verdict(Verdict),
}

impl Expr {
    /// `NFTA_LIST_ELEM` of `NFTA_RULE_EXPRESSIONS`.
    pub fn write(&self, list: &mut Attributes<'_>) {
        list.nest(1, |expression| {
            expression.text(1, self.name());
            expression.nest(2, |data| self.write_data(data));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expr::Payload(..) => "payload",
            Expr::Meta(..) => "meta",
            Expr::Equal(..) => "cmp",
            Expr::Mask(..) => "bitwise",
            Expr::In(..) | Expr::NotIn(..) | Expr::Map(..) => "lookup",
            Expr::Count(_) | Expr::WithinQuotaOf(..) => "objref",
            Expr::Verdict(_) => "immediate",
            #[cfg(feature = "portal")]
            Expr::Load(..) => "immediate",
            #[cfg(feature = "portal")]
            Expr::SetMeta(..) => "meta",
            #[cfg(feature = "portal")]
            Expr::Redirect(_) => "redir",
            #[cfg(feature = "portal")]
            Expr::Reset => "reject",
        }
    }

    fn write_data(&self, data: &mut Attributes<'_>) {
        const NFT_OBJECT_COUNTER: u32 = 1;
        match self {
            Expr::Payload(Field(base, offset, length), register) => {
                data.be32(1, *register as u32);
                data.be32(2, *base as u32);
                data.be32(3, *offset);
                data.be32(4, *length);
            }
            Expr::Meta(key, register) => {
                data.be32(1, *register as u32);
                data.be32(2, *key as u32);
            }
            Expr::Equal(register, bytes) => {
                data.be32(1, *register as u32);
                data.be32(2, 0);
                data.nest(3, |value| value.bytes(1, bytes));
            }
            Expr::Mask(register, mask) => {
                data.be32(1, *register as u32);
                data.be32(2, *register as u32);
                data.be32(3, mask.len() as u32);
                data.nest(4, |value| value.bytes(1, mask));
                data.nest(5, |value| value.bytes(1, &vec![0; mask.len()]));
            }
            Expr::In(register, set) => {
                data.text(1, set);
                data.be32(2, *register as u32);
            }
            Expr::NotIn(register, set) => {
                data.text(1, set);
                data.be32(2, *register as u32);
                data.be32(5, 1);
            }
            Expr::Map(register, map, into) => {
                data.text(1, map);
                data.be32(2, *register as u32);
                data.be32(3, *into as u32);
            }
            Expr::Count(counter) => {
                data.be32(1, NFT_OBJECT_COUNTER);
                data.text(2, counter);
            }
            Expr::WithinQuotaOf(register, map) => {
                data.be32(3, *register as u32);
                data.text(4, map);
            }
            #[cfg(feature = "portal")]
            Expr::Load(register, bytes) => {
                data.be32(1, *register as u32);
                data.nest(2, |value| value.bytes(1, bytes));
            }
            #[cfg(feature = "portal")]
            Expr::SetMeta(key, register) => {
                data.be32(2, *key as u32);
                data.be32(3, *register as u32);
            }
            #[cfg(feature = "portal")]
            Expr::Redirect(register) => {
                const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
                data.be32(1, *register as u32);
                data.be32(3, NF_NAT_RANGE_PROTO_SPECIFIED);
            }
            #[cfg(feature = "portal")]
            Expr::Reset => {
                const NFT_REJECT_TCP_RST: u32 = 1;
                data.be32(1, NFT_REJECT_TCP_RST);
                data.bytes(2, &[0]);
            }
            Expr::Verdict(verdict) => {
                data.be32(1, Register::Verdict as u32);
                data.nest(2, |value| verdict.write(value));
            }
        }
    }
}
