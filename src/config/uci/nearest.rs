//! The known word that is nearest to an unknown one: for whoever has mistyped it.

/// Of `known`; `None` where more than half of `word` would have to be changed.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (changes(word, known), known))
        .min()
        .filter(|(changes, known)| 2 * changes <= word.len().max(known.len()))
        .map(|(_, known)| known)
}

/// Letters to insert, to leave out or to exchange (Levenshtein).
fn changes(one: &str, other: &str) -> usize {
    // Nobody mistypes that much.
    let one = one.bytes().take(64);
    let other = &other.as_bytes()[..other.len().min(64)];
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (to, wanted) in other.iter().enumerate() {
            let exchanged = before + usize::from(byte != *wanted);
            before = row[to + 1];
            row[to + 1] = exchanged.min(row[to] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["interface", "ssid", "passphrase"];
        for (word, wanted) in [
            ("ssid", Some("ssid")),
            ("sid", Some("ssid")),
            ("interfaces", Some("interface")),
            ("passprhase", Some("passphrase")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), wanted, "{word}");
        }
    }
}
