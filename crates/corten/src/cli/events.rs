//! `corten events`: what happened, oldest first.

use client::{ListParams, Request, Verb};
use futures::StreamExt;
use model::event::Event;
use model::{Resource, Timestamp};
use serde_json::Value;

use super::api::{Cloud, typed};
use super::clock;
use super::kind::{self, Target};
use super::output::{self, harmless};
use super::table::Table;
use crate::failure::Failure;

/// Show what happened, oldest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of this object: KIND/NAME, or the name of an instance
    #[arg(long = "for", value_name = "OBJECT")]
    object: Option<String>,
    /// In all projects
    #[arg(short = 'A', long)]
    all_projects: bool,
    /// Go on with what happens
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let project = (!args.all_projects).then(|| cloud.project());
    let mut request = Request::new(Verb::List, kind::of::<Event>(), project, "");
    if let Some(word) = &args.object {
        request.list = about(Target::parse(word)?);
    }
    let (events, version) = list(&cloud, request.clone()).await?;
    let table = table(&events, args.all_projects);
    let mut widths = table.widths(&[]);
    if events.is_empty() && !cloud.global.quiet {
        eprintln!("nothing has happened yet");
    }
    output::print(&table.render_with(&widths, !events.is_empty()))?;
    if !args.watch {
        return Ok(());
    }
    request.list.resource_version = version;
    let mut watch = cloud.watch(request).await?;
    while let Some(event) = watch.next().await {
        let event = event?;
        if !matches!(event.kind, client::ChangeKind::Added | client::ChangeKind::Modified) {
            continue;
        }
        let object: Value = serde_json::from_slice(&event.object)
            .map_err(|e| Failure::failed(format!("a watch event cannot be read: {e}")))?;
        let row = self::table(&[typed(&object)?], args.all_projects);
        widths = row.widths(&widths);
        output::print(&row.render_with(&widths, false))?;
    }
    Ok(())
}

/// Selects the events of one object.
pub(crate) fn about(target: Target<'_>) -> ListParams {
    let (kind, name) = (target.kind.info.kind, target.name);
    ListParams {
        field_selector: format!("involvedObject.kind={kind},involvedObject.name={name}"),
        ..ListParams::default()
    }
}

/// Events by the time they were last seen, and the version they are of.
pub(crate) async fn list(cloud: &Cloud, request: Request) -> Result<(Vec<Event>, String), Failure> {
    let (items, version) = cloud.list(request).await?;
    let mut events = items.iter().map(typed).collect::<Result<Vec<Event>, _>>()?;
    events.sort_by_key(|event| event.last_timestamp);
    Ok((events, version))
}

/// The columns the server shows, without the event's own name, which says nothing.
fn table(events: &[Event], with_project: bool) -> Table {
    let shown = || Event::columns().iter().filter(|column| !column.wide);
    let project = with_project.then(|| "PROJECT".to_owned());
    let headings = project.into_iter().chain(shown().map(|column| column.name.to_uppercase()));
    let mut table = Table { headings: headings.collect(), rows: Vec::new() };
    let now = clock::now();
    for event in events {
        let project = with_project.then(|| event.metadata.namespace.clone());
        let cells = shown().map(|column| cell(&(column.value)(event, now)));
        table.row(project.into_iter().chain(cells));
    }
    table
}

fn cell(value: &Value) -> String {
    harmless(value.as_str().unwrap_or_default())
}

/// One line per event, for `explain` and `show`.
pub(crate) fn lines(events: &[Event], now: Timestamp) -> Table {
    let mut table = Table::default();
    for event in events {
        let age = event.last_timestamp.map_or_else(String::new, |t| t.age(now));
        let times = if event.count > 1 { format!("x{}", event.count) } else { String::new() };
        table.row([age, harmless(&event.reason), times, harmless(&event.message)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let event = Event {
            reason: "Started".into(),
            message: "line\nbreak".into(),
            last_timestamp: Some(Timestamp(0)),
            count: 3,
            ..Event::default()
        };
        assert_eq!(lines(&[event], Timestamp(5_000)).render(), "5s   Started   x3   line\u{fffd}break\n");
    }

    #[test]
    fn the_table_begins_with_the_project_when_asked() {
        let event = Event { severity: "Normal".into(), ..Event::default() };
        assert_eq!(table(&[], true).headings[0], "PROJECT");
        assert_eq!(table(&[event], false).headings[..2], ["LAST SEEN", "TYPE"]);
    }
}
