//! What stands where: EC2's tree and its listings, OpenStack's documents, NoCloud's files.

use serde_json::{Value, json};

use crate::rules::Asker;
use crate::support::{DB, WEB};

fn check(path: &str, expected: &str) {
    let found = Asker::new().get(WEB, path);
    assert_eq!(found.as_deref(), Ok(expected), "{path}");
}

fn absent(port: u32, path: &str) {
    assert_eq!(Asker::new().get(port, path), Err(404), "{path}");
}

fn document(path: &str) -> Value {
    serde_json::from_str(&Asker::new().get(WEB, path).unwrap()).unwrap()
}

#[test]
fn leaves() {
    let mac = "/latest/meta-data/network/interfaces/macs/02:00:5e:00:53:01";
    check("/latest/meta-data/ami-id", "ami-debian");
    check("/latest/meta-data/ami-id/", "ami-debian");
    check("//latest//meta-data/ami-id", "ami-debian");
    check("/latest/meta-data/instance-id", "i-0000000000000000a");
    check("/latest/meta-data/instance-type", "t3.small");
    check("/latest/meta-data/local-ipv4", "10.0.0.5");
    check("/latest/meta-data/ipv6", "fd12:3456::5");
    check("/latest/meta-data/public-ipv4", "203.0.113.9");
    check("/latest/meta-data/mac", "02:00:5e:00:53:01");
    check("/latest/meta-data/hostname", "web.demo.internal");
    check("/latest/meta-data/local-hostname", "web.demo.internal");
    check("/latest/meta-data/placement/availability-zone", "home-a");
    check("/latest/meta-data/placement/region", "home");
    check("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA me@home");
    check("/latest/meta-data/security-groups", "default\nweb");
    check("/latest/meta-data/services/domain", "corten.dev");
    check("/latest/meta-data/block-device-mapping/root", "/dev/vda");
    check("/latest/meta-data/iam/security-credentials/", "reader");
    check("/latest/user-data", "#!/bin/sh\necho hello\n");
    check(&format!("{mac}/device-number"), "0");
    check(&format!("{mac}/vpc-id"), "vpc-1");
    check(&format!("{mac}/subnet-id"), "subnet-1");
    check(&format!("{mac}/local-ipv4s"), "10.0.0.5");
    check(&format!("{mac}/public-ipv4s"), "203.0.113.9");
    check(&format!("{mac}/ipv4-associations/203.0.113.9"), "10.0.0.5");
    check(&format!("{mac}/subnet-ipv4-cidr-block"), "10.0.0.0/24");
    check(&format!("{mac}/vpc-ipv4-cidr-blocks"), "10.0.0.0/16");
    check(&mac.replace(':', "%3A").replace("macs/", "macs//"), &Asker::new().get(WEB, mac).unwrap());
}

#[test]
fn listings_are_ec2s() {
    check("/latest", "dynamic\nmeta-data\nuser-data");
    check("/latest/", "dynamic\nmeta-data\nuser-data");
    check(
        "/latest/meta-data/",
        "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\niam/\ninstance-action\n\
         instance-id\ninstance-life-cycle\ninstance-type\nipv6\nlocal-hostname\nlocal-ipv4\nmac\nnetwork/\n\
         placement/\nprofile\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups\nservices/",
    );
    check("/latest/meta-data", &Asker::new().get(WEB, "/latest/meta-data/").unwrap());
    check("/latest/meta-data/public-keys/", "0=mine");
    check("/latest/meta-data/public-keys/0/", "openssh-key");
    check("/latest/meta-data/network/interfaces/macs/", "02:00:5e:00:53:01/");
    check("/latest/meta-data/iam/", "info\nsecurity-credentials/");
    check("/latest/dynamic/", "instance-identity/");
    check("/latest/dynamic/instance-identity/", "document");
    let versions = Asker::new().get(WEB, "/").unwrap();
    assert!(versions.starts_with("1.0\n2007-01-19\n") && versions.ends_with("\nlatest"));
}

#[test]
fn every_version_answers_and_no_other() {
    for version in ["1.0", "2009-04-04", "2016-09-02", "2021-03-23", "latest"] {
        check(&format!("/{version}/meta-data/instance-id"), "i-0000000000000000a");
    }
    absent(WEB, "/2009-04-05/meta-data/instance-id");
    absent(WEB, "/latest/meta-data/nothing");
    absent(WEB, "/latest/meta-data/ami-id/more");
    absent(WEB, "/latest/meta-data/../../etc/passwd");
    absent(WEB, "/latest/meta-data/%2e%2e/%00");
    absent(WEB, "/latest/meta-data/%zz");
    absent(WEB, "/latest/dynamic/instance-identity/signature");
    absent(WEB, "/latest/dynamic/instance-identity/pkcs7");
    absent(WEB, "/latest/meta-data/tags/instance/Name");
    absent(DB, "/latest/user-data");
    absent(DB, "/latest/meta-data/public-ipv4");
    absent(DB, "/latest/meta-data/iam/");
    assert_eq!(Asker::new().get(DB, "/latest/").as_deref(), Ok("dynamic\nmeta-data"));
}

#[test]
fn the_identity_document_is_json_with_what_clients_read() {
    let found = document("/2021-03-23/dynamic/instance-identity/document");
    assert_eq!(found["instanceId"], "i-0000000000000000a");
    assert_eq!(found["privateIp"], "10.0.0.5");
    assert_eq!(found["accountId"], "000000000001");
    assert_eq!(found["region"], "home");
    assert_eq!(found["version"], "2017-09-30");
    assert!(found["kernelId"].is_null());
}

#[test]
fn openstacks_documents() {
    let meta = document("/openstack/latest/meta_data.json");
    assert_eq!(meta["uuid"], "aaaa");
    assert_eq!(meta["public_keys"], json!({ "mine": "ssh-ed25519 AAAA me@home" }));
    let network = document("/openstack/2018-08-27/network_data.json");
    assert_eq!(network["links"][0]["ethernet_mac_address"], "02:00:5e:00:53:01");
    assert_eq!(network["networks"][0]["ip_address"], "10.0.0.5");
    assert_eq!(network["networks"][0]["netmask"], "255.255.255.0");
    assert_eq!(
        network["networks"][0]["routes"],
        json!([{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1" }])
    );
    assert_eq!(network["networks"][1]["type"], "ipv6");
    assert_eq!(network["services"][0], json!({ "type": "dns", "address": "10.0.0.1" }));
    assert_eq!(document("/openstack/latest/vendor_data.json"), json!({}));
    check("/openstack/latest/user_data", "#!/bin/sh\necho hello\n");
    absent(DB, "/openstack/latest/user_data");
    absent(WEB, "/openstack/1999-01-01/meta_data.json");
    check(
        "/openstack/latest/",
        "meta_data.json\nnetwork_data.json\nuser_data\nvendor_data.json\nvendor_data2.json",
    );
    assert!(Asker::new().get(WEB, "/openstack").unwrap().ends_with("\nlatest"));
}

#[test]
fn noclouds_files() {
    let meta = document("/latest/nocloud/meta-data");
    assert_eq!(meta["instance-id"], "i-0000000000000000a");
    assert_eq!(meta["public-keys"], json!(["ssh-ed25519 AAAA me@home"]));
    let card = &document("/latest/nocloud/network-config")["ethernets"]["nic0"];
    assert_eq!(card["match"]["macaddress"], "02:00:5e:00:53:01");
    assert_eq!(card["addresses"], json!(["10.0.0.5/24", "fd12:3456::5/128"]));
    assert_eq!(card["routes"][0], json!({ "to": "0.0.0.0/0", "via": "10.0.0.1" }));
    assert_eq!(card["routes"][1], json!({ "to": "::/0", "via": "fe80::1", "on-link": true }));
    check("/latest/nocloud/user-data", "#!/bin/sh\necho hello\n");
    check("/latest/nocloud/vendor-data", "");
    assert_eq!(Asker::new().get(DB, "/latest/nocloud/user-data").as_deref(), Ok(""));
}
