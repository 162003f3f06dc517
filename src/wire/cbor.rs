//! Deterministic CBOR in and out, with limits.
//!
//! Field order in the message types is the order RFC 8949, 4.2.1 asks for (shorter names first, then
//! bytewise), which [`is_deterministic`] checks in the tests of every message.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MAX_FRAME;

/// How deep arrays and maps may nest.
const MAX_DEPTH: usize = 16;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {length} bytes; {MAX_FRAME} are the most")]
    TooLong {
        /// Bytes found, or that would have been sent.
        length: usize,
    },
    /// Not the CBOR of the message expected.
    #[error("not a message: {why}")]
    Malformed {
        /// What the decoder says.
        why: String,
    },
    /// A whole message, and more behind it.
    #[error("{extra} bytes behind the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::with_capacity(128);
    ciborium::into_writer(message, &mut bytes)
        .map_err(|error| CborError::Malformed { why: error.to_string() })?;
    match bytes.len() {
        length if length > MAX_FRAME => Err(CborError::TooLong { length }),
        _ => Ok(bytes),
    }
}

/// The message that the bytes are, all of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    if bytes.len() > MAX_FRAME {
        return Err(CborError::TooLong { length: bytes.len() });
    }
    let mut rest = bytes;
    let message = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|error| CborError::Malformed { why: error.to_string() })?;
    match rest.len() {
        0 => Ok(message),
        extra => Err(CborError::Trailing { extra }),
    }
}

/// Whether the bytes are encoded as RFC 8949, 4.2.1 asks: keys sorted, nothing longer than it need be.
pub fn is_deterministic(bytes: &[u8]) -> bool {
    let Ok(value) = decode::<ciborium::Value>(bytes) else { return false };
    encode(&sorted(value)).is_ok_and(|again| again == bytes)
}

fn sorted(value: ciborium::Value) -> ciborium::Value {
    use ciborium::Value;
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut keyed: Vec<(Vec<u8>, (Value, Value))> = entries
                .into_iter()
                .map(|(key, value)| (encode(&key).unwrap_or_default(), (key, sorted(value))))
                .collect();
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(keyed.into_iter().map(|(_, entry)| entry).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_too_deep_or_too_much_is_refused() {
        assert!(matches!(decode::<Vec<u8>>(&vec![0; MAX_FRAME + 1]), Err(CborError::TooLong { .. })));
        assert!(matches!(encode(&"a".repeat(MAX_FRAME)), Err(CborError::TooLong { .. })));
        assert!(matches!(decode::<u8>(&[1, 2, 3]), Err(CborError::Trailing { extra: 2 })));
        // 100 arrays in each other.
        let deep = vec![0x81; 100];
        assert!(matches!(decode::<ciborium::Value>(&deep), Err(CborError::Malformed { .. })));
        // An array that claims 2^32 - 1 elements and brings none.
        assert!(decode::<Vec<u64>>(&[0x9a, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn a_map_out_of_order_is_not_deterministic() {
        assert!(is_deterministic(b"\xa2\x61a\x01\x61b\x02"));
        assert!(!is_deterministic(b"\xa2\x61b\x02\x61a\x01"));
        // 1 written in two bytes.
        assert!(!is_deterministic(b"\x18\x01"));
    }
}
