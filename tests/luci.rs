//! The pages of `openwrt/luci-app-wayleave` in a real browser, with a stub of what LuCI is around them
//! (`support/luci.js`). Pictures of them are left in `target/luci/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const APP: &str = "openwrt/luci-app-wayleave";
const STATION: &str = "02:00:5e:10:00:01";

/// What is in the page when `script` has run behind it: text by text, the calls last.
fn shown(name: &str, page: &str, answers: &Value, script: &str) -> String {
    let source =
        fs::read_to_string(format!("{APP}/htdocs/luci-static/resources/view/wayleave/{page}.js")).unwrap();
    let luci = fs::read_to_string("tests/support/luci.js").unwrap();
    let html = format!(
        "<!DOCTYPE html><meta charset=utf-8><title>{name}</title>\
         <style>body {{ font: 14px sans-serif; margin: 2em }} td, th {{ padding: .3em 1em; text-align: left }}</style>\
         <div id=notes></div><div id=page></div><div id=modal></div><pre id=calls hidden></pre>\
         <script>{luci}</script><script>
         Object.assign(answers, {answers});
         const click = (text) => [ ...document.querySelectorAll('button') ].find((button) => button.textContent === text).click();
         const settle = () => new Promise((done) => setTimeout(done, 20));
         (async () => {{
             await open({source});
             {script}
             await settle();
         }})().catch((error) => calls.push('error: ' + error)).finally(() => {{
             document.getElementById('calls').textContent = calls.join('\\n');
         }});
         </script>",
        answers = answers.to_string().replace("</", "<\\/"),
        source = serde_json::to_string(&source).unwrap().replace("</", "<\\/"),
    );
    let dir = PathBuf::from("target/luci");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join(format!("{name}.html"));
    fs::write(&file, html).unwrap();
    let url = format!("file://{}", fs::canonicalize(&file).unwrap().display());
    let picture =
        format!("--screenshot={}", fs::canonicalize(&dir).unwrap().join(format!("{name}.png")).display());
    let profile = tempfile::tempdir().unwrap();
    let run = |what: &str| {
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", what])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(&url)
            .output()
            .expect("chromium");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&picture);
    let dom = run("--dump-dom");
    let (_, body) = dom.split_once("<div id=\"notes\">").expect("the page");
    let body = body.split("<script>").next().unwrap();
    // Tags end words, rows end lines.
    let mut text = String::new();
    for part in
        body.replace("</tr>", "\n</tr>").replace("</p>", "\n</p>").replace("<pre", "\n<pre").split('<')
    {
        text.push_str(part.split_once('>').map_or(part, |(_, said)| said));
        text.push('|');
    }
    text.split('\n')
        .map(|line| {
            line.split('|').filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join("|") + "\n"
        })
        .collect()
}

fn answers() -> Value {
    let moved = json!({"up_bytes": 1_000_000, "down_bytes": 2_000_000, "up_packets": 1, "down_packets": 1});
    let grant = |station: Option<&str>, id: &str, quota: Option<u64>| json!({"id": id, "station": station, "origin": "owner", "left": quota.map(|_| 5_400_000), "quota": quota, "moved": moved});
    json!({
        "status": {"version": "0.1.0", "stations": 2, "grants": 3, "interfaces": ["br-guest"], "link": "alone", "beacons": 1, "bsses": 1},
        "stations": {"stations": [
            {"mac": STATION, "interface": "br-guest", "moved": moved},
            {"mac": "02:00:5e:10:00:02", "interface": "<b>br</b>", "moved": moved},
        ]},
        "grants": {"grants": [
            grant(Some(STATION), "a1", Some(10_000_000)),
            grant(None, "a2", None),
            grant(Some("02:00:5e:10:00:03"), "a3", Some(1_000_000)),
        ]},
        "doctor": {"findings": [
            {"severity": "good", "found": "fine", "advice": ""},
            {"severity": "problem", "found": "No hostapd.", "advice": "Start it."},
        ]},
        "grant": {"id": "a4"},
        "topup": {"id": "a1"},
        "evict": {"error": {"word": "no-grant", "sentence": "there is no grant a1"}},
    })
}

#[test]
#[ignore = "needs chromium: sudo ./run test unit"]
fn stations_and_grants_with_what_is_left() {
    let text = shown("overview", "overview", &answers(), "");
    for line in [
        "2 stations, 3 grants on br-guest. Coordinator: none: you grant by hand. Beacons on 1 of 1 access points.",
        "No hostapd. Start it.",
        "02:00:5e:10:00:01|br-guest|1 h 30 min|7.0 MB|3.0 MB|More…|Evict",
        "whoever has the code|not here|for good|no limit|3.0 MB|Evict",
        "02:00:5e:10:00:03|not here|1 h 30 min|0 B|3.0 MB|More…|Evict",
        // What comes from outside is text.
        "02:00:5e:10:00:02|&lt;b&gt;br&lt;/b&gt;|–|–|3.0 MB|Grant…",
    ] {
        assert!(text.lines().any(|found| found.ends_with(line)), "{line}\n{text}");
    }
}

#[test]
#[ignore = "needs chromium: sudo ./run test unit"]
fn an_owner_grants_tops_up_and_evicts() {
    let script = "click('Grant…'); document.getElementById('wayleave-hours').value = '1.5'; click('Grant'); await settle();\
                  click('More…'); document.getElementById('wayleave-megabytes').value = '500'; click('Add'); await settle();\
                  click('Evict'); await settle(); await modules.poll.ask();";
    let text = shown("actions", "overview", &answers(), script);
    for line in [
        r#"grant {"station":"02:00:5e:10:00:02","lease_ms":5400000,"quota":0}"#,
        r#"topup {"target":"a1","lease_ms":0,"quota":500000000}"#,
        r#"evict {"target":"a1"}"#,
        "there is no grant a1",
    ] {
        assert!(text.lines().any(|found| found.contains(line)), "{line}\n{text}");
    }
    assert!(!text.contains("error: "), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains("status {}")).count(),
        5,
        "looked again each time\n{text}"
    );
}

#[test]
#[ignore = "needs chromium: sudo ./run test unit"]
fn a_gateway_that_does_not_run_is_said() {
    let text = shown("stopped", "overview", &json!({}), "");
    assert!(text.contains("The gateway does not run: see Settings."), "{text}");
}

#[test]
#[ignore = "needs chromium: sudo ./run test unit"]
fn the_form_has_options_that_the_gateway_knows() {
    let text = shown("settings", "settings", &json!({}), "");
    assert!(text.contains("Map wayleave") && text.contains("Value low_mark"), "{text}");
    let config = fs::read_to_string("openwrt/wayleave/files/wayleave.config").unwrap();
    for option in text.lines().filter_map(|line| line.strip_prefix("  ")) {
        let name = option.split(['|', ' ']).nth(1).expect("TYPE OPTION");
        let known = ["option", "list"].iter().any(|word| config.contains(&format!("{word} {name} ")));
        assert!(known, "{option}");
    }
}

#[test]
fn a_reader_of_luci_may_look_and_only_a_writer_change() {
    let read = |path: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(Path::new(APP).join("root/usr/share").join(path)).unwrap())
            .unwrap()
    };
    let acl = &read("rpcd/acl.d/luci-app-wayleave.json")["luci-app-wayleave"];
    assert_eq!(acl["read"]["ubus"]["wayleave"], json!(["status", "stations", "grants", "beacon", "doctor"]));
    assert_eq!(acl["write"]["ubus"]["wayleave"], json!(["grant", "topup", "evict"]));
    for (_, entry) in read("luci/menu.d/luci-app-wayleave.json").as_object().unwrap() {
        if let Some(page) = entry["action"]["path"].as_str() {
            assert!(
                Path::new(APP).join(format!("htdocs/luci-static/resources/view/{page}.js")).exists(),
                "{page}"
            );
        }
    }
}
