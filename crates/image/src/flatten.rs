//! One file out of a chain of them: the disk that an instance or a volume shows, ready to become an image. The files
//! were written by guests' own QEMU: the tool runs in the jail and is told every file, whatever headers say.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sys::jail::{Access, Jail};

use crate::cache::{Arrival, Cache, CacheError};
use crate::convert::{ConvertError, QEMU_IMG, TIME_MAX, limits, next_user, prepare};
use crate::inspect::VIRTUAL_SIZE_MAX;
use crate::task::Task;
use crate::tool::Tool;

/// Most files of one chain; each is open while it is read.
const CHAIN_MAX: usize = 48;

#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    #[error("the disk has {0} layers, more than {CHAIN_MAX}; delete snapshots that are not needed")]
    Chain(usize),
    #[error("cannot read the disk {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the disk {path} claims a size of {size} bytes, which is out of bounds")]
    Size { path: PathBuf, size: u64 },
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Writes the disk that `chain` shows (qcow2 files, each of which stands on the next) as one qcow2 into the cache's
/// own folder. `owner` is the user who may read the files, where not everybody may.
pub fn flatten(
    cache: &Cache,
    chain: &[PathBuf],
    owner: Option<u32>,
    task: &Task,
) -> Result<Arrival, FlattenError> {
    let [top, ..] = chain else { return Err(FlattenError::Chain(0)) };
    if chain.len() > CHAIN_MAX {
        return Err(FlattenError::Chain(chain.len()));
    }
    let size = disk_size(top)?;
    let user = owner.unwrap_or_else(next_user);
    let result = cache.scratch();
    let to = result.path();
    let written = || -> Result<(), ConvertError> {
        File::create(to).map_err(prepare(to))?;
        std::os::unix::fs::chown(to, Some(user), Some(user)).map_err(prepare(to))?;
        let mut jail = Jail::new(QEMU_IMG, user, limits(size)).expose(to, "to", Access::Write);
        let mut options = Vec::new();
        for (depth, file) in chain.iter().enumerate() {
            jail = jail.expose(file, &format!("file{depth}"), Access::Read);
            let at = "backing.".repeat(depth);
            options.push(format!("{at}driver=qcow2,{at}file.driver=file,{at}file.filename=/file{depth}"));
        }
        let command = jail.command().map_err(prepare(Path::new(QEMU_IMG)))?;
        Tool::from_command(command, "qemu-img convert", TIME_MAX)
            .args(["convert", "--image-opts", &options.join(","), "-O", "qcow2", "/to"])
            .cancelled_by(&task.cancel)
            .run()?;
        std::os::unix::fs::chown(to, Some(0), Some(0)).map_err(prepare(to))
    };
    written()?;
    Ok(Cache::arrive(result)?)
}

/// The same of a disk that is no file: QEMU's block node, as JSON, whose bytes are the disk's. They have no header that
/// could name anything, and so the tool may run outside of the jail, where the network is.
pub fn flatten_node(cache: &Cache, node: &str, task: &Task) -> Result<Arrival, FlattenError> {
    let result = cache.scratch();
    let convert = Tool::new(QEMU_IMG, TIME_MAX)
        .args(["convert", "-O", "qcow2"])
        .args([format!("json:{node}")])
        .args([result.path()])
        .cancelled_by(&task.cancel);
    convert.run().map_err(ConvertError::from)?;
    Ok(Cache::arrive(result)?)
}

/// How large the disk in a qcow2 file says it is.
pub fn disk_size(path: &Path) -> Result<u64, FlattenError> {
    /// Where the header of a qcow2 says so.
    const AT: u64 = 24;
    let read = || {
        let mut size = [0; 8];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(AT))?;
        file.read_exact(&mut size)?;
        Ok(u64::from_be_bytes(size))
    };
    let size = read().map_err(|source| FlattenError::Read { path: path.to_owned(), source })?;
    if size == 0 || size > VIRTUAL_SIZE_MAX {
        return Err(FlattenError::Size { path: path.to_owned(), size });
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const LONG: Duration = Duration::from_mins(1);

    fn tool(program: &str, args: &[&str]) {
        Tool::new(program, LONG).args(args).run().unwrap();
    }

    /// A head on a layer, whose header names a file of the host instead of the layer.
    #[test]
    fn a_chain_becomes_one_file_and_headers_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (layer, head) = (path("layer"), path("head"));
        let (layer_name, head_name) = (layer.to_str().unwrap(), head.to_str().unwrap());
        tool("qemu-img", &["create", "-q", "-f", "qcow2", layer_name, "1M"]);
        tool("qemu-io", &["-f", "qcow2", "-c", "write -P 1 0 512k", layer_name]);
        tool("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", layer_name, head_name, "2M"]);
        tool("qemu-io", &["-f", "qcow2", "-c", "write -P 2 256k 512k", head_name]);
        tool("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", head_name]);
        for file in [&layer, &head] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
        }
        let cache = Cache::open(path("cache")).unwrap();
        let flat = flatten(&cache, &[head, layer], None, &Task::default()).unwrap();
        let size = crate::inspect(model::compute::ImageFormat::Qcow2, &mut File::open(flat.path()).unwrap());
        assert_eq!(size.unwrap(), 2 << 20, "it stands on nothing and is as large as the disk");
        let shows = ["read -P 1 0 256k", "read -P 2 256k 512k", "read -P 0 768k 1280k"];
        let args = shows.iter().flat_map(|command| ["-c", command]);
        let text = Tool::new("qemu-io", LONG).args(["-f", "qcow2"]).args(args).args([flat.path()]).output();
        let text = String::from_utf8(text.unwrap()).unwrap();
        assert!(!text.contains("failed") && text.matches("ops;").count() == 3, "{text}");
    }
}
