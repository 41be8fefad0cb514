//! A request in, an answer out: who signed it, which action it is, and the forms of success and failure.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use identity::aws::{Message, Presented, SignatureError};
use identity::iam::Through;
use identity::{Signer, SourceAddress};

use crate::REGION;
use crate::actions::{self, Action};
use crate::authorize;
use crate::cloud::Cloud;
use crate::context::Context;
use crate::ec2::launch_templates;
use crate::failure::Failure;
use crate::ids::hex;
use crate::monitoring::{self, tree::Tree};
use crate::params::Params;
use crate::xml::Xml;

const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// Services whose clients sign for this region wherever they are, because AWS has them once for all regions.
const GLOBAL: [&str; 2] = ["sts", "iam"];
const GLOBAL_REGION: &str = "us-east-1";

const MONITORING: &str = "monitoring";

/// A protocol that came after query. Of what is here only CloudWatch's clients speak one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Cbor,
}

impl Form {
    /// The form of a request, and its action.
    fn of(head: &Parts) -> Option<(Self, String)> {
        let path = head.uri.path().strip_prefix("/service/").and_then(|rest| rest.split_once("/operation/"));
        if let Some((_, name)) = path.filter(|(service, _)| *service == monitoring::TARGET) {
            return Some((Self::Cbor, name.to_owned()));
        }
        let target = head.headers.get("x-amz-target")?.to_str().ok()?;
        let (service, name) = target.split_once('.')?;
        (service == monitoring::TARGET).then(|| (Self::Json, name.to_owned()))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.0",
            Self::Cbor => "application/cbor",
        }
    }
}

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
        if let Some((form, name)) = Form::of(&head) {
            return self.answer_data(&head, &body, form, &name, &id).await;
        }
        let mut service = String::new();
        let (status, text) = match self.try_answer(&head, &body, &mut service, &id).await {
            Ok(text) => (200, text),
            Err(failure) => {
                let failure = if service == "ec2" { failure } else { failure.in_words_of(&service) };
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
        let result = self.run(action, signer, params, head).await?;
        Ok(success(action, &result, id))
    }

    /// The answer to a request in one of the protocols that came after query.
    async fn answer_data(
        &self,
        head: &Parts,
        body: &[u8],
        form: Form,
        name: &str,
        id: &str,
    ) -> Response<Bytes> {
        let answer = self.try_data(head, body, form, name).await;
        let (status, told, query_error) = match answer {
            Ok(tree) => (200, tree, None),
            Err(failure) => {
                let failure = failure.in_words_of(MONITORING);
                let side = if failure.status < 500 { "Sender" } else { "Receiver" };
                let text = |text: &str| Tree::Text(text.to_owned());
                let told =
                    Tree::Map(vec![("__type", text(&failure.code)), ("message", text(&failure.message))]);
                (failure.status, told, Some(format!("{};{side}", failure.code)))
            }
        };
        let bytes = match form {
            Form::Cbor => told.cbor(),
            Form::Json => told.json().to_string().into_bytes(),
        };
        let mut response = Response::new(Bytes::from(bytes));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        if form == Form::Cbor {
            headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        }
        let said = query_error.map(|error| ("x-amzn-query-error", error));
        for (name, value) in [("x-amzn-requestid", id.to_owned())].into_iter().chain(said) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }

    async fn try_data(&self, head: &Parts, body: &[u8], form: Form, name: &str) -> Result<Tree, Failure> {
        let signer = self.verify(head, body).map_err(|e| Failure::signature(&e, MONITORING))?;
        if head.method != Method::POST || signer.service != MONITORING {
            return Err(Failure::unknown_action(name));
        }
        let params = monitoring::params_of(body, form == Form::Cbor)?;
        let action = actions::find(MONITORING, name).ok_or_else(|| Failure::unknown_action(name))?;
        let context = self.prepare(action, signer, params, head).await?;
        monitoring::answer(&context).await
    }

    async fn run(
        &self,
        action: &Action,
        signer: Signer,
        params: Params,
        head: &Parts,
    ) -> Result<Xml, Failure> {
        let context = self.prepare(action, signer, params, head).await?;
        let answer = (action.run)(&context).await?;
        // What only reads would have been answered.
        context.end_dry_run()?;
        Ok(answer)
    }

    /// A request that may be carried out.
    async fn prepare(
        &self,
        action: &Action,
        signer: Signer,
        params: Params,
        head: &Parts,
    ) -> Result<Context, Failure> {
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
        let mut context = Context {
            cloud,
            client,
            signer,
            action: action.name.into(),
            host: host(head),
            from: head.extensions.get::<SourceAddress>().map(|from| from.0),
            through: head.extensions.get::<Arc<Through>>().cloned(),
            params,
            dry_run,
        };
        if action.name == "RunInstances" && context.params.has("LaunchTemplate") {
            context.params = launch_templates::merged(&context).await?;
        }
        authorize::comes_through(&context, action.service).await?;
        authorize::check(&context, action.service).await?;
        Ok(context)
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
