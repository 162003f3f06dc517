//! Which place of the configuration a section and an option of UCI have.
//!
//! The keys are those of the TOML; only where they stand differs. A section's type names a table; a network's `eap`
//! table is options of the network, and a list of tables is one section each.

use super::Fault;
use super::nearest::nearest;
use super::read::{Entry, Section, Value, quoted};

/// A place in the configuration.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1; 0 where nothing in the text stands for it.
    pub line: usize,
    /// As `uci show` names it.
    pub label: String,
    pub content: Content,
}

/// What stands there.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    List(Vec<Node>),
    Table(Table),
}

/// Keys of the TOML, and where each is.
#[derive(Debug)]
pub(super) struct Table {
    /// Where its options stand in UCI.
    pub kind: &'static str,
    /// What is before the name of an option of it.
    pub prefix: String,
    pub entries: Vec<(String, Node)>,
}

/// Section type, its place, and whether there may be several.
const KINDS: [(&str, &[&str], bool); 17] = [
    ("gateway", &[], false),
    ("network", &["network"], true),
    ("enforcement", &["enforcement"], false),
    ("open", &["open"], false),
    ("hostapd", &["hostapd"], false),
    ("beacon", &["beacon"], false),
    ("messages", &["messages"], false),
    ("interworking", &["interworking"], false),
    ("directory", &["directory"], false),
    ("dhcp", &["dhcp"], false),
    ("coordinator", &["coordinator"], false),
    ("ubus", &["ubus"], false),
    ("radius", &["radius"], false),
    ("radius_server", &["radius", "server"], true),
    ("portal", &["portal"], false),
    ("trade", &["trade"], false),
    ("tariff", &["tariff"], true),
];

/// Options whose place is deeper than their section's: section type, option, table, key.
const DEEPER: [(&str, &str, &str, &str); 5] = [
    ("network", "eap_method", "eap", "method"),
    ("network", "eap_identity", "eap", "identity"),
    ("network", "eap_password", "eap", "password"),
    ("tariff", "slice_bytes", "slice", "bytes"),
    ("tariff", "slice_time", "slice", "time"),
];

/// What `/etc/init.d/wayleave` reads and the gateway does not: section type and option.
const FOR_THE_INIT_SCRIPT: [(&str, &str); 1] = [("gateway", "enabled")];

/// The whole configuration.
pub(super) fn tree(sections: Vec<Section>) -> Result<Node, Fault> {
    let mut root = table(0, "", "gateway", "gateway.".to_owned());
    for (number, section) in sections.iter().enumerate() {
        let (kind, path, many) = kind_of(section)?;
        let before = || sections[..number].iter().filter(|other| other.kind == section.kind);
        if let Some(first) = before().next().filter(|_| !many) {
            let allowed = format!("one section of this type; line {} has it", first.line);
            return Err(Fault::at(section.line, format!("a second config {kind}"), allowed));
        }
        let label = section.name.clone().unwrap_or_else(|| format!("@{kind}[{}]", before().count()));
        fill(place_for(&mut root, section.line, &label, kind, path, many), section, kind, &label);
    }
    Ok(root)
}

fn kind_of(section: &Section) -> Result<(&'static str, &'static [&'static str], bool), Fault> {
    let known = KINDS.into_iter().find(|(kind, ..)| *kind == section.kind);
    known.ok_or_else(|| {
        let kinds = || KINDS.iter().map(|(kind, ..)| *kind);
        Fault::at(section.line, format!("config {}", quoted(&section.kind)), one_of(&section.kind, kinds))
    })
}

/// What may stand there, and what is nearest to what does.
pub(super) fn one_of<'a, I: Iterator<Item = &'a str>>(found: &str, known: impl Fn() -> I) -> String {
    let mut allowed = known().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if let Some(word) = nearest(found, known()) {
        allowed.push_str(&format!("; the nearest is `{word}`"));
    }
    allowed
}

fn table(line: usize, label: &str, kind: &'static str, prefix: String) -> Node {
    Node {
        line,
        label: label.to_owned(),
        content: Content::Table(Table { kind, prefix, entries: Vec::new() }),
    }
}

/// The table that a section fills.
fn place_for<'a>(
    root: &'a mut Node,
    line: usize,
    label: &str,
    kind: &'static str,
    path: &[&'static str],
    many: bool,
) -> &'a mut Table {
    let mut at = root;
    for (depth, key) in path.iter().enumerate() {
        let is_last = depth + 1 == path.len();
        let absent = || match many && is_last {
            true => Node { line, label: (*key).to_owned(), content: Content::List(Vec::new()) },
            false => table(line, key, key, format!("{key}.")),
        };
        at = entry(of(at), key, absent);
    }
    if matches!(at.content, Content::List(_)) {
        at = pushed(at, table(line, label, kind, String::new()));
    }
    (at.line, at.label) = (line, label.to_owned());
    let table = of(at);
    table.prefix = format!("{label}.");
    table
}

fn pushed(list: &mut Node, item: Node) -> &mut Node {
    match &mut list.content {
        Content::List(items) => {
            items.push(item);
            items.last_mut().expect("one was pushed")
        }
        _ => unreachable!("only a list is pushed to"),
    }
}

fn of(node: &mut Node) -> &mut Table {
    match &mut node.content {
        Content::Table(table) => table,
        _ => unreachable!("a place on a path of KINDS is a table"),
    }
}

fn entry<'a>(table: &'a mut Table, key: &'static str, absent: impl FnOnce() -> Node) -> &'a mut Node {
    let at = table.entries.iter().position(|(name, _)| *name == key).unwrap_or_else(|| {
        table.entries.push((key.to_owned(), absent()));
        table.entries.len() - 1
    });
    &mut table.entries[at].1
}

/// Puts the options of a section into its table.
fn fill(into: &mut Table, section: &Section, kind: &'static str, label: &str) {
    for Entry { name, line, value } in &section.options {
        if FOR_THE_INIT_SCRIPT.contains(&(kind, name)) {
            continue;
        }
        let item = |line, text: &str| Node {
            line,
            label: format!("{label}.{name}"),
            content: Content::Text(text.to_owned()),
        };
        let node = match value {
            Value::One(text) => item(*line, text),
            Value::Many(all) => {
                let items = all.iter().map(|(text, line)| item(*line, text)).collect();
                Node { content: Content::List(items), ..item(*line, "") }
            }
        };
        match DEEPER.into_iter().find(|(of, option, ..)| (*of, *option) == (kind, name)) {
            Some((.., key, deep)) => {
                let prefix = || format!("{label}.{key}_");
                let deeper =
                    entry(into, key, || table(section.line, &format!("{label}.{key}"), kind, prefix()));
                of(deeper).entries.push((deep.to_owned(), node));
            }
            // A table is no option; as any other word that is none it is refused by who knows the options.
            None if is_table(kind, name) => into.entries.push((NO_OPTION.to_owned(), node)),
            None => into.entries.push((name.clone(), node)),
        }
    }
}

/// A key that no table has.
const NO_OPTION: &str = "?";

/// Whether a key of a section's table is a table itself, and stands elsewhere in UCI.
fn is_table(kind: &str, key: &str) -> bool {
    let own = KINDS.iter().find(|(of, ..)| *of == kind).map_or(&[][..], |(_, path, _)| *path);
    let below = |(_, path, _): &(&str, &[&str], bool)| {
        path.len() == own.len() + 1 && path.starts_with(own) && path[own.len()] == key
    };
    KINDS.iter().any(below) || DEEPER.iter().any(|(of, _, table, _)| (*of, *table) == (kind, key))
}

/// What may stand in a section, of the keys of its table.
pub(super) fn options(kind: &str, keys: &'static [&'static str]) -> Vec<&'static str> {
    let plain = keys.iter().copied().filter(|key| !is_table(kind, key));
    let deeper = DEEPER.into_iter().filter(|(of, ..)| *of == kind).map(|(_, option, ..)| option);
    let others = FOR_THE_INIT_SCRIPT.into_iter().filter(|(of, _)| *of == kind).map(|(_, option)| option);
    plain.chain(deeper).chain(others).collect()
}

/// The line and the label of a key of the TOML, or of the last part of it that is there.
pub(super) fn place(root: &Node, key: &str) -> (usize, String) {
    let mut at = root;
    for part in key.split('.') {
        let next = match &at.content {
            Content::Table(table) => {
                let Some((_, next)) = table.entries.iter().find(|(name, _)| name == part) else {
                    if KINDS.iter().any(|(kind, ..)| *kind == part) {
                        // A whole section is missing.
                        return (0, part.to_owned());
                    }
                    return (at.line, format!("{}{part}", table.prefix));
                };
                next
            }
            Content::List(items) => match part.parse::<usize>().ok().and_then(|number| items.get(number)) {
                Some(next) => next,
                None => break,
            },
            Content::Text(_) => break,
        };
        at = next;
    }
    (at.line, at.label.clone())
}
