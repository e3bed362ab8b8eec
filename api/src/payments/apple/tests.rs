//! Apple's own test data, and chains made here to be wrong in one thing at a time.

use std::str::FromStr;
use std::time::Duration;

use http::HeaderMap;
use largesse_engine::units::Time;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use p256::pkcs8::EncodePublicKey;
use serde_json::{Value, json};
use x509_cert::builder::{Builder, CertificateBuilder, Profile};
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode, EncodePem};
use x509_cert::ext::{AsExtension, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time as CertificateTime, Validity};
use x509_cert::{Certificate, der};

use super::*;

const NOTIFICATION: &str = include_str!("../../../tests/vectors/apple/testNotification.jws");
const TRANSACTION: &str = include_str!("../../../tests/vectors/apple/transactionInfo.jws");
const WRONG_BUNDLE: &str = include_str!("../../../tests/vectors/apple/wrongBundleId.jws");
const ROOT: &str = include_str!("../../../tests/vectors/apple/testCA.pem");
const NOW: u64 = 1_700_000_000;

fn apple(bundle_id: &str, environment: &str, root: &str) -> Apple {
    let (bundle_id, environment) = (bundle_id.into(), environment.into());
    Apple::new(&AppleOptions { bundle_id, environment, roots: vec![root.into()] }).unwrap()
}

fn read(apple: &Apple, body: &Value) -> Result<Told, Distrust> {
    let (headers, body) = (HeaderMap::new(), body.to_string());
    apple.read(&Notice { headers: &headers, path: "/", body: body.as_bytes(), now: Time(NOW * 1_000) })
}

#[test]
fn apples_own_test_data_is_read_as_apples_library_reads_it() {
    let ours = apple("com.example", "Sandbox", ROOT);
    let notification = json!({ "signedPayload": NOTIFICATION.trim() });
    assert_eq!(read(&ours, &notification), Ok(Told::Other("TEST".into())));
    let other = apple("com.other", "Sandbox", ROOT);
    assert!(matches!(read(&other, &notification), Err(Distrust::NotForUs(_))));
    let production = apple("com.example", "Production", ROOT);
    assert!(matches!(read(&production, &notification), Err(Distrust::NotForUs(_))));
    // Its library also takes what has no `signedDate`; what books money here must have one.
    let wrong = read(&ours, &json!({ "signedPayload": WRONG_BUNDLE.trim() }));
    assert!(matches!(wrong, Err(Distrust::Malformed(_))), "{wrong:?}");
    // Properly signed, and then it lacks what a payment needs.
    let told = read(&ours, &json!({ "signedTransactionInfo": TRANSACTION.trim() }));
    assert!(matches!(&told, Err(Distrust::Malformed(why)) if why.contains("transactionId")), "{told:?}");
    let foreign = apple("com.example", "Sandbox", &Chain::new().root_pem());
    assert!(matches!(read(&foreign, &notification), Err(Distrust::Signature(_))));
    for place in [10, NOTIFICATION.len() / 2, NOTIFICATION.trim().len() - 5] {
        let mut forged = NOTIFICATION.trim().to_owned();
        let other = if &forged[place..=place] == "A" { "B" } else { "A" };
        forged.replace_range(place..=place, other);
        assert!(read(&ours, &json!({ "signedPayload": forged })).is_err(), "changed at {place}");
    }
}

/// Apple's mark in an extension whose value nobody reads.
struct Mark(ObjectIdentifier);

impl der::oid::AssociatedOid for Mark {
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.11.1");
}

impl Encode for Mark {
    fn encoded_len(&self) -> der::Result<der::Length> {
        der::asn1::Null.encoded_len()
    }

    fn encode(&self, writer: &mut impl der::Writer) -> der::Result<()> {
        der::asn1::Null.encode(writer)
    }
}

impl AsExtension for Mark {
    fn critical(&self, _subject: &Name, _extensions: &[Extension]) -> bool {
        false
    }

    fn to_extension(&self, _subject: &Name, _extensions: &[Extension]) -> Result<Extension, der::Error> {
        let extn_value = OctetString::new(der::asn1::Null.to_der()?)?;
        Ok(Extension { extn_id: self.0, critical: false, extn_value })
    }
}

/// A chain like Apple's, with the key of its leaf.
struct Chain {
    certificates: [Certificate; 3],
    leaf: SigningKey,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Expired,
    NotYet,
    NoLeafMark,
    NoIntermediateMark,
    IntermediateIsNoAuthority,
    LeafOfAnotherIssuer,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public(key: &SigningKey) -> SubjectPublicKeyInfoOwned {
    let der = key.verifying_key().to_public_key_der().unwrap();
    SubjectPublicKeyInfoOwned::from_der(der.as_bytes()).unwrap()
}

fn name(name: &str) -> Name {
    Name::from_str(&format!("CN={name}")).unwrap()
}

fn validity(from: u64, until: u64) -> Validity {
    let time = |seconds| {
        let time = GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).unwrap();
        CertificateTime::GeneralTime(time)
    };
    Validity { not_before: time(from), not_after: time(until) }
}

fn certificate(
    profile: Profile,
    subject: &str,
    of: &SigningKey,
    by: &SigningKey,
    validity: Validity,
    mark: Option<ObjectIdentifier>,
) -> Certificate {
    let serial = SerialNumber::from(7_u32);
    let mut builder = CertificateBuilder::new(profile, serial, validity, name(subject), public(of), by).unwrap();
    if let Some(mark) = mark {
        builder.add_extension(&Mark(mark)).unwrap();
    }
    builder.build::<p256::ecdsa::DerSignature>().unwrap()
}

impl Chain {
    fn new() -> Chain {
        Chain::with(Flaw::None)
    }

    fn with(flaw: Flaw) -> Chain {
        let (root, intermediate, leaf) = (key(1), key(2), key(3));
        let (from, until) = (NOW - 1_000, NOW + 1_000_000);
        let mark = |text: &str| Some(ObjectIdentifier::new_unwrap(text));
        let leaf_mark = mark("1.2.840.113635.100.6.11.1").filter(|_| flaw != Flaw::NoLeafMark);
        let intermediate_mark = mark("1.2.840.113635.100.6.2.1").filter(|_| flaw != Flaw::NoIntermediateMark);
        let sub = Profile::SubCA { issuer: name("root"), path_len_constraint: Some(0) };
        let end = |issuer: &str| Profile::Leaf {
            issuer: name(issuer),
            enable_key_agreement: false,
            enable_key_encipherment: false,
        };
        let sub = if flaw == Flaw::IntermediateIsNoAuthority { end("root") } else { sub };
        let leaf_validity = match flaw {
            Flaw::Expired => validity(NOW - 1_000, NOW - 10),
            Flaw::NotYet => validity(NOW + 10, NOW + 1_000),
            Flaw::None
            | Flaw::NoLeafMark
            | Flaw::NoIntermediateMark
            | Flaw::IntermediateIsNoAuthority
            | Flaw::LeafOfAnotherIssuer => validity(from, until),
        };
        let signer = if flaw == Flaw::LeafOfAnotherIssuer { key(9) } else { intermediate.clone() };
        let certificates = [
            certificate(end("intermediate"), "leaf", &leaf, &signer, leaf_validity, leaf_mark),
            certificate(sub, "intermediate", &intermediate, &root, validity(from, until), intermediate_mark),
            certificate(Profile::Root, "root", &root, &root, validity(from, until), None),
        ];
        Chain { certificates, leaf }
    }

    fn root_pem(&self) -> String {
        self.certificates[2].to_pem(der::pem::LineEnding::LF).unwrap()
    }

    fn x5c(&self) -> Vec<String> {
        self.certificates.iter().map(|certificate| STANDARD.encode(certificate.to_der().unwrap())).collect()
    }

    fn sign_with(&self, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(payload));
        let signature: Signature = self.leaf.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn sign(&self, payload: &Value) -> String {
        self.sign_with(&json!({ "alg": "ES256", "x5c": self.x5c() }), payload)
    }
}

fn transaction() -> Value {
    json!({
        "transactionId": "2000000123456789", "originalTransactionId": "2000000123456789", "bundleId": "com.example",
        "productId": "coins.60", "purchaseDate": NOW * 1_000, "quantity": 2, "type": "Consumable",
        "appAccountToken": "00000000-0000-0000-0000-000000000bb9", "inAppOwnershipType": "PURCHASED",
        "signedDate": NOW * 1_000, "environment": "Production", "storefront": "CHN",
    })
}

fn paid() -> Result<Told, Distrust> {
    let worth = Worth::Product { id: "coins.60".into(), quantity: 2 };
    Ok(Told::Paid(Payment { transaction: "2000000123456789".into(), user: UserId(3001), worth }))
}

#[test]
fn a_signed_transaction_is_a_payment_alone_and_in_a_notification() {
    let chain = Chain::new();
    let ours = apple("com.example", "Production", &chain.root_pem());
    let signed = chain.sign(&transaction());
    assert_eq!(read(&ours, &json!({ "signedTransactionInfo": signed })), paid());
    let body = json!({ "signedTransactionInfo": signed }).to_string().into_bytes();
    crate::payments::tests::check_nearly(&ours, &HeaderMap::new(), "/", &body, Time(NOW * 1_000));
    let notification = |kind: &str| {
        let data = json!({ "bundleId": "com.example", "environment": "Production", "signedTransactionInfo": signed });
        let payload = json!({ "notificationType": kind, "version": "2.0", "signedDate": NOW * 1_000, "data": data });
        read(&ours, &json!({ "signedPayload": chain.sign(&payload) }))
    };
    assert_eq!(notification("ONE_TIME_CHARGE"), paid());
    for kind in ["REFUND", "CONSUMPTION_REQUEST", "TEST", "SUBSCRIBED"] {
        assert_eq!(notification(kind), Ok(Told::Other(kind.into())));
    }
}

#[test]
fn a_chain_that_is_wrong_in_one_thing_proves_nothing() {
    let root = Chain::new().root_pem();
    let ours = apple("com.example", "Production", &root);
    for flaw in [
        Flaw::Expired,
        Flaw::NotYet,
        Flaw::NoLeafMark,
        Flaw::NoIntermediateMark,
        Flaw::IntermediateIsNoAuthority,
        Flaw::LeafOfAnotherIssuer,
    ] {
        let signed = Chain::with(flaw).sign(&transaction());
        let told = read(&ours, &json!({ "signedTransactionInfo": signed }));
        assert!(matches!(told, Err(Distrust::Signature(_))), "{flaw:?}: {told:?}");
    }
    let chain = Chain::new();
    let with_x5c = |x5c: Vec<String>| {
        let signed = chain.sign_with(&json!({ "alg": "ES256", "x5c": x5c }), &transaction());
        read(&ours, &json!({ "signedTransactionInfo": signed }))
    };
    let x5c = chain.x5c();
    for wrong in [
        vec![],
        x5c[..2].to_vec(),
        vec![x5c[0].clone(), x5c[0].clone(), x5c[2].clone()],
        vec![x5c[1].clone(), x5c[0].clone(), x5c[2].clone()],
        [&x5c[..], &x5c[2..]].concat(),
        vec!["AAAA".into(), x5c[1].clone(), x5c[2].clone()],
        vec!["not base64".into(), x5c[1].clone(), x5c[2].clone()],
    ] {
        assert!(matches!(with_x5c(wrong), Err(Distrust::Signature(_))));
    }
    for alg in ["none", "HS256", "ES384", ""] {
        let signed = chain.sign_with(&json!({ "alg": alg, "x5c": x5c }), &transaction());
        assert!(
            matches!(read(&ours, &json!({ "signedTransactionInfo": signed })), Err(Distrust::Signature(_))),
            "{alg}"
        );
    }
    // Signed by another key than the leaf's.
    let other = Chain { leaf: key(9), ..Chain::new() }.sign(&transaction());
    assert!(matches!(read(&ours, &json!({ "signedTransactionInfo": other })), Err(Distrust::Signature(_))));
}

#[test]
fn what_is_signed_must_be_a_payment_for_us() {
    let chain = Chain::new();
    let ours = apple("com.example", "Production", &chain.root_pem());
    let changed = |field: &str, value: Value| {
        let mut transaction = transaction();
        transaction[field] = value;
        read(&ours, &json!({ "signedTransactionInfo": chain.sign(&transaction) }))
    };
    assert!(matches!(changed("bundleId", "com.other".into()), Err(Distrust::NotForUs(_))));
    assert!(matches!(changed("environment", "Sandbox".into()), Err(Distrust::NotForUs(_))));
    assert!(matches!(changed("revocationDate", json!(NOW * 1_000)), Ok(Told::Other(_))));
    assert!(matches!(changed("type", "Auto-Renewable Subscription".into()), Ok(Told::Other(_))));
    assert!(matches!(changed("inAppOwnershipType", "FAMILY_SHARED".into()), Ok(Told::Other(_))));
    assert_eq!(changed("signedDate", json!((NOW + 400) * 1_000)), Err(Distrust::Stale));
    for token in [json!(null), json!(""), json!("7e3fb20b-4cdb-47cc-936d-99d65f608138"), json!(3001)] {
        assert!(matches!(changed("appAccountToken", token), Err(Distrust::Malformed(_))));
    }
    for (field, value) in [("quantity", json!(-1)), ("transactionId", json!(null)), ("signedDate", json!("now"))] {
        assert!(matches!(changed(field, value), Err(Distrust::Malformed(_))), "{field}");
    }
    for garbage in [
        json!({}),
        json!([]),
        json!({ "signedPayload": 7 }),
        json!({ "signedPayload": "" }),
        json!({ "signedPayload": "a.b" }),
        json!({ "signedPayload": "a.b.c.d" }),
        json!({ "signedPayload": "e30.e30.AAAA" }),
        json!({ "signedPayload": "x", "signedTransactionInfo": "y" }),
    ] {
        assert!(read(&ours, &garbage).is_err(), "{garbage}");
    }
}

#[test]
fn tokens_carry_user_ids() {
    for (token, user) in [
        ("00000000-0000-0000-0000-000000000bb9", Some(3001)),
        ("00000000-0000-0000-FFFF-FFFFFFFFFFFF", Some(u64::MAX)),
        ("00000000-0000-0000-0000-000000000000", None),
        ("00000000-0000-0001-0000-000000000bb9", None),
        ("0000000000000000000000000000000000bb", None),
        ("00000000-0000-0000-0000-000000000bbé", None),
        ("00000000-0000-0000-0000-+00000000bb9", None),
    ] {
        assert_eq!(user_of_token(token), user.map(UserId), "{token}");
    }
}
