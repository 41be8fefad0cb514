//! `corten user`: people and programs that call the API.

use client::ListParams;
use model::ObjectMeta;
use model::identity::{RoleBinding, RoleBindingSpec, Subject, SubjectKind, User, UserSpec};

use super::api::Cloud;
use super::get::Listing;
use super::output::{self, Form};
use super::{kind, parse, rm};
use crate::failure::Failure;

/// Make, list and delete users
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a user; `corten token create` lets it in
    Create {
        #[arg(value_parser = parse::name)]
        name: String,
        /// A group it belongs to; can be repeated
        #[arg(long)]
        group: Vec<String>,
        /// Also give it this role in --project; `corten get roles` lists them
        #[arg(long, value_parser = parse::name)]
        role: Option<String>,
        #[arg(long, default_value = "", hide_default_value = true)]
        email: String,
    },
    /// Show the users
    List,
    /// Delete users
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, group: groups, role, email } => {
            let spec = UserSpec { domain: "default".into(), groups, email, ..UserSpec::default() };
            cloud.client.all::<User>().create(&User::new(ObjectMeta::named(&name), spec)).await?;
            output::created(&cloud, kind::of::<User>(), &name)?;
            match role {
                Some(role) => bind(&cloud, &name, role).await,
                None => Ok(()),
            }
        }
        Command::List => {
            let params = ListParams::default();
            let listing = Listing { cloud: &cloud, form: Form::Table, all_projects: false, params };
            listing.all(&[kind::of::<User>()]).await
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("user", &names)).await,
    }
}

async fn bind(cloud: &Cloud, user: &str, role: String) -> Result<(), Failure> {
    let name = format!("{user}-{role}-{}", cloud.project());
    let spec = RoleBindingSpec {
        role,
        subjects: vec![Subject { kind: SubjectKind::User, name: user.into() }],
        projects: vec![cloud.project().to_owned()],
    };
    cloud.client.all::<RoleBinding>().create(&RoleBinding::new(ObjectMeta::named(&name), spec)).await?;
    output::created(cloud, kind::of::<RoleBinding>(), &name)
}
