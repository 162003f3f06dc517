//! hostapd's files of codes: `wpa_psk_file` with a line `keyid=… 00:00:00:00:00:00 <64 hexadecimal digits>` for each,
//! and `eap_user_file` with a line `"name" METHOD "password"`.
//!
//! The file is ours alone. Whatever else stands in it is replaced; that it did is said, and is nobody's failure.
//! hostapd reads them when it starts, on `RELOAD_WPA_PSK`, and on `SET eap_user_file` (`codes.rs`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::host::keep::{self, KeepError};
use crate::model::{Code, KeyId};

/// For whoever opens it.
const HEAD: &str = "# Written by wayleave gateway, which undoes edits. Codes: wayleave grant --code\n";

/// Nobody but the owner may read codes; hostapd is root.
const MODE: u32 = 0o600;

/// What hostapd is to be told of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A key of WPA2.
    Key,
    /// A name and a password for EAP-MD5: on a wire.
    Md5,
    /// For EAP-PWD.
    Pwd,
    /// For PEAP with MSCHAPv2 inside.
    Peap,
    /// For EAP-TTLS with PAP or MSCHAPv2 inside.
    Ttls,
}

/// One file.
#[derive(Debug)]
pub struct CodeFile {
    path: PathBuf,
    form: Form,
    /// What we wrote last.
    written: Option<Zeroizing<Vec<u8>>>,
}

/// How the file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As wanted: nothing was written.
    Same,
    /// As we had left it, or not there at our first look: it holds what is wanted now.
    Ours,
    /// Somebody else had changed or deleted it, or let others read it: it holds what is wanted now.
    Edited,
}

impl CodeFile {
    /// The file at this place, whether or not it is there.
    pub fn new(path: impl Into<PathBuf>, form: Form) -> Self {
        Self { path: path.into(), form, written: None }
    }

    /// What it tells of each code.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it hold these codes and nothing else; atomically, so that hostapd reads the old ones or the new.
    pub fn hold<'a>(&mut self, codes: impl Iterator<Item = (KeyId, &'a Code)>) -> Result<Found, KeepError> {
        let wanted = text(self.form, codes);
        let present = fs::read(&self.path).map(Zeroizing::new).ok();
        let private = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o777 == MODE);
        let found = match (&self.written, &present) {
            (_, Some(present)) if private && **present == *wanted => Found::Same,
            (None, _) => Found::Ours,
            (Some(written), Some(present)) if private && **present == **written => Found::Ours,
            (Some(_), _) => Found::Edited,
        };
        if found != Found::Same {
            keep::replace(&self.path, &wanted, MODE)?;
        }
        self.written = Some(wanted);
        Ok(found)
    }
}

fn text<'a>(form: Form, codes: impl Iterator<Item = (KeyId, &'a Code)>) -> Zeroizing<Vec<u8>> {
    let codes: Vec<(KeyId, &Code)> = codes.collect();
    // All at once: a reallocation would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(HEAD.len() + 128 * codes.len()));
    text.extend_from_slice(HEAD.as_bytes());
    // Whoever says no name before the tunnel stands gets one, too.
    let tunnel = match form {
        Form::Key | Form::Md5 | Form::Pwd => "",
        Form::Peap => "* PEAP\n",
        Form::Ttls => "* TTLS\n",
    };
    text.extend_from_slice(tunnel.as_bytes());
    for (key, code) in codes {
        let password = code.password();
        let password = password.expose();
        match form {
            Form::Key => writeln!(text, "keyid={key} 00:00:00:00:00:00 {}", code.digits().expose()),
            Form::Md5 => writeln!(text, "\"{key}\" MD5 \"{password}\""),
            Form::Pwd => writeln!(text, "\"{key}\" PWD \"{password}\""),
            Form::Peap => writeln!(text, "\"{key}\" MSCHAPV2 \"{password}\" [2]"),
            Form::Ttls => writeln!(text, "\"{key}\" TTLS-PAP,TTLS-MSCHAPV2 \"{password}\" [2]"),
        }
        .expect("memory takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GrantId;

    #[test]
    fn a_line_is_as_hostapd_reads_it() {
        let code = Code::new([0xab; 32]);
        let text = text(Form::Key, [(GrantId([0x7f; 16]).key_id(), &code)].into_iter());
        let text = std::str::from_utf8(&text).unwrap();
        let digits = "ab".repeat(32);
        assert_eq!(text, format!("{HEAD}keyid=7f7f7f7f7f7f7f7f7f7f7f7f 00:00:00:00:00:00 {digits}\n"));
        // fgets() into 128 octets: a longer line would be read as two.
        assert!(text.lines().all(|line| line.len() + "vlanid=4094 \n".len() < 128));
    }

    #[test]
    fn a_name_and_a_password_are_as_hostapd_reads_them() {
        let code = Code::new([0; 32]);
        let key = GrantId([0x7f; 16]).key_id();
        for (form, wanted) in [
            (Form::Md5, "\"NAME\" MD5 \"WORD\"\n"),
            (Form::Pwd, "\"NAME\" PWD \"WORD\"\n"),
            (Form::Peap, "* PEAP\n\"NAME\" MSCHAPV2 \"WORD\" [2]\n"),
            (Form::Ttls, "* TTLS\n\"NAME\" TTLS-PAP,TTLS-MSCHAPV2 \"WORD\" [2]\n"),
        ] {
            let text = text(form, [(key, &code)].into_iter());
            let wanted = wanted.replace("NAME", &"7f".repeat(12)).replace("WORD", &"a".repeat(20));
            assert_eq!(std::str::from_utf8(&text).unwrap(), format!("{HEAD}{wanted}"));
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_noticed_and_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.psk");
        let key = GrantId([1; 16]).key_id();
        let (one, other) = (Code::new([1; 32]), Code::new([2; 32]));
        let mut file = CodeFile::new(&path, Form::Key);
        assert_eq!(file.hold([(key, &one)].into_iter()).unwrap(), Found::Ours, "it is not there yet");
        assert_eq!(file.hold([(key, &one)].into_iter()).unwrap(), Found::Same);
        assert_eq!(file.hold([(key, &other)].into_iter()).unwrap(), Found::Ours, "another code");
        let ours = fs::read(&path).unwrap();
        let line = format!("00:00:00:00:00:00 {}\n", "0".repeat(64));
        type Edit<'a> = &'a dyn Fn();
        let edits: [Edit<'_>; 5] = [
            &|| fs::write(&path, [ours.as_slice(), line.as_bytes()].concat()).unwrap(),
            &|| fs::write(&path, b"\xff\0\n").unwrap(),
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap(),
            &|| {
                let elsewhere = dir.path().join("elsewhere");
                fs::rename(&path, &elsewhere).unwrap();
                std::os::unix::fs::symlink(elsewhere, &path).unwrap();
            },
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            edit();
            assert_eq!(file.hold([(key, &other)].into_iter()).unwrap(), Found::Edited, "{number}");
            assert_eq!(fs::read(&path).unwrap(), ours, "{number}");
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, MODE, "{number}");
        }
        // A daemon that starts finds what the one before it had left.
        let mut next = CodeFile::new(&path, Form::Key);
        assert_eq!(next.hold([(key, &other)].into_iter()).unwrap(), Found::Same);
        assert_eq!(next.hold(std::iter::empty()).unwrap(), Found::Ours);
        assert_eq!(fs::read_to_string(&path).unwrap(), HEAD);
    }

    #[test]
    fn where_it_cannot_be_written_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("guest.psk")).unwrap();
        let mut file = CodeFile::new(dir.path().join("guest.psk"), Form::Key);
        assert!(matches!(file.hold(std::iter::empty()), Err(KeepError::Write { .. })));
    }
}
