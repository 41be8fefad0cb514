//! The cloud's authority and the administrator's credentials: made at the first start, kept in the data directory.

use client::Client;
use identity::{MasterKey, Token};
use model::identity::{
    AccessKey, AccessKeySpec, RoleBinding, RoleBindingSpec, Subject, SubjectKind, User, UserSpec,
};
use model::{Object, ObjectMeta, Reason, Resource};
use server::pki::Authority;
use server::{ADMIN_GROUP, Environment, SystemEnvironment};

use super::layout::{Layout, write_file};
use crate::failure::Failure;

const ADMIN: &str = "admin";

pub(crate) fn authority(layout: &Layout) -> Result<Authority, Failure> {
    let path = layout.authority();
    let unusable = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| unusable(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let authority = Authority::generate().map_err(|e| unusable(&e))?;
            let json = serde_json::to_vec(&authority).map_err(|e| unusable(&e))?;
            write_file(&path, &json, 0o600).map_err(|e| unusable(&e))?;
            Ok(authority)
        }
        Err(e) => Err(unusable(&e)),
    }
}

/// What secrets in the store are sealed with: made at the first start. It lies beside the store and not in it, so that a
/// copy of the store alone gives no secret away.
pub(crate) fn master_key(layout: &Layout) -> Result<MasterKey, Failure> {
    let path = layout.master_key();
    let unusable = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) => {
            let key = bytes.try_into().map_err(|_| unusable(&"it is not a key of 32 bytes"))?;
            Ok(MasterKey::new(key))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = SystemEnvironment::new().random();
            write_file(&path, &key, 0o600).map_err(|e| unusable(&e))?;
            Ok(MasterKey::new(key))
        }
        Err(e) => Err(unusable(&e)),
    }
}

/// Makes sure that there is an administrator, with a certificate and a token in the data directory.
pub(crate) async fn administrator(
    layout: &Layout,
    authority: &Authority,
    client: &Client,
    environment: &dyn Environment,
) -> Result<(), Failure> {
    let unwritable = |e: std::io::Error| Failure::failed(format!("{}: {e}", layout.root().display()));
    write_file(&layout.ca(), authority.servers.certificate.as_bytes(), 0o644).map_err(unwritable)?;
    // Anew at every start: certificates end, and a restart is the least surprising time to renew them.
    let identity =
        authority.client_identity(ADMIN, &[ADMIN_GROUP]).map_err(|e| Failure::failed(e.to_string()))?;
    write_file(&layout.admin_certificate(), identity.certificate.as_bytes(), 0o600).map_err(unwritable)?;
    write_file(&layout.admin_key(), identity.key.as_bytes(), 0o600).map_err(unwritable)?;

    ensure(client, User::new(ObjectMeta::named(ADMIN), UserSpec::default())).await?;
    ensure(client, User::new(ObjectMeta::named(server::JOIN_USER), UserSpec::default())).await?;
    let binding = RoleBindingSpec {
        role: "admin".into(),
        subjects: vec![Subject { kind: SubjectKind::User, name: ADMIN.into() }],
        projects: vec!["*".into()],
    };
    ensure(client, RoleBinding::new(ObjectMeta::named("administrators"), binding)).await?;
    if layout.admin_token().exists() {
        return Ok(());
    }
    let token = Token::generate(&environment.random());
    write_file(&layout.admin_token(), token.expose().as_bytes(), 0o600).map_err(unwritable)?;
    let spec = AccessKeySpec {
        user: ADMIN.into(),
        token_sha256: token.digest().to_hex(),
        expires: None,
        description: "made at the first start".into(),
        ..AccessKeySpec::default()
    };
    let meta = ObjectMeta { generate_name: "admin-".into(), ..ObjectMeta::default() };
    client.all::<AccessKey>().create(&Object::new(meta, spec)).await?;
    Ok(())
}

async fn ensure<R: Resource>(client: &Client, object: R) -> Result<(), Failure> {
    match client.all::<R>().create(&object).await {
        Err(e) if e.reason != Reason::AlreadyExists => Err(e.into()),
        _ => Ok(()),
    }
}
