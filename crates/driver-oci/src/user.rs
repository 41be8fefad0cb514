//! Who a container's program runs as: `uid[:gid]` or names, looked up in the image's own files as Docker does.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Longest `passwd` or `group` that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Numbers the kernel understands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Further groups; empty when the group was stated.
    pub(crate) groups: Vec<u32>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("is not in the image's /etc/passwd; use a number")]
    NoUser,
    #[error("its group is not in the image's /etc/group; use a number")]
    NoGroup,
    #[error("read the image's {0}")]
    Read(&'static str, #[source] io::Error),
}

/// Resolves `user` (empty means 0) inside `rootfs`, whose content nobody vouches for.
pub(crate) fn resolve(user: &str, rootfs: &Path) -> Result<Ids, UserError> {
    let passwd = read_inside(rootfs, "etc/passwd").map_err(|e| UserError::Read("/etc/passwd", e))?;
    let group = read_inside(rootfs, "etc/group").map_err(|e| UserError::Read("/etc/group", e))?;
    look_up(user, &passwd, &group)
}

fn look_up(user: &str, passwd: &str, group: &str) -> Result<Ids, UserError> {
    let (user, stated_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 4 && (fields[0] == user || fields[2] == user));
    let uid = match &entry {
        Some(fields) => fields[2].parse().map_err(|_| UserError::NoUser)?,
        None => user.parse().map_err(|_| UserError::NoUser)?,
    };
    if let Some(stated) = stated_group {
        return Ok(Ids { uid, gid: group_id(stated, group)?, groups: Vec::new() });
    }
    let gid = entry.as_ref().and_then(|fields| fields[3].parse().ok()).unwrap_or(0);
    let groups = entry.map_or_else(Vec::new, |fields| memberships(fields[0], group));
    Ok(Ids { uid, gid, groups })
}

fn group_id(stated: &str, group: &str) -> Result<u32, UserError> {
    let named = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|f| f.len() >= 3 && f[0] == stated);
    match named {
        Some(fields) => fields[2].parse().map_err(|_| UserError::NoGroup),
        None => stated.parse().map_err(|_| UserError::NoGroup),
    }
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let gid = fields.next()?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == user).then_some(gid)
        })
        .collect()
}

/// A file below `root` as a program chrooted there would see it; empty when there is none.
fn read_inside(root: &Path, path: &str) -> io::Result<String> {
    let folder = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&folder, path, how) {
        Ok(fd) => File::from(fd),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
        Err(e) => return Err(e.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,web\nstaff:x:50:web\n";

    fn check(user: &str, uid: u32, gid: u32, groups: &[u32]) {
        let ids = look_up(user, PASSWD, GROUP).unwrap_or_else(|e| panic!("{user}: {e}"));
        assert_eq!(ids, Ids { uid, gid, groups: groups.to_vec() }, "{user}");
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        check("", 0, 0, &[10]);
        check("web", 33, 44, &[10, 50]);
        check("33", 33, 44, &[10, 50]);
        check("web:staff", 33, 50, &[]);
        check("1000", 1000, 0, &[]);
        check("1000:7", 1000, 7, &[]);
        check("0:wheel", 0, 10, &[]);
    }

    #[test]
    fn unknown_names_are_refused_with_the_remedy() {
        for user in ["nobody", "web:nothing", "-1", "4294967296"] {
            assert!(look_up(user, PASSWD, GROUP).is_err(), "{user}");
        }
    }

    #[test]
    fn a_link_in_the_image_never_reaches_the_host() {
        let root = tempfile::tempdir().expect("folder");
        std::fs::create_dir(root.path().join("etc")).expect("etc");
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/passwd")).expect("link");
        // Inside the image the link names itself.
        assert!(resolve("daemon", root.path()).is_err());
    }
}
