//! How much a room animates: a budget that fills with time and is spent by the size of gifts, so that a room of a million
//! stays readable. What finds it empty is named with its sender and has no animation of its own; nothing is left out.

use bincode::{Decode, Encode};

use crate::catalog::{Gift, SendRule, Tier};
use crate::room::event::EffectShown;
use crate::units::Time;

/// Points per second, and the most that can gather.
const POINTS_PER_SECOND: u64 = 20;
const POINTS_MAX: u64 = 60;

/// Thousandths of points, as of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct EffectBudget {
    milli_points: u64,
    at: Time,
}

impl EffectBudget {
    /// Decides about one entry. `is_streak`: it goes on with a streak whose effect was shown.
    pub fn decide(&mut self, gift: Option<&Gift>, is_streak: bool, now: Time) -> EffectShown {
        let Some(gift) = gift.filter(|gift| gift.effects_url.is_some()) else { return EffectShown::None };
        if is_streak && gift.send_rule == SendRule::Combo {
            return EffectShown::Joined;
        }
        self.fill(now);
        let cost = 1_000 * cost(gift.tier);
        if self.milli_points >= cost {
            self.milli_points -= cost;
            return EffectShown::Play;
        }
        // The greatest moments are shown whatever the budget says, and others pay for them.
        match gift.tier {
            Tier::Grand => {
                self.milli_points = 0;
                EffectShown::Play
            }
            Tier::Small | Tier::Medium | Tier::Large => EffectShown::Joined,
        }
    }

    fn fill(&mut self, now: Time) {
        let millis = now.get().saturating_sub(self.at.get());
        let filled = self.milli_points.saturating_add(millis.saturating_mul(POINTS_PER_SECOND));
        (self.milli_points, self.at) = (filled.min(1_000 * POINTS_MAX), self.at.max(now));
    }
}

fn cost(tier: Tier) -> u64 {
    match tier {
        Tier::Small => 1,
        Tier::Medium => 4,
        Tier::Large => 15,
        Tier::Grand => 40,
    }
}
