//! A text as a QR code (ISO/IEC 18004): for a terminal, and as an SVG file.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around it, without which it is not found.
const QUIET: i32 = 4;

/// A QR code.
pub(super) struct Qr(QrCode);

impl Qr {
    /// `None`: more text than one holds.
    pub fn new(text: &str) -> Option<Self> {
        QrCode::encode_text(text, QrCodeEcc::Low).ok().map(Self)
    }

    /// Two modules for each character. With `colours` dark on light whatever the terminal's own; without, light
    /// modules are drawn, as is right on a dark terminal.
    pub fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        match colours {
            true => self.lines(true, |line| writeln!(out, "\x1b[30;107m{line}\x1b[0m")),
            false => self.lines(false, |line| writeln!(out, "{line}")),
        }
    }

    /// As [`Qr::write`], for paper: dark modules are drawn, and nothing else is.
    #[cfg(feature = "coordinator")]
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lines(true, |line| writeln!(out, "{line}"))
    }

    fn lines(&self, dark: bool, mut write: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut y = -QUIET;
        while y < self.0.size() + QUIET {
            let mut line = String::new();
            for x in -QUIET..self.0.size() + QUIET {
                let drawn = |y| self.0.get_module(x, y) == dark;
                line.push(match (drawn(y), drawn(y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            write(&line)?;
            y += 2;
        }
        Ok(())
    }

    /// Writes it to a file that only its owner may read.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // The mode is for a new one; one that was there keeps its own.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(self.svg().as_bytes())
    }

    fn svg(&self) -> String {
        let side = self.0.size() + 2 * QUIET;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{width}\" \
             height=\"{width}\" shape-rendering=\"crispEdges\">\n\
             <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\n<path d=\"",
            width = 8 * side
        );
        for y in 0..self.0.size() {
            for x in (0..self.0.size()).filter(|x| self.0.get_module(*x, y)) {
                text += &format!("M{},{}h1v1h-1z", x + QUIET, y + QUIET);
            }
        }
        text + "\"/>\n</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_what_was_encoded() {
        let qr = Qr::new("WIFI:T:WPA;S:Corner;P:x;;").unwrap();
        for colours in [false, true] {
            let mut out = Vec::new();
            qr.write(&mut out, colours).unwrap();
            let text = String::from_utf8(out).unwrap().replace("\x1b[30;107m", "").replace("\x1b[0m", "");
            let rows: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
            for y in 0..qr.0.size() {
                for x in 0..qr.0.size() {
                    let char = rows[((y + QUIET) / 2) as usize][(x + QUIET) as usize];
                    let drawn = char == '█' || char == if (y + QUIET) % 2 == 0 { '▀' } else { '▄' };
                    assert_eq!(drawn == colours, qr.0.get_module(x, y), "{x},{y}");
                }
            }
        }
    }

    #[test]
    fn too_much_text_is_none() {
        assert!(Qr::new(&"x".repeat(3000)).is_none());
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code.svg");
        for _ in 0..2 {
            Qr::new("x").unwrap().save(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("<svg ") && text.ends_with("</svg>\n") && text.contains("M4,4h1v1h-1z"),
            "{text}"
        );
    }
}
