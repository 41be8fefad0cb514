//! Imports of every disk format through the jail, and attacks on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Cache, Digest, Egress, Import, ImportError, Imported, Source, Task, import};
use model::Bytes;
use model::compute::{ArtifactRole, ImageFormat};

const SIZE_MAX: u64 = 1 << 30;

struct Case {
    dir: tempfile::TempDir,
    cache: Cache,
}

fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    Case { dir, cache }
}

impl Case {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, format: ImageFormat, name: &str) -> Import {
        Import {
            format,
            source: Source::File(self.path(name)),
            initrd: None,
            sha256: None,
            size_max: SIZE_MAX,
            egress: Egress::default(),
        }
    }

    fn import(&self, format: ImageFormat, name: &str) -> Result<Imported, ImportError> {
        import(&self.cache, self.request(format, name), &Task::default())
    }

    /// The bytes of the imported disk, as a guest would read them.
    fn content(&self, imported: &Imported) -> Vec<u8> {
        let disk = &imported.artifacts[0];
        assert_eq!(disk.role, ArtifactRole::Disk);
        let path = self.cache.path(&disk.sha256.parse().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), disk.size.0);
        let raw = self.path("content.raw");
        qemu_img(&["convert", "-f", "qcow2", "-O", "raw"], &[&path, &raw]);
        fs::read(raw).unwrap()
    }
}

fn qemu_img(arguments: &[&str], paths: &[&Path]) {
    let output = Command::new("qemu-img").args(arguments).args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Three MiB with words in them, the rest empty.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    bytes[..5].copy_from_slice(b"first");
    bytes[(2 << 20)..(2 << 20) + 4].copy_from_slice(b"last");
    bytes
}

#[test]
fn every_disk_format_becomes_the_same_disk() {
    let case = case();
    fs::write(case.path("raw"), disk()).unwrap();
    for (format, options) in [
        (ImageFormat::Qcow2, &["-O", "qcow2"][..]),
        (ImageFormat::Qcow2, &["-O", "qcow2", "-c", "-o", "compat=0.10"]),
        (ImageFormat::Qcow2, &["-O", "qcow2", "-c", "-o", "compression_type=zstd,extended_l2=on"]),
        (ImageFormat::Vmdk, &["-O", "vmdk"]),
        (ImageFormat::Vmdk, &["-O", "vmdk", "-o", "subformat=streamOptimized"]),
        (ImageFormat::Vhd, &["-O", "vpc", "-o", "force_size=on"]),
        (ImageFormat::Vhd, &["-O", "vpc", "-o", "force_size=on,subformat=fixed"]),
        (ImageFormat::Vhdx, &["-O", "vhdx"]),
        (ImageFormat::Raw, &["-O", "raw"]),
        (ImageFormat::Iso, &["-O", "raw"]),
    ] {
        let arguments = [&["convert", "-f", "raw"], options].concat();
        qemu_img(&arguments, &[&case.path("raw"), &case.path("given")]);
        let imported = case.import(format, "given").unwrap();
        assert_eq!(imported.virtual_size, Bytes(3 << 20), "{options:?}");
        assert!(case.content(&imported) == disk(), "{options:?}");
    }
}

#[test]
fn an_exported_machine_is_its_disk() {
    let case = case();
    fs::write(case.path("raw"), disk()).unwrap();
    let arguments = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    qemu_img(&arguments, &[&case.path("raw"), &case.path("m-disk1.vmdk")]);
    let digest = Digest::of(&fs::read(case.path("m-disk1.vmdk")).unwrap());
    let export = |name: &str, digest: &Digest| {
        fs::write(case.path("m.ovf"), "<Envelope/>").unwrap();
        fs::write(case.path("m.mf"), format!("SHA256(m-disk1.vmdk)= {digest}\n")).unwrap();
        let members = ["m.ovf", "m.mf", "m-disk1.vmdk"];
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(case.dir.path()).arg("-cf").arg(case.path(name));
        let status = tar.args(["--format=ustar"]).args(members).status().unwrap();
        assert!(status.success());
    };
    export("m.ova", &digest);
    let imported = case.import(ImageFormat::Ova, "m.ova").unwrap();
    assert!(case.content(&imported) == disk());
    export("changed.ova", &Digest::of(b"another"));
    let error = case.import(ImageFormat::Ova, "changed.ova").unwrap_err();
    assert!(error.to_string().contains("was declared"), "{error}");
    let error = case.import(ImageFormat::Ova, "m-disk1.vmdk").unwrap_err();
    assert!(!error.to_string().is_empty(), "{error}");
    assert_eq!(case.cache.list().unwrap().len(), 1);
}

#[test]
fn empty_space_takes_no_room() {
    let case = case();
    fs::File::create(case.path("raw")).unwrap().set_len(512 << 20).unwrap();
    let imported = case.import(ImageFormat::Raw, "raw").unwrap();
    assert_eq!(imported.virtual_size, Bytes::mib(512));
    assert!(imported.artifacts[0].size < Bytes::mib(1), "{imported:?}");
}

#[test]
fn a_backing_file_is_refused_in_every_way_it_can_be_named() {
    let case = case();
    fs::write(case.path("secret"), disk()).unwrap();
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    qemu_img(&create, &[&case.path("secret"), &case.path("overlay")]);
    let error = case.import(ImageFormat::Qcow2, "overlay").unwrap_err();
    assert!(error.to_string().contains("a backing file"), "{error}");

    let data_file = format!("data_file={}", case.path("data").display());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data_file], &[&case.path("split"), Path::new("1M")]);
    let error = case.import(ImageFormat::Qcow2, "split").unwrap_err();
    assert!(error.to_string().contains("an external data file"), "{error}");

    qemu_img(
        &["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat"],
        &[&case.path("secret"), &case.path("flat.vmdk")],
    );
    let error = case.import(ImageFormat::Vmdk, "flat.vmdk").unwrap_err();
    assert!(error.to_string().contains("extents"), "{error}");
    assert_eq!(case.cache.list().unwrap(), []);
}

#[test]
fn a_raw_disk_that_looks_like_qcow2_stays_raw() {
    let case = case();
    // What a guest could write to its own disk to read a file of the host after a snapshot.
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    qemu_img(&create, &[Path::new("/etc/shadow"), &case.path("raw"), Path::new("1M")]);
    let given = fs::read(case.path("raw")).unwrap();
    let imported = case.import(ImageFormat::Raw, "raw").unwrap();
    assert!(imported.virtual_size.0.abs_diff(given.len() as u64) < 512);
    let content = case.content(&imported);
    assert!(content[..given.len()] == given, "the disk's content is the very bytes that were given");
}

#[test]
fn nothing_is_converted_before_the_digest_is_right() {
    let case = case();
    fs::write(case.path("raw"), disk()).unwrap();
    let request = Import { sha256: Some(Digest::of(b"other")), ..case.request(ImageFormat::Raw, "raw") };
    let error = import(&case.cache, request, &Task::default()).unwrap_err();
    assert!(error.to_string().contains("was declared"), "{error}");
    let request = Import { sha256: Some(Digest::of(&disk())), ..case.request(ImageFormat::Raw, "raw") };
    import(&case.cache, request, &Task::default()).unwrap();
}

#[test]
fn an_upload_is_held_against_its_digest_too() {
    let case = case();
    let upload = |declared| {
        let mut staging = case.cache.stage().unwrap();
        std::io::Write::write_all(&mut staging, &disk()).unwrap();
        let source = Source::Arrived(staging.finish(None).unwrap());
        let request = Import { source, sha256: Some(declared), ..case.request(ImageFormat::Raw, "") };
        import(&case.cache, request, &Task::default())
    };
    assert!(upload(Digest::of(b"other")).is_err());
    assert_eq!(upload(Digest::of(&disk())).unwrap().virtual_size, Bytes(3 << 20));
}

#[test]
fn a_disk_larger_than_allowed_is_refused_by_what_it_claims() {
    let case = case();
    qemu_img(&["create", "-q", "-f", "qcow2"], &[&case.path("huge"), Path::new("2T")]);
    let error = case.import(ImageFormat::Qcow2, "huge").unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { what: "disk", .. }), "{error}");
}

#[test]
fn a_kernel_brings_its_initrd() {
    let case = case();
    fs::write(case.path("kernel"), b"kernel").unwrap();
    fs::write(case.path("initrd"), b"initrd").unwrap();
    let with_initrd =
        |format| Import { initrd: Some(Source::File(case.path("initrd"))), ..case.request(format, "kernel") };
    let imported = import(&case.cache, with_initrd(ImageFormat::Kernel), &Task::default()).unwrap();
    let found: Vec<_> = imported.artifacts.iter().map(|a| (a.role, a.sha256.clone())).collect();
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    let expected = [(ArtifactRole::Kernel, digest(b"kernel")), (ArtifactRole::Initrd, digest(b"initrd"))];
    assert_eq!(found, expected);
    assert!(import(&case.cache, with_initrd(ImageFormat::Raw), &Task::default()).is_err());
}
