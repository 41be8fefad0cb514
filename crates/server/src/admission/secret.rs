//! Secrets: a certificate and its key have to belong together; and which hosts may read which secret.

use ::identity::Principal;
use client::Request;
use model::network::LoadBalancer;
use model::secret::{Secret, TLS, TLS_CERTIFICATE, TLS_KEY};
use model::{ApiError, FieldErrors, Reason, Resource};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use store::ListOptions;

use crate::server::{Server, store_error};

/// Says in `errors` what a server could not use.
pub(super) fn check_secret(secret: &Secret, errors: &mut FieldErrors) {
    if secret.secret_type != TLS {
        return;
    }
    let (Some(certificate), Some(key)) = (secret.value(TLS_CERTIFICATE), secret.value(TLS_KEY)) else {
        return;
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        _ => return errors.push("data.tls.crt", "has no certificate as PEM (-----BEGIN CERTIFICATE-----)"),
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(&key) else {
        return errors
            .push("data.tls.key", "has no key as PEM without a password (-----BEGIN PRIVATE KEY-----)");
    };
    let Ok(key) = any_supported_type(&key) else {
        let message = "is no key that servers use: make one of RSA, ECDSA P-256 or P-384, or Ed25519";
        return errors.push("data.tls.key", message);
    };
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            errors.push("data.tls.key", "does not belong to the first certificate of tls.crt");
        }
        Err(e) => errors.push("data.tls.crt", format!("is not a certificate that servers use: {e}")),
    }
}

impl Server {
    /// A host reads the secrets of load balancers that it works for, and no others.
    pub(crate) async fn check_reading(&self, caller: &Principal, request: &Request) -> Result<(), ApiError> {
        let Some(host) = caller.host().filter(|_| request.kind.info == Secret::KIND) else { return Ok(()) };
        let project = request.project.as_deref().unwrap_or_default();
        let prefix = format!("{}{project}/", LoadBalancer::KIND.prefix());
        let page = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
        let needs = |balancer: LoadBalancer| {
            balancer.status.host == host && balancer.secrets().contains(request.name.as_str())
        };
        let mut balancers = page.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok());
        if balancers.any(needs) {
            return Ok(());
        }
        let message = format!("host {host:?} has no load balancer that uses secret {:?}", request.name);
        Err(ApiError::new(Reason::Forbidden, message))
    }
}

#[cfg(test)]
mod tests {
    use model::ObjectMeta;

    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["www.example.org".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn refused(certificate: &str, key: &str) -> String {
        let secret = Secret::tls(ObjectMeta::in_project("p", "s"), certificate, key);
        let mut errors = FieldErrors::default();
        check_secret(&secret, &mut errors);
        errors.to_string()
    }

    #[test]
    fn a_certificate_and_its_key_belong_together() {
        let (certificate, key) = pair();
        let (_, other) = pair();
        assert_eq!(refused(&certificate, &key), "");
        assert_eq!(
            refused(&certificate, &other),
            "data.tls.key: does not belong to the first certificate of tls.crt"
        );
        assert!(refused("nothing", &key).starts_with("data.tls.crt: has no certificate"));
        assert!(refused(&certificate, &certificate).starts_with("data.tls.key: has no key"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refused(broken, &key).starts_with("data.tls.crt: is not a certificate"));
    }
}
