//! A router as OpenWrt's is: the real gateway with a UCI file and the object on ubus, asked as `ubus call` asks.
#![cfg(all(feature = "ubus", feature = "uci", feature = "coordinator", feature = "terminal"))]

mod support;
#[path = "support/ubusd.rs"]
#[allow(dead_code)]
mod ubusd;

use std::fs;

use serde_json::json;
use support::frame::mac_text;
use support::lab::{self, Lab};
use support::proc::Program;
use support::wait::{SOON, wait_for};
use ubusd::{Ubusd, notification};

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_grant_over_ubus_opens_the_network_and_an_eviction_closes_it() {
    let lab = Lab::with_stations(1);
    let anne = &lab.stations[0];
    let dir = lab.path().join("openwrt");
    fs::create_dir_all(&dir).unwrap();
    let ubusd = Ubusd::start(&dir);
    let config = dir.join("wayleave");
    let text = format!(
        "config gateway 'gateway'\n\toption enabled '1'\n\toption dbus '0'\n\toption name 'Corner'\n\
         \toption state_dir '{dir}/state'\n\toption runtime_dir '{dir}/run'\n\n\
         config network 'guest'\n\toption interface '{bridge}'\n\n\
         config ubus 'ubus'\n\toption socket '{socket}'\n",
        dir = dir.display(),
        bridge = lab::BRIDGE,
        socket = ubusd.socket.display(),
    );
    fs::write(&config, &text).unwrap();
    let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_wayleave"));
    command.args(["gateway", "--config"]).arg(&config);
    let mut gateway = Program::start("gateway", command);
    wait_for("the object", SOON, || ubusd.signature("wayleave"));
    wait_for("the rules", SOON, || anne.is_cut_off(lab::INTERNET_V4).then_some(()));

    let mut listener = ubusd.subscribe("wayleave");
    listener.set_read_timeout(Some(SOON)).unwrap();
    let station = mac_text(anne.mac);
    let (status, granted) =
        ubusd.call("wayleave", "grant", &json!({"station": station, "quota": 1_000_000_000}));
    assert_eq!((status, granted["station"].as_str()), (0, Some(station.as_str())));
    assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
    let told = std::iter::from_fn(|| Some(notification(&mut listener)))
        .find(|(name, data)| name == "admitted" && data["station"] == json!(station));
    assert_eq!(told.unwrap().1["grant"], granted["id"]);

    let (status, row) =
        ubusd.call("wayleave", "topup", &json!({"target": station, "quota": 5_000_000_000_u64}));
    assert_eq!((status, &row["quota"]), (0, &json!(6_000_000_000_u64)));
    let (status, evicted) = ubusd.call("wayleave", "evict", &json!({"target": granted["id"]}));
    assert_eq!((status, &evicted["report"]["cause"]), (0, &json!("owner")));
    assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6));

    // A changed file is read again; one that cannot be used changes nothing.
    let name = || ubusd.call("wayleave", "status", &json!({})).1["name"].clone();
    for (to, wanted) in [("Café", "Café"), ("No' 'config", "Café"), ("Corner", "Corner")] {
        fs::write(&config, text.replace("'Corner'", &format!("'{to}'"))).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(gateway.pid()), nix::sys::signal::Signal::SIGHUP)
            .unwrap();
        wait_for("the name", SOON, || (name() == wanted).then_some(()));
    }
    gateway.terminate(SOON);
    wait_for("the object to go", SOON, || ubusd.signature("wayleave").is_none().then_some(()));
}
