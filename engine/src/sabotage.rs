//! Rules that the simulator can have broken, one at a time, to show that it would notice. Without the feature `sabotage`
//! none of this is in the program: [`is`] is constant.

/// A rule, and what it is that no longer holds when it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A part of credits counts only where its source stands.
    WatermarkCheck,
    /// A watermark is acknowledged when it is durable.
    DurableWatermark,
    /// Nobody is answered before the log is durable.
    AnswerAfterDurable,
    /// An owner believes its records only while nobody else wrote.
    Fence,
    /// A record whose predecessor was lost does not count.
    SeqChain,
    /// A read waits for an own record that came after it.
    FencedReads,
    /// After a restart ids of before are not certain.
    WindowFloor,
    /// Ids that may have left memory are not certain.
    FloorRises,
    /// The id is judged before the price.
    IdBeforePrice,
    /// A checkpoint never goes back.
    CheckpointForward,
    /// What leaves memory is in the store.
    FlushBeforeEviction,
    /// A retry is told what the first attempt paid, whatever the gift costs by now.
    FirstPrice,
    /// A catalog is in force when it is durable.
    DurableCatalog,
    /// A shard that drains finishes everything that it admitted.
    DrainFinishes,
    /// A page of history goes on right behind the page before it.
    PagesWithoutGaps,
    /// Whoever gets something out of an event finds it in their history.
    ReceiverHistory,
    /// Received history is complete only up to what is stored.
    CompleteUntil,
    /// Gifts to different receivers are different gifts.
    ReceiversApart,
    /// What is given anonymously is not joined with what is given by name.
    AnonymousApart,
    /// Every streak ends.
    CombosEnd,
    /// The numbers of a feed have no gaps.
    FeedWithoutGaps,
}

impl Rule {
    pub const ALL: [Rule; 21] = [
        Rule::WatermarkCheck,
        Rule::DurableWatermark,
        Rule::AnswerAfterDurable,
        Rule::Fence,
        Rule::SeqChain,
        Rule::FencedReads,
        Rule::WindowFloor,
        Rule::FloorRises,
        Rule::IdBeforePrice,
        Rule::CheckpointForward,
        Rule::FlushBeforeEviction,
        Rule::FirstPrice,
        Rule::DurableCatalog,
        Rule::DrainFinishes,
        Rule::PagesWithoutGaps,
        Rule::ReceiverHistory,
        Rule::CompleteUntil,
        Rule::ReceiversApart,
        Rule::AnonymousApart,
        Rule::CombosEnd,
        Rule::FeedWithoutGaps,
    ];
}

#[cfg(feature = "sabotage")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Breaks a rule on this thread, or none.
#[cfg(feature = "sabotage")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.set(rule);
}

/// Whether this rule is broken.
#[cfg(feature = "sabotage")]
pub fn is(rule: Rule) -> bool {
    BROKEN.get() == Some(rule)
}

/// Whether this rule is broken.
#[cfg(not(feature = "sabotage"))]
pub const fn is(_rule: Rule) -> bool {
    false
}
