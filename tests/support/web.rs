//! A visitor of the portal: requests as a browser makes them, from inside a namespace, and what comes back.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lab::{INTERNET_V4, INTERNET_V6, Station};
use super::netns::Netns;

/// Where the portal is unless a configuration says otherwise.
pub const PORT: u16 = 2080;
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The first header field with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The token in its forms.
    #[track_caller]
    pub fn token(&self) -> &str {
        let rest = self.body.split("name=\"token\" value=\"").nth(1);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no form: {self:?}"))
    }

    /// The values of what can be chosen.
    pub fn choices(&self) -> Vec<&str> {
        let parts = self.body.split("name=\"choice\" value=\"").skip(1);
        parts.filter_map(|part| part.split('"').next()).collect()
    }

    /// How the page says that the station stands.
    pub fn state(&self) -> &str {
        let rest = self.body.split("data-state=\"").nth(1).unwrap_or_default();
        rest.split('"').next().unwrap_or_default()
    }
}

/// `request` to `to`, as it stands; `None`: nobody took it, or nothing whole came back.
pub fn raw(to: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // It may be refused before it is all said.
    let _ = stream.write_all(request);
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A page, by GET.
pub fn get_at(to: SocketAddr, host: &str, path: &str, more: &str) -> Option<Answer> {
    raw(to, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes())
}

impl Station {
    /// A page of the portal.
    #[track_caller]
    pub fn portal(&self, gateway: IpAddr, path: &str) -> Answer {
        self.portal_with(gateway, path, "")
    }

    /// The same, with header fields.
    #[track_caller]
    pub fn portal_with(&self, gateway: IpAddr, path: &str, more: &str) -> Answer {
        let to = SocketAddr::from((gateway, PORT));
        let answer = self.netns.enter(|| get_at(to, &to.to_string(), path, more));
        answer.unwrap_or_else(|| panic!("no answer to {path} at {to}"))
    }

    /// A form, with the token of the page if `token` is empty.
    #[track_caller]
    pub fn post(&self, gateway: IpAddr, path: &str, form: &str) -> Answer {
        let token = self.portal(gateway, "/").token().to_owned();
        self.post_with(gateway, path, &format!("token={token}&{form}"), "")
    }

    /// A form as it stands, with header fields.
    #[track_caller]
    pub fn post_with(&self, gateway: IpAddr, path: &str, form: &str, more: &str) -> Answer {
        let to = SocketAddr::from((gateway, PORT));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{more}\r\n{form}",
            form.len()
        );
        let answer = self.netns.enter(|| raw(to, request.as_bytes()));
        answer.unwrap_or_else(|| panic!("no answer to {path} at {to}"))
    }
}

/// A web server on the internet: answers everything on ports 80 and 443 with one word.
#[derive(Debug)]
pub struct Internet {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What it says.
pub const WORD: &str = "the internet";

impl Internet {
    /// In the lab's internet.
    #[track_caller]
    pub fn start(netns: &Netns) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hosts: [IpAddr; 2] = [INTERNET_V4.into(), INTERNET_V6.into()];
        let places = hosts.into_iter().flat_map(|host| [(host, 80), (host, 443)]);
        let threads = places.map(|place| {
            let listener = netns.enter(|| TcpListener::bind(place)).expect("the port is free");
            listener.set_nonblocking(true).expect("a socket");
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    let _ = stream.set_nonblocking(false);
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    let _ = stream.read(&mut [0; 1024]);
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{WORD}", WORD.len());
                    let _ = stream.write_all(answer.as_bytes());
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
