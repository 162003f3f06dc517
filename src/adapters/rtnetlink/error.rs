//! Errors of the rtnetlink adapter.

use std::io;

/// Why links, addresses or neighbours could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RtnetlinkError {
    /// The socket failed.
    #[error("rtnetlink socket, {doing}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The kernel said no. Changing anything needs CAP_NET_ADMIN.
    #[error("the kernel refused to {request}")]
    Refused {
        /// What was asked for.
        request: &'static str,
        /// Its errno.
        #[source]
        source: io::Error,
    },

    /// The answer to a dump does not parse, or is not one.
    #[error("the kernel's answer to {request} is not understood")]
    Garbled {
        /// What was asked for.
        request: &'static str,
    },
}

impl RtnetlinkError {
    pub(super) fn socket(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { doing, source }
    }

    /// Of a request. The crate's own text is not used: it prints whole messages, addresses and all.
    pub(super) fn request(request: &'static str, error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(refused) => {
                let errno = refused.raw_code().saturating_neg();
                Self::Refused { request, source: io::Error::from_raw_os_error(errno) }
            }
            rtnetlink::Error::RequestFailed => {
                Self::Socket { doing: request, source: io::ErrorKind::BrokenPipe.into() }
            }
            _ => Self::Garbled { request },
        }
    }
}
