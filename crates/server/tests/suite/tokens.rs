//! Tokens over HTTPS: good from the answer to their creation until the answer to their deletion; join tokens once.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use client::https::{Credential, Https, full};
use client::{Client, DeleteOptions};
use identity::Token;
use model::compute::{Image, KeyPair};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::topology::Host;
use model::{ApiError, ObjectMeta, Reason, Timestamp};
use server::JOIN_USER;
use server::http::{Blobs, Duplex, Extensions, Face, HostGateway, Listener, StreamRequest, Upload};
use server::pki::Authority;
use tokio::task::JoinSet;

use crate::cloud::{Cloud, refused};
use crate::no_backups::NoBackups;

/// Nothing is streamed here.
struct NoStreams;

#[async_trait]
impl HostGateway for NoStreams {
    async fn open(&self, host: &str, _: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        Err(ApiError::not_found("host", host))
    }
}

#[async_trait]
impl Blobs for NoStreams {
    async fn upload(&self, image: Image, _: model::compute::ArtifactRole, _: Upload) -> Result<(), ApiError> {
        Err(ApiError::not_found("image", &image.metadata.name))
    }

    async fn open(&self, sha256: &str) -> Result<(Pin<Box<dyn tokio::io::AsyncRead + Send>>, u64), ApiError> {
        Err(ApiError::not_found("file", sha256))
    }
}

/// A cloud that listens on loopback; it stops with this value.
struct Site {
    cloud: Cloud,
    endpoint: String,
    ca: String,
    _serving: JoinSet<()>,
}

impl Site {
    async fn open() -> Self {
        let cloud = Cloud::start().await;
        let authority = Arc::new(Authority::generate().expect("an authority"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(address, &authority).await.expect("listen");
        let endpoint = format!("https://{}", listener.address());
        let ca = authority.servers.certificate.clone();
        let extensions = Extensions {
            hosts: Arc::new(NoStreams),
            blobs: Arc::new(NoStreams),
            backups: Arc::new(NoBackups),
            authority,
            foreign: Vec::new(),
        };
        let face = Face::new(cloud.server.clone(), extensions);
        let serving = JoinSet::from_iter([listener.serve(face)]);
        Self { cloud, endpoint, ca, _serving: serving }
    }

    fn https(&self, credential: &Credential) -> Https {
        Https::new(&self.endpoint, &self.ca, credential).expect("a client")
    }

    /// Who comes with this token reads key pairs, or is refused.
    async fn read(&self, token: &Token) -> Result<(), ApiError> {
        let https = self.https(&Credential::Token(token.expose().into()));
        let keys = Client::new(Arc::new(https)).project::<KeyPair>("default");
        keys.list(&client::ListParams::default()).await.map(drop)
    }

    async fn issue(&self, name: &str, token: &Token, edit: impl FnOnce(&mut AccessKeySpec)) {
        let mut spec = AccessKeySpec { token_sha256: token.digest().to_hex(), ..AccessKeySpec::default() };
        edit(&mut spec);
        let key = AccessKey::new(ObjectMeta::named(name), spec);
        self.cloud.admin().all().create(&key).await.expect("create the key");
    }

    async fn add_user(&self, name: &str) {
        let user = User::new(ObjectMeta::named(name), UserSpec::default());
        self.cloud.admin().all().create(&user).await.expect("create the user");
    }

    async fn join(&self, token: &Token, name: &str) -> Result<(), ApiError> {
        let wish = serde_json::json!({"token": token.expose(), "name": name, "address": "127.0.0.1"});
        let request = http::Request::post("/join").body(full(wish.to_string())).expect("a request");
        self.https(&Credential::None).send(request).await.map(drop)
    }
}

#[tokio::test]
async fn a_token_works_at_once_and_no_longer_than_its_key() {
    let site = Site::open().await;
    site.add_user("ann").await;
    site.cloud.grant("ann", &["list"], &["keypairs"], &["default"]).await;
    let (token, other) = (Token::generate(&[1; 32]), Token::generate(&[2; 32]));
    refused(site.read(&token).await, Reason::Unauthorized);
    site.issue("laptop", &token, |spec| spec.user = "ann".into()).await;
    site.read(&token).await.expect("it works at once");
    refused(site.read(&other).await, Reason::Unauthorized);
    site.cloud.admin().all::<AccessKey>().delete("laptop", &DeleteOptions::default()).await.expect("delete");
    refused(site.read(&token).await, Reason::Unauthorized);
}

#[tokio::test]
async fn expired_keys_and_disabled_users_are_refused() {
    let site = Site::open().await;
    site.add_user("ann").await;
    site.cloud.grant("ann", &["list"], &["keypairs"], &["default"]).await;
    let (old, good) = (Token::generate(&[1; 32]), Token::generate(&[2; 32]));
    site.issue("old", &old, |spec| {
        spec.user = "ann".into();
        spec.expires = Some(Timestamp(1_899_999_999_999));
    })
    .await;
    refused(site.read(&old).await, Reason::Unauthorized);
    site.issue("good", &good, |spec| spec.user = "ann".into()).await;
    site.read(&good).await.expect("it works");
    let users = site.cloud.admin().all::<User>();
    users.merge("ann", &serde_json::json!({"spec": {"disabled": true}})).await.expect("disable");
    refused(site.read(&good).await, Reason::Unauthorized);
}

#[tokio::test]
async fn without_credentials_nothing_is_answered() {
    let site = Site::open().await;
    let keys = Client::new(Arc::new(site.https(&Credential::None))).project::<KeyPair>("default");
    refused(keys.list(&client::ListParams::default()).await, Reason::Unauthorized);
}

#[tokio::test]
async fn a_join_token_is_used_once_and_for_nothing_else() {
    let site = Site::open().await;
    site.add_user(JOIN_USER).await;
    let (token, second) = (Token::generate(&[1; 32]), Token::generate(&[2; 32]));
    site.issue("one", &token, |spec| spec.user = JOIN_USER.into()).await;
    refused(site.read(&token).await, Reason::Forbidden);
    let (left, right) = tokio::join!(site.join(&token, "h1"), site.join(&token, "h2"));
    assert_eq!([&left, &right].iter().filter(|joined| joined.is_ok()).count(), 1, "{left:?} {right:?}");
    refused(site.join(&token, "h3").await, Reason::Unauthorized);
    let hosts = site.cloud.admin().all::<Host>().list(&client::ListParams::default()).await.expect("list");
    assert_eq!(hosts.items.len(), 1, "one token, one host");

    site.add_user("ann").await;
    site.issue("hers", &second, |spec| spec.user = "ann".into()).await;
    refused(site.join(&second, "h4").await, Reason::Forbidden);
}
