//! A request in, an answer out: who signed it, which action it is, and the forms of success and failure.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use identity::Signer;
use identity::aws::{Message, Presented, SignatureError};

use crate::REGION;
use crate::actions::{self, Action};
use crate::authorize;
use crate::cloud::Cloud;
use crate::context::Context;
use crate::ec2::launch_templates;
use crate::failure::Failure;
use crate::ids::hex;
use crate::params::Params;
use crate::xml::Xml;

const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// Services whose clients sign for this region wherever they are, because AWS has them once for all regions.
const GLOBAL: [&str; 2] = ["sts", "iam"];
const GLOBAL_REGION: &str = "us-east-1";

/// AWS's face of a cloud. Cheap to clone.
#[derive(Clone)]
pub struct Aws {
    cloud: Arc<dyn Cloud>,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

impl Aws {
    pub fn new(cloud: Arc<dyn Cloud>) -> Self {
        Self { cloud }
    }

    /// Whether a request is AWS's: it is signed as theirs are, or is what only their unsigned ones look like.
    pub fn speaks(head: &Parts) -> bool {
        let authorization = head.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        Presented::is_claimed(head.uri.query().unwrap_or(""), authorization)
            || (head.method == Method::POST && head.uri.path() == "/")
    }

    /// Whether credentials for this service in this region are meant for this cloud.
    pub fn is_here(service: &str, region: &str) -> bool {
        region == REGION || (region == GLOBAL_REGION && GLOBAL.contains(&service))
    }

    pub async fn answer(&self, head: Parts, body: Bytes) -> Response<Bytes> {
        let id = request_id(&self.cloud.random());
        let mut service = String::new();
        let (status, text) = match self.try_answer(&head, &body, &mut service, &id).await {
            Ok(text) => (200, text),
            Err(failure) => {
                let failure = if service == "ec2" { failure } else { failure.in_query_words() };
                tracing::debug!(code = %failure.code, message = failure.message, "an AWS request was refused");
                (failure.status, error(&failure, &service, &id))
            }
        };
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }

    async fn try_answer(
        &self,
        head: &Parts,
        body: &[u8],
        service: &mut String,
        id: &str,
    ) -> Result<String, Failure> {
        // The form of the answer follows the service that was meant, signed or not: it is EC2's unless it says so.
        *service = claimed_service(head);
        let signer = self.verify(head, body).map_err(|e| Failure::signature(&e, service))?;
        if head.uri.path() != "/" || !matches!(head.method, Method::GET | Method::POST) {
            let message = "Requests are GET or POST of the path /";
            return Err(Failure { status: 404, ..Failure::new("InvalidRequest", message) });
        }
        let params = Params::parse(if head.method == Method::POST { body } else { &[] }, &signer.parameters)?;
        let name = params.require("Action")?.to_owned();
        let action = actions::find(&signer.service, &name).ok_or_else(|| Failure::unknown_action(&name))?;
        // The older protocol of load balancers has actions of the same names.
        if action.service == actions::ELB && params.get("Version").is_some_and(|v| v != actions::ELB_VERSION)
        {
            return Err(Failure::unknown_action(&name));
        }
        let result = self.run(action, signer, params, host(head)).await?;
        Ok(success(action, &result, id))
    }

    async fn run(
        &self,
        action: &Action,
        signer: Signer,
        params: Params,
        host: String,
    ) -> Result<Xml, Failure> {
        let mut known = vec!["Action", "Version", "DryRun"];
        known.extend_from_slice(action.takes);
        if let Some(unknown) = params.unknown(&known).next() {
            let message =
                format!("The parameter {unknown} is not supported by {} of this cloud", action.name);
            return Err(Failure::new("UnknownParameter", message));
        }
        let dry_run = params.flag("DryRun")?.unwrap_or(false);
        let client = self.cloud.client(&signer.principal);
        let cloud = Arc::clone(&self.cloud);
        let mut context =
            Context { cloud, client, signer, action: action.name.into(), host, params, dry_run };
        if action.name == "RunInstances" && context.params.has("LaunchTemplate") {
            context.params = launch_templates::merged(&context).await?;
        }
        authorize::check(&context, action.service).await?;
        let answer = (action.run)(&context).await?;
        // What only reads would have been answered.
        context.end_dry_run()?;
        Ok(answer)
    }

    /// The only way from a request to a caller.
    fn verify(&self, head: &Parts, body: &[u8]) -> Result<Signer, SignatureError> {
        let mut headers: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        // HTTP/2 has another word for the host. Where both are said, they say the same.
        if let Some(authority) = head.uri.authority() {
            match head.headers.get(HOST) {
                None => headers.push(("host", authority.as_str().as_bytes())),
                Some(host) if host.as_bytes() == authority.as_str().as_bytes() => {}
                Some(_) => return Err(SignatureError::Incomplete("the request names two hosts".into())),
            }
        }
        self.cloud.verify(&Message {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or(""),
            headers,
            body,
        })
    }
}

fn host(head: &Parts) -> String {
    let header = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("").to_owned()
}

/// The service that a credential names, without a word on whether it is one.
fn claimed_service(head: &Parts) -> String {
    let header = head.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let credential = header
        .split_once("Credential=")
        .map(|(_, rest)| rest.replace("%2F", "/"))
        .or_else(|| {
            let query = head.uri.query()?.split_once("X-Amz-Credential=")?.1;
            Some(query.replace("%2F", "/").replace("%2f", "/"))
        })
        .unwrap_or_default();
    let service = credential.split([',', '&']).next().unwrap_or("").split('/').nth(3).unwrap_or("");
    if service != "ec2" && actions::all().any(|action| action.service == service) {
        service.to_owned()
    } else {
        "ec2".to_owned()
    }
}

fn success(action: &Action, result: &Xml, id: &str) -> String {
    let root = format!("{}Response", action.name);
    match action.service {
        "ec2" => Xml::document(&root, EC2_NAMESPACE, |x| {
            x.text("requestId", id).append(result);
        }),
        _ => Xml::document(&root, action.namespace(), |x| {
            x.node(&format!("{}Result", action.name), |x| {
                x.append(result);
            });
            x.node("ResponseMetadata", |x| {
                x.text("RequestId", id);
            });
        }),
    }
}

fn error(failure: &Failure, service: &str, id: &str) -> String {
    let inner = |x: &mut Xml| {
        x.text("Code", &failure.code).text("Message", &failure.message);
    };
    if service == "ec2" {
        return Xml::document("Response", "", |x| {
            x.node("Errors", |x| {
                x.node("Error", inner);
            });
            x.text("RequestID", id);
        });
    }
    Xml::document("ErrorResponse", "", |x| {
        x.node("Error", |x| {
            x.text("Type", if failure.status < 500 { "Sender" } else { "Receiver" });
            inner(x);
        });
        x.text("RequestId", id);
    })
}

/// In the form of a UUID.
fn request_id(random: &[u8; 32]) -> String {
    let digits = hex(random, 32);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
