//! `corten env aws`: what AWS's clients read. The key that signs is made at the first call and kept beside the cloud's
//! data, or in the caller's home.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::ObjectMeta;
use model::identity::{AccessKey, AccessKeySpec};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::api::Cloud;
use super::env::export;
use super::{kubeconfig, output};
use crate::failure::Failure;

/// Random bytes of a secret: 40 characters, as many as AWS's have.
const SECRET_BYTES: usize = 30;

/// A key as it is kept by its holder.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    /// The AccessKey object.
    name: String,
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
}

/// The caller's key in the command's project.
pub(crate) async fn key(cloud: &Cloud) -> Result<Kept, Failure> {
    let who = cloud.document("/whoami").await?;
    let user = who["user"].as_str().unwrap_or_default().to_owned();
    let file = format!("aws-{user}-{}.json", cloud.project());
    match find(cloud, &file).await? {
        Some(kept) => Ok(kept),
        None => make(cloud, &user, &file).await,
    }
}

pub(crate) async fn print(cloud: Cloud) -> Result<(), Failure> {
    let kept = key(&cloud).await?;
    let ca = std::path::absolute(&cloud.ca_file).unwrap_or_else(|_| cloud.ca_file.clone());
    let exports = [
        ("AWS_ENDPOINT_URL", cloud.endpoint.as_str()),
        ("AWS_CA_BUNDLE", &ca.to_string_lossy()),
        ("AWS_ACCESS_KEY_ID", &kept.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &kept.secret),
        // Clients differ in which of the two they read.
        ("AWS_REGION", facade_aws::REGION),
        ("AWS_DEFAULT_REGION", facade_aws::REGION),
    ];
    output::print(&exports.map(|(name, value)| export(name, value)).concat())
}

/// The key that was made before, while the cloud still knows it.
async fn find(cloud: &Cloud, file: &str) -> Result<Option<Kept>, Failure> {
    let Some(text) = kubeconfig::read_kept(&cloud.global, file) else { return Ok(None) };
    let Ok(kept) = serde_json::from_str::<Kept>(&text) else { return Ok(None) };
    let known = cloud.client.all::<AccessKey>().find(&kept.name).await?;
    Ok(known.filter(|key| key.spec.access_key_id == kept.access_key_id).map(|_| kept))
}

async fn make(cloud: &Cloud, user: &str, file: &str) -> Result<Kept, Failure> {
    let mut random = [0; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Failure::failed("the system has no random numbers to give"))?;
    let secret = STANDARD.encode(random);
    let spec = AccessKeySpec {
        user: user.to_owned(),
        secret: secret.clone(),
        project: cloud.project().to_owned(),
        description: "made by `corten env aws`".into(),
        ..AccessKeySpec::default()
    };
    let meta = ObjectMeta { generate_name: format!("{user}-aws-"), ..ObjectMeta::default() };
    let key = cloud.client.all::<AccessKey>().create(&AccessKey::new(meta, spec)).await?;
    let kept = Kept { name: key.metadata.name, access_key_id: key.spec.access_key_id, secret };
    let text = serde_json::to_string(&kept).map_err(|e| Failure::failed(e.to_string()))?;
    kubeconfig::keep(&cloud.global, file, &text)?;
    Ok(kept)
}
