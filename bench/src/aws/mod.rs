//! The AWS face beside moto, a server of AWS's protocols for tests: the life of instances, and descriptions of many.
//! Not equal, in moto's favour: it speaks without TLS, verifies no signature, places nothing and keeps nothing durable.

mod caller;
mod hosts;
mod inventory;
mod life;
mod moto;

use std::sync::Arc;

use model::ObjectMeta;
use model::compute::{Image, ImageFormat, ImagePhase, ImageSpec};

use crate::Result;
use crate::cloud::Cloud;
use crate::line::{Endpoint, Line, between};
use crate::plane;
use crate::report::Row;
use caller::{MOTO_HOST, call, moto_key};
use hosts::Hosts;
use moto::Moto;

/// Callers at once, each with a connection of its own, as AWS's clients have.
const CALLERS: usize = 16;
const TYPE: &str = "t3.micro";

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let mut rows = vec![life::measure().await?];
    rows.extend(inventory::measure().await?);
    Ok(rows)
}

/// A side to be measured: how it is called, and an image that it can run.
#[derive(Clone)]
struct Side {
    endpoint: Arc<Endpoint>,
    image: String,
}

impl Side {
    async fn of(endpoint: Endpoint, query: &str) -> Result<Self> {
        let endpoint = Arc::new(endpoint);
        let images = call(&mut Line::new(&endpoint), &format!("Action=DescribeImages{query}")).await?;
        let image = between(&images, "<imageId>", "</imageId>").ok_or("there is no image")?.to_owned();
        Ok(Self { endpoint, image })
    }

    fn run(&self, count: usize, more: &str) -> String {
        let image = &self.image;
        format!(
            "Action=RunInstances&ImageId={image}&InstanceType={TYPE}&MinCount={count}&MaxCount={count}{more}"
        )
    }
}

/// A real daemon on its durable store, with its controllers; the hosts are simulated, and its own takes no part.
struct Ours {
    cloud: Cloud,
    side: Side,
    _hosts: Hosts,
}

impl Ours {
    async fn start(hosts: usize) -> Result<Self> {
        let cloud = Cloud::up()?;
        let client = cloud.connect()?;
        let simulated = Hosts::start(&client, hosts).await?;
        let spec = ImageSpec { format: ImageFormat::Oci, ..ImageSpec::default() };
        let images = client.project::<Image>("default");
        let mut image = images.create(&Image::new(ObjectMeta::named(plane::IMAGE), spec)).await?;
        // No host reads it: they are simulated.
        image.status.phase = ImagePhase::Ready;
        images.update_status(&image).await?;
        let side = Side::of(Endpoint::of_cloud(&cloud, "ec2")?, "&Owner.1=self").await?;
        Ok(Self { cloud, side, _hosts: simulated })
    }
}

struct Theirs {
    side: Side,
    moto: Moto,
}

impl Theirs {
    async fn start() -> Result<Self> {
        let moto = Moto::start().await?;
        let side = Side::of(Endpoint::plain(moto.address, MOTO_HOST, moto_key()), "").await?;
        Ok(Self { side, moto })
    }
}
