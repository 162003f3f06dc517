//! An error as one sentence, with what caused it.

use std::error::Error;

/// What an error says and, after colons, what its causes say. Some errors repeat their cause in their own text: that
/// is said once.
pub fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.ends_with(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = error.source();
    }
    sentence
}
