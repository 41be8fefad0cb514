//! Tables: those the server makes of objects (`meta.k8s.io/v1` Table), and their look on a terminal.

use std::fmt::Write;

use serde_json::Value;

use super::output::harmless;

/// Between columns, as kubectl has it.
const GAP: usize = 3;

/// Headings and rows of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Which of the server's columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Also those of lesser importance.
    pub(crate) wide: bool,
    /// Begin with each object's project.
    pub(crate) project: bool,
}

impl Table {
    pub(crate) fn with(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Reads the server's table. Pages after the first may come without column definitions: `shown` remembers.
    pub(crate) fn read(page: &Value, columns: Columns, shown: &mut Option<Vec<usize>>) -> Self {
        let none = Vec::new();
        let definitions = page["columnDefinitions"].as_array().unwrap_or(&none);
        let mut headings = Vec::new();
        if !definitions.is_empty() {
            let indices = definitions.iter().enumerate();
            let picked = indices.filter(|(_, d)| columns.wide || d["priority"].as_i64().unwrap_or(0) == 0);
            let picked: Vec<usize> = picked.map(|(i, _)| i).collect();
            headings.extend(columns.project.then(|| "PROJECT".to_owned()));
            headings.extend(picked.iter().map(|i| text(&definitions[*i]["name"]).to_uppercase()));
            *shown = Some(picked);
        }
        let picked = shown.as_deref().unwrap_or_default();
        let rows = page["rows"].as_array().unwrap_or(&none).iter().map(|row| {
            let project = columns.project.then(|| text(&row["object"]["metadata"]["namespace"]));
            project.into_iter().chain(picked.iter().map(|i| text(&row["cells"][*i]))).collect()
        });
        Self { headings, rows: rows.collect() }
    }

    pub(crate) fn render(&self) -> String {
        self.render_with(&self.widths(&[]), true)
    }

    /// The width of each column, at least as wide as in `known`.
    pub(crate) fn widths(&self, known: &[usize]) -> Vec<usize> {
        let mut widths = known.to_vec();
        for row in std::iter::once(&self.headings).chain(&self.rows) {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    pub(crate) fn render_with(&self, widths: &[usize], with_headings: bool) -> String {
        let mut out = String::new();
        for row in self.headings_if(with_headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a String cannot fail.
                let _ = write!(line, "{cell:<0$}", width + GAP);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn headings_if(&self, wanted: bool) -> impl Iterator<Item = &Vec<String>> {
        (wanted && !self.headings.is_empty()).then_some(&self.headings).into_iter()
    }
}

/// A cell as text; nothing reads better as a gap than as an empty place.
fn text(cell: &Value) -> String {
    match cell {
        Value::String(text) => harmless(text),
        Value::Null => String::new(),
        other => harmless(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page() -> Value {
        json!({
            "columnDefinitions": [
                { "name": "Name", "priority": 0 }, { "name": "Phase", "priority": 0 },
                { "name": "Driver", "priority": 1 }, { "name": "Last Seen", "priority": 0 },
            ],
            "rows": [
                { "cells": ["web", "Running", "qemu", 5], "object": { "metadata": { "namespace": "blue" } } },
                { "cells": ["database", "", null, "1m\u{1b}"], "object": null },
            ],
        })
    }

    fn rendered(wide: bool, project: bool) -> String {
        Table::read(&page(), Columns { wide, project }, &mut None).render()
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            rendered(false, false),
            "NAME       PHASE     LAST SEEN\nweb        Running   5\ndatabase             1m\u{fffd}\n"
        );
    }

    #[test]
    fn wide_shows_lesser_columns_and_all_projects_show_the_project() {
        assert_eq!(rendered(true, false).lines().next(), Some("NAME       PHASE     DRIVER   LAST SEEN"));
        let lines = rendered(false, true);
        assert!(lines.starts_with("PROJECT   NAME       PHASE"), "{lines}");
        assert!(lines.contains("\nblue      web        Running"), "{lines}");
    }

    #[test]
    fn later_pages_use_the_columns_of_the_first() {
        let mut shown = None;
        let columns = Columns { wide: false, project: false };
        let first = Table::read(&page(), columns, &mut shown);
        let later = json!({ "columnDefinitions": null, "rows": [{ "cells": ["x", "Stopped", "qemu", 1] }] });
        let later = Table::read(&later, columns, &mut shown);
        assert_eq!(later.rows, [["x", "Stopped", "1"]]);
        assert_eq!(later.render_with(&first.widths(&[]), false), "x          Stopped   1\n");
    }
}
