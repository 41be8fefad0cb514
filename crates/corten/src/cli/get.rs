//! `corten get`: objects of any kind, in any form.

use client::{ChangeKind, ListParams, Request, Verb};
use futures::StreamExt;
use model::KindEntry;
use serde_json::Value;

use super::api::Cloud;
use super::kind::{Selection, Target, full_name};
use super::output::{self, Form};
use super::table::{Columns, Table};
use crate::failure::Failure;

/// Show objects: KIND, KIND NAME... or KIND/NAME...
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kind and names, as in `instances`, `hosts,images`, `image tiny` or `image/tiny`
    #[arg(required = true, value_name = "KIND [NAME]")]
    words: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Only objects with these labels, as in app=web,tier!=front
    #[arg(short = 'l', long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    selector: String,
    /// Only objects with these fields, as in status.phase=Running
    #[arg(long, value_name = "FIELDS", default_value = "", hide_default_value = true)]
    field: String,
    /// In all projects
    #[arg(short = 'A', long)]
    all_projects: bool,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let listing = Listing {
        cloud: &cloud,
        form: args.output,
        all_projects: args.all_projects,
        params: ListParams {
            label_selector: args.selector,
            field_selector: args.field,
            ..ListParams::default()
        },
    };
    match Selection::parse(&args.words)? {
        Selection::All(kinds) if args.watch => match kinds.as_slice() {
            [kind] => listing.watch(kind).await,
            _ => Err(Failure::usage("only one kind can be watched at a time")),
        },
        Selection::All(kinds) => listing.all(&kinds).await,
        Selection::Named(targets) if args.watch => match targets.as_slice() {
            [target] => listing.only(target.name).watch(target.kind).await,
            _ => Err(Failure::usage("only one object can be watched at a time")),
        },
        Selection::Named(_) if args.all_projects => Err(Failure::usage(
            "a name is looked for in one project: use --project in place of --all-projects",
        )),
        Selection::Named(targets) => listing.named(&targets).await,
    }
}

/// What to show, and how. Also what `corten events` and the list commands show.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) form: Form,
    pub(crate) all_projects: bool,
    pub(crate) params: ListParams,
}

impl Listing<'_> {
    /// All objects of some kinds.
    pub(crate) async fn all(&self, kinds: &[&'static KindEntry]) -> Result<(), Failure> {
        match self.form {
            Form::Table | Form::Wide => self.print_tables(kinds).await,
            _ => {
                let mut objects = Vec::new();
                for kind in kinds {
                    objects.extend(self.cloud.list(self.request(kind)).await?.0);
                }
                self.print_objects(objects, false)
            }
        }
    }

    async fn named(&self, targets: &[Target<'_>]) -> Result<(), Failure> {
        match self.form {
            Form::Table | Form::Wide => {
                let mut rows = Rows::new(self.columns());
                for target in targets {
                    let request = self.cloud.request(Verb::Get, target.kind, target.name);
                    rows.add(target.kind, &self.cloud.tables(request).await?);
                }
                output::print(&rows.render())
            }
            _ => {
                let mut objects = Vec::new();
                for target in targets {
                    objects.push(self.cloud.object(*target).await?);
                }
                self.print_objects(objects, targets.len() == 1)
            }
        }
    }

    async fn print_tables(&self, kinds: &[&'static KindEntry]) -> Result<(), Failure> {
        let mut rows = Rows::new(self.columns());
        for kind in kinds {
            rows.add(kind, &self.cloud.tables(self.request(kind)).await?);
        }
        if rows.is_empty() && !self.cloud.global.quiet {
            let plurals: Vec<&str> = kinds.iter().map(|kind| kind.info.plural).collect();
            let place = if kinds.iter().any(|kind| kind.info.is_project_scoped()) && !self.all_projects {
                format!(" in project {}", self.cloud.project())
            } else {
                String::new()
            };
            eprintln!("there are no {}{place}", plurals.join(" or "));
        }
        output::print(&rows.render())
    }

    fn print_objects(&self, objects: Vec<Value>, single: bool) -> Result<(), Failure> {
        if self.form == Form::Name {
            let lines: String = objects.iter().filter_map(name_line).collect();
            return output::print(&lines);
        }
        output::print(&output::document(objects, self.form, single)?)
    }

    fn only(mut self, name: &str) -> Self {
        self.params.field_selector = format!("metadata.name={name}");
        self
    }

    /// What there is, then every change, until interrupted.
    pub(crate) async fn watch(&self, kind: &'static KindEntry) -> Result<(), Failure> {
        let mut request = self.request(kind);
        request.list.send_initial_events = true;
        match self.form {
            Form::Table | Form::Wide => self.watch_rows(request).await,
            _ => self.watch_objects(request).await,
        }
    }

    async fn watch_rows(&self, request: Request) -> Result<(), Failure> {
        let mut lines = self.cloud.watch_tables(request).await?;
        let (mut shown, mut widths, mut headings) = (None, Vec::new(), Vec::new());
        while let Some(event) = lines.next().await? {
            if event["type"] == "ERROR" {
                return Err(watch_error(&event["object"]));
            }
            let mut table = Table::read(&event["object"], self.columns(), &mut shown);
            if !table.headings.is_empty() {
                headings.clone_from(&table.headings);
            }
            if table.rows.is_empty() {
                continue;
            }
            // The headings stand above the first row, also when the definitions came without one.
            let first = widths.is_empty();
            table.headings.clone_from(&headings);
            widths = table.widths(&widths);
            output::print(&table.render_with(&widths, first))?;
        }
        Ok(())
    }

    async fn watch_objects(&self, request: Request) -> Result<(), Failure> {
        let mut events = self.cloud.watch(request).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind == ChangeKind::Bookmark {
                continue;
            }
            let object = serde_json::from_slice(&event.object)
                .map_err(|e| Failure::failed(format!("a watch event cannot be read: {e}")))?;
            if self.form == Form::Yaml {
                output::print("---\n")?;
            }
            self.print_objects(vec![object], true)?;
        }
        Ok(())
    }

    fn columns(&self) -> Columns {
        Columns { wide: self.form == Form::Wide, project: self.all_projects }
    }

    fn request(&self, kind: &'static KindEntry) -> Request {
        let project = (!self.all_projects).then(|| self.cloud.project());
        let mut request = Request::new(Verb::List, kind, project, "");
        request.list = self.params.clone();
        request
    }
}

/// Rows of several answers, one table per kind.
struct Rows {
    columns: Columns,
    tables: Vec<(&'static str, Table, Option<Vec<usize>>)>,
}

impl Rows {
    fn new(columns: Columns) -> Self {
        Self { columns, tables: Vec::new() }
    }

    fn add(&mut self, kind: &'static KindEntry, pages: &[Value]) {
        if self.tables.last().is_none_or(|(plural, ..)| *plural != kind.info.plural) {
            self.tables.push((kind.info.plural, Table::default(), None));
        }
        let Some((_, table, shown)) = self.tables.last_mut() else { return };
        for page in pages {
            // The whole cloud's kinds have no project to show.
            let columns =
                Columns { project: self.columns.project && kind.info.is_project_scoped(), ..self.columns };
            let more = Table::read(page, columns, shown);
            if table.headings.is_empty() {
                table.headings = more.headings;
            }
            table.rows.extend(more.rows);
        }
    }

    fn is_empty(&self) -> bool {
        self.tables.iter().all(|(_, table, _)| table.rows.is_empty())
    }

    fn render(&self) -> String {
        let filled = self.tables.iter().filter(|(_, table, _)| !table.rows.is_empty());
        filled.map(|(_, table, _)| table.render()).collect::<Vec<_>>().join("\n")
    }
}

fn name_line(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str().and_then(model::kind_of)?;
    Some(format!("{}\n", full_name(kind, object["metadata"]["name"].as_str()?)))
}

fn watch_error(status: &Value) -> Failure {
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    model::ApiError::from_response(code, status.to_string().as_bytes()).into()
}
