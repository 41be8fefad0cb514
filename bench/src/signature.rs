//! What it costs to find out who signed a request as AWS's clients do: the canonical form, five HMACs and the digest of
//! the body, on one core.

use std::time::{Duration, Instant};

use identity::aws::Message;
use identity::{Authenticator, MasterKey};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::{ObjectMeta, Timestamp};
use ring::{digest, hmac};

use crate::Result;
use crate::report::{Row, Verdict, number};

const GOAL: Duration = Duration::from_micros(10);
const ROUNDS: usize = 200_000;
const ID: &str = "AKIABENCHBENCHBENCH0";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20260101T000000Z";
const SCOPE: &str = "20260101/my-corten-1/ec2/aws4_request";
const NOW: Timestamp = Timestamp(1_767_225_600_000);
/// A DescribeInstances with a filter, as the aws command sends it.
const BODY: &[u8] =
    b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name&Filter.1.Value.1=running";
const SIGNED: &str = "content-type;host;x-amz-date";
const HOST: &str = "127.0.0.1:7443";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

pub(crate) async fn measure() -> Result<Vec<Row>> {
    tokio::task::spawn_blocking(rows).await?
}

fn rows() -> Result<Vec<Row>> {
    let table = table()?;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/{SCOPE}, SignedHeaders={SIGNED}, Signature={}",
        signature()
    );
    let unknown = authorization.replace(ID, "AKIAUNKNOWNUNKNOWN00");
    let known = time(&table, &authorization)?;
    let stranger = time(&table, &unknown)?;
    Ok(vec![Row {
        what: "a signed AWS request verified, from its bytes to its caller".into(),
        corten: format!("{:.2} us, {}/s on one core", micros(known), number(1.0 / known.as_secs_f64())),
        goal: "<= 10 us".into(),
        verdict: Verdict::of(known <= GOAL),
        note: format!(
            "{ROUNDS} times a DescribeInstances of {} bytes with {} headers, in memory, without TLS. No signing key is \
             kept from one request to the next. An unknown key takes {:.2} us: the same.",
            BODY.len(),
            message(&authorization).headers.len(),
            micros(stranger)
        ),
        ..Row::default()
    }])
}

fn time(table: &Authenticator, authorization: &str) -> Result<Duration> {
    let message = message(authorization);
    let mut answers = 0_usize;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        answers += usize::from(table.verify(&message, |_, _| true, NOW).is_ok());
    }
    let each = begun.elapsed() / u32::try_from(ROUNDS)?;
    if answers != 0 && answers != ROUNDS {
        return Err("one request got two answers".into());
    }
    Ok(each)
}

fn message(authorization: &str) -> Message<'_> {
    Message {
        method: "POST",
        path: "/",
        query: "",
        headers: vec![
            ("host", HOST.as_bytes()),
            ("user-agent", b"aws-cli/1.46.3 md/Botocore#1.43.62 ua/2.1 os/linux"),
            ("accept-encoding", b"identity"),
            ("content-type", CONTENT_TYPE.as_bytes()),
            ("x-amz-date", DATE.as_bytes()),
            ("authorization", authorization.as_bytes()),
            ("content-length", b"104"),
        ],
        body: BODY,
    }
}

fn table() -> Result<Authenticator> {
    let master = MasterKey::new([7; 32]);
    let mut spec = AccessKeySpec { user: "ann".into(), access_key_id: ID.into(), ..AccessKeySpec::default() };
    spec.sealed_secret =
        master.seal(&spec.seal_owner(), SECRET, &[1; 32]).ok_or("the secret was not sealed")?;
    let mut table = Authenticator::new(Some(master));
    table.upsert_key(&AccessKey::new(ObjectMeta::named("ann"), spec));
    table.upsert_user(&User::new(ObjectMeta::named("ann"), UserSpec::default()));
    Ok(table)
}

fn signature() -> String {
    let sha = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!(
        "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{HOST}\nx-amz-date:{DATE}\n\n{SIGNED}\n{}",
        sha(BODY)
    );
    let text = format!("AWS4-HMAC-SHA256\n{DATE}\n{SCOPE}\n{}", sha(canonical.as_bytes()));
    let parts = SCOPE.split('/').chain([text.as_str()]);
    let key = parts.fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    hex(&key)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
