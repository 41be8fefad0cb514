//! Vpc endpoints: what is refused, the ports that come with them, and whose connections come in by them.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use client::https::{Credential, Https};
use client::{DeleteOptions, ListParams};
use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming;
use identity::Principal;
use identity::iam::Through;
use model::compute::{Image, Instance, InstanceSpec};
use model::network::{
    Passage, Port, PortSpec, RouteTableSpec, SecurityGroupSpec, Subnet, SubnetSpec, VpcEndpoint,
    VpcEndpointSpec, VpcSpec,
};
use model::{ApiError, Reason};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use server::http::{
    Blobs, Body, Duplex, Extensions, Face, Foreign, HostGateway, Listener, StreamRequest, Upload,
};
use server::pki::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::cloud::{Cloud, host, refused};
use crate::instance_networks::{with_image, with_networks};
use crate::networks::{self, api, make, says};
use crate::no_backups::NoBackups;

async fn create(cloud: &Cloud, name: &str, spec: Value) -> Result<VpcEndpoint, ApiError> {
    make::<VpcEndpointSpec>(cloud, name, spec).await
}

/// The Vpc `main` with its subnet `web`, two route tables and a group; and another Vpc with one of each.
async fn cloud() -> Cloud {
    let cloud = networks::cloud().await;
    make::<RouteTableSpec>(&cloud, "private", json!({"vpc": "main", "routes": []})).await.expect("a table");
    make::<RouteTableSpec>(&cloud, "more", json!({"vpc": "main", "routes": []})).await.expect("a table");
    make::<SubnetSpec>(&cloud, "db", json!({"vpc": "main", "cidr": "10.0.2.0/28"})).await.expect("a subnet");
    let group = json!({"vpc": "main", "rules": [], "isDefault": true});
    make::<SecurityGroupSpec>(&cloud, "default", group).await.expect("a group");
    make::<SecurityGroupSpec>(&cloud, "other", json!({"vpc": "main", "rules": []})).await.expect("a group");
    make::<VpcSpec>(&cloud, "far", json!({"ipv4Ranges": ["10.9.0.0/16"]})).await.expect("a vpc");
    make::<SubnetSpec>(&cloud, "far", json!({"vpc": "far", "cidr": "10.9.1.0/28"})).await.expect("a subnet");
    make::<RouteTableSpec>(&cloud, "far", json!({"vpc": "far", "routes": []})).await.expect("a table");
    make::<SecurityGroupSpec>(&cloud, "far", json!({"vpc": "far", "rules": []})).await.expect("a group");
    cloud
}

fn interface(subnets: &[&str]) -> Value {
    json!({"vpc": "main", "service": "ec2", "type": "interface", "subnets": subnets})
}

async fn ports(cloud: &Cloud) -> Vec<Port> {
    api::<PortSpec>(cloud).list(&ListParams::default()).await.expect("list").items
}

#[tokio::test]
async fn what_an_endpoint_names_is_of_its_vpc() {
    let cloud = cloud().await;
    let gateway = |tables: &[&str]| json!({"vpc": "main", "service": "s3", "routeTables": tables});
    let with = |mut spec: Value, field: &str, value: Value| {
        spec[field] = value;
        spec
    };
    for (spec, field, words) in [
        (gateway(&["none"]), "spec.routeTables[0]", "there is no routetable"),
        (gateway(&["far"]), "spec.routeTables[0]", "is of vpc \"far\", not of \"main\""),
        (interface(&["far"]), "spec.subnets[0]", "is of vpc \"far\", not of \"main\""),
        (interface(&["none"]), "spec.subnets[0]", "there is no subnet"),
        (with(interface(&["web"]), "securityGroups", json!(["far"])), "spec.securityGroups[0]", "is of vpc"),
        (with(gateway(&[]), "policy", json!("{}")), "spec.policy", "Statement is missing"),
        (with(gateway(&[]), "service", json!("ec2")), "spec.type", "use interface"),
        (with(gateway(&[]), "vpc", json!("none")), "spec.vpc", "there is no vpc"),
    ] {
        says(create(&cloud, "e", spec).await, field, words);
    }
    assert!(ports(&cloud).await.is_empty(), "what was refused has left nothing");
    create(&cloud, "one", gateway(&["private"])).await.expect("a gateway");
    let twice = create(&cloud, "two", gateway(&["private", "more"])).await;
    says(
        twice,
        "spec.routeTables[0]",
        "the route to s3 of route table \"private\" is held by vpcendpoint \"one\"",
    );
    create(&cloud, "two", gateway(&["more"])).await.expect("another table's");
    let named = with(interface(&["web"]), "privateDns", json!(true));
    create(&cloud, "three", named.clone()).await.expect("an interface");
    says(create(&cloud, "four", named).await, "spec.privateDns", "the names of ec2 in vpc \"main\"");
    let error = refused(
        api::<RouteTableSpec>(&cloud).delete("private", &DeleteOptions::default()).await,
        Reason::Conflict,
    );
    assert!(error.message.contains("vpcendpoint \"one\""), "{error}");
}

#[tokio::test]
async fn ports_come_with_the_subnets_that_are_named() {
    let cloud = cloud().await;
    let made = create(&cloud, "e", interface(&["web"])).await.expect("an endpoint");
    assert_eq!(made.spec.security_groups, ["default"], "the Vpc's default group");
    let all = ports(&cloud).await;
    let [port] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((port.spec.vpc_endpoint.as_str(), port.spec.subnet.as_str()), ("e", "web"));
    assert_eq!((&port.metadata.name, port.spec.addresses.len()), (&made.port_name("web"), 1));
    assert_eq!(port.metadata.owner_references[0].uid, made.metadata.uid);

    let mut more = made.clone();
    more.spec.subnets.push("db".into());
    let more = api::<VpcEndpointSpec>(&cloud).update(&more).await.expect("one subnet more");
    assert_eq!(ports(&cloud).await.len(), 2);
    let delete = |name: String| {
        let api = api::<PortSpec>(&cloud);
        async move { api.delete(&name, &DeleteOptions::default()).await }
    };
    refused(delete(made.port_name("db")).await, Reason::Conflict);
    let mut less = more.clone();
    less.spec.subnets = vec!["db".into()];
    api::<VpcEndpointSpec>(&cloud).update(&less).await.expect("one less");
    delete(made.port_name("web")).await.expect("as the controller does");

    let mine = json!({"subnet": "web", "vpcEndpoint": "e"});
    says(make::<PortSpec>(&cloud, "mine", mine).await, "spec.vpcEndpoint", "is set by the server");
    let taken = json!({
        "isolation": "namespace", "networks": [{"port": made.port_name("db")}],
        "payload": {"containers": {"containers": [{"name": "c", "image": "i"}]}},
    });
    let result = make::<InstanceSpec>(&cloud, "i", taken).await;
    says(result, "spec.networks[0].port", "is of vpc endpoint \"e\"");
    refused(api::<SubnetSpec>(&cloud).delete("db", &DeleteOptions::default()).await, Reason::Conflict);
    api::<VpcEndpointSpec>(&cloud).delete("e", &DeleteOptions::default()).await.expect("delete");
    delete(made.port_name("db")).await.expect("as the collector does");
    let keys = cloud.store_keys(&["/claims/", "/uses/"]).await;
    assert!(!keys.iter().any(|key| key.contains("vpce") || key.contains("vpcendpoints")), "{keys:?}");
}

#[tokio::test]
async fn a_full_subnet_and_a_changed_form_are_refused_by_name() {
    let cloud = cloud().await;
    for i in 0..11 {
        make::<PortSpec>(&cloud, &format!("p{i}"), json!({"subnet": "db"})).await.expect("a port");
    }
    says(create(&cloud, "e", interface(&["web", "db"])).await, "spec.subnets[1]", "are in use");
    let made = create(&cloud, "e", interface(&["web"])).await.expect("an endpoint");
    let changed = |change: &dyn Fn(&mut VpcEndpointSpec)| {
        let mut changed = made.clone();
        change(&mut changed.spec);
        let api = api::<VpcEndpointSpec>(&cloud);
        async move { api.update(&changed).await }
    };
    says(changed(&|spec| spec.vpc = "far".into()).await, "spec.vpc", "make a new vpc endpoint");
    let service = changed(&|spec| spec.service = model::network::EndpointService::Sts).await;
    says(service, "spec.service", "make a new vpc endpoint");
}

/// A protocol that says which way its requests came.
struct Telling;

#[async_trait]
impl Foreign for Telling {
    fn speaks(&self, head: &Parts) -> bool {
        head.uri.path() == "/tell"
    }

    async fn answer(&self, head: Parts, _: Incoming) -> Response<Body> {
        let told = head.extensions.get::<Arc<Through>>().map_or_else(
            || "directly".to_owned(),
            |t| format!("{} {} {} {} {}", t.endpoint, t.vpc, t.from, t.service, t.policy.is_some()),
        );
        Response::new(server::http::full(told))
    }
}

struct Nothing;

#[async_trait]
impl HostGateway for Nothing {
    async fn open(&self, host: &str, _: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        Err(ApiError::not_found("host", host))
    }
}

#[async_trait]
impl Blobs for Nothing {
    async fn upload(&self, _: Image, _: model::compute::ArtifactRole, _: Upload) -> Result<(), ApiError> {
        Ok(())
    }

    async fn open(&self, sha256: &str) -> Result<(Pin<Box<dyn AsyncRead + Send>>, u64), ApiError> {
        Err(ApiError::not_found("file", sha256))
    }
}

/// A cloud with an instance `i` on host `h1`, whose port is in the subnet `web`, which follows the table `private`.
struct Site {
    cloud: Cloud,
    face: Face,
    authority: Arc<Authority>,
    address: SocketAddr,
    port: Port,
    _serving: JoinSet<()>,
}

impl Site {
    async fn open() -> Self {
        let cloud = cloud().await;
        let mut subnet: Subnet = api::<SubnetSpec>(&cloud).get("web").await.expect("the subnet");
        subnet.spec.route_table = "private".into();
        api::<SubnetSpec>(&cloud).update(&subnet).await.expect("its table");
        with_image(&cloud).await;
        let instance = with_networks("i", json!([{"subnet": "web"}]));
        cloud.instances().create(&instance).await.expect("an instance");
        let scheduler = cloud.client(Principal::component("scheduler")).project::<Instance>("default");
        scheduler.create_below("i", "binding", &json!({"host": "h1"})).await.expect("bind");
        let port = api::<PortSpec>(&cloud).get("i-0").await.expect("its port");
        let authority = Arc::new(Authority::generate().expect("an authority"));
        let listener =
            Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &authority).await.expect("listen");
        let address = listener.address();
        let extensions = Extensions {
            hosts: Arc::new(Nothing),
            blobs: Arc::new(Nothing),
            backups: Arc::new(NoBackups),
            authority: Arc::clone(&authority),
            foreign: vec![Arc::new(Telling)],
        };
        let face = Face::new(cloud.server.clone(), extensions);
        let serving = JoinSet::from_iter([listener.serve(face.clone())]);
        Self { cloud, face, authority, address, port, _serving: serving }
    }

    fn passage(&self, endpoint: &VpcEndpoint) -> Passage {
        Passage {
            project: "default".into(),
            endpoint: endpoint.metadata.name.clone(),
            uid: endpoint.metadata.uid.clone(),
            port: self.port.metadata.name.clone(),
            from: self.port.spec.addresses[0].0,
        }
    }

    fn of_host(&self, name: &str) -> Https {
        let user = format!("host:{name}");
        let identity = self.authority.client_identity(&user, &[identity::HOSTS]).expect("a certificate");
        let credential = Credential::Certificate { chain: identity.certificate, key: identity.key };
        let endpoint = format!("https://{}", self.address);
        Https::new(&endpoint, &self.authority.servers.certificate, &credential).expect("a client")
    }

    /// As a guest does that trusts the cloud's authority and looks for this name.
    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        name: &str,
        path: &str,
    ) -> Result<String, std::io::Error> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.authority.servers.certificate.as_bytes()).expect("a CA");
        roots.add(ca).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // The server may end the connection without a last word of TLS.
        let _ = tls.read_to_end(&mut answer).await;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[tokio::test]
async fn only_the_host_of_a_port_carries_for_it_and_only_where_a_way_leads() {
    let site = Site::open().await;
    let gateway = |tables: &[&str]| json!({"vpc": "main", "service": "s3", "routeTables": tables});
    let led = create(&site.cloud, "led", gateway(&["private"])).await.expect("a gateway");
    let unled = create(&site.cloud, "unled", gateway(&["more"])).await.expect("a gateway");
    let inside = create(&site.cloud, "inside", interface(&["db"])).await.expect("an interface");
    let far = json!({"vpc": "far", "service": "ec2", "type": "interface", "subnets": ["far"]});
    let far = create(&site.cloud, "far", far).await.expect("an interface");
    let admit = |caller: Principal, passage: Passage| {
        let face = site.face.clone();
        async move { face.admit(&caller, passage).await.map(drop) }
    };
    admit(host("h1"), site.passage(&led)).await.expect("its own port, and a route");
    admit(host("h1"), site.passage(&inside)).await.expect("an interface of the Vpc");
    refused(admit(host("h2"), site.passage(&led)).await, Reason::Forbidden);
    refused(admit(crate::cloud::admin(), site.passage(&led)).await, Reason::Forbidden);
    refused(admit(host("h1"), site.passage(&unled)).await, Reason::Forbidden);
    refused(admit(host("h1"), site.passage(&far)).await, Reason::Forbidden);
    let elsewhere = Passage { from: IpAddr::from([10, 0, 1, 99]), ..site.passage(&led) };
    refused(admit(host("h1"), elsewhere).await, Reason::Forbidden);
    let another = Passage { uid: unled.metadata.uid.clone(), ..site.passage(&led) };
    refused(admit(host("h1"), another).await, Reason::NotFound);
    let nobody = Passage { port: "none".into(), ..site.passage(&led) };
    refused(admit(host("h1"), nobody).await, Reason::Forbidden);
}

#[tokio::test]
async fn a_guest_talks_with_the_server_itself_and_reaches_signed_protocols_alone() {
    let site = Site::open().await;
    let spec = json!({"vpc": "main", "service": "s3", "routeTables": ["private"]});
    let made = create(&site.cloud, "led", spec).await.expect("a gateway");
    let open = || async {
        let admitted = site.face.admit(&host("h1"), site.passage(&made)).await.expect("admitted");
        let (near, far) = tokio::io::duplex(1 << 14);
        tokio::spawn(admitted.serve(far));
        near
    };
    let from = site.port.spec.addresses[0];
    let vpc = api::<VpcSpec>(&site.cloud).get("main").await.expect("the vpc").metadata;
    let vpc = model::short_id("vpc", &vpc);
    let expected = |policed: bool| format!("{} {vpc} {from} s3 {policed}", made.id());
    for name in ["s3.my-corten-1.amazonaws.com", "bucket.s3.my-corten-1.amazonaws.com", "169.254.171.3"] {
        let said = site.ask(open().await, name, "/tell").await.expect(name);
        assert!(said.ends_with(&expected(false)), "{name}: {said:?}");
    }
    assert!(site.ask(open().await, "ec2.my-corten-1.amazonaws.com", "/tell").await.is_err(), "not its name");
    let said = site.ask(open().await, "s3.my-corten-1.amazonaws.com", "/version").await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 403"), "the cloud's own API is not there: {said:?}");

    // Over the road that hosts elsewhere take.
    let passage = site.passage(&made);
    let path = format!(
        "/apis/network.corten.dev/v1/namespaces/default/vpcendpoints/led/connect?uid={}&port={}&from={}",
        passage.uid, passage.port, passage.from
    );
    let stream = site.of_host("h1").upgrade(Method::POST, &path).await.expect("a stream");
    let said = site.ask(stream, "s3.my-corten-1.amazonaws.com", "/tell").await.expect("an answer");
    assert!(said.ends_with(&expected(false)), "{said:?}");
    refused(site.of_host("h2").upgrade(Method::POST, &path).await.map(drop), Reason::Forbidden);

    // A policy counts from the next request on, and so does the end of the endpoint.
    let mut changed = made.clone();
    changed.spec.policy =
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#.into();
    api::<VpcEndpointSpec>(&site.cloud).update(&changed).await.expect("a policy");
    let (first, second) = (open().await, open().await);
    let said = site.ask(first, "s3.my-corten-1.amazonaws.com", "/tell").await.expect("an answer");
    assert!(said.ends_with(&expected(true)), "{said:?}");
    api::<VpcEndpointSpec>(&site.cloud).delete("led", &DeleteOptions::default()).await.expect("delete");
    let said = site.ask(second, "s3.my-corten-1.amazonaws.com", "/tell").await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("is gone"), "{said:?}");
}
