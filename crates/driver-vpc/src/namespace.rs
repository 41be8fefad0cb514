//! The network namespaces of VPCs: made, kept by a mount, found again, let go. And the few that are made ahead.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use model::Uid;
use sys::{mount, namespace};

use crate::error::VpcError;
use crate::paths::RunDir;
use crate::sysctl;

/// The namespace of a VPC that exists.
pub(crate) fn open(run: &RunDir, vpc: &Uid) -> Result<Option<File>, VpcError> {
    let path = run.namespace(vpc);
    if !namespace::is_held(&path) {
        return Ok(None);
    }
    File::open(&path).map(Some).map_err(VpcError::system(format!("open {}", path.display())))
}

/// The namespace of a VPC, made or taken out of the pool when there is none.
pub(crate) fn hold(run: &RunDir, vpc: &Uid) -> Result<File, VpcError> {
    let path = run.namespace(vpc);
    if !namespace::is_held(&path) {
        make_folder(&run.vpc(vpc))?;
        match take_prepared(run)? {
            Some(prepared) => keep(&prepared, &path)?,
            None => make(&path)?,
        }
    }
    let kept = File::open(&path).map_err(VpcError::system(format!("open {}", path.display())))?;
    // Again and not only for a new one: its making may have been cut short.
    namespace::within_network(Some(&kept), sysctl::prepare_vpc)?;
    Ok(kept)
}

/// Lets go of a VPC's namespace, which ends when nobody uses it any more.
pub(crate) fn release(run: &RunDir, vpc: &Uid) -> Result<(), VpcError> {
    let path = run.namespace(vpc);
    drop_mount(&path)?;
    forgive_absence(fs::remove_dir_all(run.vpc(vpc)))
        .map_err(VpcError::system(format!("remove {}", run.vpc(vpc).display())))
}

/// VPCs that have a folder here.
pub(crate) fn list(run: &RunDir) -> Result<Vec<Uid>, VpcError> {
    let names = names(&run.vpcs())?;
    Ok(names.iter().filter_map(|name| Uid::parse(name)).collect())
}

/// Makes namespaces until `size` are ready. One caller at a time.
pub(crate) fn fill_pool(run: &RunDir, size: usize) -> Result<(), VpcError> {
    let pool = run.pool();
    make_folder(&pool)?;
    let ready = names(&pool)?;
    let free = (0..).map(|number: usize| number.to_string()).filter(|name| !ready.contains(name));
    for name in free.take(size.saturating_sub(ready.len())) {
        make(&pool.join(name))?;
    }
    Ok(())
}

/// Away with everything that is ready.
pub(crate) fn drain_pool(run: &RunDir) -> Result<(), VpcError> {
    while take_prepared(run)?.is_some() {}
    Ok(())
}

fn make(path: &Path) -> Result<(), VpcError> {
    let what = || format!("make a network namespace at {}", path.display());
    namespace::hold_network(path).map_err(|e| VpcError::system(what())(e))?;
    let kept = File::open(path).map_err(|e| VpcError::system(what())(e))?;
    namespace::within_network(Some(&kept), sysctl::prepare_vpc)
}

/// Out of the pool first and only then into its new place: a crash in between loses an empty namespace. The other
/// way round two VPCs could come to share one.
fn take_prepared(run: &RunDir) -> Result<Option<File>, VpcError> {
    for name in names(&run.pool())? {
        let path = run.pool().join(name);
        let is_whole = namespace::is_held(&path);
        let kept = File::open(&path).map_err(VpcError::system(format!("open {}", path.display())))?;
        drop_mount(&path)?;
        if is_whole {
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

fn keep(namespace: &File, path: &Path) -> Result<(), VpcError> {
    let what = || format!("keep a network namespace at {}", path.display());
    File::options().create(true).append(true).open(path).map_err(|e| VpcError::system(what())(e))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", namespace.as_raw_fd()));
    mount::bind(&source, path).map_err(|e| VpcError::system(what())(e))
}

fn drop_mount(path: &Path) -> Result<(), VpcError> {
    let what = || format!("let go of the network namespace at {}", path.display());
    mount::detach(path).map_err(|e| VpcError::system(what())(e))?;
    forgive_absence(fs::remove_file(path)).map_err(|e| VpcError::system(what())(e))
}

fn make_folder(path: &Path) -> Result<(), VpcError> {
    fs::create_dir_all(path).map_err(VpcError::system(format!("make {}", path.display())))
}

/// Names in a folder; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, VpcError> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(VpcError::system(format!("list {}", folder.display()))(e)),
    }
}

fn forgive_absence(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
