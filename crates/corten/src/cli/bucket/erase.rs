//! Deleting objects: one, all below a prefix, or every version of all.

use crate::cli::api::Cloud;
use crate::cli::objects::{Address, Store, Version};
use crate::cli::output;
use crate::failure::{Failure, Failures};

/// Deletes the objects that are named, or everything below them.
pub(crate) async fn named(cloud: &Cloud, words: &[&str], recursive: bool) -> Result<(), Failure> {
    let addresses = words.iter().map(|word| Address::parse(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = addresses.iter().find(|address| address.is_folder() && !recursive) {
        return Err(Failure::usage(format!("{folder} is no object"))
            .hint("--recursive deletes everything below it; `corten bucket rm` deletes buckets"));
    }
    let store = Store::open(cloud).await?;
    let mut failures = Failures::default();
    for address in &addresses {
        let deleted = if recursive {
            below(&store, &address.with_key(address.prefix())).await
        } else {
            // S3 answers alike whether there is one; a person wants to know.
            match store.head(address).await {
                Ok(_) => store.delete(address).await.map(|()| 1),
                Err(failure) => Err(failure),
            }
        };
        match deleted {
            Ok(_) if cloud.global.quiet => {}
            Ok(_) if !recursive => output::print(&format!("{address} deleted\n"))?,
            Ok(n) => output::print(&format!("{n} {} below {address} deleted\n", objects(n)))?,
            Err(failure) => failures.note(failure),
        }
    }
    failures.end()
}

fn objects(n: usize) -> &'static str {
    if n == 1 { "object" } else { "objects" }
}

/// Deletes everything that begins so; where versions are kept, older ones stay. Answers how many there were.
async fn below(store: &Store, prefix: &Address) -> Result<usize, Failure> {
    let (mut count, mut after) = (0, None);
    let mut failures = Failures::default();
    loop {
        let page = store.list(prefix, "", after).await?;
        let some: Vec<Version> =
            page.objects.into_iter().map(|o| Version { key: o.key, id: String::new() }).collect();
        if !some.is_empty() {
            let refused = store.delete_many(prefix, &some).await?;
            count += some.len() - refused.len();
            for failure in refused {
                failures.note(failure);
            }
        }
        after = page.next;
        if after.is_none() {
            return failures.end().map(|()| count);
        }
    }
}

/// Deletes every version and marker there is.
pub(super) async fn all_versions(store: &Store, bucket: &Address) -> Result<(), Failure> {
    loop {
        let some = store.first_versions(bucket).await?;
        if some.is_empty() {
            return Ok(());
        }
        // What could not be deleted would come first again.
        if let Some(refused) = store.delete_many(bucket, &some).await?.into_iter().next() {
            return Err(refused);
        }
    }
}
