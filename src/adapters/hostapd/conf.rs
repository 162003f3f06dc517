//! What hostapd's own configuration says of a BSS and hostapd does not: its `vendor_elements`.
//!
//! Read only; another line of it is nobody's business here. A file that cannot be read says nothing.

use std::path::PathBuf;

use crate::model::unhex;

/// The elements of others in the beacons of this BSS, by the files that have a section for it.
pub fn vendor_elements(files: &[PathBuf], bss: &str) -> Vec<u8> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        text.inspect_err(|error| tracing::debug!(path = %path.display(), %error, "hostapd's configuration"))
            .ok()
    };
    files.iter().filter_map(read).find_map(|text| elements_of(&text, bss)).unwrap_or_default()
}

/// Sections begin with `interface=` and `bss=`. Of two lines the later one counts.
fn elements_of(text: &str, bss: &str) -> Option<Vec<u8>> {
    let (mut is_its_own, mut found) = (false, None);
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "interface" | "bss" => is_its_own = value == bss,
            "vendor_elements" if is_its_own => found = unhex(value),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_of_a_bss_is_found() {
        let text = "# vendor_elements=dd00\ninterface=wlan0\nssid=a=b\nvendor_elements=dd01aa\n\
                    bss=wlan0-1\nvendor_elements=dd01bb\nvendor_elements=dd01cc\nbss=wlan0-2\nvendor_elements=odd\n";
        assert_eq!(elements_of(text, "wlan0"), Some(vec![0xdd, 1, 0xaa]));
        assert_eq!(elements_of(text, "wlan0-1"), Some(vec![0xdd, 1, 0xcc]));
        assert_eq!((elements_of(text, "wlan0-2"), elements_of(text, "wlan1")), (None, None));
        assert!(vendor_elements(&["/nonexistent".into()], "wlan0").is_empty());
    }
}
