//! blob and blobmsg, libubox's bytes for values (its `blob.h` and `blobmsg.h`), to JSON and back. Pure.
//!
//! ```text
//! blob     EIIIIIII LLLLLLLL LLLLLLLL LLLLLLLL payload …           big-endian, whatever the processor
//!          E: a name follows (blobmsg), I: id or type, L: length with these four octets, without padding
//! blobmsg  the same, then: namelen (16 bit), name, NUL, padding to 4 octets, value
//! ```
//!
//! Everything begins at a multiple of 4 octets. What a peer says of lengths is checked before it is used; what is of no
//! known type is left out.

use serde_json::{Map, Number, Value};

use super::UbusError;

/// Octets before each payload.
pub(super) const HEAD: usize = 4;
const EXTENDED: u32 = 1 << 31;
const MOST_LENGTH: usize = 0x00ff_ffff;

/// Tables in tables that are read; deeper ones are an error.
const MOST_DEPTH: usize = 16;

/// Types of blobmsg.
pub(super) mod kind {
    pub const ARRAY: u8 = 1;
    pub const TABLE: u8 = 2;
    pub const STRING: u8 = 3;
    pub const INT64: u8 = 4;
    pub const INT32: u8 = 5;
    pub const INT16: u8 = 6;
    pub const INT8: u8 = 7;
    pub const DOUBLE: u8 = 8;
}

/// One blob of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob<'a> {
    pub id: u8,
    pub extended: bool,
    pub payload: &'a [u8],
}

/// The next blob of a sequence, which is left behind it; `None` at its end.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Blob<'a>>, UbusError> {
    // libubox ends a sequence where no head fits any more.
    let Some((head, _)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
    let word = u32::from_be_bytes(*head);
    let length = word as usize & MOST_LENGTH;
    let payload = rest.get(HEAD..length).ok_or(UbusError::Malformed("a length beyond the end"))?;
    *rest = rest.get(padded(length)..).unwrap_or_default();
    Ok(Some(Blob { id: (word >> 24) as u8 & 0x7f, extended: word & EXTENDED != 0, payload }))
}

/// Appends a blob.
pub(super) fn put(out: &mut Vec<u8>, id: u8, payload: &[u8]) {
    put_head(out, u32::from(id) << 24, payload.len());
    out.extend_from_slice(payload);
    pad(out);
}

fn put_head(out: &mut Vec<u8>, word: u32, payload: usize) {
    let length = u32::try_from(HEAD + payload).unwrap_or(u32::MAX).min(MOST_LENGTH as u32);
    out.extend_from_slice(&(word | length).to_be_bytes());
}

/// Appends a value with its name; nothing for `null`.
pub(super) fn put_value(out: &mut Vec<u8>, name: &str, value: &Value) {
    let (kind, payload) = match value {
        Value::Null => return,
        Value::Bool(is) => (kind::INT8, vec![u8::from(*is)]),
        Value::Number(number) => put_number(number),
        Value::String(text) => {
            // A NUL would end it.
            let mut payload = text.replace('\0', "\u{fffd}").into_bytes();
            payload.push(0);
            (kind::STRING, payload)
        }
        Value::Array(items) => (kind::ARRAY, {
            let mut payload = Vec::new();
            items.iter().for_each(|item| put_value(&mut payload, "", item));
            payload
        }),
        Value::Object(entries) => (kind::TABLE, table(entries)),
    };
    put_named(out, kind, name, &payload);
}

/// The values of a table, as the payload of whatever holds them.
pub(super) fn table(entries: &Map<String, Value>) -> Vec<u8> {
    let mut payload = Vec::new();
    entries.iter().for_each(|(name, value)| put_value(&mut payload, name, value));
    payload
}

/// As libubox has integers of JSON: 32 bits where they do, 64 otherwise.
fn put_number(number: &Number) -> (u8, Vec<u8>) {
    let whole = number.as_i64().or_else(|| number.as_u64().map(|number| number as i64));
    match whole {
        Some(number) => match i32::try_from(number) {
            Ok(number) => (kind::INT32, number.to_be_bytes().to_vec()),
            Err(_) => (kind::INT64, number.to_be_bytes().to_vec()),
        },
        None => (kind::DOUBLE, number.as_f64().unwrap_or_default().to_be_bytes().to_vec()),
    }
}

/// Appends a blobmsg of any type.
pub(super) fn put_named(out: &mut Vec<u8>, kind: u8, name: &str, value: &[u8]) {
    let name = &name.as_bytes()[..name.len().min(u16::MAX.into())];
    let header = padded(2 + name.len() + 1);
    put_head(out, EXTENDED | u32::from(kind) << 24, header + value.len());
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name);
    out.push(0);
    pad(out);
    out.extend_from_slice(value);
    pad(out);
}

/// The entries of a table, out of the payload that holds them.
pub(super) fn entries(payload: &[u8]) -> Result<Map<String, Value>, UbusError> {
    entries_within(payload, MOST_DEPTH)
}

fn entries_within(mut rest: &[u8], depth: usize) -> Result<Map<String, Value>, UbusError> {
    let mut entries = Map::new();
    while let Some(blob) = next(&mut rest)? {
        if let (name, Some(value)) = named(blob, depth)? {
            entries.insert(name, value);
        }
    }
    Ok(entries)
}

/// Name and value; no value where its type is not known.
fn named(blob: Blob<'_>, depth: usize) -> Result<(String, Option<Value>), UbusError> {
    if !blob.extended {
        return Err(UbusError::Malformed("a value without a name"));
    }
    let length = blob.payload.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)));
    let length = length.ok_or(UbusError::Malformed("a name without its length"))?;
    let name = blob.payload.get(2..2 + length).ok_or(UbusError::Malformed("a name beyond the end"))?;
    if blob.payload.get(2 + length) != Some(&0) {
        return Err(UbusError::Malformed("a name without its end"));
    }
    let value = blob.payload.get(padded(2 + length + 1)..).unwrap_or_default();
    let depth = depth.checked_sub(1).ok_or(UbusError::Malformed("too many tables in tables"))?;
    let value = match blob.id {
        kind::ARRAY => {
            let (mut items, mut rest) = (Vec::new(), value);
            while let Some(blob) = next(&mut rest)? {
                items.extend(named(blob, depth)?.1);
            }
            Some(Value::Array(items))
        }
        kind::TABLE => Some(Value::Object(entries_within(value, depth)?)),
        kind::STRING => {
            let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
            Some(Value::String(String::from_utf8_lossy(text).into_owned()))
        }
        kind::INT64 => Some(i64::from_be_bytes(octets(value)?).into()),
        kind::INT32 => Some(i32::from_be_bytes(octets(value)?).into()),
        kind::INT16 => Some(i16::from_be_bytes(octets(value)?).into()),
        kind::INT8 => Some(Value::Bool(octets::<1>(value)? != [0])),
        kind::DOUBLE => Some(f64::from_be_bytes(octets(value)?).into()),
        _ => None,
    };
    Ok((String::from_utf8_lossy(name).into_owned(), value))
}

/// A number's octets.
pub(super) fn octets<const N: usize>(value: &[u8]) -> Result<[u8; N], UbusError> {
    value.first_chunk().copied().ok_or(UbusError::Malformed("a number beyond its end"))
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn pad(out: &mut Vec<u8>) {
    out.resize(padded(out.len()), 0);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// By the definition at the top, by hand.
    #[test]
    fn the_octets_are_those_of_the_definition() {
        for (value, wanted) in [
            (json!({"a": true}), "87 000009 0001 6100 01 000000"),
            (json!({"ab": -2}), "85 000010 0002 616200 000000 fffffffe"),
            (json!({"ab": 4_294_967_296_u64}), "84 000014 0002 616200 000000 0000000100000000"),
            (json!({"a": "xy"}), "83 00000b 0001 6100 787900 00"),
            (json!({"": []}), "81 000008 0000 00 00"),
            (json!({"t": {"a": false}}), "82 000014 0001 7400 87000009 0001 6100 00 000000"),
            (json!({"l": [1]}), "81 000014 0001 6c00 8500000c 0000 00 00 00000001"),
            (json!({"d": 1.5}), "88 000010 0001 6400 3ff8000000000000"),
            (json!({"n": null}), ""),
        ] {
            let octets = table(value.as_object().unwrap());
            let shown: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(shown, wanted.replace(' ', ""), "{value}");
            if value != json!({"n": null}) {
                assert_eq!(Value::Object(entries(&octets).unwrap()), value);
            }
        }
    }

    #[test]
    fn a_string_ends_at_its_nul_and_never_has_one_inside() {
        let octets = table(json!({"a": "x\0y"}).as_object().unwrap());
        assert_eq!(entries(&octets).unwrap()["a"], "x\u{fffd}y");
    }

    #[test]
    fn lies_about_lengths_are_errors() {
        for (octets, wanted) in [
            ("87000003", "a length beyond the end"),
            ("87000000", "a length beyond the end"),
            ("87ffffff 0001 6100 01", "a length beyond the end"),
            ("07000009 0001 6100 01 000000", "a value without a name"),
            ("87000005 00 000000", "a name without its length"),
            ("87000009 00ff 6100 01 000000", "a name beyond the end"),
            ("87000009 0001 6101 01 000000", "a name without its end"),
            ("8500000a 0001 6100 0102 0000", "a number beyond its end"),
        ] {
            let octets = crate::model::unhex(&octets.replace(' ', "")).unwrap();
            assert_eq!(entries(&octets).unwrap_err().to_string(), format!("not the protocol: {wanted}"));
        }
        let mut deep = Vec::new();
        for _ in 0..40 {
            let mut around = Vec::new();
            put_named(&mut around, kind::TABLE, "t", &deep);
            deep = around;
        }
        assert!(entries(&deep).unwrap_err().to_string().contains("too many tables"));
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            drop(entries(&octets));
        }

        #[test]
        fn a_changed_octet_makes_it_no_worse(at in 0..60_usize, to in proptest::prelude::any::<u8>()) {
            let value = json!({"a": [1, "x", {"b": true}], "c": {"d": 4_294_967_296_u64}, "e": "text"});
            let mut octets = table(value.as_object().unwrap());
            if let Some(octet) = octets.get_mut(at) {
                *octet = to;
            }
            drop(entries(&octets));
        }
    }
}
