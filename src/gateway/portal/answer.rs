//! Which page somebody gets: by the name that was asked for, the path, and how the station stands.

use std::net::IpAddr;
use std::time::Duration;

use ring::hmac;

use super::choices::{self, Choice};
use super::form;
use super::page::{self, Left, POLICY, Standing, View};
use super::words::{self, Words};
use crate::adapters::web::{Page, Request, Visit};
use crate::config::portal::{Language, Portal as Settings};
use crate::gateway::effects::Gateway;
use crate::host::clock;
use crate::logic::trade::till::Order;
use crate::model::{BootTime, MacAddr, Refusal, Secret};
use crate::wire::sign::new_grant_id;
use crate::wire::trade::new_purchase_id;

/// What the API is at, as DHCP says it (RFC 8910).
pub(super) const API: &str = "/captive";
/// Octets of the owner's files.
const MOST_THEME: u64 = 64 * 1024;
const MOST_LOGO: u64 = 256 * 1024;
/// RFC 8908 sets no limit; Android reads so much (NetworkMonitor).
const MOST_API: usize = 4096;

const HTML: &str = "text/html; charset=utf-8";
/// What is somebody's own.
const PRIVATE: &str = "private, no-store";

/// Whether the answer depends on who asks.
pub(super) fn asks_about_itself(request: &Request) -> bool {
    !matches!(request.path.as_str(), "/style.css" | "/theme.css" | "/live.js" | "/logo")
}

/// What a request wants, as far as its words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// It is meant for somebody else: a probe for a captive portal, or a page on the internet.
    Elsewhere,
    Home,
    Live,
    Api,
    Style,
    Theme,
    Script,
    Logo,
    Order,
    Free,
    Resume,
    Leave,
    NotFound,
    WrongMethod,
}

fn route(request: &Request, is_ours: bool) -> Route {
    if !is_ours {
        return Route::Elsewhere;
    }
    let (get, post) = (matches!(request.method.as_str(), "GET" | "HEAD"), request.method == "POST");
    let (route, right) = match request.path.as_str() {
        "/" => (Route::Home, get),
        "/live" => (Route::Live, get),
        API => (Route::Api, get),
        "/style.css" => (Route::Style, get),
        "/theme.css" => (Route::Theme, get),
        "/live.js" => (Route::Script, get),
        "/logo" => (Route::Logo, get),
        "/order" => (Route::Order, post),
        "/free" => (Route::Free, post),
        "/resume" => (Route::Resume, post),
        "/leave" => (Route::Leave, post),
        _ => (Route::NotFound, true),
    };
    if right { route } else { Route::WrongMethod }
}

/// Whether a Host field (RFC 9110, 7.2) names this machine: another name may be the trick of a page elsewhere that
/// resolves to here.
fn names_us(host: &str, name: &str, own: &[IpAddr]) -> bool {
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or(("", "")),
        None => host.split_once(':').map_or((host, ""), |(host, port)| (host, port)),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    match host.parse::<IpAddr>() {
        Ok(address) => own.contains(&address),
        Err(_) => !name.is_empty() && host.eq_ignore_ascii_case(name),
    }
}

/// Whether a form was sent from a page of ours, as far as the browser says (Fetch Metadata; RFC 6454, 7).
fn is_same_site(request: &Request) -> bool {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    let site = header("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let scheme = if request.tls { "https://" } else { "http://" };
    let origin = header("origin").is_none_or(|origin| {
        origin.strip_prefix(scheme).is_some_and(|origin| Some(origin) == header("host"))
    });
    let form = header("content-type")
        .is_some_and(|kind| kind.split(';').next() == Some("application/x-www-form-urlencoded"));
    site && origin && form
}

impl Gateway {
    /// The answer to one request.
    pub(super) fn portal_answer(&mut self, visit: &Visit, station: Option<MacAddr>, now: BootTime) -> Page {
        let request = &visit.request;
        let Some(settings) = self.settings.portal.clone() else { return plain(503) };
        let host = request.headers.get("host").map(String::as_str).unwrap_or_default();
        let mut own = self.world.gateway_addresses(&self.settings);
        own.push(visit.to);
        let is_ours = names_us(host, &settings.host, &own);
        let pairs = form::pairs(request.query.as_bytes());
        let cookie = request.headers.get("cookie").and_then(|cookies| cookie(cookies, "lang"));
        let asked = form::value(&pairs, "lang").or(cookie);
        let accepts = request.headers.get("accept-language").map(String::as_str).unwrap_or_default();
        let language = words::chosen(asked, accepts, &settings.languages);
        match route(request, is_ours) {
            Route::Elsewhere => self.elsewhere(&settings, visit),
            Route::Style => static_file("text/css; charset=utf-8", page::STYLE.as_bytes().to_vec()),
            Route::Script => static_file("text/javascript; charset=utf-8", page::SCRIPT.as_bytes().to_vec()),
            Route::Theme => owners_file(settings.theme.as_deref(), MOST_THEME, |_| "text/css; charset=utf-8"),
            Route::Logo => owners_file(settings.logo.as_deref(), MOST_LOGO, picture),
            Route::Live => {
                let standing = self.standing(station, now);
                let body = page::event(&standing, language);
                answer(200, "text/event-stream", body.into_bytes())
            }
            Route::Api if request.tls => self.api(&settings, visit, station, now),
            Route::Api | Route::NotFound => {
                self.say(&settings, station, language, 404, Some(words::NOT_FOUND), None, now)
            }
            Route::WrongMethod => plain(405),
            Route::Home => {
                let mut page = self.say(&settings, station, language, 200, None, None, now);
                if let Some(chosen) = form::value(&pairs, "lang") {
                    // One of our own words, whatever was asked.
                    let tag = words::chosen(Some(chosen), "", &settings.languages).tag();
                    let cookie = format!("lang={tag}; Path=/; SameSite=Strict; Max-Age=31536000");
                    page.headers.push(("set-cookie", cookie));
                }
                page
            }
            route @ (Route::Order | Route::Free | Route::Resume | Route::Leave) => {
                let form = form::pairs(&request.body);
                let language =
                    words::chosen(form::value(&form, "lang").or(asked), accepts, &settings.languages);
                let token = form::value(&form, "token").unwrap_or_default();
                let station =
                    station.filter(|station| is_same_site(request) && self.is_token(token, *station));
                let Some(station) = station else {
                    return self.say(&settings, None, language, 403, Some(words::STALE), None, now);
                };
                match self.posted(route, station, &form, now) {
                    // The page that follows can be loaded again without doing it again.
                    Ok(()) => Page {
                        headers: vec![
                            ("location", format!("/?lang={}", language.tag())),
                            ("cache-control", PRIVATE.to_owned()),
                        ],
                        ..plain(303)
                    },
                    Err(refusal) => {
                        tracing::debug!(%station, word = refusal.word, "{}", refusal.sentence);
                        self.say(&settings, Some(station), language, 409, None, Some(&refusal), now)
                    }
                }
            }
        }
    }

    /// What is not for us is told where the portal is; what is asked for elsewhere in a page is nobody's loss.
    fn elsewhere(&self, settings: &Settings, visit: &Visit) -> Page {
        let location = self.portal_url(settings, visit.to);
        let body =
            format!("<!DOCTYPE html><title>-</title><p><a href=\"{0}\">{0}</a></p>\n", page::Text(&location));
        let mut page = answer(302, HTML, body.into_bytes());
        page.headers.push(("location", location));
        page
    }

    /// Where the portal is, for somebody who reached us at this address.
    fn portal_url(&self, settings: &Settings, to: IpAddr) -> String {
        let own = |address: &IpAddr| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let host = match settings.host.as_str() {
            "" => {
                let all = self.world.gateway_addresses(&self.settings);
                let to = Some(to).filter(own).or_else(|| all.into_iter().find(own)).unwrap_or(to);
                match to {
                    IpAddr::V4(v4) => v4.to_string(),
                    IpAddr::V6(v6) => format!("[{v6}]"),
                }
            }
            name => name.to_owned(),
        };
        match &settings.tls {
            Some(tls) if tls.port == 443 => format!("https://{host}/"),
            Some(tls) => format!("https://{host}:{}/", tls.port),
            None if settings.port == 80 => format!("http://{host}/"),
            None => format!("http://{host}:{}/", settings.port),
        }
    }

    /// Does what a form asks.
    fn posted(
        &mut self,
        route: Route,
        station: MacAddr,
        form: &[(String, String)],
        now: BootTime,
    ) -> Result<(), Refusal> {
        let calendar = clock::calendar();
        let held = self.grants.of_station(station).map(|grant| grant.id);
        let nothing_sold = self.nothing_sold();
        let Some(store) = &mut self.portal.store else { return Err(nothing_sold) };
        let plan = store.till.plan_of(station).filter(|plan| !plan.idle).map(|plan| plan.grant);
        if held.is_some() && held != plan {
            let sentence = "the owner of this network has given you access: there is nothing to buy";
            return Err(Refusal::new("has-access", sentence));
        }
        match route {
            Route::Leave => {
                if let Some(grant) = plan {
                    self.leave_soon(grant);
                }
                return Ok(());
            }
            Route::Resume => store.till.resume(station, new_grant_id(), calendar, now)?,
            _ => {
                let value = form::value(form, "choice").unwrap_or_default();
                let choice =
                    choices::of(&self.settings.shop).into_iter().find(|choice| choice.value() == value);
                let changed =
                    || Refusal::new("price-changed", "this is not sold like that now: look at it again");
                let choice = choice.ok_or_else(changed)?;
                let code = form::value(form, "code").map(Secret::new);
                let order = Order {
                    purchase: new_purchase_id(),
                    grant: new_grant_id(),
                    station,
                    price: choice.price(),
                    tariff: choice.tariff,
                    want: choice.want,
                    code: code.as_ref(),
                };
                let ordered = store.till.order(&self.settings.shop, &order, calendar, now);
                // What was tried is kept as well, and what is refused stays so.
                return ordered.and(self.portal_turn(now));
            }
        }
        self.portal_turn(now)
    }

    /// How a station stands.
    fn standing(&mut self, station: Option<MacAddr>, now: BootTime) -> Standing {
        let Some(station) = station else { return Standing::Unknown };
        let till = self.portal.store.as_ref().map(|store| &store.till);
        let plan = till.and_then(|till| till.plan_of(station)).filter(|plan| !plan.idle);
        let Some(grant) = self.grants.of_station(station).cloned() else {
            let waits = till.and_then(|till| till.waits(station, now));
            let free = choices::of(&self.settings.shop)
                .into_iter()
                .filter(|choice| choice.price().is_none() && waits.is_none())
                .filter_map(|choice| {
                    let wait = till?.free_again(station, &choice.tariff, now);
                    Some((choice, wait))
                });
            return Standing::Out { waits, free: free.collect() };
        };
        let own = plan.is_some_and(|plan| plan.grant == grant.id);
        if self.grants.is_spent(grant.id) {
            return Standing::Spent { own };
        }
        let bought = till.map(|till| till.bought(station)).filter(|_| own).unwrap_or_default();
        let used = match self.nft.enforced_of(std::iter::once(station)) {
            // As in `portal_over`: neither what was dropped nor headers are anybody's.
            Ok(found) => found.get(&station).map_or(0, |found| {
                let moved = found.moved.total_bytes();
                found.quota.map_or(moved, |quota| quota.used.min(moved))
            }),
            Err(error) => {
                tracing::debug!(%error, "what is left of a grant");
                0
            }
        };
        let bytes = grant.quota.map(|quota| {
            let left = quota.saturating_sub(used);
            (left, bought.bytes.unwrap_or(quota).max(left))
        });
        let seconds = grant.deadline.map(|at| {
            let left = at.since(now).as_secs();
            (left, bought.time.map_or(left, |time| Duration::from(time).as_secs()).max(left))
        });
        Standing::In { left: Left { bytes, seconds }, own }
    }

    /// The page of a station, or one with a sentence.
    #[allow(clippy::too_many_arguments)]
    fn say(
        &mut self,
        settings: &Settings,
        station: Option<MacAddr>,
        language: Language,
        status: u16,
        sentence: Option<Words>,
        refusal: Option<&Refusal>,
        now: BootTime,
    ) -> Page {
        let standing = self.standing(station, now);
        let title = if settings.title.is_empty() { &self.settings.name } else { &settings.title };
        let own = matches!(&standing, Standing::In { own: true, .. } | Standing::Spent { own: true });
        let messages = match (&standing, station) {
            (Standing::In { .. } | Standing::Spent { .. }, Some(station)) => self.messages_for(station),
            _ => Vec::new(),
        };
        let sells = self.portal.store.is_some() && (own || matches!(standing, Standing::Out { .. }));
        let mut choices: Vec<Choice> = if sells { choices::of(&self.settings.shop) } else { Vec::new() };
        choices.retain(|choice| choice.price().is_some());
        let token = station.map(|station| self.token(station)).unwrap_or_default();
        let view = View {
            language,
            languages: &settings.languages,
            title,
            notice: &settings.notice,
            messages: &messages,
            logo: settings.logo.is_some(),
            theme: settings.theme.is_some(),
            standing,
            choices: &choices,
            refusal: refusal.map(|refusal| words::refused(refusal, language)),
            token: &token,
        };
        let (status, html) = match sentence {
            Some(words) => (status, page::sentence(&view, words)),
            None if view.standing == Standing::Unknown => (503, page::home(&view)),
            None => (status, page::home(&view)),
        };
        let mut page = answer(status, HTML, html.into_bytes());
        page.headers.push(("content-language", language.tag().to_owned()));
        page
    }

    /// RFC 8908, 5, with the keys that are registered.
    fn api(&mut self, settings: &Settings, visit: &Visit, station: Option<MacAddr>, now: BootTime) -> Page {
        let standing = self.standing(station, now);
        let mut said = serde_json::Map::new();
        let captive = !matches!(standing, Standing::In { .. });
        said.insert("captive".into(), captive.into());
        said.insert("user-portal-url".into(), self.portal_url(settings, visit.to).into());
        if let Some(venue) = &settings.venue_url {
            // Some telephones ask for it while they are captive (also where RFC 8908 does not need it).
            said.insert("venue-info-url".into(), venue.as_str().into());
        }
        if let Standing::In { left, own } = standing {
            let sells = choices::of(&self.settings.shop).iter().any(|choice| choice.price().is_some());
            let limited = left != Left::default();
            said.insert(
                "can-extend-session".into(),
                (own && sells && limited && self.portal.store.is_some()).into(),
            );
            if let Some((seconds, _)) = left.seconds {
                said.insert("seconds-remaining".into(), seconds.into());
            }
            if let Some((bytes, _)) = left.bytes {
                said.insert("bytes-remaining".into(), bytes.into());
            }
        }
        let body = serde_json::Value::Object(said).to_string();
        debug_assert!(body.len() <= MOST_API, "a name, a URL and some numbers");
        answer(200, "application/captive+json", body.into_bytes())
    }

    /// What forms of a station carry: nobody else can make it, and it says nothing.
    fn token(&self, station: MacAddr) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.portal.secret);
        let tag = hmac::sign(&key, &station.0);
        tag.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect()
    }

    fn is_token(&self, token: &str, station: MacAddr) -> bool {
        // An attacker sees no more than whether it fits, and has one guess of 128 bits for each request.
        token == self.token(station)
    }
}

fn cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

fn answer(status: u16, kind: &'static str, body: Vec<u8>) -> Page {
    let headers = [
        ("content-type", kind),
        ("cache-control", PRIVATE),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ];
    Page { status, headers: headers.map(|(name, value)| (name, value.to_owned())).into(), body: body.into() }
}

fn plain(status: u16) -> Page {
    Page { status, headers: Vec::new(), body: Vec::new().into() }
}

fn static_file(kind: &'static str, body: Vec<u8>) -> Page {
    let mut page = answer(200, kind, body);
    for (name, value) in &mut page.headers {
        if *name == "cache-control" {
            "max-age=300".clone_into(value);
        }
    }
    page
}

/// A file of the owner's, as it is now.
fn owners_file(path: Option<&std::path::Path>, most: u64, kind: impl Fn(&[u8]) -> &'static str) -> Page {
    let read = |path: &std::path::Path| {
        let short = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= most);
        short.then(|| std::fs::read(path).ok()).flatten()
    };
    match path.and_then(read) {
        Some(body) => static_file(kind(&body), body),
        None => plain(404),
    }
}

/// By its first octets.
fn picture(octets: &[u8]) -> &'static str {
    let starts = |magic: &[u8]| octets.starts_with(magic);
    match octets {
        _ if starts(b"\x89PNG") => "image/png",
        _ if starts(b"\xff\xd8") => "image/jpeg",
        _ if starts(b"GIF8") => "image/gif",
        _ if starts(b"RIFF") && octets.get(8..12) == Some(b"WEBP") => "image/webp",
        // A script in it runs nowhere: it is shown as a picture, and under a policy that allows none.
        _ => "image/svg+xml",
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
