//! Folders: what lies in one is copied below a key, and the other way round. What cannot be copied is told, and the rest
//! is copied all the same.

use std::path::{Component, Path, PathBuf};

use futures::StreamExt;

use super::{Copier, download, upload};
use crate::cli::objects::{Address, Listed, Place};
use crate::failure::{Failure, Failures};

/// Files of one folder that are copied at most: their names are held in memory.
const FILES_MAX: usize = 10_000_000;

/// How much was copied.
#[derive(Debug, Default)]
struct Tally {
    objects: u64,
    failures: Failures,
}

impl Tally {
    fn note(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.objects += 1,
            Err(failure) => self.failures.note(failure),
        }
    }
}

/// Copies everything below; answers what was done.
pub(super) async fn copy(copier: &Copier, from: &Place, to: &Place) -> Result<String, Failure> {
    let mut tally = Tally::default();
    match (from, to) {
        (Place::File(from), Place::Object(to)) => upload_all(copier, from, to, &mut tally).await?,
        (Place::Object(from), Place::File(to)) => download_all(copier, from, to, &mut tally).await?,
        (Place::Object(from), Place::Object(to)) => copy_all(copier, from, to, &mut tally).await?,
        _ => return Err(Failure::usage("a stream is no folder")),
    }
    let n = tally.objects;
    tally.failures.end()?;
    Ok(format!("{n} {} copied\n", if n == 1 { "object" } else { "objects" }))
}

async fn upload_all(copier: &Copier, from: &Path, to: &Address, tally: &mut Tally) -> Result<(), Failure> {
    let root = from.to_owned();
    let found = tokio::task::spawn_blocking(move || files_below(&root)).await;
    let Found { files, odd } = found.map_err(|e| Failure::failed(e.to_string()))??;
    for failure in odd {
        tally.failures.note(failure);
    }
    copier.meter.expect(&to.to_string(), files.iter().map(|(_, size)| size).sum());
    let prefix = to.prefix();
    let copies = files.iter().map(|(name, _)| {
        let to = to.with_key(format!("{prefix}{name}"));
        async move { upload::file(copier, upload::File::open(&from.join(name)).await?, &to).await }
    });
    let mut copies = futures::stream::iter(copies).buffer_unordered(copier.parallel);
    while let Some(copied) = copies.next().await {
        tally.note(copied);
    }
    Ok(())
}

/// What lies below a folder.
struct Found {
    /// By their names as keys have them, with their sizes in bytes.
    files: Vec<(String, u64)>,
    /// Why something is not copied.
    odd: Vec<Failure>,
}

/// Links are not followed: they may lead out of the folder, or round.
fn files_below(root: &Path) -> Result<Found, Failure> {
    let (mut files, mut odd) = (Vec::new(), Vec::new());
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        let entries = match entries.map_err(Failure::io(format!("cannot read {}", folder.display()))) {
            Ok(entries) => entries,
            Err(failure) if folder == root => return Err(failure),
            Err(failure) => {
                odd.push(failure);
                continue;
            }
        };
        for entry in entries {
            let entry = entry.map_err(Failure::io(format!("cannot read {}", folder.display())))?;
            let path = entry.path();
            // Of the entry itself, also where it is a link.
            let found = entry.metadata().map_err(Failure::io(format!("cannot read {}", path.display())))?;
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            match name {
                _ if found.is_dir() => folders.push(path),
                Some(name) if found.is_file() => files.push((name.to_owned(), found.len())),
                Some(_) => odd.push(Failure::failed(format!("{} is no file: left out", path.display()))),
                None => odd.push(Failure::failed(format!(
                    "{} has a name that is no UTF-8: left out",
                    path.display()
                ))),
            }
            if files.len() > FILES_MAX {
                return Err(Failure::failed(format!("there are more than {FILES_MAX} files")));
            }
        }
    }
    files.sort_unstable();
    Ok(Found { files, odd })
}

async fn download_all(copier: &Copier, from: &Address, to: &Path, tally: &mut Tally) -> Result<(), Failure> {
    copier.meter.expect(&from.to_string(), 0);
    each(copier, from, tally, |name, listed| {
        let from = from.with_key(listed.key);
        async move {
            // A key may say anything, also where in the file system it would like to lie.
            let inside = inside(&name)
                .ok_or_else(|| Failure::failed(format!("{from} is no name for a file here: left out")))?;
            let path = to.join(&inside);
            let folder = if name.ends_with('/') { Some(path.as_path()) } else { path.parent() };
            if let Some(folder) = folder {
                let made = tokio::fs::create_dir_all(folder).await;
                made.map_err(Failure::io(format!("cannot make {}", folder.display())))?;
            }
            if name.ends_with('/') {
                return Ok(());
            }
            let head = copier.store.head(&from).await?;
            download::file(copier, &from, &head, &path).await
        }
    })
    .await
}

async fn copy_all(copier: &Copier, from: &Address, to: &Address, tally: &mut Tally) -> Result<(), Failure> {
    let prefix = to.prefix();
    if from.bucket == to.bucket && prefix.starts_with(&from.prefix()) {
        return Err(Failure::usage(format!("{to} lies in {from}: the copy would have no end")));
    }
    each(copier, from, tally, |name, listed| {
        let (from, to) = (from.with_key(listed.key), to.with_key(format!("{prefix}{name}")));
        async move {
            copier.store.copy(&from, &to).await?;
            copier.meter.moved(listed.size);
            Ok(())
        }
    })
    .await
}

/// Does something with every object below, page by page; each is named by what follows the prefix.
async fn each<F: Future<Output = Result<(), Failure>>>(
    copier: &Copier,
    below: &Address,
    tally: &mut Tally,
    copy: impl Fn(String, Listed) -> F,
) -> Result<(), Failure> {
    let below = below.with_key(below.prefix());
    let mut after = None;
    loop {
        let page = copier.store.list(&below, "", after).await?;
        copier.meter.expect_more(page.objects.iter().map(|object| object.size).sum());
        let copies = page.objects.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(&below.key)?.to_owned();
            (!name.is_empty()).then(|| copy(name, object))
        });
        let mut copies = futures::stream::iter(copies).buffer_unordered(copier.parallel);
        while let Some(copied) = copies.next().await {
            tally.note(copied);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// A name as a path that does not lead out of the folder it is put in.
pub(super) fn inside(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    // What a path leaves out of a name would make two names one.
    let rejoined: PathBuf = path.components().collect();
    let is_same = rejoined.to_str() == Some(name.strip_suffix('/').unwrap_or(name));
    (is_plain && is_same && !name.is_empty() && !name.contains('\0')).then_some(rejoined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_its_folder() {
        for name in ["a", "a/b c", "a/..b/c...", "a/b/"] {
            assert!(inside(name).is_some(), "{name}");
        }
        for name in
            ["", "/", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/./b", "a/..", "a//", "a\0b"]
        {
            assert_eq!(inside(name), None, "{name:?}");
        }
    }

    #[test]
    fn links_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), "12").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/round")).unwrap();
        let Found { files, odd } = files_below(dir.path()).unwrap();
        assert_eq!(files, [("a/b".to_owned(), 2)]);
        assert_eq!(odd.len(), 1);
    }
}
