//! Asking HAProxy: one command to its stats socket, one answer (management guide, section 9).

use std::io::{self, Read, Write};
use std::time::Duration;

use crate::folder::{Folder, STATS};

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes of an answer: a thousand servers are some 400 KiB.
const ANSWER_MAX: u64 = 8 << 20;

pub(crate) fn ask(folder: &Folder, command: &str) -> io::Result<String> {
    let mut stream = sys::unix::connect(&folder.own(), STATS)?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
    writeln!(stream, "{command}")?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The digest of the configuration that the present worker works by; `None` when nothing answers.
pub(crate) fn digest(folder: &Folder) -> Option<String> {
    let info = ask(folder, "show info").ok()?;
    info.lines().find_map(|line| line.strip_prefix("description: ")).map(str::to_owned)
}
