//! Chains of certificates, as Apple signs with: a leaf, one intermediate, and a root that is configured.
//!
//! As Apple's own App Store Server Library does it: exactly three certificates are sent, the third is not believed but
//! looked up among the configured roots; each is signed by the next and was valid when the data was signed; leaf and
//! intermediate carry Apple's own marks. Revocation is not asked for online: a process that books money does not depend
//! on a server of somebody else for each payment.

use std::time::Duration;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256, Sha384};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// "Mac App Store Receipt Signing" and "Apple Worldwide Developer Relations": what the two lower certificates are for.
const LEAF_MARK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.11.1");
const INTERMEDIATE_MARK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.2.1");

/// Certificates that are believed because they are configured.
pub struct Roots(Vec<Certificate>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("there must be three certificates")]
    Length,
    #[error("a certificate cannot be read")]
    Unreadable,
    #[error("its root is not among the configured ones")]
    UnknownRoot,
    #[error("a certificate is not signed by the next one")]
    Signature,
    #[error("a certificate was not valid at that time")]
    Validity,
    #[error("a certificate is not meant for this")]
    Purpose,
}

impl Roots {
    pub fn parse(pems: &[String]) -> Result<Roots, String> {
        let roots = pems.iter().map(|pem| Certificate::from_pem(pem.trim()).map_err(|error| error.to_string()));
        let roots: Vec<_> = roots.collect::<Result<_, _>>()?;
        if roots.is_empty() { Err("no root certificate is configured".into()) } else { Ok(Roots(roots)) }
    }

    /// The key of the leaf of a chain that held at this time.
    pub fn leaf_key(&self, chain: &[Vec<u8>], at: Duration) -> Result<p256::ecdsa::VerifyingKey, ChainError> {
        let [leaf, intermediate, _root] = chain else { return Err(ChainError::Length) };
        let read = |der: &Vec<u8>| Certificate::from_der(der).map_err(|_| ChainError::Unreadable);
        let (leaf, intermediate) = (read(leaf)?, read(intermediate)?);
        let issuer = &intermediate.tbs_certificate.issuer;
        let named = self.0.iter().filter(|root| root.tbs_certificate.subject == *issuer);
        let mut why = ChainError::UnknownRoot;
        for root in named {
            match check(&leaf, &intermediate, root, at) {
                Ok(()) => {
                    let key = &leaf.tbs_certificate.subject_public_key_info;
                    let key = key.subject_public_key.raw_bytes();
                    return p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| ChainError::Purpose);
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

fn check(leaf: &Certificate, intermediate: &Certificate, root: &Certificate, at: Duration) -> Result<(), ChainError> {
    signed_by(intermediate, root)?;
    signed_by(leaf, intermediate)?;
    [leaf, intermediate, root].into_iter().try_for_each(|certificate| valid(certificate, at))?;
    let may_sign = extension(intermediate, KEY_USAGE, |der| KeyUsage::from_der(der).ok())?;
    let is_authority = extension(intermediate, BASIC_CONSTRAINTS, |der| BasicConstraints::from_der(der).ok())?;
    let leaf_is_authority = extension(leaf, BASIC_CONSTRAINTS, |der| BasicConstraints::from_der(der).ok())?;
    let fits = is_authority.is_some_and(|constraints| constraints.ca)
        && may_sign.is_none_or(|usage| usage.key_cert_sign())
        && leaf_is_authority.is_none_or(|constraints| !constraints.ca)
        && has(leaf, LEAF_MARK)
        && has(intermediate, INTERMEDIATE_MARK)
        && [leaf, intermediate].into_iter().all(knows_what_is_critical);
    if fits { Ok(()) } else { Err(ChainError::Purpose) }
}

fn signed_by(certificate: &Certificate, issuer: &Certificate) -> Result<(), ChainError> {
    if certificate.tbs_certificate.issuer != issuer.tbs_certificate.subject
        || certificate.signature_algorithm != certificate.tbs_certificate.signature
    {
        return Err(ChainError::Signature);
    }
    let message = certificate.tbs_certificate.to_der().map_err(|_| ChainError::Unreadable)?;
    let digest = match certificate.signature_algorithm.oid {
        ECDSA_SHA256 => Sha256::digest(&message).to_vec(),
        ECDSA_SHA384 => Sha384::digest(&message).to_vec(),
        _ => return Err(ChainError::Signature),
    };
    let signature = certificate.signature.as_bytes().ok_or(ChainError::Unreadable)?;
    let fits = fits(&issuer.tbs_certificate.subject_public_key_info, &digest, signature);
    fits.filter(|fits| *fits).map(drop).ok_or(ChainError::Signature)
}

/// Whether a key made this signature of a digest; none where it cannot be one.
fn fits(key: &SubjectPublicKeyInfoOwned, digest: &[u8], signature: &[u8]) -> Option<bool> {
    let curve: ObjectIdentifier = key.algorithm.parameters.as_ref()?.decode_as().ok()?;
    let point = key.subject_public_key.raw_bytes();
    match curve {
        P256 => {
            let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
            Some(key.verify_prehash(digest, &signature).is_ok())
        }
        P384 => {
            let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
            // ECDSA on this curve takes a digest of half its size or more.
            Some(key.verify_prehash(digest, &signature).is_ok())
        }
        _ => None,
    }
}

fn valid(certificate: &Certificate, at: Duration) -> Result<(), ChainError> {
    let validity = &certificate.tbs_certificate.validity;
    let holds = validity.not_before.to_unix_duration() <= at && at <= validity.not_after.to_unix_duration();
    if holds { Ok(()) } else { Err(ChainError::Validity) }
}

fn has(certificate: &Certificate, oid: ObjectIdentifier) -> bool {
    certificate.tbs_certificate.extensions.iter().flatten().any(|extension| extension.extn_id == oid)
}

fn knows_what_is_critical(certificate: &Certificate) -> bool {
    let known = [BASIC_CONSTRAINTS, KEY_USAGE, LEAF_MARK, INTERMEDIATE_MARK];
    let mut extensions = certificate.tbs_certificate.extensions.iter().flatten();
    extensions.all(|extension| !extension.critical || known.contains(&extension.extn_id))
}

fn extension<T>(
    certificate: &Certificate,
    oid: ObjectIdentifier,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, ChainError> {
    let mut extensions = certificate.tbs_certificate.extensions.iter().flatten();
    match extensions.find(|extension| extension.extn_id == oid) {
        Some(extension) => read(extension.extn_value.as_bytes()).map(Some).ok_or(ChainError::Unreadable),
        None => Ok(None),
    }
}
