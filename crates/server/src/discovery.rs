//! Discovery: which groups, versions and kinds there are, in the two forms Kubernetes clients ask for: one answer
//! per group, or all in one ("aggregated", Kubernetes 1.26 and later). Made once from the model's table of kinds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use model::{KindEntry, KindInfo};
use serde_json::{Value, json};

use crate::openapi;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// An answer that never changes while the server runs.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// SHA-256 of the body, in hexadecimal.
    pub(crate) etag: String,
}

impl Document {
    pub(crate) fn json(body: &Value) -> Self {
        Self::of(body, "application/json")
    }

    fn of(body: &Value, content_type: &'static str) -> Self {
        Self::of_bytes(body.to_string().into_bytes(), content_type)
    }

    pub(crate) fn of_bytes(body: Vec<u8>, content_type: &'static str) -> Self {
        let body = Bytes::from(body);
        let digest = ring::digest::digest(&ring::digest::SHA256, &body);
        let mut etag = String::with_capacity(64);
        for byte in digest.as_ref() {
            // Writing into a String cannot fail.
            let _ = write!(etag, "{byte:02X}");
        }
        Self { content_type, body, etag }
    }
}

/// What `path` answers; None when it is no discovery document.
pub(crate) fn answer(path: &str, accept: &str) -> Option<&'static Document> {
    static DOCUMENTS: LazyLock<BTreeMap<(Form, String), Document>> = LazyLock::new(documents);
    let path = path.trim_end_matches('/');
    let form = if matches!(path, "/api" | "/apis") { Form::wanted(accept) } else { Form::PerGroup };
    DOCUMENTS.get(&(form, path.to_owned()))
}

/// How discovery is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    PerGroup,
    /// Aggregated, Kubernetes 1.30 and later.
    V2,
    /// Aggregated, Kubernetes 1.26 to 1.29; the same content.
    V2Beta1,
}

impl Form {
    /// The first of the client's media types that we have.
    fn wanted(accept: &str) -> Self {
        let each = accept.split(',').filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_json = matches!(parts.next(), Some("application/json" | "application/*" | "*/*"));
            let parameters: Vec<&str> = parts.filter(|part| !part.starts_with("q=")).collect();
            let aggregated = parameters.contains(&"g=apidiscovery.k8s.io")
                && parameters.contains(&"as=APIGroupDiscoveryList");
            match (is_json, aggregated) {
                (true, true) if parameters.contains(&"v=v2") => Some(Self::V2),
                (true, true) if parameters.contains(&"v=v2beta1") => Some(Self::V2Beta1),
                (true, false) if parameters.is_empty() => Some(Self::PerGroup),
                _ => None,
            }
        });
        each.into_iter().next().unwrap_or(Self::PerGroup)
    }
}

fn documents() -> BTreeMap<(Form, String), Document> {
    let mut answers = BTreeMap::new();
    let mut add = |path: &str, body: &Value| {
        answers.insert((Form::PerGroup, path.to_owned()), Document::json(body));
    };
    add("/api", &json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }));
    let mut groups: Vec<Value> = Vec::new();
    for (group, version) in openapi::group_versions() {
        if group.is_empty() {
            add(&format!("/api/{version}"), &resources(group, version));
        } else {
            add(&format!("/apis/{group}"), &with_type(&self::group(group, version), "APIGroup"));
            add(&format!("/apis/{group}/{version}"), &resources(group, version));
            groups.push(self::group(group, version));
        }
    }
    add("/apis", &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }));
    for (form, api_version, content_type) in [
        (Form::V2, "v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        (
            Form::V2Beta1,
            "v2beta1",
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        ),
    ] {
        for (path, core) in [("/api", true), ("/apis", false)] {
            let body = aggregated(core, api_version);
            answers.insert((form, path.to_owned()), Document::of(&body, content_type));
        }
    }
    answers
}

fn kinds_of(group: &str, version: &str) -> impl Iterator<Item = &'static KindEntry> {
    model::kinds().iter().filter(move |kind| kind.info.group == group && kind.info.version == version)
}

fn group(group: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn with_type(body: &Value, kind: &str) -> Value {
    let mut body = body.clone();
    body["kind"] = json!(kind);
    body["apiVersion"] = json!("v1");
    body
}

fn resources(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    let mut group_version = version.to_owned();
    for kind in kinds_of(group, version) {
        let info = &kind.info;
        group_version = info.api_version();
        resources.push(json!({
            "name": info.plural,
            "singularName": info.singular,
            "namespaced": info.is_project_scoped(),
            "kind": info.kind,
            "verbs": VERBS,
            "shortNames": info.short_names,
            "categories": categories(info),
        }));
        if openapi::has_status(kind) {
            resources.push(json!({
                "name": format!("{}/status", info.plural),
                "singularName": "",
                "namespaced": info.is_project_scoped(),
                "kind": info.kind,
                "verbs": STATUS_VERBS,
            }));
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn aggregated(core: bool, version: &str) -> Value {
    let groups = openapi::group_versions().into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(group, version)| {
            let resources: Vec<Value> = kinds_of(group, version).map(aggregated_resource).collect();
            json!({
                "metadata": { "name": group },
                "versions": [{ "version": version, "resources": resources, "freshness": "Current" }],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(kind: &KindEntry) -> Value {
    let info = &kind.info;
    let response = json!({ "group": info.group, "version": info.version, "kind": info.kind });
    let mut resource = json!({
        "resource": info.plural,
        "responseKind": response,
        "scope": if info.is_project_scoped() { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": VERBS,
        "shortNames": info.short_names,
        "categories": categories(info),
    });
    if openapi::has_status(kind) {
        resource["subresources"] =
            json!([{ "subresource": "status", "responseKind": response, "verbs": STATUS_VERBS }]);
    }
    resource
}

/// `kubectl get all` shows what runs in a project, not its events and limits; `kubectl get corten` every kind.
fn categories(info: &KindInfo) -> Vec<&'static str> {
    match (info.group, info.is_project_scoped()) {
        ("", _) => vec![],
        ("compute.corten.dev", true) => vec!["all", "corten"],
        _ => vec!["corten"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL_1_32: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
        application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    const KUBECTL_1_27: &str =
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

    fn fetch(path: &str, accept: &str) -> (Value, &'static str) {
        let document = answer(path, accept).unwrap_or_else(|| panic!("nothing at {path}"));
        (serde_json::from_slice(&document.body).expect("JSON"), document.content_type)
    }

    #[test]
    fn every_kind_is_found_group_by_group() {
        let (groups, _) = fetch("/apis", "application/json");
        for kind in model::kinds() {
            let info = &kind.info;
            let path = if info.group.is_empty() {
                format!("/api/{}", info.version)
            } else {
                let named = |group: &&Value| group["name"] == info.group;
                let listed = groups["groups"].as_array().and_then(|groups| groups.iter().find(named));
                assert_eq!(listed.expect("listed")["preferredVersion"]["groupVersion"], info.api_version());
                assert_eq!(fetch(&format!("/apis/{}", info.group), "").0["kind"], "APIGroup");
                format!("/apis/{}/{}", info.group, info.version)
            };
            let (list, _) = fetch(&path, "");
            assert_eq!(list["groupVersion"], info.api_version());
            let resource =
                list["resources"].as_array().and_then(|r| r.iter().find(|r| r["name"] == info.plural));
            let resource = resource.unwrap_or_else(|| panic!("{} is missing", info.plural));
            assert_eq!(resource["kind"], info.kind);
            assert_eq!(resource["namespaced"], info.is_project_scoped());
            assert_eq!(resource["shortNames"], json!(info.short_names));
        }
    }

    #[test]
    fn the_aggregated_form_holds_the_same_kinds() {
        for (accept, version) in [(KUBECTL_1_32, "v2"), (KUBECTL_1_27, "v2beta1")] {
            let mut found = Vec::new();
            for path in ["/api", "/apis"] {
                let (list, content_type) = fetch(path, accept);
                assert_eq!(
                    content_type,
                    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
                );
                assert_eq!(list["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
                for item in list["items"].as_array().expect("items") {
                    for resource in item["versions"][0]["resources"].as_array().expect("resources") {
                        assert_eq!(resource["responseKind"]["group"], item["metadata"]["name"]);
                        found.push(resource["resource"].as_str().expect("a name").to_owned());
                    }
                }
            }
            let all: Vec<String> = model::kinds().iter().map(|kind| kind.info.plural.to_owned()).collect();
            assert_eq!(found, all);
        }
    }

    #[test]
    fn status_is_a_subresource_of_kinds_that_have_one() {
        let names = |path: &str| -> Vec<String> {
            let (list, _) = fetch(path, "");
            let resources = list["resources"].as_array().expect("resources").clone();
            resources.iter().map(|r| r["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert!(names("/apis/compute.corten.dev/v1").contains(&"instances/status".to_owned()));
        assert!(!names("/apis/identity.corten.dev/v1").contains(&"roles/status".to_owned()));
        assert!(!names("/api/v1").contains(&"events/status".to_owned()));
    }

    #[test]
    fn unknown_forms_and_paths() {
        for accept in [
            "",
            "*/*",
            "application/vnd.kubernetes.protobuf,application/json",
            "text/plain",
            "application/json;q=0.9",
        ] {
            assert_eq!(fetch("/apis", accept).0["kind"], "APIGroupList", "{accept}");
        }
        assert_eq!(fetch("/api/", "").0["kind"], "APIVersions");
        for path in ["/apis/none.corten.dev", "/apis/compute.corten.dev/v2", "/api/v2", "/"] {
            assert!(answer(path, "").is_none(), "{path}");
        }
    }
}
