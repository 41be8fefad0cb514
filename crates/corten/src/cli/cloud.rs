//! How a command finds its cloud: flags, then the environment, then the files that `corten up` leaves in the
//! data folder. Owns the options that every command has.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use client::https::{Credential, Https};

use crate::failure::Failure;

pub(crate) const DEFAULT_DATA: &str = "/var/lib/corten";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The project to work in
    #[arg(
        short,
        long,
        visible_short_alias = 'n',
        global = true,
        env = "CORTEN_PROJECT",
        default_value = "default",
        hide_env_values = true,
        value_parser = super::parse::name
    )]
    pub(crate) project: String,
    /// The cloud's folder on this machine
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "CORTEN_DATA",
        default_value = DEFAULT_DATA,
        hide_env_values = true
    )]
    pub(crate) data: PathBuf,
    /// The cloud's address, https://HOST:PORT
    #[arg(long, value_name = "URL", global = true, env = "CORTEN_ENDPOINT", hide_env_values = true)]
    pub(crate) endpoint: Option<String>,
    /// File with the certificate of the cloud's authority
    #[arg(long, value_name = "FILE", global = true, env = "CORTEN_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Bearer token to log in with
    #[arg(long, global = true, env = "CORTEN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Global {
    /// The environment in which this command finds the same cloud and project again.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut all =
            vec![("CORTEN_PROJECT", self.project.clone().into()), ("CORTEN_DATA", self.data.clone().into())];
        all.extend(self.endpoint.clone().map(|endpoint| ("CORTEN_ENDPOINT", endpoint.into())));
        all.extend(self.ca.clone().map(|ca| ("CORTEN_CA", ca.into())));
        all.extend(self.token.clone().map(|token| ("CORTEN_TOKEN", token.into())));
        all
    }
}

/// Where the cloud is, and as whom to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) ca: PathBuf,
    pub(crate) identity: Identity,
}

/// What the caller shows to be recognized.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    Token(String),
    Files { certificate: PathBuf, key: PathBuf },
    None,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Files { certificate, .. } => f.debug_tuple("Files").field(certificate).finish(),
            Self::None => f.write_str("None"),
        }
    }
}

impl Place {
    pub(crate) fn find(global: &Global) -> Result<Self, Failure> {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self::choose(global, set("CORTEN_CLIENT_CERT").zip(set("CORTEN_CLIENT_KEY")))
    }

    /// `files` are the client certificate and key the environment names.
    fn choose(global: &Global, files: Option<(PathBuf, PathBuf)>) -> Result<Self, Failure> {
        let here = |name: &str| global.data.join(name);
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let local = read_if_there(&here("endpoint"))?;
        let endpoint = given(&global.endpoint)
            .or(local.clone())
            .ok_or_else(|| Failure::failed("no cloud found: start one with `corten up`"))?;
        // Credentials of the cloud on this machine are shown to no other.
        let is_local = local.as_ref() == Some(&endpoint);
        let ca = match global.ca.clone().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => path,
            None if is_local => here("ca.crt"),
            None => {
                return Err(Failure::failed(format!("the authority of {endpoint} is not known"))
                    .hint("name the file with its certificate in --ca or CORTEN_CA"));
            }
        };
        let identity = if let Some(token) = given(&global.token) {
            Identity::Token(token)
        } else if let Some((certificate, key)) = files {
            Identity::Files { certificate, key }
        } else if is_local && here("admin.crt").exists() {
            Identity::Files { certificate: here("admin.crt"), key: here("admin.key") }
        } else if is_local && let Some(token) = read_if_there(&here("admin.token"))? {
            Identity::Token(token)
        } else {
            Identity::None
        };
        Ok(Self { endpoint, ca, identity })
    }

    pub(crate) fn connect(&self) -> Result<Https, Failure> {
        let credential = match &self.identity {
            Identity::Token(token) => Credential::Token(token.clone()),
            Identity::Files { certificate, key } => {
                Credential::Certificate { chain: read(certificate)?, key: read(key)? }
            }
            Identity::None => Credential::None,
        };
        Https::new(&self.endpoint, &read(&self.ca)?, &credential).map_err(|e| Failure::usage(e.to_string()))
    }
}

/// The text of a file, without the line break at its end; nothing when there is no such file.
fn read_if_there(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(unreadable(path, e)),
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| unreadable(path, e))
}

fn unreadable(path: &Path, e: io::Error) -> Failure {
    let denied = e.kind() == io::ErrorKind::PermissionDenied;
    let failure = Failure::io(format!("cannot read {}", path.display()))(e);
    if denied {
        failure.hint("run the command as root, or log in with --endpoint, --ca and --token")
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(data: &Path) -> Global {
        Global {
            project: "default".into(),
            data: data.into(),
            endpoint: None,
            ca: None,
            token: None,
            quiet: false,
        }
    }

    fn local_cloud() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("endpoint"), "https://127.0.0.1:7443\n").unwrap();
        fs::write(dir.path().join("admin.crt"), "").unwrap();
        dir
    }

    #[test]
    fn files_of_the_local_cloud_are_enough() {
        let dir = local_cloud();
        let place = Place::choose(&global(dir.path()), None).unwrap();
        assert_eq!(place.endpoint, "https://127.0.0.1:7443");
        assert_eq!(place.ca, dir.path().join("ca.crt"));
        let (certificate, key) = (dir.path().join("admin.crt"), dir.path().join("admin.key"));
        assert_eq!(place.identity, Identity::Files { certificate, key });
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_files() {
        let dir = local_cloud();
        let files = Some(("c".into(), "k".into()));
        let place = Place::choose(&global(dir.path()), files.clone()).unwrap();
        assert_eq!(place.identity, Identity::Files { certificate: "c".into(), key: "k".into() });
        let with_token = Global { token: Some("t".into()), ..global(dir.path()) };
        assert_eq!(Place::choose(&with_token, files).unwrap().identity, Identity::Token("t".into()));
    }

    #[test]
    fn the_local_credentials_are_shown_to_no_other_cloud() {
        let dir = local_cloud();
        let mut elsewhere = global(dir.path());
        elsewhere.endpoint = Some("https://cloud.example.org:7443".into());
        assert!(Place::choose(&elsewhere, None).unwrap_err().message.contains("not known"));
        elsewhere.ca = Some("their.crt".into());
        assert_eq!(Place::choose(&elsewhere, None).unwrap().identity, Identity::None);
    }

    #[test]
    fn no_cloud_says_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Place::choose(&global(&dir.path().join("nothing")), None).unwrap_err();
        assert_eq!(failure, Failure::failed("no cloud found: start one with `corten up`"));
    }
}
