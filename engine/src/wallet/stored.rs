//! The bytes of a wallet shard's events: the number of a variant, then its fields.
//!
//! A gift is one event to the rules and two to the log. Anonymous gifts came when logs were full of others, and a field
//! cannot be added to a variant that is stored; so they have a number of their own and the same fields.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{AllowedEnumVariants, DecodeError, EncodeError};
use bincode::{Decode, Encode};

use crate::wallet::command::GiftSaid;
use crate::wallet::event::{GiftSent, WalletEvent};

const GIFT_SENT: u32 = 0;
const RECHARGED: u32 = 1;
const TRANSFERRED: u32 = 2;
const CREDITS_APPLIED: u32 = 3;
const TRANSACTION_BOUND: u32 = 4;
const GIFT_SENT_ANONYMOUSLY: u32 = 5;

impl Encode for WalletEvent {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            WalletEvent::GiftSent(gift) => encode_gift(gift, encoder),
            WalletEvent::Recharged(recharged) => (RECHARGED, recharged).encode(encoder),
            WalletEvent::Transferred(transferred) => (TRANSFERRED, transferred).encode(encoder),
            WalletEvent::CreditsApplied(applied) => (CREDITS_APPLIED, applied).encode(encoder),
            WalletEvent::TransactionBound(said) => (TRANSACTION_BOUND, said).encode(encoder),
        }
    }
}

impl<Context> Decode<Context> for WalletEvent {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u32::decode(decoder)? {
            GIFT_SENT => decode_gift(decoder, false),
            RECHARGED => Decode::decode(decoder).map(WalletEvent::Recharged),
            TRANSFERRED => Decode::decode(decoder).map(WalletEvent::Transferred),
            CREDITS_APPLIED => Decode::decode(decoder).map(WalletEvent::CreditsApplied),
            TRANSACTION_BOUND => Decode::decode(decoder).map(WalletEvent::TransactionBound),
            GIFT_SENT_ANONYMOUSLY => decode_gift(decoder, true),
            found => Err(DecodeError::UnexpectedVariant {
                type_name: "WalletEvent",
                allowed: &AllowedEnumVariants::Range { min: GIFT_SENT, max: GIFT_SENT_ANONYMOUSLY },
                found,
            }),
        }
    }
}

bincode::impl_borrow_decode!(WalletEvent);

fn encode_gift<E: Encoder>(event: &GiftSent, encoder: &mut E) -> Result<(), EncodeError> {
    let GiftSent { said, catalog, unit_price, asset, balance, credits, points, trace } = event;
    let GiftSaid { id, key, sender, room, gift, count, receivers, combo, anonymous } = said;
    let variant = if *anonymous { GIFT_SENT_ANONYMOUSLY } else { GIFT_SENT };
    variant.encode(encoder)?;
    (id, key, sender, room, gift, count, receivers, combo).encode(encoder)?;
    (catalog, unit_price, asset, balance, credits, points, trace).encode(encoder)
}

fn decode_gift<D: Decoder>(decoder: &mut D, anonymous: bool) -> Result<WalletEvent, DecodeError> {
    let (id, key, sender, room, gift, count, receivers, combo) = Decode::decode(decoder)?;
    let said = GiftSaid { id, key, sender, room, gift, count, receivers, combo, anonymous };
    let (catalog, unit_price, asset, balance, credits, points, trace) = Decode::decode(decoder)?;
    Ok(WalletEvent::GiftSent(GiftSent { said, catalog, unit_price, asset, balance, credits, points, trace }))
}
