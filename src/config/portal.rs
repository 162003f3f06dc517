//! `[portal]` of the gateway's configuration: the pages that stations without a grant are sent to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;
use crate::model::Link;

/// Where the pages are, unless the file says otherwise: 80 and 443 belong to the router's own pages on many.
const PORT: u16 = 2080;
const TLS_PORT: u16 = 2443;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortalFragment {
    enabled: Option<bool>,
    port: Option<u16>,
    title: Option<String>,
    notice: Option<String>,
    languages: Option<Vec<Language>>,
    theme: Option<PathBuf>,
    logo: Option<PathBuf>,
    host: Option<String>,
    tls_port: Option<u16>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    venue_url: Option<String>,
}

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English.
    En,
    /// Chinese, in simplified characters.
    Zh,
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Where the pages are, in plain HTTP.
    pub port: u16,
    /// What they are headed; empty: the gateway's name.
    pub title: String,
    /// What the owner says on each of them.
    pub notice: String,
    /// In which languages; the first one is spoken to those who want none of them.
    pub languages: Vec<Language>,
    /// A style sheet of the owner's, behind ours.
    pub theme: Option<PathBuf>,
    /// A picture of the owner's.
    pub logo: Option<PathBuf>,
    /// The name of this router in links; empty: its address.
    pub host: String,
    /// HTTPS, and with it the API of RFC 8908.
    pub tls: Option<Tls>,
    /// What the API says of the place.
    pub venue_url: Option<Link>,
}

/// HTTPS of the portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where.
    pub port: u16,
    /// PEM: the certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Portal {
    /// The ports that stations reach without a grant.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        std::iter::once(self.port).chain(self.tls.as_ref().map(|tls| tls.port))
    }
}

impl Language {
    /// Its tag (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::Zh => "zh",
        }
    }
}

/// `wrong` takes the key, what was found, and what is allowed.
pub(super) fn check(
    fragment: PortalFragment,
    wrong: &dyn Fn(&str, &str, &str) -> ConfigError,
) -> Result<Option<Portal>, ConfigError> {
    let wrong = |key: &str, found: &str, allowed: &str| wrong(&format!("portal.{key}"), found, allowed);
    if !fragment.enabled.unwrap_or(false) {
        return Ok(None);
    }
    for (key, text, most) in [("title", &fragment.title, 64), ("notice", &fragment.notice, 1000)] {
        let text = text.as_deref().unwrap_or_default();
        if text.len() > most || text.chars().any(char::is_control) {
            let allowed = format!("at most {most} bytes of text without control characters");
            return Err(wrong(key, &format!("{} bytes", text.len()), &allowed));
        }
    }
    let languages = fragment.languages.unwrap_or_else(|| vec![Language::En, Language::Zh]);
    if languages.is_empty() || languages.iter().collect::<BTreeSet<_>>().len() != languages.len() {
        let found = languages.iter().map(|language| language.tag()).collect::<Vec<_>>().join(", ");
        return Err(wrong("languages", &format!("\"{found}\""), "at least one of en and zh, each once"));
    }
    let host = fragment.host.unwrap_or_default();
    if !host.is_empty() && !is_host(&host) {
        return Err(wrong(
            "host",
            &format!("{host:?}"),
            "a name such as \"portal.corner.example\", in lower case",
        ));
    }
    for (key, path) in [
        ("theme", &fragment.theme),
        ("logo", &fragment.logo),
        ("certificate", &fragment.certificate),
        ("key", &fragment.key),
    ] {
        if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
            return Err(wrong(key, &format!("{:?}", path.display().to_string()), "an absolute path"));
        }
    }
    let port = fragment.port.unwrap_or(PORT);
    let tls_port = fragment.tls_port.unwrap_or(TLS_PORT);
    for (key, port) in [("port", port), ("tls_port", tls_port)] {
        if port == 0 {
            return Err(wrong(key, "0", "a port, 1 to 65535"));
        }
    }
    let tls = match (fragment.certificate, fragment.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            if host.is_empty() {
                return Err(wrong("host", "nothing", "the name that the certificate is for"));
            }
            if tls_port == port {
                return Err(wrong("tls_port", &tls_port.to_string(), "another port than portal.port"));
            }
            Some(Tls { port: tls_port, certificate, key })
        }
        (Some(_), None) => return Err(wrong("key", "nothing", "the file with the certificate's key")),
        (None, Some(_)) => {
            return Err(wrong("certificate", "nothing", "the file with the key's certificate"));
        }
    };
    let venue_url = fragment.venue_url.map(|url| {
        let allowed = "an http or https URL of at most 500 ASCII characters";
        Link::new(url.as_str()).map_err(|_| wrong("venue_url", &format!("{url:?}"), allowed))
    });
    Ok(Some(Portal {
        port,
        title: fragment.title.unwrap_or_default(),
        notice: fragment.notice.unwrap_or_default(),
        languages,
        theme: fragment.theme,
        logo: fragment.logo,
        host,
        tls,
        venue_url: venue_url.transpose()?,
    }))
}

/// A DNS name (RFC 1123, 2.1) in lower case.
fn is_host(name: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    name.len() <= 253 && name.split('.').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(portal: &str) -> Result<Option<Portal>, String> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), format!("[[network]]\ninterface = \"br0\"\n[portal]\n{portal}")).unwrap();
        super::super::gateway::load(file.path())
            .map(|settings| settings.portal)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_until_it_is_switched_on_and_needs_nothing_else() {
        assert_eq!(load("").unwrap(), None);
        let portal = load("enabled = true").unwrap().unwrap();
        assert_eq!((portal.port, portal.ports().collect::<Vec<_>>()), (2080, vec![2080]));
        assert_eq!(portal.languages, [Language::En, Language::Zh]);
        let portal = load(
            "enabled = true\nhost = \"a.example\"\ncertificate = \"/c\"\nkey = \"/k\"\nlanguages = [\"zh\"]\n",
        );
        let portal = portal.unwrap().unwrap();
        assert_eq!(portal.ports().collect::<Vec<_>>(), [2080, 2443]);
        assert_eq!(portal.languages, [Language::Zh]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wanted) in [
            ("port = 0", "portal.port: found 0; allowed: a port"),
            ("title = \"a\\u0007\"", "portal.title: found 2 bytes"),
            ("languages = []", "portal.languages: found \"\"; allowed: at least one"),
            ("languages = [\"en\", \"en\"]", "portal.languages: found \"en, en\""),
            ("languages = [\"fr\"]", "portal.languages"),
            ("host = \"a b\"", "portal.host: found \"a b\"; allowed: a name"),
            ("host = \"A.example\"", "portal.host: found"),
            ("theme = \"x.css\"", "portal.theme: found \"x.css\"; allowed: an absolute path"),
            ("certificate = \"/c\"", "portal.key: found nothing; allowed: the file"),
            ("key = \"/k\"", "portal.certificate: found nothing"),
            ("key = \"/k\"\ncertificate = \"/c\"", "portal.host: found nothing; allowed: the name"),
            (
                "key = \"/k\"\ncertificate = \"/c\"\nhost = \"a\"\ntls_port = 2080",
                "portal.tls_port: found 2080; allowed: another port",
            ),
            ("venue_url = \"ftp://x\"", "portal.venue_url: found \"ftp://x\""),
        ] {
            let error = load(&format!("enabled = true\n{text}")).unwrap_err();
            assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
        }
    }
}
