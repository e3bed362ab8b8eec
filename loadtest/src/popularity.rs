//! Who sends: few send much, many send little.

use rand::{Rng, RngExt};

/// Draws an index in proportion to its weight, in constant time (Walker's alias method).
#[derive(Clone, Debug)]
pub struct Weighted {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// How likely this slot stays itself.
    stays: f32,
    otherwise: u32,
}

impl Weighted {
    /// None without a positive weight.
    pub fn new(weights: &[f64]) -> Option<Weighted> {
        let sum: f64 = weights.iter().sum();
        if weights.is_empty() || sum <= 0.0 {
            return None;
        }
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight * weights.len() as f64 / sum).collect();
        let mut slots: Vec<Slot> =
            (0..).take(shares.len()).map(|index| Slot { stays: 1.0, otherwise: index }).collect();
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|index| shares[*index] < 1.0);
        while let (Some(to), Some(&from)) = (poor.pop(), rich.last()) {
            #[allow(clippy::cast_possible_truncation, reason = "a probability needs no more digits")]
            let stays = shares[to] as f32;
            slots[to] = Slot { stays, otherwise: u32::try_from(from).ok()? };
            shares[from] -= 1.0 - shares[to];
            if shares[from] < 1.0 {
                rich.pop();
                poor.push(from);
            }
        }
        Some(Weighted { slots })
    }

    pub fn draw(&self, random: &mut impl Rng) -> usize {
        let index = random.random_range(0..self.slots.len());
        let slot = self.slots[index];
        if random.random::<f32>() < slot.stays { index } else { slot.otherwise as usize }
    }
}

/// The weight of a place in Zipf's order, from 0: the second sends half as much as the first, the third a third.
pub fn zipf(place: u64) -> f64 {
    1.0 / (place + 1) as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn places_are_drawn_as_often_as_they_weigh() {
        let weights: Vec<f64> = (0..50).map(zipf).collect();
        let drawn = Weighted::new(&weights).unwrap();
        let mut random = SmallRng::seed_from_u64(7);
        let mut counts = vec![0u32; weights.len()];
        const DRAWS: u32 = 400_000;
        (0..DRAWS).for_each(|_| counts[drawn.draw(&mut random)] += 1);
        let sum: f64 = weights.iter().sum();
        for (place, (count, weight)) in counts.iter().zip(&weights).enumerate() {
            let expected = f64::from(DRAWS) * weight / sum;
            let off = (f64::from(*count) - expected).abs() / expected.sqrt();
            assert!(off < 5.0, "place {place} was drawn {count} times, {expected:.0} were expected");
        }
    }

    #[test]
    fn nothing_can_be_drawn_of_nothing() {
        assert!(Weighted::new(&[]).is_none());
        assert!(Weighted::new(&[0.0, 0.0]).is_none());
    }
}
