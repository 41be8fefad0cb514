//! Rules that one text file alone can break: its head, words that must not occur, paths of one machine.

use std::fs;
use std::path::Path;

use crate::code;
use crate::tidy::{Breach, TidyError};

/// Folders that are not ours to judge.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];
/// Extensions of text files that are read; a file without one is a script.
const READ: [&str; 10] = ["", "rs", "toml", "md", "sh", "txt", "json", "yaml", "yml", "html"];
/// The only folder whose code may say `unsafe`.
const UNSAFE_HOME: &str = "crates/sys/";
/// Folders every Linux machine has; a path below them says nothing about this one.
const COMMON_ROOTS: [&str; 7] = ["/", "/tmp", "/var", "/srv", "/opt", "/root", "/mnt"];

/// Code that must not be committed, and why.
const BANNED: [(&str, &str); 4] = [
    ("todo!", "finish it, or answer with a typed error"),
    ("unimplemented!", "finish it, or answer with a typed error"),
    ("#[ignore", "a test that does not run is not a test: fix it or remove it"),
    ("dbg!", "use tracing"),
];

/// One text file of the tree.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == "rs")
    }
}

/// All text files below `root`, in order of their paths.
pub(crate) fn read_tree(root: &Path) -> Result<Vec<SourceFile>, TidyError> {
    let mut files = Vec::new();
    read_folder(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<(), TidyError> {
    let failed = |source| TidyError::File { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            read_folder(root, &path, files)?;
        }
        let extension = path.extension().map(|e| e.to_string_lossy()).unwrap_or_default();
        if !kind.is_file() || !READ.contains(&&*extension) {
            continue;
        }
        // What is not UTF-8 is not text.
        if let (Ok(text), Ok(path)) = (fs::read_to_string(&path), path.strip_prefix(root)) {
            files.push(SourceFile { path: path.to_string_lossy().into_owned(), text });
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path, files: &[SourceFile]) -> Vec<Breach> {
    let machine_paths = machine_paths(root);
    let rust = files.iter().filter(|f| f.is_rust());
    let in_code = rust.flat_map(|f| {
        let masked = code::mask(&f.text);
        [headless(f), unsafe_code(f, &masked), banned(f, &masked)].concat()
    });
    in_code.chain(files.iter().flat_map(|f| paths_of_one_machine(f, &machine_paths))).collect()
}

fn headless(file: &SourceFile) -> Vec<Breach> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Breach::new(format!("{}:1", file.path), "must begin with `//!`: what it owns and what it does not")]
}

fn unsafe_code(file: &SourceFile, masked: &str) -> Vec<Breach> {
    if file.path.starts_with(UNSAFE_HOME) {
        return Vec::new();
    }
    let says_unsafe =
        |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    lines_where(file, masked, says_unsafe)
        .map(|at| Breach::new(at, format!("`unsafe` belongs into {UNSAFE_HOME}")))
        .collect()
}

fn banned(file: &SourceFile, masked: &str) -> Vec<Breach> {
    BANNED
        .iter()
        .flat_map(|(word, why)| {
            lines_where(file, masked, move |line| line.contains(word))
                .map(move |at| Breach::new(at, format!("`{word}`: {why}")))
        })
        .collect()
}

/// Where this checkout lies, and homes of people (in halves, or this line would be a breach).
fn machine_paths(root: &Path) -> Vec<String> {
    let parent = root.parent().map(|p| p.display().to_string());
    let parent = parent.filter(|p| !COMMON_ROOTS.contains(&p.as_str()));
    let mut paths = vec![format!("{}/", root.display()), ["/Us", "ers/"].concat(), ["/ho", "me/"].concat()];
    paths.extend(parent.map(|p| format!("{p}/")));
    paths
}

fn paths_of_one_machine(file: &SourceFile, machine_paths: &[String]) -> Vec<Breach> {
    let names = |line: &str| machine_paths.iter().any(|path| line.contains(path.as_str()));
    lines_where(file, &file.text, names)
        .map(|at| Breach::new(at, "names a path of one machine: make it relative, or a setting"))
        .collect()
}

fn lines_where<'a>(
    file: &'a SourceFile,
    text: &'a str,
    test: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let numbered = text.lines().enumerate().filter(move |(_, line)| test(line));
    numbered.map(|(i, _)| format!("{}:{}", file.path, i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile { path: path.into(), text: text.into() };
        check(Path::new("/place/corten"), &[file]).into_iter().map(|b| b.at).collect()
    }

    #[test]
    fn every_file_says_what_it_owns() {
        assert_eq!(places("a.rs", "//! Owns a.\n"), [""; 0]);
        assert_eq!(places("a.rs", "use std::fs;\n"), ["a.rs:1"]);
        assert_eq!(places("a.md", "# A\n"), [""; 0]);
    }

    #[test]
    fn unsafe_stays_in_sys() {
        let source = "//! A.\n// unsafe in a comment\nunsafe { f() }\n#![forbid(unsafe_code)]\n";
        assert_eq!(places("crates/a/src/a.rs", source), ["crates/a/src/a.rs:3"]);
        assert_eq!(places("crates/sys/src/a.rs", source), [""; 0]);
    }

    #[test]
    fn stubs_and_tests_that_do_not_run_are_found() {
        assert_eq!(places("a.rs", "//! A.\nfn f() { todo!() }\n"), ["a.rs:2"]);
        assert_eq!(places("a.rs", "//! A.\n#[ignore]\n"), ["a.rs:2"]);
        assert_eq!(places("a.rs", "//! A.\nconst A: &str = \"todo!\";\n"), [""; 0]);
    }

    #[test]
    fn no_file_names_this_machine() {
        assert_eq!(places("a.md", "see /place/corten/target\n"), ["a.md:1"]);
        assert_eq!(places("a.md", "see /place/other\n"), ["a.md:1"]);
        assert_eq!(places("a.md", "see /var/lib/corten\n"), [""; 0]);
    }
}
