//! Plug-ins: what a room does with its gifts beside showing them. Each is switched on per room.

use bincode::{Decode, Encode};

use crate::room::event::GiftShown;
use crate::room::person::Person;
use crate::room::settings::PluginSettings;
use crate::units::{Amount, AssetId, Time, UserId};

/// One live feature over the events of a room. Its state is part of the room's, so it needs no clock and no memory of its
/// own, and what it says becomes an entry of the feed.
pub trait Plugin {
    /// A gift is shown.
    fn gift(&mut self, gift: &GiftShown, at: Time) -> Option<PluginNews>;

    /// When it wants to be asked again, whatever is given until then.
    fn due(&self) -> Option<Time>;

    /// It is that time.
    fn time(&mut self, now: Time) -> Option<PluginNews>;
}

/// Variants are only added, at the end: it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PluginState {
    Goal(Goal),
    Pk(Pk),
}

/// Variants are only added, at the end: it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PluginNews {
    GoalReached {
        asset: AssetId,
        target: Amount,
        /// Whose gift it was that filled it.
        by: Person,
    },
    PkEnded {
        hosts: [UserId; 2],
        asset: AssetId,
        scores: [u64; 2],
    },
}

impl PluginState {
    pub fn new(settings: &PluginSettings) -> PluginState {
        match settings.clone() {
            PluginSettings::Goal { asset, target } => PluginState::Goal(Goal { asset, target, reached: 0 }),
            PluginSettings::Pk { hosts, asset, until } => {
                PluginState::Pk(Pk { hosts, asset, until, scores: [0; 2], is_over: false })
            }
        }
    }

    /// The settings that it came from.
    pub fn settings(&self) -> PluginSettings {
        match self {
            PluginState::Goal(goal) => PluginSettings::Goal { asset: goal.asset, target: goal.target },
            PluginState::Pk(pk) => PluginSettings::Pk { hosts: pk.hosts, asset: pk.asset, until: pk.until },
        }
    }

    pub fn plugin(&mut self) -> &mut dyn Plugin {
        match self {
            PluginState::Goal(goal) => goal,
            PluginState::Pk(pk) => pk,
        }
    }

    pub fn due(&self) -> Option<Time> {
        match self {
            PluginState::Goal(goal) => goal.due(),
            PluginState::Pk(pk) => pk.due(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Goal {
    pub asset: AssetId,
    pub target: Amount,
    /// May go beyond the target.
    pub reached: u64,
}

impl Plugin for Goal {
    fn gift(&mut self, gift: &GiftShown, _at: Time) -> Option<PluginNews> {
        if gift.asset != self.asset {
            return None;
        }
        let was_full = self.reached >= self.target.get();
        self.reached = self.reached.saturating_add(gift.value().get());
        let is_filled = !was_full && self.reached >= self.target.get();
        is_filled.then_some(PluginNews::GoalReached { asset: self.asset, target: self.target, by: gift.sender })
    }

    fn due(&self) -> Option<Time> {
        None
    }

    fn time(&mut self, _now: Time) -> Option<PluginNews> {
        None
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pk {
    pub hosts: [UserId; 2],
    pub asset: AssetId,
    pub until: Option<Time>,
    pub scores: [u64; 2],
    pub is_over: bool,
}

impl Plugin for Pk {
    fn gift(&mut self, gift: &GiftShown, at: Time) -> Option<PluginNews> {
        if gift.asset != self.asset || self.is_over || self.until.is_some_and(|until| at >= until) {
            return None;
        }
        let each = gift.value().get() / gift.receivers.len() as u64;
        for (host, score) in self.hosts.iter().zip(&mut self.scores) {
            if gift.receivers.contains(host) {
                *score = score.saturating_add(each);
            }
        }
        None
    }

    fn due(&self) -> Option<Time> {
        self.until.filter(|_| !self.is_over)
    }

    fn time(&mut self, now: Time) -> Option<PluginNews> {
        if self.is_over || self.until.is_none_or(|until| now < until) {
            return None;
        }
        self.is_over = true;
        Some(PluginNews::PkEnded { hosts: self.hosts, asset: self.asset, scores: self.scores })
    }
}
