//! Descriptors that tokio can wait for: the one place where such a descriptor is handed to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// The owner of one descriptor, waiting to become readable.
pub struct Pollable<T: AsFd + Into<OwnedFd>>(AsyncFd<Held<T>>);

struct Held<T> {
    owner: T,
    fd: RawFd,
}

impl<T: AsFd + Into<OwnedFd>> Pollable<T> {
    /// Takes the descriptor over. Needs a tokio runtime.
    pub fn new(owner: T) -> io::Result<Self> {
        let fd = owner.as_fd().as_raw_fd();
        // SAFETY: `owner` owns the descriptor (it can be turned into an `OwnedFd`), is dropped only after the
        // registration, and is lent out only by shared reference, so that `fd` stays open and the same.
        let registered = unsafe { AsyncFd::register(Held { owner, fd }) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// The owner of the descriptor.
    pub fn get(&self) -> &T {
        &self.0.get_ref().owner
    }

    /// Calls `read` whenever the descriptor is readable until it does not say `WouldBlock`. Dropping the future loses
    /// nothing.
    pub async fn read<R>(&self, mut read: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        loop {
            let mut ready: AsyncFdReadyGuard<'_, Held<T>> = self.0.readable().await?;
            // Readiness costs a task nothing: without this whoever sends without end has the thread to himself.
            tokio::task::coop::consume_budget().await;
            if let Ok(result) = ready.try_io(|held| read(&held.get_ref().owner)) {
                return result;
            }
        }
    }
}

impl<T> AsRawFd for Held<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}
