//! A fragment, out of the places of a UCI file. UCI knows text only: what a text is, the fragment's own type says.
//!
//! The words for yes and no are those of OpenWrt's scripts (`config_get_bool` in /lib/functions.sh). A list may be
//! written as `list` or as one `option` with blanks between its values, as in OpenWrt's own files.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::Fault;
use super::read::quoted;
use super::schema::{Content, Node, Table, one_of, options};

const YES: [&str; 5] = ["1", "on", "true", "yes", "enabled"];
const NO: [&str; 5] = ["0", "off", "false", "no", "disabled"];

/// What the file says.
pub(super) fn fragment<T: DeserializeOwned>(root: &Node) -> Result<T, Fault> {
    T::deserialize(root).map_err(|Wrong { fault, .. }| fault)
}

/// A fault on its way up to the node that has its place.
#[derive(Debug)]
pub(super) struct Wrong {
    fault: Fault,
    key: Key,
}

/// A key that serde has no value for, or no use for.
#[derive(Debug, Default)]
enum Key {
    #[default]
    Good,
    Missing(&'static str),
    Unknown(&'static [&'static str]),
}

impl Wrong {
    fn new(found: String, allowed: String) -> Self {
        Self { fault: Fault::at(0, found, allowed), key: Key::Good }
    }

    /// Says where, unless that is said.
    fn at(mut self, node: &Node) -> Self {
        if self.fault.label.is_empty() && matches!(self.key, Key::Good) {
            self.fault.line = node.line;
            self.fault.label.clone_from(&node.label);
        }
        self
    }

    /// Says which key of a table.
    fn in_table(mut self, line: usize, table: &Table, last: Option<&Node>) -> Self {
        match std::mem::take(&mut self.key) {
            Key::Good => {}
            Key::Missing(field) => {
                let found = "nothing".to_owned();
                let allowed = "a value; this option must be given".to_owned();
                self.fault = Fault { line, label: format!("{}{field}", table.prefix), found, allowed };
            }
            Key::Unknown(keys) => {
                let last = last.map_or((line, ""), |node| (node.line, node.label.as_str()));
                let name = last.1.strip_prefix(&table.prefix).unwrap_or_default();
                let allowed = one_of(name, || options(table.kind, keys).into_iter());
                let (label, found) = (last.1.to_owned(), "an unknown option".to_owned());
                self.fault = Fault { line: last.0, label, found, allowed };
            }
        }
        self
    }
}

impl std::error::Error for Wrong {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}; allowed: {}", self.fault.found, self.fault.allowed)
    }
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(String::new(), message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(shown(unexpected), expected.to_string())
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(shown(unexpected), expected.to_string())
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("{length} values"), expected.to_string())
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(quoted(variant), one_of(variant, || expected.iter().copied()))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self { key: Key::Unknown(expected), ..Self::new(String::new(), String::new()) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { key: Key::Missing(field), ..Self::new(String::new(), String::new()) }
    }
}

fn shown(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => quoted(text),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

/// One value of a node: its text, or a word of it.
struct Text<'de>(&'de str);

impl Text<'_> {
    fn number<T: std::str::FromStr>(&self, expected: &dyn Expected) -> Result<T, Wrong> {
        self.0.parse().map_err(|_| de::Error::invalid_value(Unexpected::Str(self.0), expected))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let number = self.number(&visitor)?;
            visitor.$visit(number)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            yes if YES.contains(&yes) => visitor.visit_bool(true),
            no if NO.contains(&no) => visitor.visit_bool(false),
            other => Err(Wrong::new(quoted(other), "1 or 0".to_owned())),
        }
    }

    numbers! {
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.0))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_seq(Words(self.0.split_ascii_whitespace()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The values of an `option` that is a list.
struct Words<'de>(std::str::SplitAsciiWhitespace<'de>);

impl<'de> SeqAccess<'de> for Words<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.0.next().map(|word| seed.deserialize(Text(word))).transpose()
    }
}

/// What a text would be asked for, and a node is as well.
macro_rules! as_text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            match &self.content {
                Content::Text(text) => Text(text).$method(visitor).map_err(|wrong| wrong.at(self)),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.content {
            Content::Text(text) => visitor.visit_borrowed_str(text).map_err(|wrong: Wrong| wrong.at(self)),
            Content::List(items) => {
                visitor.visit_seq(Items(items.iter())).map_err(|wrong: Wrong| wrong.at(self))
            }
            Content::Table(table) => {
                let mut entries = Entries { rest: table.entries.iter(), last: None };
                visitor
                    .visit_map(&mut entries)
                    .map_err(|wrong: Wrong| wrong.in_table(self.line, table, entries.last).at(self))
            }
        }
    }

    as_text! {
        deserialize_bool deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64
        deserialize_seq
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.content {
            Content::Text(text) => {
                Text(text).deserialize_enum(name, variants, visitor).map_err(|wrong| wrong.at(self))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple_struct map struct identifier ignored_any
    }
}

/// The values of a `list`.
struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

/// The options of a section.
struct Entries<'de> {
    rest: std::slice::Iter<'de, (String, Node)>,
    last: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for &mut Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.last = Some(node);
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        match self.last {
            Some(node) => seed.deserialize(node),
            None => Err(de::Error::custom("a key before its value")),
        }
    }
}
