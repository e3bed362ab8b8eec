//! A value for each asset, for the few assets that there are: a sorted list beats a map.

use bincode::{BorrowDecode, Decode, Encode};
use smallvec::SmallVec;

use crate::codec::Few;
use crate::units::AssetId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerAsset<T>(SmallVec<[(AssetId, T); 2]>);

impl<T> Default for PerAsset<T> {
    fn default() -> Self {
        PerAsset(SmallVec::new())
    }
}

impl<T> PerAsset<T> {
    pub fn get(&self, asset: AssetId) -> Option<&T> {
        // Nearly always one to four entries: a scan is faster than a search.
        self.0.iter().find(|(held, _)| *held == asset).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (AssetId, &T)> {
        self.0.iter().map(|(asset, value)| (*asset, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T: Default> PerAsset<T> {
    pub fn entry(&mut self, asset: AssetId) -> &mut T {
        let place = match self.0.iter().position(|(held, _)| *held >= asset) {
            Some(place) if self.0[place].0 == asset => place,
            Some(place) => {
                self.0.insert(place, (asset, T::default()));
                place
            }
            None => {
                self.0.push((asset, T::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }
}

impl<T: Default> FromIterator<(AssetId, T)> for PerAsset<T> {
    fn from_iter<I: IntoIterator<Item = (AssetId, T)>>(items: I) -> Self {
        let mut all = PerAsset::default();
        for (asset, value) in items {
            *all.entry(asset) = value;
        }
        all
    }
}

impl<T: Encode> Encode for PerAsset<T> {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<Context, T: Decode<Context> + Default> Decode<Context> for PerAsset<T> {
    fn decode<D: bincode::de::Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let items = Few::<(AssetId, T)>::decode(decoder)?;
        Ok(items.0.into_iter().collect())
    }
}

impl<'de, Context, T: BorrowDecode<'de, Context> + Default> BorrowDecode<'de, Context> for PerAsset<T> {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let items = Few::<(AssetId, T)>::borrow_decode(decoder)?;
        Ok(items.0.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_whatever_the_order_they_came_in() {
        let one: PerAsset<u64> = [(AssetId(3), 30), (AssetId(1), 10), (AssetId(2), 20)].into_iter().collect();
        let other: PerAsset<u64> = [(AssetId(1), 10), (AssetId(2), 20), (AssetId(3), 30)].into_iter().collect();
        assert_eq!(one, other);
        assert_eq!(one.get(AssetId(2)), Some(&20));
        assert_eq!(one.get(AssetId(4)), None);
    }
}
