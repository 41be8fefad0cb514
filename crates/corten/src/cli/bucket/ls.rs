//! Lists of what lies in a bucket.

use crate::cli::objects::{Address, Page, Store};
use crate::cli::output::{self, harmless};
use crate::cli::progress::transferred;
use crate::cli::table::Table;
use crate::failure::Failure;

const HEADINGS: [&str; 3] = ["SIZE", "MODIFIED", "KEY"];
/// Pages of a thousand objects that are counted.
const COUNTED_PAGES_MAX: u32 = 100;
/// What stands for everything below a name, where its size would stand.
const FOLDER: &str = "-";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What lies there is listed; the buckets when not given
    #[arg(value_name = "BUCKET[/PREFIX]")]
    below: Option<String>,
    /// Also what lies deeper
    #[arg(short, long, requires = "below")]
    pub(super) recursive: bool,
}

impl Args {
    pub(super) fn address(&self) -> Result<Option<Address>, Failure> {
        self.below.as_deref().map(Address::parse).transpose()
    }
}

/// Prints what begins so, page by page.
pub(super) async fn objects(store: &Store, below: &Address, recursive: bool) -> Result<(), Failure> {
    let delimiter = if recursive { "" } else { "/" };
    let (mut after, mut widths, mut is_first) = (None, Vec::new(), true);
    loop {
        let page = store.list(below, delimiter, after).await?;
        let table = table(&page);
        widths = table.widths(&widths);
        let is_nothing = table.rows.is_empty();
        if !is_nothing {
            output::print(&table.render_with(&widths, is_first))?;
        }
        is_first &= is_nothing;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// In the order of keys, whether they are objects or folders.
fn table(page: &Page) -> Table {
    let mut table = Table::with(&HEADINGS);
    let objects = page.objects.iter().map(|o| (o.key.as_str(), o.size.to_string(), o.modified.as_str()));
    let folders = page.prefixes.iter().map(|prefix| (prefix.as_str(), FOLDER.to_owned(), ""));
    let mut rows: Vec<_> = objects.chain(folders).collect();
    rows.sort_unstable();
    for (key, size, modified) in rows {
        table.row([size, harmless(modified), harmless(key)]);
    }
    table
}

/// Says how much lies in a bucket now, older versions not counted.
pub(super) async fn contents(store: &Store, bucket: &Address) -> Result<(), Failure> {
    let (mut count, mut bytes, mut after) = (0, 0, None);
    for _ in 0..COUNTED_PAGES_MAX {
        let page = store.list(bucket, "", after).await?;
        count += page.objects.len();
        bytes += page.objects.iter().map(|object| object.size).sum::<u64>();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let more = if after.is_some() { "more than " } else { "" };
    output::print(&format!("# contents\n#   {more}{count} objects, {}\n", transferred(bytes, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::objects::Listed;

    #[test]
    fn folders_stand_between_objects() {
        let object =
            |key: &str| Listed { key: key.into(), size: 12, modified: "2030-01-02T03:04:05.000Z".into() };
        let page =
            Page { objects: vec![object("a"), object("c\u{1b}")], prefixes: vec!["b/".into()], next: None };
        let expected = "SIZE   MODIFIED                   KEY\n\
                        12     2030-01-02T03:04:05.000Z   a\n\
                        -                                 b/\n\
                        12     2030-01-02T03:04:05.000Z   c\u{fffd}\n";
        assert_eq!(table(&page).render(), expected);
    }
}
