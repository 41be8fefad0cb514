//! The JSON documents of the OCI image specification and of `docker save`, as far as they are used.
//!
//! Own types instead of the `oci-spec` crate's: what stands in the wild has nulls where that crate, and the
//! specification, want lists.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::config::ImageConfig;
use super::error::OciError;
use crate::digest::Digest;

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Where a tag stands in an index.
const TAG_ANNOTATIONS: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// Points to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(with = "digest_text")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "serde_json::Map::is_empty")]
    pub(crate) annotations: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    pub(crate) manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) layers: Vec<Descriptor>,
}

/// The image configuration.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default, rename = "config", deserialize_with = "or_null")]
    pub(crate) run: RunConfig,
    pub(crate) rootfs: Rootfs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    #[serde(deserialize_with = "or_null")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_null")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_null")]
    pub(crate) stop_signal: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rootfs {
    #[serde(default, deserialize_with = "or_null")]
    diff_ids: Vec<String>,
}

/// One image of a legacy `docker save` tar's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SavedImage {
    pub(crate) config: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) layers: Vec<String>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: serde_json::Map::new(),
        }
    }

    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), INDEX_TYPE | DOCKER_INDEX_TYPE)
    }

    pub(crate) fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), MANIFEST_TYPE | DOCKER_MANIFEST_TYPE)
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        TAG_ANNOTATIONS.iter().filter_map(|key| self.annotations.get(*key)?.as_str())
    }
}

impl Config {
    /// The digests of the layers' plain tars, lowest first.
    pub(crate) fn diff_ids(&self) -> Result<Vec<Digest>, OciError> {
        self.rootfs
            .diff_ids
            .iter()
            .map(|text| {
                parse_digest(text).map_err(|why| OciError::corrupt("configuration: rootfs.diff_ids", why))
            })
            .collect()
    }

    pub(crate) fn into_image_config(self) -> ImageConfig {
        ImageConfig {
            entrypoint: self.run.entrypoint,
            cmd: self.run.cmd,
            env: self.run.env.iter().map(|pair| super::config::env_var(pair)).collect(),
            working_dir: self.run.working_dir,
            user: self.run.user,
            stop_signal: self.run.stop_signal,
        }
    }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|e| OciError::corrupt(what, e))
}

/// Reads `sha256:HEX`; other algorithms are not in use.
pub(crate) fn parse_digest(text: &str) -> Result<Digest, String> {
    text.strip_prefix("sha256:")
        .and_then(|hex| hex.parse().ok())
        .ok_or_else(|| format!("{text:?} is not a sha256 digest"))
}

/// `null` means what leaving out means.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

mod digest_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::digest::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("sha256:{digest}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        super::parse_digest(&String::deserialize(d)?).map_err(de::Error::custom)
    }
}
