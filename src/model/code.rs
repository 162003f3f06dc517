//! The access code of a grant: a WPA2 pairwise master key of its own.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::ids::unhex;
use super::{Secret, Ssid};

/// 32 octets that open a network (PMK, IEEE 802.11-2020, 12.7.1.3). Shows itself as dots, wipes itself when
/// dropped. Serialises as 64 hexadecimal digits: only control socket and state files may do that.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Code([u8; 32]);

impl Code {
    /// Takes random octets over.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets themselves, for the code that seals them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// As hostapd and wpa_supplicant take a key that is no passphrase: 64 hexadecimal digits.
    pub fn digits(&self) -> Secret {
        let mut digits = String::with_capacity(64);
        for octet in &self.0 {
            for nibble in [octet >> 4, octet & 0xf] {
                digits.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        Secret::new(digits)
    }

    /// As a password beside the grant's key id as a name, for EAP: twenty characters of 32 that are not taken for
    /// each other, 100 bits. Who learns it learns no more of the key than that.
    pub fn password(&self) -> Secret {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut password = String::with_capacity(20);
        password.extend(self.0[..20].iter().map(|octet| char::from(ALPHABET[usize::from(octet & 31)])));
        Secret::new(password)
    }

    /// To be read out and typed: eight groups of eight digits. The blanks are not part of the code.
    pub fn groups(&self) -> Secret {
        let digits = self.digits();
        let groups: Vec<&str> = (0..8).map(|group| &digits.expose()[8 * group..8 * group + 8]).collect();
        Secret::new(groups.join(" "))
    }

    /// What a QR code says to join the network with (`WIFI:`, the format of zxing). `None`: the name is no text, and
    /// the format knows no other.
    ///
    /// The key is the 64 digits, not a passphrase: WPA2 takes them for the key itself, and wpa_supplicant does; other
    /// systems are not tried. A passphrase would be another key for every name of a network.
    pub fn wifi(&self, ssid: &Ssid) -> Option<Secret> {
        let name = std::str::from_utf8(ssid.as_bytes()).ok().filter(|name| !name.is_empty())?;
        if name.chars().any(char::is_control) {
            return None;
        }
        let mut text = String::from("WIFI:T:WPA;S:");
        for char in name.chars() {
            if matches!(char, '\\' | ';' | ',' | ':' | '"') {
                text.push('\\');
            }
            text.push(char);
        }
        Some(Secret::new(format!("{text};P:{};;", self.digits().expose())))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.digits().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Secret::deserialize(deserializer)?;
        let octets = Zeroizing::new(unhex(digits.expose()).unwrap_or_default());
        // The text is not repeated.
        octets
            .as_slice()
            .try_into()
            .map(Self)
            .map_err(|_| D::Error::custom("not a code: 64 hexadecimal digits are"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_back_and_does_not_show_itself() {
        let code = Code::new(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(format!("{code:?}"), "•••");
        let json = serde_json::to_string(&code).unwrap();
        assert_eq!(json.len(), 66);
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
        for bad in ["\"\"", "\"00\"", &json.replace("00", "0g"), &json.replace("\"00", "\"0000")] {
            let error = serde_json::from_str::<Code>(bad).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits") && !error.contains("070e"), "{error}");
        }
    }

    #[test]
    fn a_code_is_read_out_in_eight_groups() {
        let code = Code::new([0x5a; 32]);
        assert_eq!(code.groups().expose(), ["5a5a5a5a"; 8].join(" "));
        assert_eq!(code.groups().expose().replace(' ', ""), code.digits().expose());
    }

    #[test]
    fn a_name_cannot_end_its_field() {
        let code = Code::new([0; 32]);
        let wifi = |name: &[u8]| {
            let text = code.wifi(&Ssid::new(name.to_vec()).unwrap());
            text.map(|text| text.expose().replace(&"0".repeat(64), "…"))
        };
        assert_eq!(wifi(b"Corner").as_deref(), Some("WIFI:T:WPA;S:Corner;P:…;;"));
        assert_eq!(wifi(br#"a;P:x,\"b"#).as_deref(), Some(r#"WIFI:T:WPA;S:a\;P\:x\,\\\"b;P:…;;"#));
        assert_eq!(wifi("café".as_bytes()).as_deref(), Some("WIFI:T:WPA;S:café;P:…;;"));
        for name in [b"".as_slice(), b"\xff", b"a\nb"] {
            assert_eq!(wifi(name), None);
        }
    }
}
