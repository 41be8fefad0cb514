//! What a dry run of a new instance adds to the checks: the host it would get now, and why, or why it would get
//! none. The scheduler's own decision over what the store holds at this moment; nothing is promised by it.

use model::compute::Instance;
use model::storage::{Pool, Volume};
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, Resource, set_condition};
use scheduler::{HostView, Index, Request};
use serde::de::DeserializeOwned;
use store::ListOptions;

use crate::server::{Server, store_error};

impl Server {
    /// Fills in host and condition as a binding would. One at a time: it reads the whole cloud.
    pub(super) async fn preview_placement(&self, instance: &mut Instance) -> Result<(), ApiError> {
        let _turn = self.inner.previews.lock().await;
        let mut request = Request::new(instance, self.image_digests(instance).await?);
        request.pools = self.sought_pools_of(instance).await?;
        let mut index = Index::new();
        for host in self.read_all::<Host>().await? {
            index.upsert_host(HostView::from(&host));
        }
        for bound in self.read_all::<Instance>().await? {
            if !bound.status.host.is_empty() {
                index.adopt(&Request::new(&bound, Vec::new()), &bound.status.host);
            }
        }
        let condition = match index.place(&request) {
            Ok(placement) => {
                instance.status.host = placement.host.to_string();
                let message = format!("would be bound: {}", placement.explanation);
                Condition::new("Scheduled", ConditionStatus::True, "DryRun", message)
            }
            Err(refusal) => {
                Condition::new("Scheduled", ConditionStatus::False, "NoHost", refusal.to_string())
            }
        };
        set_condition(&mut instance.status.conditions, condition, self.inner.environment.now());
        Ok(())
    }

    async fn read_all<R: Resource + DeserializeOwned>(&self) -> Result<Vec<R>, ApiError> {
        let page = self.inner.store.list(&R::KIND.prefix(), ListOptions::default()).await;
        let unreadable = |e: serde_json::Error| ApiError::internal(e.to_string());
        let entries = page.map_err(store_error)?.entries;
        entries.iter().map(|entry| serde_json::from_slice(&entry.value).map_err(unreadable)).collect()
    }

    /// Pools that not every host has, with volumes that it names: those that are there, and those that are made with it.
    async fn sought_pools_of(&self, instance: &Instance) -> Result<Vec<String>, ApiError> {
        let mut pools = std::collections::BTreeSet::new();
        let made = instance.spec.volume_templates().map(|(_, _, template)| template.spec.pool.clone());
        pools.extend(made.filter(|pool| !pool.is_empty()));
        for (_, name) in instance.spec.named_volumes() {
            let volume = self.read::<Volume>(&instance.metadata.namespace, name).await?;
            pools.extend(volume.map(|volume| volume.spec.pool));
        }
        let mut sought = Vec::new();
        for name in pools {
            if self.read::<Pool>("", &name).await?.is_some_and(|pool| !pool.spec.is_everywhere()) {
                sought.push(name);
            }
        }
        Ok(sought)
    }

    async fn image_digests(&self, instance: &Instance) -> Result<Vec<String>, ApiError> {
        let mut digests = Vec::new();
        for name in instance.spec.payload.images() {
            let image = self.find_image(&instance.metadata.namespace, name).await?;
            digests.extend(image.into_iter().flat_map(|i| i.status.artifacts).map(|a| a.sha256));
        }
        Ok(digests)
    }
}
