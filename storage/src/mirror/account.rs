//! What the mirror says of one user, for tools.

use largesse_engine::units::{Amount, ShardId, UserId};

use super::connection::{Connection, as_of};
use super::entry::{AsOf, Keys};
use super::{MirrorError, MirrorOptions};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirroredAccount {
    /// How far the user's shard is mirrored; `None` when Redis knows nothing of it.
    pub position: Option<AsOf>,
    pub balances: Vec<MirroredBalance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredBalance {
    pub asset: String,
    pub amount: Amount,
    pub as_of: AsOf,
}

/// The user's balances of these assets; one that is not there is left out.
pub async fn read_account(
    options: &MirrorOptions,
    shard: ShardId,
    user: UserId,
    assets: &[String],
) -> Result<MirroredAccount, MirrorError> {
    let (connection, keys) = (Connection::open(options).await?, Keys::new(options));
    let position = connection.standings(&[keys.position(shard)]).await?.into_iter().flatten().next();
    let names: Vec<String> = assets.iter().map(|name| keys.asset(user, name)).collect();
    let rows = connection.fields(&names, &["at", "seq", "amount"]).await?;
    let balance = |(fields, asset): (Vec<Option<String>>, &String)| {
        let amount = fields.get(2)?.as_ref()?.parse().ok().and_then(Amount::new)?;
        Some(MirroredBalance { asset: asset.clone(), amount, as_of: as_of(&fields)? })
    };
    Ok(MirroredAccount { position, balances: rows.into_iter().zip(assets).filter_map(balance).collect() })
}
