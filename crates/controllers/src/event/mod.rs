//! Events do not stay for ever.

use std::time::Duration;

use client::{DeleteOptions, ListParams};
use model::event::Event;
use model::{ApiError, Timestamp};

use crate::Context;

/// How long an event is kept after it last happened.
const KEPT: Duration = Duration::from_secs(2 * 3600);
/// How often old events are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(300);

pub(crate) async fn run(context: Context) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(e) = expire(&context).await {
            tracing::debug!(error = %e, "old events could not be removed");
        }
    }
}

async fn expire(context: &Context) -> Result<(), ApiError> {
    let now = (context.now)();
    let events = context.client.all::<Event>().list(&ListParams::default()).await?;
    for event in events.items.iter().filter(|event| is_old(event, now)) {
        let api = context.client.project::<Event>(&event.metadata.namespace);
        match api.delete(&event.metadata.name, &DeleteOptions::default()).await {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn is_old(event: &Event, now: Timestamp) -> bool {
    let last = event.last_timestamp.or(event.metadata.creation_timestamp);
    last.is_none_or(|last| last.age_seconds(now) > KEPT.as_secs())
}
