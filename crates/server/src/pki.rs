//! Certificates: one authority for servers and one for clients, made at the first start. Separate, so that a
//! server's certificate can never stand for a user.

use std::net::IpAddr;
use std::sync::Arc;

use identity::Principal;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ConfigBuilder;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// An authority is valid this long; what it signs is renewed long before.
const AUTHORITY_YEARS: i64 = 20;
const LEAF_DAYS: i64 = 397;

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("a stored certificate or key cannot be used: {0}")]
    Stored(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate and its key, as PEM.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Both authorities of a cloud. To be kept secret: who has it can be anyone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authority {
    /// Signs servers.
    pub servers: Identity,
    /// Signs users and hosts.
    pub clients: Identity,
}

impl Authority {
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self { servers: authority("Corten servers")?, clients: authority("Corten clients")? })
    }

    /// A certificate for a server that is reached under these names and addresses.
    pub fn server_identity(&self, addresses: &[IpAddr], names: &[String]) -> Result<Identity, PkiError> {
        let mut params = leaf("corten", &[], ExtendedKeyUsagePurpose::ServerAuth)?;
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        sign(params, &self.servers)
    }

    /// A certificate that says its holder is this user and in these groups.
    pub fn client_identity(&self, user: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        sign(leaf(user, groups, ExtendedKeyUsagePurpose::ClientAuth)?, &self.clients)
    }

    /// TLS for who comes by an endpoint under these names and addresses; no caller shows a certificate.
    pub(crate) fn endpoint_config(
        &self,
        addresses: &[IpAddr],
        names: &[String],
    ) -> Result<rustls::ServerConfig, PkiError> {
        let identity = self.server_identity(addresses, names)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        finish(builder, &identity, &self.servers.certificate)
    }

    /// TLS for a server at this address: the authority's certificate is sent along, so that a host that joins
    /// can check it against the digest it was told.
    pub(crate) fn server_config(&self, listening: IpAddr) -> Result<rustls::ServerConfig, PkiError> {
        let mut addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        if !addresses.contains(&listening) && !listening.is_unspecified() {
            addresses.push(listening);
        }
        let mut names = vec!["localhost".to_owned(), "corten".to_owned()];
        names.extend(host_name());
        let identity = self.server_identity(&addresses, &names)?;
        server_config(&identity, &self.servers.certificate, &self.clients.certificate)
    }
}

/// TLS for a server that knows callers by certificates of `clients`; callers without one are let in and must
/// show a token.
pub fn server_config(
    identity: &Identity,
    servers: &str,
    clients: &str,
) -> Result<rustls::ServerConfig, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der(clients)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|e| PkiError::Stored(e.to_string()))?;
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier);
    finish(builder, identity, servers)
}

fn finish(
    builder: ConfigBuilder<rustls::ServerConfig, WantsServerCert>,
    identity: &Identity,
    servers: &str,
) -> Result<rustls::ServerConfig, PkiError> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|e| PkiError::Stored(e.to_string()))?;
    let mut config = builder.with_single_cert(vec![der(&identity.certificate)?, der(servers)?], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Who a verified client certificate stands for.
pub fn principal(certificate: &CertificateDer<'_>) -> Option<Principal> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    Some(Principal::from_certificate(user, groups.collect::<Vec<_>>(), parsed.raw_serial_as_string()))
}

fn authority(name: &str) -> Result<Identity, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, Duration::days(365 * AUTHORITY_YEARS));
    params.serial_number = Some(serial());
    let key = KeyPair::generate()?;
    Ok(Identity { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn leaf(user: &str, groups: &[&str], usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.serial_number = Some(serial());
    validity(&mut params, Duration::days(LEAF_DAYS));
    Ok(params)
}

/// From an hour ago, for clocks that are behind.
fn validity(params: &mut CertificateParams, lasts: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + lasts;
}

fn serial() -> SerialNumber {
    let mut bytes = [0_u8; 16];
    // A repeated serial number would only make audit lines less clear.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

fn sign(params: CertificateParams, authority: &Identity) -> Result<Identity, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn der(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| PkiError::Stored(e.to_string()))
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    model::Name::new(name.to_ascii_lowercase()).ok().map(|_| name.to_owned())
}
