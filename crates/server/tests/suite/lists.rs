//! Lists: selection, and pages of one state.

use std::collections::BTreeMap;

use client::{DeleteOptions, ListParams, Verb};
use model::Reason;
use model::compute::KeyPair;
use serde_json::Value;

use crate::cloud::{Cloud, admin, json, key_pair, refused, request};

async fn page(cloud: &Cloud, limit: usize, continue_token: &str) -> (Vec<String>, String, String) {
    let mut request = request::<KeyPair>(Verb::List, "");
    request.list.limit = limit;
    request.list.continue_token = continue_token.into();
    let list = json(&cloud.call(&admin(), request).await.expect("list"));
    let name = |item: &Value| item["metadata"]["name"].as_str().expect("a name").to_owned();
    let text = |field: &str| list["metadata"][field].as_str().unwrap_or("").to_owned();
    (
        list["items"].as_array().expect("items").iter().map(name).collect(),
        text("continue"),
        text("resourceVersion"),
    )
}

#[tokio::test]
async fn pages_are_of_the_state_of_the_first() {
    let cloud = Cloud::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        cloud.key_pairs().create(&key_pair(name)).await.expect("create");
    }
    let (first, token, version) = page(&cloud, 2, "").await;
    assert_eq!(first, ["a", "b"]);
    // What happens in between is not seen by those who have begun.
    cloud.key_pairs().delete("c", &DeleteOptions::default()).await.expect("delete");
    cloud.key_pairs().create(&key_pair("bb")).await.expect("create");
    let (second, token, later) = page(&cloud, 2, &token).await;
    assert_eq!((second, &later), (vec!["c".to_owned(), "d".to_owned()], &version));
    let (third, token, _) = page(&cloud, 2, &token).await;
    assert_eq!((third, token.as_str()), (vec!["e".to_owned()], ""), "the last page has no successor");
    let (now, _, _) = page(&cloud, 0, "").await;
    assert_eq!(now, ["a", "b", "bb", "d", "e"]);
}

#[tokio::test]
async fn a_page_of_a_forgotten_state_is_expired() {
    let cloud = Cloud::start().await;
    for name in ["a", "b", "c"] {
        cloud.key_pairs().create(&key_pair(name)).await.expect("create");
    }
    let (_, token, _) = page(&cloud, 1, "").await;
    cloud.key_pairs().create(&key_pair("d")).await.expect("create");
    store::Store::compact(&*cloud.store, store::Store::revision(&*cloud.store)).await.expect("compact");
    let mut next = request::<KeyPair>(Verb::List, "");
    next.list.continue_token = token;
    refused(cloud.call(&admin(), next).await, Reason::Expired);
    let mut nonsense = request::<KeyPair>(Verb::List, "");
    nonsense.list.continue_token = "nonsense".into();
    refused(cloud.call(&admin(), nonsense).await, Reason::BadRequest);
}

#[tokio::test]
async fn selectors_select() {
    let cloud = Cloud::start().await;
    for (name, app, tier) in [("a", "web", "front"), ("b", "web", "back"), ("c", "db", "back")] {
        let mut object = key_pair(name);
        object.metadata.labels = BTreeMap::from([("app".into(), app.into()), ("tier".into(), tier.into())]);
        cloud.key_pairs().create(&object).await.expect("create");
    }
    let select = async |labels: &str, fields: &str| {
        let params = ListParams {
            label_selector: labels.into(),
            field_selector: fields.into(),
            ..ListParams::default()
        };
        let found = cloud.key_pairs().list(&params).await.expect("list");
        found.items.into_iter().map(|item| item.metadata.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(select("app=web", "").await, "a b");
    assert_eq!(select("app=web,tier!=back", "").await, "a");
    assert_eq!(select("app in (web, db),tier=back", "").await, "b c");
    assert_eq!(select("!app", "").await, "");
    assert_eq!(select("", "metadata.name=c").await, "c");
    let params = ListParams { label_selector: "app in (".into(), ..ListParams::default() };
    refused(cloud.key_pairs().list(&params).await, Reason::BadRequest);
}

#[tokio::test]
async fn filtered_pages_lose_nothing() {
    let cloud = Cloud::start().await;
    for i in 0..30 {
        let mut object = key_pair(&format!("k{i:02}"));
        object.metadata.labels.insert("third".into(), (i % 3 == 0).to_string());
        cloud.key_pairs().create(&object).await.expect("create");
    }
    let mut found = Vec::new();
    let mut list = request::<KeyPair>(Verb::List, "");
    list.list.label_selector = "third=true".into();
    list.list.limit = 4;
    loop {
        let page = json(&cloud.call(&admin(), list.clone()).await.expect("list"));
        let items = page["items"].as_array().expect("items");
        assert!(!items.is_empty(), "no page is empty while more follow");
        found.extend(items.iter().map(|i| i["metadata"]["name"].as_str().expect("a name").to_owned()));
        match page["metadata"]["continue"].as_str() {
            None | Some("") => break,
            Some(token) => token.clone_into(&mut list.list.continue_token),
        }
    }
    let wanted: Vec<String> = (0..30).step_by(3).map(|i| format!("k{i:02}")).collect();
    assert_eq!(found, wanted);
}
