//! Tables and lists of facts as text: aligned, with colours where they are wanted.
//!
//! Whatever goes through here is escaped: no text from outside can end a line or steer a terminal. Columns
//! count characters; East Asian wide ones stand a little off.

use std::io::{self, Write};

/// What a cell wants to say beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Hint,
    /// Not as it should be.
    Bad,
    /// Less important than the rest.
    Faint,
    /// A heading.
    Heading,
}

impl Tone {
    /// SGR parameters (ECMA-48, 8.3.117).
    fn sgr(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some("32"),
            Tone::Hint => Some("33"),
            Tone::Bad => Some("31"),
            Tone::Faint => Some("2"),
            Tone::Heading => Some("1"),
        }
    }
}

/// A piece of text with its tone; escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text with a tone.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: plain(text.as_ref()), tone }
    }

    /// For what is not there.
    pub fn none() -> Self {
        Self::new("-", Tone::Faint)
    }

    /// With colours or without, padded to a width.
    fn render(&self, width: usize, right: bool, colours: bool) -> String {
        let padding = " ".repeat(width.saturating_sub(self.text.chars().count()));
        let text = match self.tone.sgr().filter(|_| colours && !self.text.is_empty()) {
            Some(sgr) => format!("\x1b[{sgr}m{}\x1b[0m", self.text),
            None => self.text.clone(),
        };
        if right { padding + &text } else { text + &padding }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A column: its title, and whether its cells stand at the right.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
}

/// A column of words.
pub const fn left(title: &'static str) -> Column {
    Column { title, right: false }
}

/// A column of figures.
pub const fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows.
    pub fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// One more row; a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The text; nothing where there are no rows.
    pub fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let titles: Vec<Cell> =
            self.columns.iter().map(|column| Cell::new(column.title, Tone::Heading)).collect();
        let headed = self.columns.iter().any(|column| !column.title.is_empty());
        let lines = headed.then_some(&titles).into_iter().chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| lines.clone().map(|line| line[at].text.chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let cells = line.iter().zip(self.columns).zip(&widths);
            let cells = cells.map(|((cell, column), width)| cell.render(*width, column.right, colours));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Names and values, one pair per line.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<(&'static str, Cell)>);

impl Facts {
    /// One more.
    pub fn add(&mut self, name: &'static str, value: impl Into<Cell>) {
        self.0.push((name, value.into()));
    }

    /// The text.
    pub fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let name = Cell::new(name, Tone::Faint).render(width, false, colours);
            writeln!(out, "{name}  {}", value.render(0, false, colours))?;
        }
        Ok(())
    }
}

/// Text that cannot end a line, steer a terminal or turn the direction of what stands beside it.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        let steers = char.is_control()
            || matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if steers {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, colours: bool) -> String {
        let mut out = Vec::new();
        table.write(&mut out, colours).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_below_each_other_and_lines_end_where_their_text_does() {
        let mut table = Table::new(const { &[left("NAME"), right("UP"), left("NOTE")] });
        assert_eq!(text(&table, false), "");
        table.row(vec!["café".into(), "1.0 kB".into(), Cell::none()]);
        table.row(vec!["a much longer name".into(), "2 B".into(), "x".into()]);
        assert_eq!(
            text(&table, false),
            "NAME                    UP  NOTE\n\
             café                1.0 kB  -\n\
             a much longer name     2 B  x\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(const { &[left("A"), left("B")] });
        table.row(vec![Cell::new("x", Tone::Bad), "y".into()]);
        table.row(vec!["xxx".into(), "y".into()]);
        assert_eq!(text(&table, true), "\x1b[1mA\x1b[0m    \x1b[1mB\x1b[0m\n\x1b[31mx\x1b[0m    y\nxxx  y\n");
    }

    #[test]
    fn text_from_outside_stays_in_its_cell() {
        let mut table = Table::new(const { &[left("")] });
        table.row(vec!["a\n\x1b[2Jb\u{9b}31m\u{202e}c\u{feff}".into()]);
        assert_eq!(text(&table, true), "a\\u{a}\\u{1b}[2Jb\\u{9b}31m\\u{202e}c\\u{feff}\n");
    }
}
