//! Lines of one VPC on the disk: a file and the one before it, each of a bounded size.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use model::Uid;
use model::network::FlowField;

/// Of each of the two files.
const FILE_MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone)]
pub(super) struct Kept {
    now: PathBuf,
    before: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: &Path, vpc: &Uid) -> Self {
        let file = |end: &str| folder.join(format!("{vpc}.{end}"));
        Self { now: file("log"), before: file("log.1") }
    }

    /// Adds lines, and puts the file away first when it is full.
    pub(super) fn append(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.now.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if std::fs::metadata(&self.now).is_ok_and(|meta| meta.len() >= FILE_MAX_BYTES) {
            std::fs::rename(&self.now, &self.before)?;
        }
        let mut file: File = OpenOptions::new().create(true).append(true).open(&self.now)?;
        file.write_all((lines.join("\n") + "\n").as_bytes())
    }

    /// All lines, or those of one port; whole as they are kept, or without what is noted behind the usual words.
    pub(super) fn read(&self, port: &str, whole: bool) -> io::Result<String> {
        let mut text = String::new();
        for path in [&self.before, &self.now] {
            match std::fs::read_to_string(path) {
                Ok(more) => text += &more,
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if port.is_empty() && whole {
            return Ok(text);
        }
        let of_port = |line: &&str| port.is_empty() || line.split(' ').nth(2) == Some(port);
        let said = |line| if whole { line } else { usual(line) };
        Ok(text.lines().filter(of_port).flat_map(|line| [said(line), "\n"]).collect())
    }

    pub(super) fn remove(&self) {
        for path in [&self.now, &self.before] {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), error = %e, "a flow log cannot be removed");
                }
                _ => {}
            }
        }
    }
}

/// The words that every reader of flow logs knows.
fn usual(line: &str) -> &str {
    let end = line.match_indices(' ').nth(FlowField::DEFAULT.len() - 1).map(|(at, _)| at);
    end.map_or(line, |end| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_up_to_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(&folder.path().join("flows"), &Uid::from_random([1; 16]));
        assert_eq!(kept.read("", false).unwrap(), "");
        kept.append(&["2 p a-0 x".into(), "2 p b-0 y".into()]).unwrap();
        assert_eq!(kept.read("b-0", false).unwrap(), "2 p b-0 y\n");
        assert_eq!(kept.read("", false).unwrap(), "2 p a-0 x\n2 p b-0 y\n");
        let words = "2 p d-0 1 2 3 4 5 6 7 8 9 ACCEPT OK";
        kept.append(&[format!("{words} eni-1 web")]).unwrap();
        assert_eq!(kept.read("d-0", false).unwrap(), format!("{words}\n"));
        assert_eq!(kept.read("d-0", true).unwrap(), format!("{words} eni-1 web\n"));
        let many = vec!["2 p c-0 zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz".to_owned(); 100_000];
        for _ in 0..4 {
            kept.append(&many).unwrap();
        }
        let size: u64 =
            [&kept.now, &kept.before].map(|path| std::fs::metadata(path).unwrap().len()).iter().sum();
        assert!(size <= 4 * FILE_MAX_BYTES, "{size}");
        assert_eq!(kept.read("a-0", false).unwrap(), "", "the oldest go first");
        kept.remove();
        assert_eq!(kept.read("", false).unwrap(), "");
    }
}
