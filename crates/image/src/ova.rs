//! OVA: a machine as VMware and VirtualBox export it (DMTF DSP0243, 5.3.1): a tar of a descriptor, perhaps a manifest of
//! digests, and disks. What is taken of it is its disk.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use tar::{Archive, EntryType};

use crate::digest::Digest;
use crate::oci::{Limits, OciError, walk};

/// Most members: a descriptor, a manifest, a certificate, disks and pictures of disks.
const MEMBERS_MAX: u64 = 256;
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum OvaError {
    #[error("the file is not ova: {0}; declare the format it really has")]
    NotThis(&'static str),
    #[error("the ova has {0} disks; take them out of it, it is a tar, and import each as vmdk")]
    Disks(usize),
    #[error("the ova's disk {0:?} is compressed; export it without compression")]
    Compressed(String),
    #[error("cannot read the ova")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tar(#[from] OciError),
}

/// Where the disk of an OVA lies, which is a VMDK.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// What the manifest says of it.
    pub(crate) sha256: Option<Digest>,
}

struct Member {
    name: String,
    offset: u64,
    size: u64,
}

/// Finds the one disk. No name in the archive is followed or becomes a file.
pub(crate) fn disk(file: &mut File) -> Result<Disk, OvaError> {
    let members = members(file)?;
    let ending =
        |end: &'static str| members.iter().filter(move |m| m.name.to_ascii_lowercase().ends_with(end));
    if ending(".ovf").next().is_none() {
        return Err(OvaError::NotThis("there is no descriptor (.ovf) in it"));
    }
    if let Some(compressed) = ending(".vmdk.gz").next() {
        return Err(OvaError::Compressed(compressed.name.clone()));
    }
    let disks: Vec<&Member> = ending(".vmdk").collect();
    let [disk] = disks[..] else { return Err(OvaError::Disks(disks.len())) };
    let digests = match ending(".mf").next() {
        Some(manifest) => digests(file, manifest)?,
        None => HashMap::new(),
    };
    Ok(Disk { offset: disk.offset, size: disk.size, sha256: digests.get(&disk.name).copied() })
}

fn members(file: &mut File) -> Result<Vec<Member>, OvaError> {
    file.seek(SeekFrom::Start(0))?;
    let limits = Limits { entries: MEMBERS_MAX, ..Limits::default() };
    let mut members = Vec::new();
    let mut archive = Archive::new(&mut *file);
    walk(archive.entries_with_seek()?, &limits, |member| {
        if matches!(member.kind, EntryType::Regular | EntryType::Continuous) {
            let name = String::from_utf8_lossy(&member.path).into_owned();
            members.push(Member { name, offset: member.position, size: member.size });
        }
        Ok(())
    })?;
    Ok(members)
}

/// `SHA256(NAME)= HEX`, a line each; other digests are not looked at.
fn digests(file: &mut File, manifest: &Member) -> Result<HashMap<String, Digest>, OvaError> {
    file.seek(SeekFrom::Start(manifest.offset))?;
    let mut text = Vec::new();
    file.take(manifest.size.min(MANIFEST_BYTES_MAX)).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| {
        let (name, digest) =
            line.trim().strip_prefix("SHA256")?.trim_start().strip_prefix('(')?.split_once(')')?;
        let digest = digest.trim_start().strip_prefix('=')?.trim();
        Some((name.to_owned(), digest.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ova(members: &[(&str, &[u8])]) -> File {
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn refusal(members: &[(&str, &[u8])]) -> String {
        disk(&mut ova(members)).unwrap_err().to_string()
    }

    #[test]
    fn its_disk_is_found_with_the_digest_of_the_manifest() {
        let digest = Digest::of(b"disk");
        let manifest =
            format!("SHA256(a.ovf)= {}\r\nSHA256 (a-1.vmdk) = {digest}\nSHA1(x)= 00\n", Digest::of(b"ovf"));
        let members: [(&str, &[u8]); 3] =
            [("a.ovf", b"ovf"), ("a.mf", manifest.as_bytes()), ("a-1.vmdk", b"disk")];
        let mut file = ova(&members);
        let found = disk(&mut file).unwrap();
        assert_eq!((found.size, found.sha256), (4, Some(digest)));
        file.seek(SeekFrom::Start(found.offset)).unwrap();
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"disk");
        assert_eq!(disk(&mut ova(&[members[0], members[2]])).unwrap().sha256, None);
    }

    #[test]
    fn what_is_not_one_disk_is_refused() {
        assert!(refusal(&[("a.vmdk", b"")]).contains(".ovf"));
        assert!(refusal(&[("a.ovf", b"")]).contains("has 0 disks"));
        assert!(refusal(&[("a.ovf", b""), ("1.vmdk", b""), ("2.VMDK", b"")]).contains("has 2 disks"));
        assert!(refusal(&[("a.ovf", b""), ("1.vmdk.gz", b"")]).contains("compressed"));
        let mut none = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut none, &[b'x'; 4096]).unwrap();
        assert!(disk(&mut none).is_err());
    }
}
