//! Temporary credentials. Their token carries all that has to be known of them, sealed: nothing is stored.

use serde::{Deserialize, Serialize};

use crate::sealed::{MasterKey, Secret};

const OWNER: &str = "aws-session";
/// Longest token that is looked at.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Credentials for a while.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: String,
    pub secret: String,
    pub project: String,
    pub who: SessionOf,
    /// Milliseconds since the epoch.
    pub issued: i64,
    pub expires: i64,
    /// Documents that bound what the session may.
    pub policies: Vec<String>,
}

/// Whose credentials they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOf {
    /// A user of Corten.
    Corten {
        user: String,
    },
    IamUser {
        name: String,
    },
    Role {
        name: String,
        session: String,
    },
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("who", &self.who).finish_non_exhaustive()
    }
}

impl Session {
    /// The token that its holder sends along. `random` must never have been used before.
    pub fn seal(&self, master: &MasterKey, random: &[u8; 32]) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        master.seal(OWNER, &text, random)
    }

    /// The session of a token, if this cloud gave it out.
    pub fn open(master: &MasterKey, token: &str) -> Option<Self> {
        if token.len() > TOKEN_MAX_BYTES {
            return None;
        }
        serde_json::from_str(master.open(OWNER, token)?.expose()).ok()
    }

    pub fn secret(&self) -> Secret {
        Secret::new(self.secret.clone())
    }
}
