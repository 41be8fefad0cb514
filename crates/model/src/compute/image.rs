//! Image: what instances start from. Imported once, verified by digest, never probed for its format again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, InstanceSpec, PayloadKind};
use crate::storage::{BucketSpec, VolumeSnapshotSpec, VolumeSpec};
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type Image = Object<ImageSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageSpec {
    /// The format of what is imported; declared, never guessed.
    pub format: ImageFormat,
    pub source: ImageSource,
    /// Expected SHA-256 of the imported file, 64 hexadecimal digits (of the kernel, for format `kernel`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    pub visibility: Visibility,
    /// Kernel command line, for format `kernel`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ImageFormat {
    #[default]
    Raw,
    Qcow2,
    Vmdk,
    /// Virtual PC's and Azure's, fixed or dynamic.
    Vhd,
    Vhdx,
    /// A machine that VMware or VirtualBox exported, with one disk.
    Ova,
    Iso,
    /// A Linux kernel or a unikernel, with an optional initrd.
    Kernel,
    /// An OCI image: layout folder, `docker save` archive, or OCI archive.
    Oci,
}

impl ImageFormat {
    pub const ALL: [Self; 9] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vhd,
        Self::Vhdx,
        Self::Ova,
        Self::Iso,
        Self::Kernel,
        Self::Oci,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Ova => "ova",
            Self::Iso => "iso",
            Self::Kernel => "kernel",
            Self::Oci => "oci",
        }
    }

    /// The payload an image of this format makes.
    pub fn payload(self) -> PayloadKind {
        match self {
            Self::Kernel => PayloadKind::Kernel,
            Self::Oci => PayloadKind::Containers,
            Self::Raw | Self::Qcow2 | Self::Vmdk | Self::Vhd | Self::Vhdx | Self::Ova | Self::Iso => {
                PayloadKind::Disk
            }
        }
    }
}

/// Where the bytes come from: at most one of url, bucket, instance, volume, snapshot and image; an upload when there is
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageSource {
    /// Fetch from here (http or https).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Fetch the initrd from here, for format `kernel`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub initrd_url: String,
    /// Fetch from this Bucket of the project.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// The key of the object in the bucket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The disk that this Instance of the project starts from, as it is at the moment; for format `qcow2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// This Volume of the project, as it is at the moment; for format `qcow2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// This VolumeSnapshot of the project; for format `qcow2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot: String,
    /// Another Image of the same format, of this project or a public one: a copy that stays when that one goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
}

impl ImageSource {
    /// The object of the cloud that the image is made of, with the field that names it.
    pub fn object(&self) -> Option<(&'static str, &str)> {
        let named = [
            ("spec.source.instance", &self.instance),
            ("spec.source.volume", &self.volume),
            ("spec.source.snapshot", &self.snapshot),
        ];
        named.into_iter().find(|(_, name)| !name.is_empty()).map(|(field, name)| (field, name.as_str()))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Visibility {
    /// Only this project.
    #[default]
    Private,
    /// Every project may start from it.
    Public,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStatus {
    pub phase: ImagePhase,
    /// The files instances use: content-addressed, in the format Corten keeps (qcow2 for disks).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// The size a disk shows to its guest.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub virtual_size: Bytes,
    /// Bytes received so far.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub received: Bytes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ImagePhase {
    /// Waits for its upload or download.
    #[default]
    Pending,
    Importing,
    Ready,
    Failed,
}

impl ImagePhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Importing => "Importing",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
        }
    }
}

/// One verified file of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Artifact {
    pub role: ArtifactRole,
    /// SHA-256, 64 hexadecimal digits; the file's only name.
    pub sha256: String,
    pub size: Bytes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ArtifactRole {
    /// A disk, as qcow2 without backing file.
    #[default]
    Disk,
    Kernel,
    Initrd,
    /// An OCI image as one archive in OCI layout.
    Oci,
}

impl ArtifactRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Oci => "oci",
        }
    }
}

impl ImageStatus {
    pub fn artifact(&self, role: ArtifactRole) -> Option<&Artifact> {
        self.artifacts.iter().find(|a| a.role == role)
    }

    /// Bytes of all files together.
    pub fn size(&self) -> Bytes {
        self.artifacts.iter().map(|a| a.size).sum()
    }
}

impl ImageSource {
    fn validate(&self, format: ImageFormat, errors: &mut FieldErrors) {
        let sources = [&self.url, &self.bucket, &self.instance, &self.volume, &self.snapshot, &self.image];
        let named = sources.iter().filter(|source| !source.is_empty()).count();
        errors.require(
            named <= 1,
            "spec.source",
            "must be at most one of url, bucket, instance, volume, snapshot and image",
        );
        errors.require(
            self.bucket.is_empty() == self.key.is_empty(),
            "spec.source.key",
            "must name an object of spec.source.bucket",
        );
        errors.require(self.key.len() <= 1024, "spec.source.key", "must be at most 1024 bytes");
        errors.require(
            self.bucket.is_empty() || format.payload() == PayloadKind::Disk,
            "spec.format",
            "must be that of a disk for an image that comes from a bucket",
        );
        for (field, name) in [("spec.source.bucket", &self.bucket), ("spec.source.image", &self.image)] {
            if let (false, Err(e)) = (name.is_empty(), crate::Name::new(name)) {
                errors.push(field, e.to_string());
            }
        }
        let Some((field, name)) = self.object() else { return };
        if let Err(e) = crate::Name::new(name) {
            errors.push(field, e.to_string());
        }
        errors.require(
            format == ImageFormat::Qcow2,
            "spec.format",
            "must be qcow2 for an image that is made of a disk of the cloud",
        );
    }
}

impl Spec for ImageSpec {
    type Status = ImageStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Image",
        plural: "images",
        singular: "image",
        short_names: &["img"],
        scope: Scope::Project,
        summary: "What instances start from: a disk, a kernel with initrd, or an OCI image.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        self.source.validate(self.format, errors);
        errors.require(
            self.sha256.is_empty() || (self.source.object().is_none() && self.source.image.is_empty()),
            "spec.sha256",
            "cannot be known of a disk of the cloud; leave it out",
        );
        let hex = |s: &str| s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit());
        errors.require(
            self.sha256.is_empty() || hex(&self.sha256),
            "spec.sha256",
            "must be 64 hexadecimal digits",
        );
        for (field, url) in
            [("spec.source.url", &self.source.url), ("spec.source.initrdUrl", &self.source.initrd_url)]
        {
            let registry = self.format == ImageFormat::Oci
                && field == "spec.source.url"
                && (url.starts_with("oci://") || url.starts_with("oci+http://"));
            errors.require(
                url.is_empty() || url.starts_with("https://") || url.starts_with("http://") || registry,
                field,
                "must begin with https:// or http:// (or oci:// for an image of a registry); upload local files \
                 with `corten image import PATH`",
            );
            errors.require(url.len() <= 2048, field, "must be at most 2048 bytes");
        }
        errors.require(
            self.source.initrd_url.is_empty() || self.format == ImageFormat::Kernel,
            "spec.source.initrdUrl",
            "is only for format kernel",
        );
        errors.require(
            self.cmdline.is_empty() || self.format == ImageFormat::Kernel,
            "spec.cmdline",
            "is only for format kernel",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; import a new image";
        errors.require(self.format == old.format, "spec.format", fixed);
        errors.require(self.source == old.source, "spec.source", fixed);
        errors.require(self.sha256 == old.sha256, "spec.sha256", fixed);
    }

    fn columns() -> &'static [Column<Image>] {
        const COLUMNS: &[Column<Image>] = &[
            Column::text("Phase", |i, _| json!(i.status.phase.as_str())),
            Column::text("Format", |i, _| json!(i.spec.format)),
            Column::text("Size", |i, _| json!(human(i.status.size()))),
            Column::text("Visibility", |i, _| json!(i.spec.visibility)),
            Column::wide_text("Digest", |i, _| {
                json!(i.status.artifacts.first().map_or("", |a| a.sha256.get(..12).unwrap_or("")))
            }),
        ];
        COLUMNS
    }

    /// What it is made of has to be there; once it is made it stands on its own.
    fn references(i: &Image) -> Vec<Reference> {
        let (meta, source) = (&i.metadata, &i.spec.source);
        let instance = Reference::named(InstanceSpec::KIND, meta, &source.instance, "spec.source.instance");
        let volume = Reference::named(VolumeSpec::KIND, meta, &source.volume, "spec.source.volume");
        let snapshot =
            Reference::named(VolumeSnapshotSpec::KIND, meta, &source.snapshot, "spec.source.snapshot");
        let bucket = Reference::named(BucketSpec::KIND, meta, &source.bucket, "spec.source.bucket");
        instance.into_iter().chain(volume).chain(snapshot).chain(bucket).collect()
    }

    fn field(i: &Image, path: &str) -> Option<String> {
        Some(match path {
            "status.phase" => i.status.phase.as_str().into(),
            "spec.format" => i.spec.format.as_str().into(),
            _ => return None,
        })
    }
}

fn human(size: Bytes) -> String {
    match size.0 {
        n if n >= 1 << 30 => format!("{:.1}Gi", n as f64 / f64::from(1 << 30)),
        n if n >= 1 << 20 => format!("{:.1}Mi", n as f64 / f64::from(1 << 20)),
        n => format!("{}Ki", n.div_ceil(1024)),
    }
}
