//! Keys of services, made and revoked by administrators.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::Response;
use largesse_engine::control::keys::{KeyChange, KeyCreated, KeyInForce, KeyRefusal, KeyRevoked};
use largesse_engine::handle::ControlError;
use largesse_engine::units::Time;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::SERVICE_KEY_PREFIX;
use crate::auth::scopes::{self, Scopes};
use crate::auth::services::{SigningSecret, sha256};
use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{Admin, JsonBytes, parse_json};
use crate::openapi::errors::{AdminReadErrors, AdminWriteErrors, RevokeErrors};
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::signed::hex;
use crate::state::ApiState;
use crate::time_text::Rfc3339;

/// Longest reason for a change, in characters.
const REASON_CHARS_MAX: usize = 500;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateKey)]
pub(crate) struct CreateBody<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$")]
    name: Cow<'a, str>,
    #[serde(borrow)]
    #[schema(schema_with = schemas::scopes)]
    scopes: Vec<Cow<'a, str>>,
    /// Whether requests can be signed with it. Whoever can read the ledger's log could then sign as well.
    #[serde(default)]
    signing: bool,
    #[serde(default, borrow)]
    #[schema(value_type = String, max_length = 500)]
    reason: Cow<'a, str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServiceKey)]
pub(crate) struct Listed<'a> {
    name: &'a str,
    scopes: Vec<&'static str>,
    signing: bool,
    created_at: String,
    by: &'a str,
    reason: &'a str,
}

impl<'a> From<&'a KeyInForce> for Listed<'a> {
    fn from(key: &'a KeyInForce) -> Listed<'a> {
        let KeyInForce { created, at } = key;
        Listed {
            name: &created.name,
            scopes: Scopes::stored(&created.scopes).names(),
            signing: created.signing.is_some(),
            created_at: Rfc3339(*at).to_string(),
            by: &created.by,
            reason: &created.reason,
        }
    }
}

/// The keys that were made at run time
///
/// Those of the configuration are listed where they are written.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "listKeys", tag = "keys", security(("admin" = [])),
    responses((status = 200, description = "Without the keys themselves.", body = schemas::Keys), AdminReadErrors)
)]
pub async fn list(State(state): State<ApiState>, _admin: Admin) -> Response {
    let view = state.service.control.view();
    let keys: Vec<Listed<'_>> = view.keys.iter().map(Listed::from).collect();
    edge::json(&serde_json::json!({ "keys": keys }))
}

/// Make a key
///
/// The answer is the only place where it is ever shown.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "createKey", tag = "keys", request_body = CreateBody, security(("admin" = [])),
    responses(
        (status = 200, description = "The key.", body = schemas::NewKey, links(
            ("revoke" = (operation_id = "revokeKey", parameters(("name" = "$response.body#/name")))),
        )),
        AdminWriteErrors
    )
)]
pub async fn create(
    State(state): State<ApiState>,
    Admin(by): Admin,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let body: CreateBody<'_> = parse_json(&body)?;
    let parsed = Scopes::parse(body.scopes.iter().map(AsRef::as_ref)).map_err(|unknown| {
        let known: Vec<_> = scopes::Scope::ALL.iter().map(|scope| scope.name()).collect();
        Problem::bad_request(format!(
            "there is no scope `{unknown}`; there are {} and {}",
            known.join(", "),
            scopes::ALL
        ))
    })?;
    if parsed == Scopes::NONE {
        return Err(Problem::bad_request("a key without scopes can do nothing; name some in `scopes`"));
    }
    let key = format!("{SERVICE_KEY_PREFIX}{}", hex(&rand::random::<[u8; 32]>()));
    let created = KeyCreated {
        name: body.name.clone().into_owned(),
        sha256: sha256(&key),
        signing: body.signing.then(|| SigningSecret::of(&key).0),
        scopes: parsed.names().into_iter().map(str::to_owned).collect(),
        by: by.to_string(),
        reason: reason(&body.reason)?,
    };
    change(&state, KeyChange::Create(created)).await?;
    let answer = serde_json::json!({
        "name": body.name, "key": key, "scopes": parsed.names(), "signing": body.signing,
    });
    Ok(edge::json(&answer))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeParams {
    #[serde(default)]
    #[param(max_length = 500, required = false)]
    reason: String,
}

/// Revoke a key
///
/// From the answer on it counts no longer.
#[utoipa::path(
    delete, path = "/v1/keys/{name}", operation_id = "revokeKey", tag = "keys", security(("admin" = [])),
    params(("name" = String, Path), RevokeParams),
    responses((status = 200, description = "It is.", body = schemas::Revoked), RevokeErrors)
)]
pub async fn revoke(
    State(state): State<ApiState>,
    Admin(by): Admin,
    Path(name): Path<String>,
    crate::extract::Params(params): crate::extract::Params<RevokeParams>,
) -> Result<Response, Problem> {
    let revoked = KeyRevoked { name: name.clone(), by: by.to_string(), reason: reason(&params.reason)? };
    change(&state, KeyChange::Revoke(revoked)).await?;
    Ok(edge::json(&serde_json::json!({ "name": name, "revoked": true })))
}

fn reason(text: &str) -> Result<String, Problem> {
    if text.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::bad_request(format!("`reason` is a text of at most {REASON_CHARS_MAX} characters")));
    }
    Ok(text.to_owned())
}

async fn change(state: &ApiState, change: KeyChange) -> Result<(), Problem> {
    let patience = state.options.request_timeout;
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let final_after: Time = state.service.clock.now().plus_millis(millis);
    match tokio::time::timeout(patience, state.service.control.change_key(change)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ControlError::Key(KeyRefusal::Unknown))) => {
            Err(Problem::new(ErrorCode::NotFound, "no key of this name was made here; see `GET /v1/keys`"))
        }
        Ok(Err(error)) => Err(refusals::of_control(error, "/v1/keys", final_after)),
        Err(_elapsed) => Err(refusals::outcome_unknown("/v1/keys".into(), final_after)),
    }
}
