//! A server over a store in memory, and what the tests make and ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::{Api, Client, Reply, Request, Verb};
use identity::{Authentication, MasterKey, Principal};
use model::compute::{CommandPayload, Instance, InstanceSpec, Isolation, KeyPair, KeyPairSpec, Payload};
use model::identity::{Effect, Role, RoleBinding, RoleBindingSpec, RoleSpec, Rule, Subject, SubjectKind};
use model::storage::{Pool, Volume};
use model::{ApiError, Bytes, CpuMillis, Object, ObjectMeta, Reason, Resource, Resources, Timestamp};
use serde_json::{Value, json};
use server::audit::Audit;
use server::{Environment, NetworkPlane, Server};
use store::{ListOptions, MemoryStore, Store};

use crate::interleaved::Interleaved;

/// What secrets are sealed with here.
pub(crate) const MASTER: [u8; 32] = [9; 32];

/// Time stands still; random bytes only count.
#[derive(Debug, Default)]
struct Still {
    drawn: AtomicU64,
    network_plane: Option<NetworkPlane>,
}

impl Environment for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_900_000_000_000)
    }

    fn network_plane(&self) -> Option<NetworkPlane> {
        self.network_plane
    }

    fn master_key(&self) -> Option<MasterKey> {
        Some(MasterKey::new(MASTER))
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes
    }
}

pub(crate) struct Cloud {
    pub(crate) server: Server,
    pub(crate) store: Arc<MemoryStore>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new()), Still::default()).await
    }

    /// One whose hosts can make networks.
    pub(crate) async fn with_network_plane() -> Self {
        let plane = NetworkPlane { default_range: "10.0.0.0/16".parse().expect("a network") };
        let still = Still { network_plane: Some(plane), ..Still::default() };
        Self::over(Arc::new(MemoryStore::new()), still).await
    }

    /// The same cloud after the end of its process.
    pub(crate) async fn restarted(self) -> Self {
        let still = Still { drawn: AtomicU64::new(1 << 32), ..Still::default() };
        Self::over(self.store, still).await
    }

    async fn over(store: Arc<MemoryStore>, still: Still) -> Self {
        let server = Server::start(Arc::new(Interleaved::over(store.clone())), Arc::new(still), Audit::off())
            .await
            .expect("start");
        server::bootstrap(&server.client(Principal::component("setup"))).await.expect("bootstrap");
        Self { server, store }
    }

    pub(crate) fn client(&self, caller: Principal) -> Client {
        self.server.client(caller)
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(admin())
    }

    pub(crate) fn instances(&self) -> Api<Instance> {
        self.admin().project("default")
    }

    pub(crate) fn key_pairs(&self) -> Api<KeyPair> {
        self.admin().project("default")
    }

    /// What lies in the store under these prefixes.
    pub(crate) async fn store_keys(&self, prefixes: &[&str]) -> Vec<String> {
        let mut keys = Vec::new();
        for prefix in prefixes {
            let page = self.store.list(prefix, ListOptions::default()).await.expect("list");
            keys.extend(page.entries.iter().map(|entry| entry.key.to_string()));
        }
        keys
    }

    /// What lies in the store under a prefix, as text.
    pub(crate) async fn store_values(&self, prefix: &str) -> Vec<String> {
        let page = self.store.list(prefix, ListOptions::default()).await.expect("list");
        page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
    }

    /// Sends a request as it is; for what the typed client cannot say.
    pub(crate) async fn call(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        self.server.call(caller, request).await
    }

    /// Gives a user a role made of these verbs on these resources, in these projects.
    pub(crate) async fn grant(&self, user: &str, verbs: &[&str], resources: &[&str], projects: &[&str]) {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = Rule {
            effect: Effect::Allow,
            verbs: words(verbs),
            resources: words(resources),
            ..Rule::default()
        };
        let name = format!("for-{user}");
        let role = Role::new(ObjectMeta::named(&name), RoleSpec { rules: vec![rule] });
        self.admin().all().create(&role).await.expect("create the role");
        let spec = RoleBindingSpec {
            role: name.clone(),
            subjects: vec![Subject { kind: SubjectKind::User, name: user.into() }],
            projects: words(projects),
        };
        self.admin()
            .all()
            .create(&RoleBinding::new(ObjectMeta::named(&name), spec))
            .await
            .expect("bind the role");
    }
}

pub(crate) fn admin() -> Principal {
    principal("root", identity::ADMINS)
}

pub(crate) fn host(name: &str) -> Principal {
    principal(&format!("host:{name}"), identity::HOSTS)
}

/// Somebody who is known, and no more.
pub(crate) fn user(name: &str) -> Principal {
    principal(name, "people")
}

fn principal(user: &str, group: &str) -> Principal {
    let how = Authentication::Certificate { serial: "1".into() };
    Principal { user: user.into(), groups: vec![group.into()], how }
}

/// An instance that needs no image, of one core and 256 MiB.
pub(crate) fn instance(name: &str) -> Instance {
    let spec = InstanceSpec {
        isolation: Isolation::Process,
        payload: Payload::Command(CommandPayload { argv: vec!["serve".into()], env: Vec::new() }),
        resources: Resources { cpu: CpuMillis::cores(1), memory: Bytes::mib(256), disk: Bytes(0) },
        ..InstanceSpec::default()
    };
    Object::new(ObjectMeta::in_project("default", name), spec)
}

pub(crate) fn key_pair(name: &str) -> KeyPair {
    let spec = KeyPairSpec {
        public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGSTLFSAhYhqIXoPbtwW2hDKbNJNpqVYpAGqBLdqoIhW me"
            .into(),
    };
    Object::new(ObjectMeta::in_project("default", name), spec)
}

pub(crate) async fn pool(cloud: &Cloud, name: &str, spec: Value) {
    let pool: Pool =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a pool");
    cloud.admin().all().create(&pool).await.expect("create");
}

pub(crate) async fn volume(cloud: &Cloud, name: &str, spec: Value) -> Result<Volume, ApiError> {
    let volume = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    let volume: Volume = serde_json::from_value(volume).expect("a volume");
    cloud.admin().project("default").create(&volume).await
}

pub(crate) fn request<R: Resource>(verb: Verb, name: &str) -> Request {
    let kind = model::kind_by_resource(R::KIND.group, R::KIND.plural).expect("a registered kind");
    Request::new(verb, kind, R::KIND.is_project_scoped().then_some("default"), name)
}

pub(crate) fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).expect("JSON")
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, reason: Reason) -> ApiError {
    let error = result.expect_err("should have been refused");
    assert_eq!(error.reason, reason, "{error}");
    error
}
