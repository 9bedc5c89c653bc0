//! Where commands take passwords from: a file, standard input, or a terminal that does not show them. Never the command
//! line, which everybody on the host can read.

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of a password that are read.
const BYTES_MAX: u64 = 4096;

/// Where the password comes from [default: a prompt].
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct PasswordFrom {
    /// Read the password from the first line of standard input
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFrom {
    /// Whether one of the options is there.
    pub(super) fn is_named(&self) -> bool {
        self.password_stdin || self.password_file.is_some()
    }

    /// The password; asks for it, twice, where no option says where it is.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        match &self.password_file {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                first_line(file)
            }
            None if self.password_stdin => first_line(std::io::stdin().lock()),
            None => prompt(),
        }
    }
}

fn first_line(from: impl Read) -> anyhow::Result<String> {
    let mut line = String::new();
    // The reader's words could quote it.
    let read = BufReader::new(from.take(BYTES_MAX)).read_line(&mut line);
    read.ok().context("the password does not read as UTF-8")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password.to_owned())
}

fn prompt() -> anyhow::Result<String> {
    let tty = Path::new("/dev/tty");
    let tty = File::options().read(true).write(true).open(tty).context(
        "there is no terminal to ask for the password: use --password-stdin or --password-file FILE",
    )?;
    let first = ask(&tty, "Password: ")?;
    if first != ask(&tty, "The same again: ")? {
        bail!("the two are not the same");
    }
    Ok(first)
}

/// Asks for a line without showing it.
fn ask(mut tty: &File, question: &str) -> anyhow::Result<String> {
    tty.write_all(question.as_bytes())?;
    let shown = Shown(tty, tcgetattr(tty)?);
    let mut hidden = shown.1.clone();
    hidden.local_modes -= LocalModes::ECHO;
    tcsetattr(tty, OptionalActions::Flush, &hidden)?;
    let answer = first_line(tty);
    drop(shown);
    tty.write_all(b"\n")?;
    answer
}

/// Puts a terminal back as it was.
struct Shown<'a>(&'a File, Termios);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Now, &self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(first_line(&b"pass word\r\nmore"[..]).unwrap(), "pass word");
        assert_eq!(first_line("pässword".as_bytes()).unwrap(), "pässword");
        for bad in [&b""[..], b"\nx", b"\xff\xfe"] {
            assert!(first_line(bad).is_err(), "{bad:?}");
        }
    }
}
