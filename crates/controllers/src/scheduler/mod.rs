//! placeholder: binds everything to the first host
use crate::Context;
use client::ListParams;
use model::compute::Instance;
use model::topology::Host;
use reconcile::{Cache, Change, Outcome, Queue};
pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let q = queue.clone();
    let instances = Cache::start(
        context.client.all::<Instance>(),
        ListParams::default(),
        vec![Box::new(move |c: &Change<Instance>| q.add(c.object().metadata.key()))],
    );
    let hosts: Cache<Host> = Cache::start(context.client.all::<Host>(), ListParams::default(), vec![]);
    reconcile::run("scheduler", queue, 8, |key| {
        let (instances, hosts, context) = (instances.clone(), hosts.clone(), context.clone());
        async move {
            let Some(i) = instances.get(&key) else { return Ok(Outcome::Done) };
            if !i.status.host.is_empty() || i.metadata.is_deleting() {
                return Ok(Outcome::Done);
            }
            let Some(h) = hosts.all().into_iter().find(|h| h.is_ready()) else {
                return Ok(Outcome::RequeueAfter(std::time::Duration::from_millis(200)));
            };
            let api = context.client.project::<Instance>(&i.metadata.namespace);
            let body = serde_json::json!({"host": h.metadata.name, "message": "first"});
            api.create_below(&i.metadata.name, "binding", &body).await.map(|_| Outcome::Done)
        }
    })
    .await;
}
