//! Errors of the nftables adapter.

use std::io;

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NftError {
    /// No netfilter netlink here, or not for us. Nothing can be enforced.
    #[error("cannot open a netfilter socket: the kernel needs nf_tables and the daemon CAP_NET_ADMIN")]
    Open(#[source] io::Error),
    /// Sending or receiving failed.
    #[error("the netfilter socket failed while {doing}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the transaction; nothing of it took effect.
    #[error("the kernel refused to {doing}: {source}{}", words.as_ref().map(|words| format!(" ({words})")).unwrap_or_default())]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
        /// What the kernel said about it, escaped.
        words: Option<String>,
    },
}

impl NftError {
    /// The errno of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NftError::Refused { source, .. } => source.raw_os_error(),
            NftError::Open(_) | NftError::Socket { .. } => None,
        }
    }
}
