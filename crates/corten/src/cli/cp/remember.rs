//! Uploads that have begun and not ended, remembered beside the caller's credentials: the same copy of the same file goes
//! on where it stopped.

use std::path::Path;

use identity::aws::sha256;
use serde::{Deserialize, Serialize};

use super::upload::File;
use crate::cli::api::Cloud;
use crate::cli::kubeconfig;
use crate::cli::objects::Address;
use crate::failure::Failure;

/// An upload, and what the file was when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remembered {
    pub(super) upload: String,
    object: String,
    file: String,
    size: u64,
    modified_ns: u64,
    part_bytes: u64,
}

impl Remembered {
    pub(super) fn new(upload: String, to: &Address, file: &File) -> Self {
        Self {
            upload,
            object: to.to_string(),
            file: absolute(&file.path),
            size: file.size,
            modified_ns: file.modified_ns,
            part_bytes: file.part_bytes(),
        }
    }

    /// What was remembered of this copy, if the file is still the same.
    pub(super) fn find(cloud: &Cloud, to: &Address, file: &File) -> Option<Self> {
        let text = kubeconfig::read_kept(&cloud.global, &name(cloud, to, file))?;
        let found: Self = serde_json::from_str(&text).ok()?;
        let same = Self::new(found.upload.clone(), to, file);
        Some(found).filter(|found| *found == same)
    }

    pub(super) fn keep(&self, cloud: &Cloud, to: &Address, file: &File) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map_err(|e| Failure::failed(e.to_string()))?;
        kubeconfig::keep(&cloud.global, &name(cloud, to, file), &text).map(drop)
    }

    pub(super) fn forget(cloud: &Cloud, to: &Address, file: &File) {
        kubeconfig::forget(&cloud.global, &name(cloud, to, file));
    }
}

/// Of one copy: other files and other objects have other names.
fn name(cloud: &Cloud, to: &Address, file: &File) -> String {
    let copy = format!("{}\n{to}\n{}", cloud.endpoint, absolute(&file.path));
    format!("upload-{}.json", &sha256(copy.as_bytes())[..16])
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}
