//! What it costs to find out who signed a request as AWS's clients do: the canonical form, five HMACs and the digest of
//! the body, on one core.

use std::time::{Duration, Instant};

use identity::aws::{Message, Signing, Unsigned, sha256};
use identity::{Authenticator, MasterKey, Secret};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::{ObjectMeta, Timestamp};

use crate::Result;
use crate::report::{Row, Verdict, number};

const GOAL: Duration = Duration::from_micros(10);
const ROUNDS: usize = 200_000;
const ID: &str = "AKIABENCHBENCHBENCH0";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20260101T000000Z";
const NOW: Timestamp = Timestamp(1_767_225_600_000);
/// A DescribeInstances with a filter, as the aws command sends it.
const BODY: &[u8] =
    b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name&Filter.1.Value.1=running";
const HOST: &str = "127.0.0.1:7443";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

pub(crate) async fn measure() -> Result<Vec<Row>> {
    tokio::task::spawn_blocking(rows).await?
}

fn rows() -> Result<Vec<Row>> {
    let table = table()?;
    let authorization = authorization();
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

/// As its caller signs it.
fn authorization() -> String {
    let signing = Signing {
        access_key_id: ID.into(),
        secret: Secret::new(SECRET),
        region: "my-corten-1".into(),
        service: "ec2".into(),
    };
    let headers = [("content-type", CONTENT_TYPE), ("host", HOST), ("x-amz-date", DATE)];
    let payload = sha256(BODY);
    let request = Unsigned { method: "POST", path: "/", query: "", headers: &headers, payload: &payload };
    signing.authorization(DATE, &request)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
