//! What assets are called in the catalog that the store holds.

use std::collections::BTreeMap;

use largesse_engine::catalog::CatalogDraft;
use largesse_engine::codec;
use largesse_engine::control::ControlState;
use largesse_engine::units::{AssetId, CatalogVersion};

use super::MirrorError;

/// The catalog in a control shard's state; `None` before the first was applied.
pub(super) fn catalog(state: &[u8]) -> Result<Option<(CatalogVersion, CatalogDraft)>, MirrorError> {
    let state: ControlState = codec::decode(state).map_err(|error| MirrorError::Catalog(error.to_string()))?;
    let Some(set) = state.into_parts().0 else { return Ok(None) };
    let draft = serde_json::from_slice(&set.draft).map_err(|error| MirrorError::Catalog(error.to_string()))?;
    Ok(Some((set.version, draft)))
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AssetNames(BTreeMap<AssetId, String>);

impl AssetNames {
    pub fn of(draft: &CatalogDraft) -> AssetNames {
        AssetNames(draft.assets.iter().map(|asset| (asset.id, asset.name.clone())).collect())
    }

    /// As in every answer of the API: one that left the catalog is still held by users and shows its number.
    pub fn name(&self, asset: AssetId) -> String {
        self.0.get(&asset).cloned().unwrap_or_else(|| format!("asset-{asset}"))
    }
}
