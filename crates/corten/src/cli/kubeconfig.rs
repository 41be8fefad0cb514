//! `corten kubeconfig`: what kubectl and other Kubernetes clients need to reach the cloud, in one file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cloud::{Global, Identity, Place, read};
use super::output;
use crate::failure::Failure;

/// Print a kubeconfig for kubectl and other Kubernetes clients
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    output::print(&text(global, &Place::find(global)?)?)
}

/// Writes the file beside the cloud's data, or into the caller's home, and says where it is.
pub(crate) fn write(global: &Global, place: &Place) -> Result<PathBuf, Failure> {
    keep(global, "kubeconfig", &text(global, place)?)
}

/// Where the caller's own files are kept: beside the cloud's data, or in his home.
fn places(global: &Global) -> impl Iterator<Item = PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = set("CORTEN_HOME").or_else(|| set("HOME").map(|home| home.join(".corten")));
    let beside = Some(global.data.clone()).filter(|data| data.is_dir());
    [beside, home].into_iter().flatten()
}

/// A file that was kept before.
pub(crate) fn read_kept(global: &Global, name: &str) -> Option<String> {
    places(global).find_map(|dir| fs::read_to_string(dir.join(name)).ok())
}

/// Keeps a file for the caller alone, and says where it is.
pub(crate) fn keep(global: &Global, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let mut failure = Failure::failed(format!("there is no place for {name}: set CORTEN_HOME or HOME"));
    for dir in places(global) {
        let path = dir.join(name);
        match fs::create_dir_all(&dir).and_then(|()| replace(&path, text)) {
            Ok(()) => return Ok(path),
            Err(e) => failure = Failure::io(format!("cannot write {}", path.display()))(e),
        }
    }
    Err(failure)
}

/// Takes away what was kept.
pub(crate) fn forget(global: &Global, name: &str) {
    for dir in places(global) {
        // What is left over is not taken for anything else.
        let _ = fs::remove_file(dir.join(name));
    }
}

/// The file holds credentials: it is its owner's alone from the first byte on, and never half there.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension(std::process::id().to_string());
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The error that matters is the first.
        let _ = fs::remove_file(&new);
    }
    written
}

fn text(global: &Global, place: &Place) -> Result<String, Failure> {
    let encoded = |path: &Path| read(path).map(|pem| STANDARD.encode(pem));
    let user = match &place.identity {
        Identity::Token(token) => json!({ "token": token }),
        Identity::Files { certificate, key } => json!({
            "client-certificate-data": encoded(certificate)?, "client-key-data": encoded(key)?,
        }),
        Identity::None => json!({}),
    };
    let config = config(&place.endpoint, &encoded(&place.ca)?, &user, &global.project);
    serde_yaml_ng::to_string(&config)
        .map_err(|e| Failure::failed(format!("cannot print the kubeconfig: {e}")))
}

fn config(endpoint: &str, ca: &str, user: &Value, project: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "corten",
        "clusters": [{ "name": "corten", "cluster": { "server": endpoint, "certificate-authority-data": ca } }],
        "users": [{ "name": "corten", "user": user }],
        "contexts": [{
            "name": "corten",
            "context": { "cluster": "corten", "user": "corten", "namespace": project },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_project_is_the_namespace() {
        let config = config("https://x:1", "Y2E=", &json!({ "token": "t" }), "blue");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "blue");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://x:1");
        assert_eq!(config["users"][0]["user"]["token"], "t");
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, "old and longer").unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
