//! Round trips through the programs everybody uses: skopeo makes and reads images, umoci unpacks them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::oci::build::{self, Layer};
use crate::oci::{ImageConfig, Limits, OciError, Selection, import, inspect, unpack};

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    fn import(&self, from: &str, to: &str) -> crate::oci::Imported {
        import(&self.path(from), &self.path(to), &Selection::default(), &Limits::default()).expect("import")
    }

    fn layers_of(&self, archive: &str) -> Vec<PathBuf> {
        unpack(&self.path(archive), &self.path("layers"), &Limits::default()).expect("unpack").layers
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn skopeo(from: &str, to: &str) {
    run("skopeo", &["--insecure-policy", "copy", "--quiet", from, to]);
}

/// Two layers, the upper one removing and replacing.
fn two_layers(out: &Path) {
    let (mut lower, mut upper) = (Layer::default(), Layer::default());
    lower.folder("etc", 0o755).expect("layer");
    lower.file("etc/old", 0o644, b"old").expect("layer");
    lower.file("etc/same", 0o640, b"same").expect("layer");
    upper.file("etc/.wh.old", 0, b"").expect("layer");
    upper.file("etc/new", 0o600, b"new").expect("layer");
    upper.link("etc/way", "../../../etc/shadow").expect("layer");
    let config =
        ImageConfig { cmd: vec!["/etc/new".to_owned()], user: "7:8".to_owned(), ..ImageConfig::default() };
    build::image(out, vec![lower, upper], &config).expect("image");
}

/// Names, kinds, modes and contents of a folder, for comparing.
fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            let metadata = entry.metadata().expect("metadata");
            let content = if metadata.is_file() {
                std::fs::read_to_string(entry.path()).unwrap_or_default()
            } else {
                std::fs::read_link(entry.path()).map(|p| p.display().to_string()).unwrap_or_default()
            };
            let name = entry.path().strip_prefix(root).expect("below").display().to_string();
            lines.push(format!("{name} {:o} {content}", metadata.mode()));
            if metadata.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn every_form_of_an_image_gives_the_same_layers() {
    let lab = Lab::new();
    two_layers(&lab.path("ours"));
    let expected = lab.layers_of("ours");
    assert_eq!(expected.len(), 2);
    let source = format!("oci-archive:{}", lab.text("ours"));
    for (form, target) in [
        ("layout-tar", format!("oci-archive:{}:v1", lab.text("layout-tar"))),
        ("layout", format!("oci:{}:v1", lab.text("layout"))),
        ("saved", format!("docker-archive:{}:demo/two:v1", lab.text("saved"))),
    ] {
        skopeo(&source, &target);
        let imported = lab.import(form, "again");
        assert_eq!(
            (imported.layers, imported.config.cmd.as_slice()),
            (2, ["/etc/new".to_owned()].as_slice()),
            "{form}"
        );
        assert_eq!(imported.config.user, "7:8", "{form}");
        assert_eq!(lab.layers_of("again"), expected, "{form}");
        skopeo(
            &format!("oci-archive:{}", lab.text("again")),
            &format!("dir:{}", lab.text(&format!("{form}.dir"))),
        );
    }
}

#[test]
fn the_same_image_is_the_same_archive() {
    let lab = Lab::new();
    two_layers(&lab.path("ours"));
    let first = lab.import("ours", "first");
    assert_eq!(lab.import("first", "second"), first);
    assert_eq!(
        std::fs::read(lab.path("first")).expect("first"),
        std::fs::read(lab.path("second")).expect("second")
    );
}

#[test]
fn stacked_layers_are_what_umoci_unpacks() {
    let lab = Lab::new();
    two_layers(&lab.path("ours"));
    skopeo(&format!("oci-archive:{}", lab.text("ours")), &format!("oci:{}:v1", lab.text("layout")));
    run("umoci", &["unpack", "--image", &format!("{}:v1", lab.text("layout")), &lab.text("bundle")]);
    let layers = lab.layers_of("ours");
    for folder in ["upper", "work", "merged"] {
        std::fs::create_dir(lab.path(folder)).expect("folder");
    }
    let (upper, work) = (lab.path("upper"), lab.path("work"));
    sys::mount::overlay(
        sys::mount::Overlay { lower: &layers, upper: &upper, work: &work },
        &lab.path("merged"),
    )
    .expect("mount");
    let merged = tree(&lab.path("merged"));
    sys::mount::detach(&lab.path("merged")).expect("unmount");
    assert_eq!(merged, tree(&lab.path("bundle/rootfs")));
    assert!(merged.iter().any(|line| line.starts_with("etc/new 100600 new")), "{merged:?}");
}

#[test]
fn an_image_of_umoci_with_zstd_and_plain_layers_is_read() {
    let lab = Lab::new();
    two_layers(&lab.path("ours"));
    let target = format!("oci:{}:v1", lab.text("zstd"));
    let source = format!("oci-archive:{}", lab.text("ours"));
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-compress",
            "--dest-compress-format",
            "zstd",
            &source,
            &target,
        ],
    );
    lab.import("zstd", "again");
    assert_eq!(lab.layers_of("again"), lab.layers_of("ours"));
    run("umoci", &["new", "--image", &format!("{}:v2", lab.text("zstd"))]);
    // Now there are two, and nobody said which.
    let limits = Limits::default();
    let both = import(&lab.path("zstd"), &lab.path("again"), &Selection::default(), &limits);
    assert!(
        matches!(&both, Err(OciError::Choice(why)) if why.contains("v1") && why.contains("v2")),
        "{both:?}"
    );
    let v1 = Selection { tag: Some("v1".to_owned()) };
    import(&lab.path("zstd"), &lab.path("again"), &v1, &limits).expect("v1");
}

#[test]
fn one_changed_byte_is_noticed_wherever_it_is() {
    let lab = Lab::new();
    two_layers(&lab.path("ours"));
    skopeo(&format!("oci-archive:{}", lab.text("ours")), &format!("oci:{}:v1", lab.text("layout")));
    let blobs = std::fs::read_dir(lab.path("layout/blobs/sha256")).expect("blobs").flatten();
    let blobs: Vec<PathBuf> = blobs.map(|entry| entry.path()).collect();
    assert_eq!(blobs.len(), 4);
    for blob in blobs {
        let good = std::fs::read(&blob).expect("blob");
        let mut bad = good.clone();
        *bad.last_mut().expect("content") ^= 1;
        std::fs::write(&blob, &bad).expect("blob");
        let result =
            import(&lab.path("layout"), &lab.path("again"), &Selection::default(), &Limits::default());
        assert!(matches!(result, Err(OciError::WrongDigest { .. })), "{}: {result:?}", blob.display());
        assert!(!lab.path("again").exists() && !lab.path("again.part").exists());
        std::fs::write(&blob, &good).expect("blob");
    }
}

#[test]
fn busybox_is_built_and_says_how_to_run() {
    let lab = Lab::new();
    build::busybox(&lab.path("busybox")).expect("build");
    let config = inspect(&lab.path("busybox"), &Limits::default()).expect("inspect");
    assert_eq!(config.cmd, ["sh"]);
    let layers = lab.layers_of("busybox");
    assert_eq!(std::fs::read_link(layers[0].join("bin/sh")).expect("sh").to_str(), Some("busybox"));
    assert_eq!(lab.path("layers").metadata().expect("layers").mode() & 0o777, 0o700);
    let again = lab.layers_of("busybox");
    assert_eq!(again, layers);
    assert_eq!(
        std::fs::read_dir(lab.path("layers")).expect("layers").count(),
        1,
        "no half-made layer is left"
    );
}

#[test]
fn what_is_no_image_is_said_so() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("empty")).expect("folder");
    std::fs::write(lab.path("text"), "hello").expect("text");
    let import =
        |from: &str| import(&lab.path(from), &lab.path("to"), &Selection::default(), &Limits::default());
    assert!(matches!(import("empty"), Err(OciError::NotAnImage(_))));
    assert!(import("text").is_err());
    assert!(matches!(import("nothing"), Err(OciError::Io { .. })));
}
