//! The portal's web server: HTTP/1.1, and over TLS 1.3 where there is a certificate, on the shared interfaces.
//!
//! A listener is bound to its interface (SO_BINDTODEVICE), so that who asks is known by it and the address that the kernel
//! saw. Requests come out of [`Web::next`] whole, and each is answered by a [`Page`]; nothing here knows what one says.
//! Everything that a stranger can send is bounded: connections of all and of one address, sizes, and time.
//!
//! Read next: `serve.rs` for one connection, `tls.rs` for certificates that change.

mod body;
mod serve;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep;

pub use tls::{Certificate, TlsError};

use super::listener::listener_on;
use crate::model::Few;

/// Connections at a time; others wait in the kernel's line.
const MOST: usize = 96;
/// Connections of one address.
const MOST_OF_ONE: u16 = 6;
/// The kernel's line: a café full of telephones that come at once.
const LINE: i32 = 512;
/// Requests that wait for an answer.
const QUEUE: usize = 32;

/// Somebody asks.
#[derive(Debug)]
pub struct Visit {
    /// By which interface: its index.
    pub interface: u32,
    /// From where.
    pub from: IpAddr,
    /// To which address of ours.
    pub to: IpAddr,
    /// What.
    pub request: Request,
    /// Dropping it hangs up.
    pub reply: oneshot::Sender<Page>,
}

/// What is asked. Text from outside: nothing of it is trusted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST` or another one.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the question mark.
    pub query: String,
    /// Whether it came by TLS.
    pub tls: bool,
    /// Header fields that matter, by lower-case name; the first of each.
    pub headers: BTreeMap<&'static str, String>,
    /// What was posted.
    pub body: Vec<u8>,
}

// Forms hold codes, which are money.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} with {} octets",
            self.method.escape_debug(),
            self.path.escape_debug(),
            self.body.len()
        )
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 200, 302 …
    pub status: u16,
    /// Header fields; the length is added.
    pub headers: Vec<(&'static str, String)>,
    /// Its content.
    pub body: Bytes,
}

/// Where the portal listens.
#[derive(Debug)]
pub struct Web {
    port: u16,
    tls: Option<(u16, Certificate)>,
    visits: mpsc::Receiver<Visit>,
    sender: mpsc::Sender<Visit>,
    places: Places,
    listeners: Few<u32, Vec<AbortHandle>>,
}

/// Connections that are open.
#[derive(Clone, Debug)]
struct Places {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<BTreeMap<IpAddr, u16>>>,
}

/// What a connection needs.
#[derive(Clone, Debug)]
struct Door {
    interface: u32,
    visits: mpsc::Sender<Visit>,
    tls: Option<Certificate>,
}

impl Web {
    /// It listens nowhere yet.
    pub fn new(port: u16, tls: Option<(u16, Certificate)>) -> Self {
        let (sender, visits) = mpsc::channel(QUEUE);
        let places = Places { all: Arc::new(Semaphore::new(MOST)), by_address: Arc::default() };
        Self { port, tls, visits, sender, places, listeners: Few::default() }
    }

    /// Listens on these interfaces, by index and name, and on no others. Why it does not on one of them comes back.
    pub fn listen(&mut self, interfaces: &Few<u32, String>) -> Vec<(String, u16, io::Error)> {
        self.listeners.retain(|index, listeners| {
            let stays = interfaces.contains_key(index);
            if !stays {
                listeners.iter().for_each(AbortHandle::abort);
            }
            stays
        });
        let mut failed = Vec::new();
        for (index, name) in interfaces.iter() {
            if self.listeners.contains_key(index) {
                continue;
            }
            let plain = std::iter::once((self.port, None));
            let tls = self.tls.iter().map(|(port, certificate)| (*port, Some(certificate.clone())));
            let mut listeners = Vec::new();
            for (port, tls) in plain.chain(tls) {
                let door = Door { interface: *index, visits: self.sender.clone(), tls };
                match listener_on(name, port, LINE) {
                    Ok(listener) => {
                        let accepting = accept(listener, door, self.places.clone());
                        listeners.push(tokio::spawn(accepting).abort_handle());
                    }
                    Err(error) => failed.push((name.clone(), port, error)),
                }
            }
            if !listeners.is_empty() {
                self.listeners.insert(*index, listeners);
            }
        }
        failed
    }

    /// Who asks next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Visit {
        match self.visits.recv().await {
            Some(visit) => visit,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.listeners.values().flatten().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, door: Door, places: Places) {
    loop {
        // A place first: whoever finds none waits in the kernel's line and costs nothing here.
        let Ok(permit) = Arc::clone(&places.all).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = places.take(from) else { continue };
                let door = door.clone();
                tokio::spawn(async move {
                    let _held = (permit, place);
                    serve::connection(stream, from, door).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no visitor of the portal accepted");
                // Out of descriptors: until some are free.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Places {
    /// One for this address; `None`: it has as many as one may have.
    fn take(&self, from: SocketAddr) -> Option<Place> {
        let from = from.ip().to_canonical();
        let mut found = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = found.entry(from).or_default();
        if *of_one >= MOST_OF_ONE {
            return None;
        }
        *of_one += 1;
        Some(Place { by_address: Arc::clone(&self.by_address), from })
    }
}

/// One connection, counted for as long as it lives.
struct Place {
    by_address: Arc<Mutex<BTreeMap<IpAddr, u16>>>,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut found = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match found.get_mut(&self.from) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => drop(found.remove(&self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_for_one_and_come_back() {
        let places = Places { all: Arc::new(Semaphore::new(1)), by_address: Arc::default() };
        let from = |last: u8| SocketAddr::from(([10, 0, 0, last], 1));
        let taken: Vec<Place> = (0..MOST_OF_ONE).filter_map(|_| places.take(from(1))).collect();
        assert_eq!(taken.len(), usize::from(MOST_OF_ONE));
        assert!(places.take(from(1)).is_none());
        // The same address, as a listener for both families sees it.
        assert!(places.take("[::ffff:10.0.0.1]:1".parse().unwrap()).is_none());
        assert!(places.take(from(2)).is_some());
        drop(taken);
        assert!(places.take(from(1)).is_some());
        assert!(places.by_address.lock().unwrap().is_empty());
    }
}
