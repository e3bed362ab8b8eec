//! RSA signatures with SHA-256 (RSASSA-PKCS1-v1_5), which three of the providers use, each over a text of its own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use x509_cert::Certificate;
use x509_cert::der::DecodePem;

/// A key that a provider signs with.
#[derive(Clone)]
pub struct RsaKey(DecodingKey);

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RsaKey(…)")
    }
}

impl RsaKey {
    /// From a public key in PEM, from a certificate in PEM, or from a public key in base64 alone, as consoles show it.
    pub fn parse(text: &str) -> Result<RsaKey, String> {
        let text = text.trim();
        if text.contains("BEGIN CERTIFICATE") {
            let certificate = Certificate::from_pem(text).map_err(|error| error.to_string())?;
            let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
            return Ok(RsaKey(DecodingKey::from_rsa_der(key.raw_bytes()))).and_then(RsaKey::tried);
        }
        let pem = if text.contains("-----BEGIN") {
            text.to_owned()
        } else {
            let digits: String = text.split_whitespace().collect();
            let lines: Vec<&str> = digits.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
        };
        DecodingKey::from_rsa_pem(pem.as_bytes()).map(RsaKey).map_err(|error| error.to_string()).and_then(RsaKey::tried)
    }

    /// A key that cannot verify anything is told at the start and not with the first payment.
    fn tried(self) -> Result<RsaKey, String> {
        let tried = jsonwebtoken::crypto::verify("AAAA", b"", &self.0, Algorithm::RS256);
        tried.map(|_| self).map_err(|error| format!("this is no RSA key: {error}"))
    }

    /// Whether this is the base64 of the message's signature.
    pub fn fits(&self, message: &[u8], base64: &str) -> bool {
        let Ok(signature) = STANDARD.decode(base64) else { return false };
        let signature = URL_SAFE_NO_PAD.encode(signature);
        jsonwebtoken::crypto::verify(&signature, message, &self.0, Algorithm::RS256).unwrap_or(false)
    }
}

#[cfg(test)]
pub mod tests {
    use jsonwebtoken::EncodingKey;

    use super::*;

    pub const PRIVATE: &[u8] = include_bytes!("../../tests/keys/rsa.pem");
    pub const PUBLIC: &str = include_str!("../../tests/keys/rsa.pub.pem");

    /// As a provider signs.
    pub fn sign(message: &[u8]) -> String {
        let key = EncodingKey::from_rsa_pem(PRIVATE).unwrap();
        let signature = jsonwebtoken::crypto::sign(message, &key, Algorithm::RS256).unwrap();
        STANDARD.encode(URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    #[test]
    fn a_key_is_read_in_each_form_and_verifies_only_its_own() {
        let bare: String = PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
        let signature = sign(b"message");
        for text in [PUBLIC, bare.as_str()] {
            let key = RsaKey::parse(text).unwrap();
            assert!(key.fits(b"message", &signature));
            assert!(!key.fits(b"messagE", &signature));
            for bad in ["", "AAAA", "not base64!", &signature[4..], &signature.replace('=', "")] {
                assert!(!key.fits(b"message", bad), "{bad}");
            }
        }
        for bad in
            ["", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----"]
        {
            assert!(RsaKey::parse(bad).is_err(), "{bad}");
        }
    }
}
