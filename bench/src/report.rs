//! The table: rows, and the file that keeps the rows of measurements that did not run this time.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::store::Spread;

/// One line of the table, and the note below it that says how it was measured and what is not equal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) corten: String,
    pub(crate) peer: String,
    pub(crate) ratio: String,
    pub(crate) goal: String,
    pub(crate) verdict: Verdict,
    pub(crate) note: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// A fact without a goal.
    #[default]
    None,
}

impl Verdict {
    pub(crate) fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

impl Row {
    /// A measurement that could not be taken stays in the table.
    pub(crate) fn failed(name: &str, why: &str) -> Self {
        let note = format!("not measured: {}", why.replace('\n', " "));
        Self { what: name.into(), verdict: Verdict::Missed, note, ..Self::default() }
    }

    fn line(&self, name: &str) -> String {
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::None => "",
        };
        let Self { what, corten, peer, ratio, goal, .. } = self;
        format!("| `{name}` | {what} | {corten} | {peer} | {ratio} | {goal} | {verdict} |")
    }
}

/// The rows of one measurement.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
}

impl Section {
    /// For the terminal: the lines, and the notes below.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for line in self.lines().into_iter().chain(self.notes()) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.line(self.name)).collect()
    }

    fn notes(&self) -> Vec<String> {
        let noted = self.rows.iter().filter(|row| !row.note.is_empty());
        noted.map(|row| format!("- `{}` {}: {}", self.name, row.what, row.note)).collect()
    }
}

const HEAD: &str = "| | what | Corten | peer or floor | ratio: median (min to max) | goal | |\n\
                    |---|---|---|---|---|---|---|";

/// Writes the results; what was not measured this time keeps its lines.
pub(crate) fn rewrite(path: &Path, names: &[&str], sections: &[Section]) -> io::Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    std::fs::write(path, document(&old, names, sections, &machine()))
}

fn document(old: &str, names: &[&str], sections: &[Section], machine: &str) -> String {
    let (mut lines, mut notes) = (String::new(), String::new());
    for name in names {
        let (new_lines, new_notes) = match sections.iter().find(|section| section.name == *name) {
            Some(section) => (section.lines(), section.notes()),
            None => (kept(old, &format!("| `{name}` |")), kept(old, &format!("- `{name}` "))),
        };
        for line in new_lines {
            let _ = writeln!(lines, "{line}");
        }
        for note in new_notes {
            let _ = writeln!(notes, "{note}");
        }
    }
    format!(
        "{INTRODUCTION}\n{machine}\n\n{HEAD}\n{lines}\n## Method, and what is not equal\n\n{COMMON}\n{notes}"
    )
}

fn kept(old: &str, prefix: &str) -> Vec<String> {
    old.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

const INTRODUCTION: &str = "# Measurements\n\n\
    Written by `bench/run` (`bench/run NAME...` measures some rows anew and keeps the others).\n\n\
    What loses stays in the table. Simulated hosts are called simulated.\n";

const COMMON: &str = "- Ratios are of pairs taken in turns, A B A B, in one run: median (smallest to largest). Peer and \
    Corten use the same disk, the same cores and the same number of concurrent callers, and both answer only after \
    fdatasync. \"Published\" peers were not run here.";

/// Cores, memory and kernel; no names.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let meminfo = read("/proc/meminfo");
    let kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.trim().split('-').next().unwrap_or_default();
    format!("Machine: {cores} cores ({model}), {} GiB of memory, Linux {kernel}.", kib >> 20)
}

/// `12.3x (11.0x to 13.1x)`.
pub(crate) fn times(spread: Spread) -> String {
    format!("{:.2}x ({:.2}x to {:.2}x)", spread.median, spread.min, spread.max)
}

/// A number for people: three digits that count.
pub(crate) fn number(n: f64) -> String {
    match n {
        n if n >= 10_000.0 => format!("{:.1} k", n / 1000.0),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &'static str, corten: &str) -> Section {
        let row = Row { what: "w".into(), corten: corten.into(), note: "how".into(), ..Row::default() };
        Section { name, rows: vec![row] }
    }

    #[test]
    fn rows_not_measured_this_time_are_kept() {
        let names = ["a", "b"];
        let first = document("", &names, &[section("b", "1"), section("a", "2")], "M");
        let second = document(&first, &names, &[section("b", "3")], "M");
        let rows: Vec<&str> =
            second.lines().filter(|l| l.starts_with("| `") || l.starts_with("- `")).collect();
        assert_eq!(
            rows,
            ["| `a` | w | 2 |  |  |  |  |", "| `b` | w | 3 |  |  |  |  |", "- `a` w: how", "- `b` w: how"]
        );
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let words: Vec<String> = [54_321.0, 812.4, 12.34, 1.234].into_iter().map(number).collect();
        assert_eq!(words, ["54.3 k", "812", "12.3", "1.23"]);
    }
}
