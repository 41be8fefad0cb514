//! The command line: one table of commands, one file per command. One more client of the API: it has no rights
//! and no knowledge that other clients have not. Starting the cloud itself is `daemon`'s.

// What commands share.
mod api;
mod clock;
mod cloud;
mod key;
mod kind;
mod objects;
mod output;
mod parse;
mod progress;
mod table;
mod terminal;
mod transfer;
mod wait;

// The commands.
mod apply;
mod aws;
mod backup;
mod bucket;
mod completions;
mod console;
mod cp;
mod doctor;
mod down;
mod env;
mod events;
mod exec;
mod explain;
mod floating_ip;
mod forward;
mod get;
mod host;
mod image;
mod join;
mod kubeconfig;
mod load_balancer;
mod logs;
mod net;
mod power;
mod project;
mod rm;
mod run;
mod secret;
mod security_group;
mod show;
mod snapshot;
mod ssh;
mod status;
mod subnet;
mod token;
mod top;
mod up;
mod user;
mod version;
mod volume;
mod vpc;

use std::future::Future;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use api::Cloud;
use apply::How;
use cloud::Global;
use power::Change;

/// Turns bare-metal Linux machines into a cloud
#[derive(Debug, Parser)]
#[command(name = "corten", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Every command, in the order of the help.
#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Status(status::Args),
    Env(env::Args),
    Run(run::Args),
    #[command(alias = "list")]
    Get(get::Args),
    #[command(alias = "describe")]
    Show(show::Args),
    /// Make objects out of files
    Create(apply::Args),
    /// Make objects out of files, or change them to what the files say
    Apply(apply::Args),
    #[command(alias = "delete")]
    Rm(rm::Args),
    /// Start instances that are stopped or have ended
    Start(power::Args),
    /// Stop instances: ask the guest, then kill it
    Stop(power::Args),
    /// Stop instances and start them again
    Reboot(power::Args),
    /// Hold instances where they are
    Pause(power::Args),
    /// Let paused instances go on
    Resume(power::Args),
    Logs(logs::Args),
    Console(console::Args),
    Exec(exec::Args),
    Ssh(ssh::Args),
    Forward(forward::Args),
    Explain(explain::Args),
    Events(events::Args),
    Top(top::Args),
    Image(image::Args),
    Host(host::Args),
    Volume(volume::Args),
    Snapshot(snapshot::Args),
    Backup(backup::Args),
    Bucket(bucket::Args),
    Cp(cp::Args),
    Vpc(vpc::Args),
    Subnet(subnet::Args),
    #[command(alias = "sg")]
    SecurityGroup(security_group::Args),
    FloatingIp(floating_ip::Args),
    #[command(alias = "lb")]
    LoadBalancer(load_balancer::Args),
    Secret(secret::Args),
    Net(net::Args),
    Project(project::Args),
    User(user::Args),
    Token(token::Args),
    Kubeconfig(kubeconfig::Args),
    Completions(completions::Args),
    Doctor(doctor::Args),
    Join(join::Args),
    Version(version::Args),
}

impl Cli {
    /// Carries out the command. The number is the exit code of a program that ran inside an instance.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let Self { global, command } = self;
        let power = |args, change| connected(&global, |cloud| power::run(cloud, args, change));
        match command {
            Command::Up(args) => up::run(&global, &args).map(|()| 0),
            Command::Down(args) => down::run(&global, &args).map(|()| 0),
            Command::Status(_) => connected(&global, status::run),
            Command::Env(args) if args.is_for_aws() => connected(&global, aws::print),
            Command::Env(args) => env::run(&global, &args).map(|()| 0),
            Command::Run(args) => connected(&global, |cloud| run::run(cloud, args)),
            Command::Get(args) => connected(&global, |cloud| get::run(cloud, args)),
            Command::Show(args) => connected(&global, |cloud| show::run(cloud, args)),
            Command::Create(args) => connected(&global, |cloud| apply::run(cloud, args, How::Create)),
            Command::Apply(args) => connected(&global, |cloud| apply::run(cloud, args, How::Apply)),
            Command::Rm(args) => connected(&global, |cloud| rm::run(cloud, args)),
            Command::Start(args) => power(args, Change::Start),
            Command::Stop(args) => power(args, Change::Stop),
            Command::Reboot(args) => power(args, Change::Reboot),
            Command::Pause(args) => power(args, Change::Pause),
            Command::Resume(args) => power(args, Change::Resume),
            Command::Logs(args) => connected(&global, |cloud| logs::run(cloud, args)),
            Command::Console(args) => connected(&global, |cloud| console::run(cloud, args)),
            Command::Exec(args) => block_on(exec::run(Cloud::find(&global)?, args)),
            Command::Ssh(args) => connected(&global, |cloud| ssh::run(cloud, args)),
            Command::Forward(args) => connected(&global, |cloud| forward::run(cloud, args)),
            Command::Explain(args) => explain::run(&global, args),
            Command::Events(args) => connected(&global, |cloud| events::run(cloud, args)),
            Command::Top(_) => connected(&global, top::run),
            Command::Image(args) => image::run(&global, args),
            Command::Host(args) => connected(&global, |cloud| host::run(cloud, args)),
            Command::Volume(args) => connected(&global, |cloud| volume::run(cloud, args)),
            Command::Snapshot(args) => connected(&global, |cloud| snapshot::run(cloud, args)),
            Command::Backup(args) => connected(&global, |cloud| backup::run(cloud, args)),
            Command::Bucket(args) => connected(&global, |cloud| bucket::run(cloud, args)),
            Command::Cp(args) => connected(&global, |cloud| cp::run(cloud, args)),
            Command::Vpc(args) => connected(&global, |cloud| vpc::run(cloud, args)),
            Command::Subnet(args) => connected(&global, |cloud| subnet::run(cloud, args)),
            Command::SecurityGroup(args) => connected(&global, |cloud| security_group::run(cloud, args)),
            Command::FloatingIp(args) => connected(&global, |cloud| floating_ip::run(cloud, args)),
            Command::LoadBalancer(args) => connected(&global, |cloud| load_balancer::run(cloud, args)),
            Command::Secret(args) => connected(&global, |cloud| secret::run(cloud, args)),
            Command::Net(args) => block_on(net::run(Cloud::find(&global)?, args)),
            Command::Project(args) => connected(&global, |cloud| project::run(cloud, args)),
            Command::User(args) => connected(&global, |cloud| user::run(cloud, args)),
            Command::Token(args) => connected(&global, |cloud| token::run(cloud, args)),
            Command::Kubeconfig(_) => kubeconfig::run(&global).map(|()| 0),
            Command::Completions(args) => completions::run(&args).map(|()| 0),
            Command::Doctor(_) => doctor::run(&global).map(|()| 0),
            Command::Join(args) => join::run(&global, args).map(|()| 0),
            Command::Version(args) => version::run(&args).map(|()| 0),
        }
    }
}

/// Runs a command that needs the cloud and no exit code of its own.
fn connected<F: Future<Output = Result<(), Failure>>>(
    global: &Global,
    command: impl FnOnce(Cloud) -> F,
) -> Result<u8, Failure> {
    let cloud = Cloud::find(global)?;
    block_on(command(cloud)).map(|()| 0)
}

/// One thread is all a command needs, and starts in no time. Blocking reads of the terminal are left behind.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("cannot start the asynchronous runtime"))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
