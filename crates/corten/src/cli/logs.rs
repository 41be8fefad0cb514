//! `corten logs`: what an instance printed.

use http_body_util::BodyExt;
use model::compute::Instance;

use super::api::Cloud;
use super::kind::{self, Target};
use crate::failure::Failure;

/// Show what an instance printed on its console or as its output
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = super::parse::instance)]
    name: String,
    /// Go on with what it will print
    #[arg(short, long)]
    follow: bool,
    /// Only the last LINES lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Which container, when there are several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Instance>(), &args.name)?;
    let path = format!("{}?{}", cloud.path_below(target, "logs"), query(&args));
    let mut body = cloud.get(&path, "text/plain").await?.into_body();
    let mut stdout = std::io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::failed(format!("the log broke off: {e}")))?;
        if let Some(data) = frame.data_ref() {
            use std::io::Write;
            let written = stdout.write_all(data).and_then(|()| stdout.flush());
            written.map_err(Failure::io("cannot write the log"))?;
        }
    }
    Ok(())
}

fn query(args: &Args) -> String {
    let mut pairs = vec![format!("follow={}", args.follow)];
    pairs.extend(args.tail.map(|lines| format!("tailLines={lines}")));
    pairs.extend(args.container.as_deref().map(|name| format!("container={}", client::percent_encode(name))));
    pairs.join("&")
}
