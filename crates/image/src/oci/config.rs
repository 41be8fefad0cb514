//! What an image says about running it, and what becomes of that with a container's own wishes. Pure.

use model::compute::{Container, EnvVar};
use serde::{Deserialize, Serialize};

use super::error::OciError;

/// An image's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<EnvVar>,
    pub working_dir: String,
    /// `uid[:gid]` or names of the image; empty means 0.
    pub user: String,
    /// For whoever stops the container; empty means SIGTERM.
    pub stop_signal: String,
}

/// What a container plan needs of image and container together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Not empty.
    pub argv: Vec<String>,
    pub env: Vec<EnvVar>,
    /// Absolute.
    pub working_dir: String,
    pub user: String,
}

impl ImageConfig {
    /// Docker's and Kubernetes' rules: `command` replaces the entrypoint and silences the image's arguments,
    /// `args` replace the arguments, a variable of the container replaces the image's of that name.
    pub fn invocation(&self, container: &Container) -> Result<Invocation, OciError> {
        let (program, image_args) = if container.command.is_empty() {
            (&self.entrypoint, self.cmd.as_slice())
        } else {
            (&container.command, [].as_slice())
        };
        let args = if container.args.is_empty() { image_args } else { &container.args };
        let argv: Vec<String> = program.iter().chain(args).cloned().collect();
        if argv.is_empty() {
            return Err(OciError::Choice(format!(
                "container {}: its image names no program; set command",
                container.name
            )));
        }
        Ok(Invocation {
            argv,
            env: merge(&self.env, &container.env),
            working_dir: absolute(first_set(&container.working_dir, &self.working_dir)),
            user: self.user.clone(),
        })
    }
}

/// The image's `NAME=value`; a name alone has an empty value.
pub(super) fn env_var(pair: &str) -> EnvVar {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    EnvVar { name: name.to_owned(), value: value.to_owned() }
}

/// In the image's order, then the container's own; each name once, its last value.
fn merge(image: &[EnvVar], container: &[EnvVar]) -> Vec<EnvVar> {
    let mut merged: Vec<EnvVar> = Vec::with_capacity(image.len() + container.len());
    for var in image.iter().chain(container) {
        match merged.iter_mut().find(|known| known.name == var.name) {
            Some(known) => known.value.clone_from(&var.value),
            None => merged.push(var.clone()),
        }
    }
    merged
}

fn first_set<'a>(a: &'a str, b: &'a str) -> &'a str {
    if a.is_empty() { b } else { a }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn check(entrypoint: &str, cmd: &str, command: &str, args: &str, expected: Option<&str>) {
        let image = ImageConfig { entrypoint: words(entrypoint), cmd: words(cmd), ..ImageConfig::default() };
        let container = Container { command: words(command), args: words(args), ..Container::default() };
        let argv = image.invocation(&container).ok().map(|i| i.argv.join(" "));
        assert_eq!(argv.as_deref(), expected, "{entrypoint:?} {cmd:?} {command:?} {args:?}");
    }

    #[test]
    fn command_and_args_follow_the_kubernetes_table() {
        check("/ep", "foo bar", "", "", Some("/ep foo bar"));
        check("/ep", "foo bar", "/ep-2", "", Some("/ep-2"));
        check("/ep", "foo bar", "", "zoo boo", Some("/ep zoo boo"));
        check("/ep", "foo bar", "/ep-2", "zoo boo", Some("/ep-2 zoo boo"));
        check("", "sh", "", "", Some("sh"));
        check("", "sh", "", "ls", Some("ls"));
        check("", "", "", "", None);
    }

    #[test]
    fn the_containers_variables_and_folder_win() {
        let image = ImageConfig {
            cmd: words("sh"),
            env: ["PATH=/bin", "A=1", "EMPTY"].map(env_var).to_vec(),
            working_dir: "srv".to_owned(),
            user: "web".to_owned(),
            ..ImageConfig::default()
        };
        let mut container = Container { env: ["A=2", "B=3=4"].map(env_var).to_vec(), ..Container::default() };
        let plain = image.invocation(&container).expect("invocation");
        let env: Vec<String> = plain.env.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
        assert_eq!(env, ["PATH=/bin", "A=2", "EMPTY=", "B=3=4"]);
        assert_eq!((plain.working_dir.as_str(), plain.user.as_str()), ("/srv", "web"));
        container.working_dir = "/tmp".to_owned();
        assert_eq!(image.invocation(&container).expect("invocation").working_dir, "/tmp");
    }
}
