//! Errors of the conntrack adapter.

use std::io;

/// Why flows could not be listed or freed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConntrackError {
    /// The socket failed. The next call opens another one.
    #[error("conntrack netlink socket, {doing}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The kernel refused. Without CAP_NET_ADMIN: EPERM; without nf_conntrack_netlink: EOPNOTSUPP or EINVAL.
    #[error("the kernel refused to {request} conntrack entries")]
    Refused {
        /// What was asked for.
        request: &'static str,
        /// Its errno.
        #[source]
        source: io::Error,
    },

    /// The kernel's answer does not parse.
    #[error("conntrack answer is cut short")]
    Garbled,
}
