//! The captive-portal API (RFC 8908) as telephones find and ask it, and the pages in a real browser. Pictures of them are left
//! in `target/portal/`.
#![cfg(all(feature = "portal", feature = "coordinator"))]

mod support;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use support::daemons::Gateway;
use support::dnsmasq::Dnsmasq;
use support::lab::{BRIDGE, GATEWAY_V4, GATEWAY_V6, INTERNET_V4, Lab, STATION, Station, Wish};
use support::netns::Netns;
use support::wait::{SOON, wait_until};

const V4: IpAddr = IpAddr::V4(GATEWAY_V4);
const HOST: &str = "portal.corner.test";
const URL: &str = "https://portal.corner.test:2443/captive";

const TARIFFS: &str = "[[tariff]]\nid = \"taste\"\nbytes_most = \"300kB\"\ntime_most = \"1h\"\n\
    [[tariff]]\nid = \"day\"\nprice = \"2.00 EUR\"\nslice = { bytes = \"2MB\", time = \"1d\" }\n";

/// A certificate authority that nobody knows but who is told.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { params, key, pem }
    }

    /// A certificate for the portal's name, and its key.
    fn issue(&self, certificate: &Path, key: &Path) {
        let own = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
        let signed = params.signed_by(&own, &issuer).expect("a certificate");
        fs::write(key, own.serialize_pem()).expect("writable");
        fs::write(certificate, signed.pem()).expect("writable");
    }
}

/// What `ip netns exec` puts in the place of /etc/resolv.conf; goes with the value.
struct Resolver(PathBuf);

impl Resolver {
    fn new(netns: &Netns) -> Self {
        let dir = Path::new("/etc/netns").join(netns.name());
        fs::create_dir_all(&dir).expect("root may");
        fs::write(dir.join("resolv.conf"), format!("nameserver {GATEWAY_V4}\n")).expect("root may");
        Self(dir)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `curl` as a telephone asks: head and body, or why not.
fn curl(station: &Station, ca: &Path, family: &str, url: &str) -> Result<(String, String), String> {
    let output = station
        .netns
        .command("curl")
        .args(["-sS", "-i", "--max-time", "5", family, "-H", "Accept: application/captive+json", "--cacert"])
        .arg(ca)
        .arg(url)
        .output()
        .expect("curl is installed");
    match output.status.success() {
        true => {
            let text = String::from_utf8(output.stdout).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
            Ok((head.to_ascii_lowercase(), body.to_owned()))
        }
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn portal(dir: &Path, more: &str) -> String {
    format!(
        "[portal]\nenabled = true\nhost = \"{HOST}\"\ncertificate = \"{0}/c.pem\"\nkey = \"{0}/k.pem\"\n\
         venue_url = \"https://corner.example/\"\n{more}\n{TARIFFS}",
        dir.display()
    )
}

/// Runs a DHCP client once, with a script that writes down what it was told.
fn told(station: &Station, dir: &Path, v6: bool) -> String {
    let (script, out) = (dir.join(format!("told{v6}.sh")), dir.join(format!("told{v6}")));
    let text = format!(
        "#!/bin/sh\nset >>{}\n[ -z \"$ip\" ] || ip addr replace \"$ip/$mask\" dev \"$interface\"\n\
         [ -z \"$router\" ] || ip route replace default via \"${{router%% *}}\"\n\
         [ -z \"$new_ip6_address\" ] || ip -6 addr replace \"$new_ip6_address/64\" dev \"$interface\" nodad\nexit 0\n",
        out.display()
    );
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut command = match v6 {
        false => {
            let mut command = station.netns.command("udhcpc");
            command
                .args(["-i", STATION, "-n", "-q", "-f", "-t", "10", "-T", "1", "-O", "114", "-s"])
                .arg(&script);
            command
        }
        true => {
            let config = dir.join("dhclient.conf");
            let text = "option dhcp6.captive-portal code 103 = text;\nalso request dhcp6.captive-portal;\n";
            fs::write(&config, text).expect("writable");
            let mut command = station.netns.command("dhclient");
            command.args(["-6", "-1", "-v", "-cf"]).arg(config).arg("-lf").arg(dir.join("dhclient.leases"));
            command.arg("-pf").arg(dir.join("dhclient.pid")).arg("-sf").arg(&script).arg(STATION);
            command
        }
    };
    let output = command.output().expect("a DHCP client");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = fs::read_to_string(&out).unwrap_or_else(|_| panic!("no lease: {said}"));
    assert!(output.status.success(), "{said}");
    told
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn telephones_find_the_api_by_dhcp_and_ask_it() {
    let lab = Lab::new(Wish { stations: 1, addressed: false, masquerade: false });
    lab.iptables_apart();
    let dir = lab.path().to_owned();
    let authority = Authority::new("One");
    let ca = dir.join("ca.pem");
    fs::write(&ca, &authority.pem).unwrap();
    authority.issue(&dir.join("c.pem"), &dir.join("k.pem"));
    let gateway = Gateway::sharing(&lab, "", &portal(&dir, ""));

    // dnsmasq is told what the doctor says.
    let findings = gateway.ask(json!({"verb": "doctor"}));
    let of = |word: &str, text: &str| {
        let all = findings.as_array().expect("findings").iter();
        all.filter(|finding| finding["word"] == word)
            .any(|finding| finding["advice"].as_str().unwrap().contains(text))
    };
    let lines = format!(
        "dhcp-option-force=114,{URL}\ndhcp-option-force=option6:103,{URL}\n\
         address=/{HOST}/{GATEWAY_V4}\naddress=/{HOST}/{GATEWAY_V6}\n"
    );
    for line in lines.lines() {
        assert!(of("captive-api", line), "{line}\n{findings}");
    }
    assert!(of("captive-api", "captive_portal_uri"), "{findings}");
    let _dnsmasq = Dnsmasq::start(&lab.gateway, BRIDGE, &dir, &lines);
    let anne = &lab.stations[0];
    let _resolver = Resolver::new(&anne.netns);
    let hex: String = URL.bytes().map(|octet| format!("{octet:02x}")).collect();
    let by_v4 = told(anne, &dir, false);
    assert!(by_v4.contains(&format!("opt114='{hex}'")) || by_v4.contains(URL), "{by_v4}");
    let by_v6 = told(anne, &dir, true);
    assert!(by_v6.contains(&format!("captive_portal='{URL}'")), "{by_v6}");

    let ask = |family: &str| -> Value {
        let (head, body) = curl(anne, &ca, family, URL).unwrap_or_else(|error| panic!("{family}: {error}"));
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: application/captive+json"), "{head}");
        assert!(head.contains("cache-control: private, no-store"), "{head}");
        assert!(body.len() <= 4096, "{} octets", body.len());
        serde_json::from_str(&body).unwrap()
    };
    for family in ["-4", "-6"] {
        let said = ask(family);
        let captive = json!({
            "captive": true,
            "user-portal-url": format!("https://{HOST}:2443/"),
            "venue-info-url": "https://corner.example/",
        });
        assert_eq!(said, captive, "{family}");
    }
    // The page itself is there, and another station is nobody's business.
    let (head, page) = curl(anne, &ca, "-4", &format!("https://{HOST}:2443/?mac=02:00:00:00:00:02")).unwrap();
    assert!(head.contains("content-security-policy") && page.contains("data-state=\"out\""), "{head}{page}");
    // Not without TLS.
    let plain = anne.netns.enter(|| support::web::get_at((V4, 2080).into(), HOST, "/captive", "")).unwrap();
    assert_eq!(plain.status, 404, "{plain:?}");

    let mac = anne.mac_text();
    gateway.ask(json!({"verb": "grant", "grants": [{"station": mac, "lease": 600_000, "quota": 5_000_000}]}));
    for family in ["-4", "-6"] {
        let said = ask(family);
        assert_eq!(said["captive"], false, "{said}");
        let seconds = said["seconds-remaining"].as_u64().unwrap();
        assert!((500..=600).contains(&seconds), "{said}");
        let bytes = said["bytes-remaining"].as_u64().unwrap();
        assert!((4_900_000..5_000_000).contains(&bytes), "layer-3 bytes, those of asking among them: {said}");
        assert_eq!(
            said["can-extend-session"], false,
            "the owner gave it, and nobody can buy more of it: {said}"
        );
        assert_eq!(said["venue-info-url"], "https://corner.example/");
    }
    gateway.evict(anne.mac);
    assert_eq!(ask("-4")["captive"], true);
    // What the portal gave can be extended there.
    let page = anne.portal(V4, "/");
    assert_eq!(anne.post(V4, "/free", &format!("choice={}", page.choices()[0])).status, 303);
    let said = ask("-6");
    assert_eq!((&said["captive"], &said["can-extend-session"]), (&json!(false), &json!(true)), "{said}");

    // Another certificate in the files is the one that is shown; a broken one changes nothing.
    let other = Authority::new("Two");
    let second = dir.join("ca2.pem");
    fs::write(&second, &other.pem).unwrap();
    assert!(curl(anne, &second, "-4", URL).is_err_and(|error| error.contains("certificate")));
    fs::write(dir.join("c.pem"), "broken").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(ask("-4")["captive"], false);
    other.issue(&dir.join("c.pem"), &dir.join("k.pem"));
    wait_until("the new certificate", SOON, || curl(anne, &second, "-4", URL).is_ok());
    assert!(curl(anne, &ca, "-4", URL).is_err());
}

/// What a browser at a telephone's size makes of a page: its picture and its document.
fn browse(station: &Station, name: &str, url: &str, scripts: bool) -> String {
    let dir = PathBuf::from("target/portal");
    fs::create_dir_all(&dir).unwrap();
    let picture = fs::canonicalize(&dir).unwrap().join(format!("{name}.png"));
    let profile = tempfile::tempdir().unwrap();
    if !scripts {
        // As in its settings: site settings, JavaScript, not allowed.
        let preferences = json!({"profile": {"default_content_setting_values": {"javascript": 2}}});
        fs::create_dir_all(profile.path().join("Default")).unwrap();
        fs::write(profile.path().join("Default/Preferences"), preferences.to_string()).unwrap();
    }
    let run = |what: &str| {
        let mut command = station.netns.command("chromium");
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=390,844",
            "--hide-scrollbars",
        ]);
        command
            .arg("--virtual-time-budget=3000")
            .arg(format!("--user-data-dir={}", profile.path().display()));
        let output = command.arg(what).arg(url).output().expect("chromium");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&format!("--screenshot={}", picture.display()));
    assert!(fs::metadata(&picture).is_ok_and(|file| file.len() > 5_000), "{}", picture.display());
    run("--dump-dom")
}

#[test]
#[ignore = "needs root, namespaces and chromium: sudo ./run test netns"]
fn the_pages_in_a_browser_with_scripts_and_without() {
    let lab = Lab::with_stations(1);
    lab.iptables_apart();
    let dir = lab.path();
    fs::write(dir.join("theme.css"), "h1 { color: #7a1fa2 }").unwrap();
    fs::write(dir.join("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 40 40'><circle cx='20' cy='20' r='18' fill='#7a1fa2'/></svg>").unwrap();
    let more = format!(
        "[portal]\nenabled = true\ntitle = \"Anne's <Corner>\"\nnotice = \"Tea at 5.\"\n\
         theme = \"{0}/theme.css\"\nlogo = \"{0}/logo.svg\"\n{TARIFFS}",
        dir.display()
    );
    let gateway = Gateway::sharing(&lab, "", &more);
    let anne = &lab.stations[0];
    let url = format!("http://{GATEWAY_V4}:2080/");
    for (scripts, name) in [(false, "plain"), (true, "script")] {
        let page = browse(anne, &format!("out-{name}"), &url, scripts);
        assert!(page.contains("Anne's &lt;Corner&gt;") && page.contains("data-state=\"out\""), "{page}");
        assert_eq!(page.contains("data-live=\"on\""), scripts, "{page}");
    }
    let page = browse(anne, "out-chinese", &format!("{url}?lang=zh"), false);
    assert!(page.contains("免费上网"), "{page}");
    // As the browser of a telephone gets there: by a page on the internet.
    let page = browse(anne, "redirected", &format!("http://{INTERNET_V4}/generate_204"), false);
    assert!(page.contains("data-state=\"out\""), "{page}");

    let free = anne.portal(V4, "/").choices()[0].to_owned();
    let refused = anne.post(V4, "/order", "choice=day%3As1%3A200&code=abcde");
    assert!(refused.body.contains("role=\"alert\""));
    fs::write(dir.join("refused.html"), &refused.body).unwrap();
    assert_eq!(anne.post(V4, "/free", &format!("choice={free}")).status, 303);
    gateway.ask(json!({"verb": "push", "to": "everybody", "text": "Fresh <b>bread</b> now", "link": "https://corner.example/bread"}));
    for (scripts, name) in [(false, "plain"), (true, "script")] {
        let page = browse(anne, &format!("in-{name}"), &url, scripts);
        assert!(page.contains("data-state=\"in\"") && page.contains("<progress"), "{page}");
        assert!(page.contains("Fresh &lt;b&gt;bread&lt;/b&gt; now"), "{page}");
        assert_eq!(page.contains("data-live=\"on\""), scripts, "{page}");
    }
    let _ = lab.stream(0, true, false, 5_000, 1172);
    wait_until("the allowance to be used up", SOON, || {
        drop(lab.stream(0, true, false, 5_000, 1172).stop());
        anne.portal(V4, "/").state() == "spent"
    });
    let page = browse(anne, "spent", &url, true);
    assert!(page.contains("data-state=\"spent\"") && page.contains("action=\"/order\""), "{page}");
}
