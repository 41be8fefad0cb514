//! The key of the user that a host is to the cluster, for guests' own processes, which may not read keyrings.

use std::path::Path;
use std::time::Duration;

use driver::{CephPool, DiskKey, DriverError};
use sys::command::run;

const CALL_MAX: Duration = Duration::from_secs(10);

/// None where the cluster wants no key.
pub(crate) async fn key_of(pool: &CephPool) -> Result<Option<DiskKey>, DriverError> {
    if setting(pool, "auth_client_required").await?.split([',', ' ']).all(|way| way == "none") {
        return Ok(None);
    }
    let section = format!("client.{}", pool.user);
    let files = setting(pool, "keyring").await?;
    for file in files.split(',').map(str::trim).filter(|file| !file.is_empty()) {
        if let Some(key) =
            tokio::fs::read_to_string(Path::new(file)).await.ok().and_then(|text| find(&text, &section))
        {
            return Ok(Some(DiskKey::of_ceph(key)));
        }
    }
    Err(DriverError::WrongState(format!(
        "the keyring of {section} is in none of {files}: put there what `ceph auth get {section}` says"
    )))
}

/// A setting as the cluster's configuration has it, or by default.
async fn setting(pool: &CephPool, name: &str) -> Result<String, DriverError> {
    let (conf, user) = (pool.conf.to_string_lossy(), format!("client.{}", pool.user));
    let args = ["--conf", &conf, "--name", &user, "--show-config-value", name];
    let told = run("ceph-conf", args, CALL_MAX).await.map_err(|e| {
        DriverError::WrongState(format!(
            "{conf} cannot be read ({e}); install ceph-common, and put the cluster's there"
        ))
    })?;
    Ok(String::from_utf8_lossy(&told).trim().to_owned())
}

/// The key of a section in a keyring.
fn find(keyring: &str, section: &str) -> Option<String> {
    let mut is_ours = false;
    for line in keyring.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = name == section;
        } else if is_ours
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == "key"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_keyring_has_many() {
        let text = "[client.admin]\n\tkey = AQA=\n\tcaps mon = \"allow *\"\n[client.corten]\n\tcaps osd = \"x\"\n key=AQB=\n";
        assert_eq!(find(text, "client.corten").as_deref(), Some("AQB="));
        assert_eq!(find(text, "client.admin").as_deref(), Some("AQA="));
        assert_eq!(find(text, "client.other"), None);
    }
}
