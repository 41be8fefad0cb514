//! What hosts say of networks, over HTTPS: who may ask, and what the server passes on.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use client::https::{Credential, Https, empty};
use client::networks::PortCount;
use http::Method;
use http_body_util::BodyExt;
use identity::Principal;
use model::compute::{Image, Instance};
use model::network::{Vpc, VpcSpec};
use model::topology::{Host, HostSpec};
use model::{ApiError, ObjectMeta, Reason};
use parking_lot::Mutex;
use server::http::{Blobs, Duplex, Extensions, Face, HostGateway, Listener, StreamRequest, Upload};
use server::pki::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::cloud::{self, Cloud};
use crate::no_backups::NoBackups;

/// A host that notes what it is asked, says back what is sent to a port, and knows counters of two projects.
#[derive(Default)]
struct Recorded(Mutex<Vec<StreamRequest>>);

#[async_trait]
impl HostGateway for Recorded {
    async fn open(&self, host: &str, request: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        if host != "h1" {
            return Err(ApiError::not_found("host", host));
        }
        self.0.lock().push(request.clone());
        let count = |project: &str| PortCount {
            project: project.into(),
            port: "web-0".into(),
            sent_bytes: 7,
            ..PortCount::default()
        };
        let said = match request {
            StreamRequest::NetworkCounters => serde_json::to_vec(&[count("default"), count("other")]),
            StreamRequest::NetworkCheck { .. } => Ok(b"{\"host\":\"h1\"}".to_vec()),
            _ => {
                let (near, far) = tokio::io::duplex(1024);
                tokio::spawn(async move {
                    let (mut from, mut to) = tokio::io::split(far);
                    let mut all = Vec::new();
                    // Answers only when all is said: half of the stream is closed by then.
                    let _ = from.read_to_end(&mut all).await;
                    all.reverse();
                    let _ = to.write_all(&all).await;
                    let _ = to.shutdown().await;
                });
                return Ok(Box::pin(near));
            }
        };
        Ok(Box::pin(tokio::io::join(std::io::Cursor::new(said.expect("checked above")), tokio::io::sink())))
    }
}

#[async_trait]
impl Blobs for Recorded {
    async fn upload(&self, _: Image, _: model::compute::ArtifactRole, _: Upload) -> Result<(), ApiError> {
        Ok(())
    }

    async fn open(&self, sha256: &str) -> Result<(Pin<Box<dyn tokio::io::AsyncRead + Send>>, u64), ApiError> {
        Err(ApiError::not_found("file", sha256))
    }
}

struct Site {
    cloud: Cloud,
    hosts: Arc<Recorded>,
    authority: Arc<Authority>,
    endpoint: String,
    _serving: JoinSet<()>,
}

impl Site {
    async fn open() -> Self {
        let cloud = Cloud::with_network_plane().await;
        let authority = Arc::new(Authority::generate().expect("an authority"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(address, &authority).await.expect("listen");
        let endpoint = format!("https://{}", listener.address());
        let hosts = Arc::new(Recorded::default());
        let (gateway, blobs) = (Arc::clone(&hosts), Arc::clone(&hosts));
        let authority_of = Arc::clone(&authority);
        let extensions = Extensions {
            hosts: gateway,
            blobs,
            backups: Arc::new(NoBackups),
            authority: authority_of,
            foreign: Vec::new(),
        };
        let serving = JoinSet::from_iter([listener.serve(Face::new(cloud.server.clone(), extensions))]);
        let admin = cloud.admin();
        let spec =
            VpcSpec { ipv4_ranges: vec!["10.9.0.0/16".parse().expect("a range")], ..VpcSpec::default() };
        admin
            .project("default")
            .create(&Vpc::new(ObjectMeta::in_project("default", "v"), spec))
            .await
            .expect("a vpc");
        admin.all().create(&Host::new(ObjectMeta::named("h1"), HostSpec::default())).await.expect("a host");
        Self { cloud, hosts, authority, endpoint, _serving: serving }
    }

    /// Calls as this user, who shows a certificate.
    fn user(&self, name: &str, groups: &[&str]) -> Https {
        let identity = self.authority.client_identity(name, groups).expect("a certificate");
        let credential = Credential::Certificate { chain: identity.certificate, key: identity.key };
        Https::new(&self.endpoint, &self.authority.servers.certificate, &credential).expect("a client")
    }

    fn asked(&self) -> Vec<StreamRequest> {
        std::mem::take(&mut self.hosts.0.lock())
    }
}

async fn get(https: &Https, path: &str) -> Result<String, ApiError> {
    let response = https.send(http::Request::get(path).body(empty()).expect("a request")).await?;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

const CHECK: &str = "/apis/network.corten.dev/v1/namespaces/default/vpcs/v/check";

#[tokio::test]
async fn who_reads_a_vpc_may_ask_hosts_about_it_and_who_changes_it_may_repair() {
    let site = Site::open().await;
    let vpc = site.cloud.admin().project::<Vpc>("default").get("v").await.expect("the vpc").metadata.uid;
    site.cloud.grant("ann", &["get"], &["vpcs"], &["default"]).await;
    let (ann, bob) = (site.user("ann", &[]), site.user("bob", &[]));
    let admin = site.user("root", &[identity::ADMINS]);
    assert_eq!(get(&ann, &format!("{CHECK}?host=h1")).await.expect("an answer"), "{\"host\":\"h1\"}");
    assert_eq!(site.asked(), [StreamRequest::NetworkCheck { vpc: vpc.clone(), repair: false }]);
    for (who, path, reason) in [
        (&bob, format!("{CHECK}?host=h1"), Reason::Forbidden),
        (&ann, format!("{CHECK}?host=h1&repair=true"), Reason::Forbidden),
        (&ann, format!("{CHECK}?host=h2"), Reason::NotFound),
        (&ann, format!("{CHECK}?host=../x"), Reason::BadRequest),
        (&admin, CHECK.replace("/v/", "/gone/") + "?host=h1", Reason::NotFound),
    ] {
        assert_eq!(get(who, &path).await.unwrap_err().reason, reason, "{path}");
    }
    assert_eq!(site.asked(), []);
    get(&admin, &format!("{CHECK}?host=h1&repair=true")).await.expect("repaired");
    assert_eq!(site.asked(), [StreamRequest::NetworkCheck { vpc, repair: true }]);
}

#[tokio::test]
async fn counters_of_ports_are_for_those_who_may_read_the_ports() {
    let site = Site::open().await;
    site.cloud.grant("ann", &["list"], &["ports"], &["default"]).await;
    let of = |text: &str, project: &str| text.contains(&format!("_sent_bytes_total{{project=\"{project}\""));
    let all = get(&site.user("root", &[identity::ADMINS]), "/metrics").await.expect("metrics");
    assert!(of(&all, "default") && of(&all, "other"), "{all}");
    let own = get(&site.user("ann", &[]), "/metrics").await.expect("metrics");
    assert!(of(&own, "default") && !of(&own, "other"), "{own}");
    let none = get(&site.user("bob", &[]), "/metrics").await.expect("metrics");
    assert!(!of(&none, "default") && none.contains("corten_store_revision"), "{none}");
}

#[tokio::test]
async fn a_port_is_forwarded_both_ways_and_each_way_ends_by_itself() {
    let site = Site::open().await;
    let web = site.cloud.instances().create(&cloud::instance("web")).await.expect("an instance");
    let path = |port: &str| {
        format!("/apis/compute.corten.dev/v1/namespaces/default/instances/web/forward?port={port}")
    };
    let admin = site.user("root", &[identity::ADMINS]);
    let refused = admin.upgrade(Method::POST, &path("80")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ServiceUnavailable, "no host yet");
    let scheduler = site.cloud.client(Principal::component("scheduler")).project::<Instance>("default");
    scheduler.create_below("web", "binding", &serde_json::json!({ "host": "h1" })).await.expect("a host");
    for wrong in ["0", "", "70000", "x"] {
        let refused = admin.upgrade(Method::POST, &path(wrong)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::BadRequest, "{wrong:?}");
    }
    site.cloud.grant("ann", &["get", "list"], &["instances"], &["default"]).await;
    let ann = site.user("ann", &[]).upgrade(Method::POST, &path("80")).await;
    assert_eq!(ann.unwrap_err().reason, Reason::Forbidden, "reading is not enough");
    let mut stream = admin.upgrade(Method::POST, &path("80")).await.expect("a stream");
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"cba");
    assert_eq!(site.asked(), [StreamRequest::Forward { uid: web.metadata.uid, port: 80 }]);
}
