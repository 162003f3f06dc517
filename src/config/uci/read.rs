//! The text of a UCI file: sections, options and lists, as libuci's `file.c` takes them and `uci export` writes them.
//!
//! Pure. Says what stands where; what it means is `schema.rs`'s. A second option of one name replaces the first, a
//! section opened again goes on, and an option without a value is not there: what `uci show` says of a file holds here.

use std::str;

use super::Fault;

/// What one file may hold; a router with a hundred networks needs a tenth of it.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// `config TYPE 'NAME'` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub kind: String,
    /// `None`: anonymous.
    pub name: Option<String>,
    pub line: usize,
    pub options: Vec<Entry>,
}

/// An option or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    /// Of its first line.
    pub line: usize,
    pub value: Value,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `option`.
    One(String),
    /// `list`, each with its line.
    Many(Vec<(String, usize)>),
}

/// The sections of a file, in its order.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, Fault> {
    let mut reader = Reader { text: checked(bytes)?, at: 0, line: 1 };
    let mut sections: Vec<Section> = Vec::new();
    // Where the last `config` is: it may have opened an earlier section again.
    let mut open = None;
    while let Some((line, words)) = reader.statement()? {
        let mut words = words.into_iter();
        let command = words.next().unwrap_or_default();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if let Some(word) = words.next() {
            return Err(Fault::at(line, quoted(&word), "the end of the line: values with blanks are quoted"));
        }
        match command.as_str() {
            "package" | "p" => {}
            "config" | "c" => open = Some(section(&mut sections, line, first, second)?),
            "option" | "o" | "list" | "l" => {
                let Some(section) = open.and_then(|open: usize| sections.get_mut(open)) else {
                    return Err(Fault::at(line, quoted(&command), "config TYPE first"));
                };
                if !is_name(&first) {
                    return Err(Fault::at(line, quoted(&first), "a name of letters, digits and _"));
                }
                put(section, line, command.starts_with('l'), first, second);
            }
            _ => return Err(Fault::at(line, quoted(&command), "`package`, `config`, `option` or `list`")),
        }
    }
    Ok(sections)
}

/// Text without what no value may hold.
fn checked(bytes: &[u8]) -> Result<&str, Fault> {
    let line = |at: usize| 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    if bytes.len() > MOST_BYTES {
        return Err(Fault::at(0, "a larger file", format!("{MOST_BYTES} bytes")));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Fault::at(line(at), format!("the byte {:#04x}", bytes[at]), "text in UTF-8")
    })?;
    let control = |byte: &u8| *byte < 32 && !matches!(byte, b'\t' | b'\n' | b'\r');
    match bytes.iter().position(control) {
        Some(at) => Err(Fault::at(
            line(at),
            format!("the byte {:#04x}", bytes[at]),
            "text without control characters",
        )),
        None => Ok(text),
    }
}

/// The section that a `config` opens, anew or again.
fn section(sections: &mut Vec<Section>, line: usize, kind: String, name: String) -> Result<usize, Fault> {
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::at(line, quoted(&kind), "config TYPE or config TYPE 'NAME'"));
    }
    if !name.is_empty() && !is_name(&name) {
        return Err(Fault::at(line, quoted(&name), "a name of letters, digits and _"));
    }
    let name = (!name.is_empty()).then_some(name);
    let again = sections.iter().position(|section| name.is_some() && section.name == name);
    match again {
        Some(at) if sections[at].kind == kind => Ok(at),
        Some(at) => {
            let allowed =
                format!("another name: line {} has it for a {}", sections[at].line, sections[at].kind);
            Err(Fault::at(
                line,
                format!("config {kind} {}", quoted(name.as_deref().unwrap_or_default())),
                allowed,
            ))
        }
        None => {
            sections.push(Section { kind, name, line, options: Vec::new() });
            Ok(sections.len() - 1)
        }
    }
}

/// As `uci set` and `uci add_list` do it.
fn put(section: &mut Section, line: usize, is_list: bool, name: String, value: String) {
    let at = section.options.iter().position(|entry| entry.name == name);
    if value.is_empty() && !is_list {
        return;
    }
    let before = at.map(|at| section.options.remove(at));
    let first = before.as_ref().map_or(line, |before| before.line);
    let entry = match (is_list, before.map(|before| before.value)) {
        (false, _) => Entry { name, line, value: Value::One(value) },
        (true, None) => Entry { name, line, value: Value::Many(vec![(value, line)]) },
        (true, Some(Value::One(before))) => {
            Entry { name, line: first, value: Value::Many(vec![(before, first), (value, line)]) }
        }
        (true, Some(Value::Many(mut all))) => {
            all.push((value, line));
            Entry { name, line: first, value: Value::Many(all) }
        }
    };
    section.options.push(entry);
}

/// What stands where one word, name or value ends and the next begins.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Reader<'_> {
    /// The words of the next statement that has some, and its line; `None` at the end.
    fn statement(&mut self) -> Result<Option<(usize, Vec<String>)>, Fault> {
        let mut words = Vec::new();
        let mut line = self.line;
        loop {
            match self.peek() {
                None | Some('\n' | '#') => {
                    self.end_statement();
                    match (words.is_empty(), self.peek()) {
                        (false, _) => return Ok(Some((line, words))),
                        (true, None) => return Ok(None),
                        (true, Some(_)) => {}
                    }
                }
                // libuci goes on behind it after a quote, and drops the rest of the line otherwise.
                Some(';') => return Err(Fault::at(self.line, "\";\"", "one statement on a line")),
                Some(char) if char.is_ascii_whitespace() => self.step(),
                Some(_) => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    words.push(self.word()?);
                }
            }
        }
    }

    /// One character that ends a statement, with the comment that it may begin.
    fn end_statement(&mut self) {
        if self.peek() == Some('#') {
            while self.peek().is_some_and(|char| char != '\n') {
                self.step();
            }
        }
        self.step();
    }

    /// Quoted and unquoted pieces without a blank between them are one word.
    fn word(&mut self) -> Result<String, Fault> {
        let mut word = String::new();
        while let Some(char) = self.peek() {
            match char {
                '\'' | '"' => self.quoted(char, &mut word)?,
                '#' | ';' => break,
                '\\' if self.continues() => {}
                '\\' => {
                    self.step();
                    self.take(&mut word);
                }
                _ if char.is_ascii_whitespace() => break,
                _ => self.take(&mut word),
            }
        }
        Ok(word)
    }

    /// Up to the same quote again; only double ones know a backslash. May go over lines.
    fn quoted(&mut self, quote: char, word: &mut String) -> Result<(), Fault> {
        let line = self.line;
        self.step();
        loop {
            match self.peek() {
                None => {
                    let allowed = format!("a second {quote} before the end of the file");
                    return Err(Fault::at(line, format!("{quote} without its end"), allowed));
                }
                Some(char) if char == quote => {
                    self.step();
                    return Ok(());
                }
                Some('\\') if quote == '"' => {
                    if !self.continues() {
                        self.step();
                        self.take(word);
                    }
                }
                Some(_) => self.take(word),
            }
        }
    }

    /// Steps over a backslash that stands at the end of its line, and over that end.
    fn continues(&mut self) -> bool {
        let rest = &self.text[self.at + 1..];
        let end = ["\r\n", "\n"].into_iter().find(|end| rest.starts_with(end));
        if rest.is_empty() {
            self.at += 1;
        } else if let Some(end) = end {
            self.at += 1 + end.len();
            self.line += 1;
        }
        rest.is_empty() || end.is_some()
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn step(&mut self) {
        if let Some(char) = self.peek() {
            self.at += char.len_utf8();
            self.line += usize::from(char == '\n');
        }
    }

    fn take(&mut self, word: &mut String) {
        word.extend(self.peek());
        self.step();
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// One line of what was found, short: it may come from anywhere.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("\"{}\"", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TYPE NAME: option=value list=[a,b]`, a line for each section.
    fn shown(text: &str) -> String {
        let sections = match sections(text.as_bytes()) {
            Ok(sections) => sections,
            Err(fault) => return format!("{}: {} / {}", fault.line, fault.found, fault.allowed),
        };
        let value = |value: &Value| match value {
            Value::One(value) => value.clone(),
            Value::Many(all) => format!("{:?}", all.iter().map(|(value, _)| value).collect::<Vec<_>>()),
        };
        let lines = sections.iter().map(|section| {
            let options: Vec<String> = section
                .options
                .iter()
                .map(|entry| format!("{}@{}={}", entry.name, entry.line, value(&entry.value)))
                .collect();
            format!("{} {:?} {}", section.kind, section.name.as_deref().unwrap_or("-"), options.join(" "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn words_quotes_comments_and_lists() {
        for (text, wanted) in [
            ("", ""),
            ("\n\n# nothing\n", ""),
            ("config a 'b'\n\toption c 'd e'\n", "a \"b\" c@2=d e"),
            ("package wayleave\n\nconfig a\n\toption c d # e\n", "a \"-\" c@4=d"),
            ("c a b\no c d\nl e f", "a \"b\" c@2=d e@3=[\"f\"]"),
            ("config a\n option c 'it'\\''s'\n", "a \"-\" c@2=it's"),
            ("config a\n option c \"it's \\\"so\\\" \\\\\"\n", "a \"-\" c@2=it's \"so\" \\"),
            ("config a\n option c 'a\\b'\n", "a \"-\" c@2=a\\b"),
            ("config a\n option c one' and 'two\n", "a \"-\" c@2=one and two"),
            ("config a\n option c a\\ b\n", "a \"-\" c@2=a b"),
            ("config a\n option c 'x\ny'\n option d z\n", "a \"-\" c@2=x\ny d@4=z"),
            ("config a\n option c \"x\\\ny\"\n option \\\nd z\n", "a \"-\" c@2=xy d@4=z"),
            ("config a\r\n\toption c d\r\n", "a \"-\" c@2=d"),
            ("config a\n list c d\n list c 'e f'\n", "a \"-\" c@2=[\"d\", \"e f\"]"),
            ("config a\n option c d\n list c e\n", "a \"-\" c@2=[\"d\", \"e\"]"),
            (
                "config a\n option c d\n option c e\n option f g\n option f ''\n option h\n",
                "a \"-\" c@3=e f@4=g",
            ),
            ("config a\n list c ''\n list c e\n", "a \"-\" c@2=[\"\", \"e\"]"),
            (
                "config a 'x'\n option c d\nconfig a\nconfig a 'x'\n option e f\n",
                "a \"x\" c@2=d e@5=f\na \"-\" ",
            ),
            ("config a\n option c 'd'#e\n", "a \"-\" c@2=d"),
            ("config a\n option c 'é'", "a \"-\" c@2=é"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, wanted) in [
            ("config a\n\noption c 'd\n\n", "3: ' without its end / a second ' before the end of the file"),
            ("config a\noption c \"d\\\"\n", "2: \" without its end"),
            ("option c d\n", "1: \"option\" / config TYPE first"),
            ("config a\n option c d; option e f\n", "2: \";\" / one statement on a line"),
            ("config a\n option \\\n d z\n", "2: \"z\" / the end of the line"),
            ("config\n", "1: \"\" / config TYPE or config TYPE 'NAME'"),
            ("config a b c\n", "1: \"c\" / the end of the line"),
            ("config a 'b-c'\n", "1: \"b-c\" / a name of letters"),
            ("config a\noption c d e\n", "2: \"e\" / the end of the line: values with blanks are quoted"),
            ("config a\noption c-d e\n", "2: \"c-d\" / a name of letters"),
            ("config a\n\noptoin c d\n", "3: \"optoin\" / `package`, `config`, `option` or `list`"),
            ("[[network]]\ninterface = \"x\"\n", "1: \"[[network]]\" / `package`"),
            ("config a 'x'\nconfig b 'x'\n", "2: config b \"x\" / another name: line 1 has it for a a"),
            ("config a\n option c 'd\0'\n", "2: the byte 0x00 / text without control"),
        ] {
            assert!(shown(text).starts_with(wanted), "{text}: {}", shown(text));
        }
        let fault = sections(b"config a\n option c '\xff'\n").unwrap_err();
        assert_eq!((fault.line, fault.found.as_str()), (2, "the byte 0xff"));
        let long = "#".repeat(MOST_BYTES + 1);
        assert_eq!(shown(&long), "0: a larger file / 262144 bytes");
        assert!(shown(&"x".repeat(1000)).len() < 200);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            drop(sections(&bytes));
        }

        #[test]
        fn what_uci_export_writes_comes_back(value in "[ -~\n\t]{1,40}", name in "[a-z_][a-z0-9_]{0,8}") {
            // libuci quotes each value so.
            let text = format!("config a\n\toption {name} '{}'\n", value.replace('\'', "'\\''"));
            let read = sections(text.as_bytes()).unwrap();
            proptest::prop_assert_eq!(&read[0].options[0].value, &Value::One(value));
        }
    }
}
