//! The first start: what every cloud has before anyone made anything. Idempotent: what exists is left alone.

use client::Client;
use model::compute::{InstanceType, InstanceTypeSpec};
use model::identity::{Domain, DomainSpec, Project, ProjectSpec, Role};
use model::storage::{DEFAULT_POOL, Pool, PoolSpec};
use model::topology::{Zone, ZoneSpec};
use model::{ApiError, Object, ObjectMeta, Reason, Resource};

/// Holders of client certificates of this group may do everything.
pub const ADMIN_GROUP: &str = identity::ADMINS;

/// Creates the default domain, projects, zone, roles and instance types.
pub async fn bootstrap(client: &Client) -> Result<(), ApiError> {
    ensure(client, Domain::new(ObjectMeta::named("default"), DomainSpec::default())).await?;
    for (name, description) in
        [("default", "where things go unless said otherwise"), ("system", "public images")]
    {
        let spec = ProjectSpec { domain: "default".into(), description: description.into() };
        ensure(client, Project::new(ObjectMeta::named(name), spec)).await?;
    }
    ensure(client, Zone::new(ObjectMeta::named("default"), ZoneSpec::default())).await?;
    ensure(client, Pool::new(ObjectMeta::named(DEFAULT_POOL), PoolSpec::default())).await?;
    for role in identity::builtin_roles() {
        ensure::<Role>(client, role).await?;
    }
    for (name, spec) in InstanceTypeSpec::builtin() {
        ensure::<InstanceType>(client, Object::new(ObjectMeta::named(name), spec)).await?;
    }
    Ok(())
}

async fn ensure<R: Resource>(client: &Client, object: R) -> Result<(), ApiError> {
    match client.all::<R>().create(&object).await {
        Err(e) if e.reason != Reason::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}
