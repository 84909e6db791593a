//! TLS with a certificate and key from files.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Takes TLS connections with the certificate and key of `tls`.
///
/// # Errors
/// When a file cannot be read, or the two do not belong together.
pub fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("while reading the certificate {}", tls.certificate.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "there is no certificate in {}", tls.certificate.display());
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("while reading the key {}", tls.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("while choosing TLS versions")?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("while putting certificate and key together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
