//! `corten show`: an object in full, with what happened to it.

use client::{Request, Verb};
use model::event::Event;

use super::api::Cloud;
use super::kind::{self, Selection, Target};
use super::output::{self, Form};
use super::{clock, events};
use crate::failure::Failure;

/// Show objects in full, with what happened to them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As in `web`, `image/tiny` or `image tiny`
    #[arg(required = true, value_name = "[KIND] NAME")]
    words: Vec<String>,
}

impl Args {
    /// What the `show` of one kind's own command shows.
    pub(crate) fn of(word: String) -> Self {
        Self { words: vec![word] }
    }
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    for (index, target) in targets(&args.words)?.into_iter().enumerate() {
        let object = cloud.object(target).await.map_err(|failure| target.or_hint(failure))?;
        let mut text = if index == 0 { String::new() } else { "---\n".to_owned() };
        text += &output::document(vec![object], Form::Yaml, true)?;
        let found = of(&cloud, target).await?;
        if !found.is_empty() {
            text += "# events\n";
            text += &output::indented(&events::lines(&found, clock::now()).render(), "#   ");
        }
        output::print(&text)?;
    }
    Ok(())
}

/// What happened to an object. Who may see the object but no events sees none.
pub(crate) async fn of(cloud: &Cloud, target: Target<'_>) -> Result<Vec<Event>, Failure> {
    let project = if target.kind.info.is_project_scoped() { cloud.project() } else { "default" };
    let mut request = Request::new(Verb::List, kind::of::<Event>(), Some(project), "");
    request.list = events::about(target);
    match events::list(cloud, request).await {
        Err(failure) if failure.exit != crate::failure::Exit::Refused => Err(failure),
        found => Ok(found.map(|(events, _)| events).unwrap_or_default()),
    }
}

/// `KIND NAME...` when the first word is a kind and more follow; else `KIND/NAME` or names of instances.
fn targets(words: &[String]) -> Result<Vec<Target<'_>>, Failure> {
    let is_kind = words.first().is_some_and(|word| model::kind_of(word).is_some());
    if is_kind && words.len() > 1 {
        return match Selection::parse(words)? {
            Selection::Named(targets) => Ok(targets),
            Selection::All(_) => Err(Failure::usage("name an object")),
        };
    }
    Target::parse_all(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_objects() {
        let check = |words: &[&str], expected: &str| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let found = targets(&words).unwrap();
            assert_eq!(found.iter().map(Target::full_name).collect::<Vec<_>>().join(" "), expected);
        };
        check(&["web"], "instance.compute.corten.dev/web");
        check(&["image", "a", "b"], "image.compute.corten.dev/a image.compute.corten.dev/b");
        check(&["image"], "instance.compute.corten.dev/image");
        check(&["image/a", "web"], "image.compute.corten.dev/a instance.compute.corten.dev/web");
    }
}
