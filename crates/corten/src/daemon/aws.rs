//! The AWS protocol on the cloud's listener: the facade, and what it needs of this process.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use client::samples::Sample;
use facade_aws::{Aws, Cloud, KeyType, NewKey, Session};
use http::Response;
use http::request::Parts;
use hyper::body::Incoming;
use identity::aws::{Message, SignatureError};
use identity::iam::{Actor, Facts, SessionOf};
use identity::{Principal, Signer};
use model::{ApiError, Timestamp};
use server::http::{Body, Foreign, HostGateway, logs, samples};
use server::{Environment, Server};

/// How long making a key may take; one of RSA takes some tries.
const KEY_WITHIN: Duration = Duration::from_secs(60);
const RSA_BITS: &str = "2048";

pub(crate) struct Protocol {
    aws: Aws,
}

impl Protocol {
    /// `scratch` is where keys are made: in memory, never on a disk.
    pub(crate) fn new(
        server: Server,
        hosts: Arc<dyn HostGateway>,
        environment: Arc<dyn Environment>,
        scratch: PathBuf,
    ) -> Self {
        Self { aws: Aws::new(Arc::new(Own { server, hosts, environment, scratch })) }
    }
}

#[async_trait]
impl Foreign for Protocol {
    fn speaks(&self, head: &Parts) -> bool {
        Aws::speaks(head)
    }

    async fn answer(&self, head: Parts, body: Incoming) -> Response<Body> {
        match server::http::read(body).await {
            Ok(bytes) => self.aws.answer(head, bytes).await.map(server::http::full),
            Err(e) => server::http::error(&e),
        }
    }
}

struct Own {
    server: Server,
    hosts: Arc<dyn HostGateway>,
    environment: Arc<dyn Environment>,
    scratch: PathBuf,
}

#[async_trait]
impl Cloud for Own {
    fn verify(&self, message: &Message<'_>) -> Result<Signer, SignatureError> {
        self.server.verify(message, Aws::is_here)
    }

    fn client(&self, caller: &Principal) -> Client {
        self.server.client(caller.clone())
    }

    async fn console(
        &self,
        caller: &Principal,
        project: &str,
        name: &str,
        max: usize,
    ) -> Result<Vec<u8>, ApiError> {
        logs(&self.server, &*self.hosts, caller, project, name, max).await
    }

    async fn samples(&self, caller: &Principal, project: &str, name: &str) -> Result<Vec<Sample>, ApiError> {
        samples(&self.server, &*self.hosts, caller, project, name).await
    }

    async fn make_key(&self, key_type: KeyType) -> Result<NewKey, ApiError> {
        let name = self.environment.uid();
        let dir = self.scratch.join(format!("key-{name}"));
        let made = make_key(&dir, key_type).await;
        // Also when it failed half-way.
        let removed = std::fs::remove_dir_all(&dir);
        let key = made.map_err(|e| ApiError::internal(format!("no key could be made: {e}")))?;
        removed.map_err(|e| ApiError::internal(format!("a key could not be taken away: {e}")))?;
        Ok(key)
    }

    fn iam_user(&self, project: &str, name: &str) -> Option<Actor> {
        self.server.iam_user(project, name)
    }

    fn iam_role(&self, project: &str, name: &str, session: &str) -> Option<Actor> {
        self.server.iam_role(project, name, session)
    }

    fn iam_trusts(&self, project: &str, role: &str, principals: &[(&str, &str)], facts: &Facts) -> bool {
        self.server.iam_trusts(project, role, principals, facts)
    }

    fn open_session(
        &self,
        project: &str,
        who: SessionOf,
        seconds: i64,
        policies: Vec<String>,
    ) -> Result<Session, ApiError> {
        let given = self.server.open_session(project, who, seconds, policies)?;
        Ok(Session { id: given.id, secret: given.secret, token: given.token, expires: given.expires })
    }

    fn last_used(&self, key: &str) -> Option<(Timestamp, String, String)> {
        self.server.last_used(key).map(|used| (used.at, used.service, used.region))
    }

    fn seal(&self, purpose: &str, text: &str) -> Option<String> {
        self.environment.master_key()?.seal(purpose, text, &self.environment.random())
    }

    fn open(&self, purpose: &str, sealed: &str) -> Option<String> {
        Some(self.environment.master_key()?.open(purpose, sealed)?.expose().to_owned())
    }

    fn now(&self) -> Timestamp {
        self.environment.now()
    }

    fn random(&self) -> [u8; 32] {
        self.environment.random()
    }
}

async fn make_key(dir: &Path, key_type: KeyType) -> Result<NewKey, Box<dyn std::error::Error + Send + Sync>> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join("id");
    let form: &[&str] = match key_type {
        KeyType::Ed25519 => &["-t", "ed25519"],
        KeyType::Rsa => &["-t", "rsa", "-b", RSA_BITS, "-m", "PEM"],
    };
    let file = path.to_string_lossy();
    let args = ["-q", "-N", "", "-C", "", "-f", &*file].into_iter().chain(form.iter().copied());
    sys::command::run("ssh-keygen", args, KEY_WITHIN).await?;
    Ok(NewKey {
        private: std::fs::read_to_string(&path)?,
        public: std::fs::read_to_string(path.with_extension("pub"))?.trim().to_owned(),
    })
}
