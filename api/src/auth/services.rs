//! Keys of services and administrators: those of the configuration, and those that were made at run time.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use largesse_engine::control::keys::Keys;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::auth::scopes::Scopes;
use crate::auth::{AuthOptions, NamedKey};

/// A service whose key was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    pub name: Arc<str>,
    pub scopes: Scopes,
    /// What its requests can be signed with.
    pub(crate) signing: Option<SigningSecret>,
}

/// What a request is signed with; made from a key, and of no use as that key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningSecret(pub [u8; 32]);

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// Names what the secret is for, so that it can stand for nothing else.
const SIGNING_PURPOSE: &[u8] = b"largesse-signing-v1";

impl SigningSecret {
    /// HMAC-SHA-256 of a fixed text under the key.
    pub fn of(key: &str) -> SigningSecret {
        SigningSecret(hmac(key.as_bytes(), SIGNING_PURPOSE))
    }
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Whether this is the HMAC-SHA-256 of the message, in a time that tells nothing.
pub(crate) fn hmac_fits(key: &[u8], message: &[u8], claimed: &[u8]) -> bool {
    hmac(key, message).ct_eq(claimed).into()
}

/// One set of keys, ready to be looked up.
pub(crate) struct Held {
    /// By hash. A key is 256 random bits, so how long a look-up of its hash takes helps nobody to find one.
    services: HashMap<[u8; 32], Arc<ServiceKey>>,
    names: HashMap<Arc<str>, Arc<ServiceKey>>,
    admins: Vec<(Arc<str>, [u8; 32])>,
    /// The run-time keys that are in here.
    pub made: Keys,
}

impl Held {
    pub fn new(options: &AuthOptions, made: Keys) -> Held {
        let mut held = Held { services: HashMap::new(), names: HashMap::new(), admins: Vec::new(), made };
        let made = Arc::clone(&held.made);
        for key in made.iter().map(|key| &key.created) {
            let service = ServiceKey {
                name: key.name.as_str().into(),
                scopes: Scopes::stored(&key.scopes),
                signing: key.signing.map(SigningSecret),
            };
            held.add(key.sha256, service);
        }
        // After the others: a name of the configuration is the operator's own word.
        for key in &options.service_keys {
            let NamedKey { name, sha256, scopes, signing } = key;
            held.add(*sha256, ServiceKey { name: name.as_str().into(), scopes: *scopes, signing: *signing });
        }
        held.admins = options.admin_keys.iter().map(|key| (key.name.as_str().into(), key.sha256)).collect();
        held
    }

    fn add(&mut self, sha256: [u8; 32], service: ServiceKey) {
        let service = Arc::new(service);
        self.services.insert(sha256, Arc::clone(&service));
        self.names.insert(Arc::clone(&service.name), service);
    }

    pub fn service(&self, hash: &[u8; 32]) -> Option<Arc<ServiceKey>> {
        self.services.get(hash).cloned()
    }

    /// The service of this name, where its requests can be signed.
    pub fn signer(&self, name: &str) -> Option<(Arc<ServiceKey>, SigningSecret)> {
        let service = self.names.get(name)?;
        Some((Arc::clone(service), service.signing?))
    }

    /// Administrators' keys may be chosen by people, so which of them it is takes no part in the time this takes.
    pub fn admin(&self, hash: &[u8; 32]) -> Option<Arc<str>> {
        let mut place = u32::MAX;
        for (candidate, (_, sha256)) in (0u32..).zip(&self.admins) {
            let is_it: Choice = sha256.ct_eq(hash);
            place.conditional_assign(&candidate, is_it);
        }
        self.admins.get(usize::try_from(place).ok()?).map(|(name, _)| Arc::clone(name))
    }
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
