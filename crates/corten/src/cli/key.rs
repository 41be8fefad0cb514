//! The caller's own SSH key: made once, kept beside the cloud's data or in the home folder, and known to the
//! cloud as a KeyPair. The private half never leaves this machine.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use client::Api;
use model::compute::{KeyPair, KeyPairSpec};
use model::{ObjectMeta, Reason};

use super::api::Cloud;
use crate::failure::Failure;

const FILE: &str = "id_ed25519";
/// Digits of the public key's digest in the KeyPair's name.
const NAME_DIGITS: usize = 10;

/// Makes sure that the caller has a key and the project knows it; answers the KeyPair's name.
pub(crate) async fn ensure(cloud: &Cloud) -> Result<String, Failure> {
    let path = private_key(&cloud.global.data)?;
    let public = public_half(&path)?;
    let name = pair_name(&public);
    let keys: Api<KeyPair> = cloud.api();
    if keys.find(&name).await?.is_none() {
        let pair = KeyPair::new(ObjectMeta::named(&name), KeyPairSpec { public_key: public });
        match keys.create(&pair).await {
            Err(e) if e.reason != Reason::AlreadyExists => return Err(e.into()),
            _ => {}
        }
    }
    Ok(name)
}

/// The caller's private key file, made if there is none yet.
pub(crate) fn private_key(data: &Path) -> Result<PathBuf, Failure> {
    let dir = folder(data)?;
    let path = dir.join(FILE);
    if !path.exists() {
        generate(&dir, &path)?;
    }
    Ok(path)
}

/// The cloud's own folder where that may be written, so that every HOME of this machine's root finds the key;
/// else the caller's.
fn folder(data: &Path) -> Result<PathBuf, Failure> {
    let beside = data.join("ssh");
    if data.is_dir() && make_private(&beside).is_ok() && is_writable(&beside) {
        return Ok(beside);
    }
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = set("CORTEN_HOME").or_else(|| set("HOME").map(|home| home.join(".corten")));
    let dir = home
        .ok_or_else(|| Failure::failed("there is no place for an ssh key: set CORTEN_HOME or HOME"))?
        .join("ssh");
    make_private(&dir).map_err(Failure::io(format!("cannot make {}", dir.display())))?;
    Ok(dir)
}

fn is_writable(dir: &Path) -> bool {
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok()
}

fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Two commands may make the key at once: each makes its own, and the first to give it the name wins.
fn generate(dir: &Path, path: &Path) -> Result<(), Failure> {
    let own = dir.join(format!("{FILE}.{}", std::process::id()));
    let public = own.with_extension(format!("{}.pub", std::process::id()));
    let made = keygen(
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "corten", "-f"]).arg(&own),
    );
    let named = made.and_then(|_| match fs::hard_link(&own, path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::io(format!("cannot make {}", path.display()))(e))
        }
        _ => Ok(()),
    });
    // Left-overs are harmless: the next key has another name.
    let _ = (fs::remove_file(&own), fs::remove_file(&public));
    named
}

fn public_half(path: &Path) -> Result<String, Failure> {
    keygen(Command::new("ssh-keygen").arg("-y").arg("-f").arg(path)).map(|text| text.trim().to_owned())
}

fn keygen(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| {
        Failure::failed(format!("cannot run ssh-keygen: {e}")).hint("install the package openssh-client")
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Failure::failed(format!("ssh-keygen failed: {}", why.trim())))
    }
}

/// The same key has the same name everywhere.
fn pair_name(public: &str) -> String {
    let digest =
        identity::Token::presented(public.split_whitespace().nth(1).unwrap_or(public)).digest().to_hex();
    format!("corten-{}", &digest[..NAME_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_key_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let path = private_key(data.path()).unwrap();
        assert_eq!(path, data.path().join("ssh/id_ed25519"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = public_half(&path).unwrap();
        assert!(public.starts_with("ssh-ed25519 "), "{public}");
        assert_eq!(public_half(&private_key(data.path()).unwrap()).unwrap(), public);
        assert_eq!(fs::read_dir(data.path().join("ssh")).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_key_pair_is_named_by_the_key_and_not_by_its_comment() {
        assert_eq!(pair_name("ssh-ed25519 AAAA me@here"), pair_name("ssh-ed25519 AAAA"));
        assert_ne!(pair_name("ssh-ed25519 AAAA"), pair_name("ssh-ed25519 BBBB"));
        assert!(model::Name::new(pair_name("ssh-ed25519 AAAA")).is_ok());
    }
}
