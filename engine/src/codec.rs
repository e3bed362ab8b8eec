//! The one place that knows how values become bytes, so that it can be replaced in one place.
//!
//! What is stored is a contract for years: enum variants are only ever added at the end, and never changed. Golden files
//! under `engine/golden/` keep the bytes of every version.

use bincode::config::{Configuration, Limit};
use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use smallvec::SmallVec;

/// No stored value is larger; a decoder that is told of a larger one stops instead of allocating.
const DECODE_BYTES_MAX: usize = 16 << 20;

const CONFIG: Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<DECODE_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

#[derive(Debug, thiserror::Error)]
#[error("these bytes are not a {what}: {why}")]
pub struct Undecodable {
    pub what: &'static str,
    pub why: String,
}

/// Appends the value's bytes to `out`.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, CONFIG).expect("a vector takes every byte");
}

pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

/// Decodes one value from the front and says how many bytes it took.
pub fn decode_front<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), Undecodable> {
    bincode::decode_from_slice(bytes, CONFIG).map_err(|error| Undecodable {
        what: std::any::type_name::<T>().rsplit("::").next().unwrap_or("value"),
        why: error.to_string(),
    })
}

/// Decodes a value that fills `bytes` to the end.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, Undecodable> {
    let (value, used) = decode_front(bytes)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(Undecodable {
            what: std::any::type_name::<T>().rsplit("::").next().unwrap_or("value"),
            why: format!("{} bytes are left over", bytes.len() - used),
        })
    }
}

/// A list that is nearly always of length one, kept without an allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent, bound = "T: serde::Serialize + serde::de::DeserializeOwned")]
pub struct Few<T>(pub SmallVec<[T; 1]>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few(SmallVec::new())
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = SmallVec<[T; 1]>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Few(items.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Encode> Encode for Few<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<Context, T: Decode<Context>> Decode<Context> for Few<T> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = usize::decode(decoder)?;
        let mut items = SmallVec::new();
        for _ in 0..len {
            decoder.claim_container_read::<T>(1)?;
            items.push(T::decode(decoder)?);
        }
        Ok(Few(items))
    }
}

impl<'de, Context, T: BorrowDecode<'de, Context>> BorrowDecode<'de, Context> for Few<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let len = usize::decode(decoder)?;
        let mut items = SmallVec::new();
        for _ in 0..len {
            decoder.claim_container_read::<T>(1)?;
            items.push(T::borrow_decode(decoder)?);
        }
        Ok(Few(items))
    }
}
