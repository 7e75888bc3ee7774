//! Faults put into the simulation on purpose, to prove that the model sees them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The oldest live execution is not taken in after a restart.
    LosesTheQueuesHead,
    /// The last durable result is not seen when an execution is taken up.
    RepeatsACompletedStep,
    /// The room of an execution that ended is not given back.
    KeepsItsRoom,
    /// A running execution is not told that it is to end.
    IgnoresCancellation,
    /// A running execution may be told only when full mailboxes are looked at again.
    PutsOffCancellation,
    /// Users have no share of the slots.
    ForgetsTheShares,
    /// A receipt is given before the entry is durable.
    AcknowledgesEarly,
    /// An outbound step begins before the results before it are durable.
    SkipsTheFlush,
    /// Deaths are not counted.
    ForgetsDeaths,
    /// After a restart the newest execution comes first.
    ReversesTheQueue,
    /// A slot whose execution ended is not given back.
    KeepsItsSlot,
    /// What a dead actor was running is not taken up again.
    AbandonsTheDead,
    /// After the death of an actor nobody waits for what it was writing.
    TrustsWhatItKnows,
    /// The death of an actor is that of what was through, too.
    LosesWhatEnds,
    /// An execution runs past its time-out.
    IgnoresTheDeadline,
    /// A try comes too early.
    RetriesAtOnce,
    /// What is parked is not taken in after a restart.
    LosesTheParked,
    /// The slot of an execution that waits for a credential is not given back.
    KeepsTheParkedSlot,
    /// A step is performed without its credential.
    WorksWithoutACredential,
    /// What waits for a credential does not line up again when that is back.
    ForgetsTheParked,
    /// The memory of an execution that ended is not given back.
    KeepsItsMemory,
    /// An execution waits for memory in its slot.
    WaitsInItsSlot,
    /// What had no memory does not line up again when there is some.
    ForgetsTheShort,
}

impl Mutant {
    pub(crate) const ALL: [Self; 23] = [
        Self::LosesTheQueuesHead,
        Self::RepeatsACompletedStep,
        Self::KeepsItsRoom,
        Self::IgnoresCancellation,
        Self::PutsOffCancellation,
        Self::ForgetsTheShares,
        Self::AcknowledgesEarly,
        Self::SkipsTheFlush,
        Self::ForgetsDeaths,
        Self::ReversesTheQueue,
        Self::KeepsItsSlot,
        Self::AbandonsTheDead,
        Self::TrustsWhatItKnows,
        Self::LosesWhatEnds,
        Self::IgnoresTheDeadline,
        Self::RetriesAtOnce,
        Self::LosesTheParked,
        Self::KeepsTheParkedSlot,
        Self::WorksWithoutACredential,
        Self::ForgetsTheParked,
        Self::KeepsItsMemory,
        Self::WaitsInItsSlot,
        Self::ForgetsTheShort,
    ];
}

impl Mutant {
    /// What the model has to say of it.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Self::LosesTheQueuesHead
            | Self::AbandonsTheDead
            | Self::LosesTheParked
            | Self::KeepsTheParkedSlot
            | Self::KeepsItsMemory
            | Self::WaitsInItsSlot => "it does not come to an end",
            Self::RepeatsACompletedStep | Self::TrustsWhatItKnows => "whose result is durable",
            Self::KeepsItsRoom => "when all is over",
            Self::IgnoresCancellation | Self::PutsOffCancellation => "although it was cancelled",
            Self::ForgetsTheShares => "above its user's share",
            Self::AcknowledgesEarly => "was acknowledged and lost",
            Self::SkipsTheFlush => "before the result of",
            Self::ForgetsDeaths => "deaths",
            Self::ReversesTheQueue | Self::LosesWhatEnds => "has its turn before",
            Self::KeepsItsSlot => "slots are taken",
            Self::ForgetsTheParked | Self::ForgetsTheShort => "slots are free",
            Self::IgnoresTheDeadline => "past its time-out",
            Self::RetriesAtOnce => "again after",
            Self::WorksWithoutACredential => "without a credential",
        }
    }
}
