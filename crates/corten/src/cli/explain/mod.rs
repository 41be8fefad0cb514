//! `corten explain`: why an object is as it is, and what a kind's fields mean.

mod chain;
mod schema;

use super::api::Cloud;
use super::cloud::Global;
use super::kind::Target;
use super::table::Table;
use super::{connected, output};
use crate::failure::Failure;

/// Say why an object is as it is, or what a kind's fields mean
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An object as in `web` or `image/tiny`, or a kind's field as in `instance.spec.power`; all kinds when not
    /// given
    #[arg(value_name = "OBJECT|FIELD")]
    word: Option<String>,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<u8, Failure> {
    match args.word {
        // Which kinds there are is known without asking.
        None => output::print(&kinds()).map(|()| 0),
        Some(word) => connected(global, |cloud| explain(cloud, word)),
    }
}

async fn explain(cloud: Cloud, word: String) -> Result<(), Failure> {
    let word = word.as_str();
    if word.contains('/') {
        return chain::explain(&cloud, Target::parse(word)?).await;
    }
    match field(word) {
        Some((kind, path)) => schema::explain(&cloud, kind, &path).await,
        None => chain::explain(&cloud, Target::parse(word)?).await,
    }
}

/// `KIND` or `KIND.FIELD.FIELD`; nothing when the first part is no kind.
fn field(word: &str) -> Option<(&'static model::KindEntry, Vec<&str>)> {
    if let Some(kind) = model::kind_of(word) {
        return Some((kind, Vec::new()));
    }
    let (kind, path) = word.split_once('.')?;
    Some((model::kind_of(kind)?, path.split('.').collect()))
}

fn kinds() -> String {
    let mut table = Table::with(&["KIND", "SHORT", "GROUP", "WHAT IT IS"]);
    for entry in model::kinds() {
        let info = &entry.info;
        table.row([info.singular, &info.short_names.join(","), info.group, info.summary]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_names_are_told_apart() {
        let check = |word: &str, expected: Option<(&str, &str)>| {
            let found = field(word).map(|(kind, path)| (kind.info.singular, path.join("/")));
            assert_eq!(found, expected.map(|(kind, path)| (kind, path.to_owned())), "{word}");
        };
        check("instance", Some(("instance", "")));
        check("vm.spec.power", Some(("instance", "spec/power")));
        check("instances.compute.corten.dev", Some(("instance", "")));
        check("web", None);
        check("web.1", None);
    }

    #[test]
    fn every_kind_is_listed() {
        assert_eq!(kinds().lines().count(), model::kinds().len() + 1);
        let has_hosts =
            kinds().lines().any(|line| line.starts_with("host ") && line.contains(" node,nodes "));
        assert!(has_hosts, "{}", kinds());
    }
}
