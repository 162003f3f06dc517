//! What a form and a query say: `application/x-www-form-urlencoded`, of any bytes. Pure.

/// Pairs of names and values, at most this many.
const MOST: usize = 16;

/// Names and values, in order. What is no UTF-8 is replaced; control characters are.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let parts = text.split(|octet| *octet == b'&').filter(|part| !part.is_empty()).take(MOST);
    parts
        .map(|part| {
            let at = part.iter().position(|octet| *octet == b'=').unwrap_or(part.len());
            (decode(&part[..at]), decode(part.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

/// The first value of a name.
pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn decode(text: &[u8]) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(octet) = text.get(at) {
        let escaped = (*octet == b'%').then(|| text.get(at + 1..at + 3).and_then(hex)).flatten();
        octets.push(match (octet, escaped) {
            (_, Some(value)) => {
                at += 2;
                value
            }
            (b'+', None) => b' ',
            (other, None) => *other,
        });
        at += 1;
    }
    let plain = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    String::from_utf8_lossy(&octets).chars().map(plain).collect()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(String, String)> {
        pairs(text)
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = read("code=ab-cd+ef&choice=day%3As%3A1&name=%E4%B8%AD&empty=&bare&code=2".as_bytes());
        assert_eq!(value(&form, "code"), Some("ab-cd ef"), "the first counts");
        assert_eq!(value(&form, "choice"), Some("day:s:1"));
        assert_eq!(value(&form, "name"), Some("中"));
        assert_eq!((value(&form, "empty"), value(&form, "bare")), (Some(""), Some("")));
        assert_eq!(value(&form, "none"), None);
    }

    #[test]
    fn any_bytes_are_a_form() {
        for octet in 0..=255_u8 {
            for text in
                [vec![octet], vec![b'%', octet], vec![b'a', b'=', b'%', octet, b'1'], vec![octet; 300]]
            {
                for (name, value) in read(&text) {
                    assert!(!name.contains(char::is_control) && !value.contains(char::is_control));
                }
            }
        }
        assert_eq!(value(&read(b"a=%00%0d%0a%ff"), "a"), Some("\u{fffd}\u{fffd}\u{fffd}\u{fffd}"));
        assert_eq!(read(&b"a=1&".repeat(1000)).len(), MOST);
        assert_eq!(value(&read(b"a=%"), "a"), Some("%"));
        assert_eq!(value(&read(b"a=%4"), "a"), Some("%4"));
    }
}
