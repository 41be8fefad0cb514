//! Keeps the map true: every path that ARCHITECTURE.md's tables name exists.

use crate::tidy::Breach;

pub(crate) const PATH: &str = "ARCHITECTURE.md";

/// `exists` tells whether a path relative to the root is there.
pub(crate) fn check(map: &str, exists: impl Fn(&str) -> bool) -> Vec<Breach> {
    let paths = paths(map);
    if paths.is_empty() {
        return vec![Breach::new(PATH, "has no table that names paths")];
    }
    let missing = paths.into_iter().filter(|(_, path)| !exists(path));
    missing
        .map(|(line, path)| Breach::new(format!("{PATH}:{line}"), format!("{path} does not exist")))
        .collect()
}

/// Code words with a slash in table rows, with their line numbers.
fn paths(map: &str) -> Vec<(usize, &str)> {
    let rows = map.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let words = rows.flat_map(|(i, row)| row.split('`').skip(1).step_by(2).map(move |word| (i + 1, word)));
    words.filter(|(_, word)| word.contains('/') && !word.contains(['<', '*', ' '])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_only_paths_that_exist() {
        let map = "text `no/table`\n\n| what | where |\n|---|---|\n| a `word` | `there/a`, `gone/b` |\n";
        let breaches = check(map, |path| path.starts_with("there/"));
        assert_eq!(breaches, [Breach::new("ARCHITECTURE.md:5", "gone/b does not exist")]);
        assert_eq!(check("no table", |_| true).len(), 1);
    }
}
