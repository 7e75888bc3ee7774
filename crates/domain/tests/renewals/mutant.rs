//! Faults put in on purpose, to prove that the model sees them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The provider is asked before the intent is durable.
    SpendsBeforeTheIntent,
    /// What was interrupted is not seen when a row is read.
    ForgetsTheIntent,
    /// A new token is used though it was never stored.
    UsesWhatIsNotStored,
    /// An outcome that cannot be written is let go.
    DropsAnOutcomeThatFails,
    /// What became of a renewal and could not be written is not known to the next look.
    ForgetsWhatIsPutOff,
    /// An intent that was said not to be written, and was, is taken for a renewal that was cut off.
    TakesAnIntentForACall,
    /// A second use is taken to be forgiven whatever the provider declares.
    ForgivesForEver,
    /// The second use goes out however late it is.
    SpendsLate,
    /// How often a token was spent is not counted.
    CountsOneSpend,
    /// A provider that gave the same refresh token back once is taken to do so always.
    InfersSteadiness,
    /// Whoever asks begins a reading of their own.
    ReadsForEachQuestion,
    /// Each user of a shared grant has a writer of it.
    TwoWriters,
    /// What a provider says of a token that it answered 5xx to before is taken at its word.
    ForgetsAnOutage,
    /// How long a provider wants to be left alone is not heard.
    IgnoresRetryAfter,
    /// A provider that is down is taken to have ended the grant.
    TakesAnOutageForTheEnd,
    /// What is uncertain is said to be over.
    CallsTheLostRevoked,
    /// What somebody else wrote meanwhile is overwritten.
    OverwritesAConsent,
    /// An end is written without its notice.
    TellsNobody,
    /// The new refresh token does not take the place of the old one.
    KeepsTheRefreshToken,
    /// A token is used after its end.
    LendsAnEndedToken,
    /// A new consent lets nothing go.
    ForgetsTheParked,
    /// Two of those that wait for one credential are sent to find out at once.
    SendsTwoScouts,
    /// What is parked is not taken in after a restart.
    LosesTheParked,
    /// After a restart the newest execution comes first.
    ReversesTheQueue,
    /// Whoever waits for one user's credential is let run without it.
    WorksWithoutACredential,
}

impl Mutant {
    pub(crate) const ALL: [Self; 25] = [
        Self::SpendsBeforeTheIntent,
        Self::ForgetsTheIntent,
        Self::UsesWhatIsNotStored,
        Self::DropsAnOutcomeThatFails,
        Self::ForgetsWhatIsPutOff,
        Self::TakesAnIntentForACall,
        Self::ForgivesForEver,
        Self::SpendsLate,
        Self::CountsOneSpend,
        Self::InfersSteadiness,
        Self::ReadsForEachQuestion,
        Self::TwoWriters,
        Self::ForgetsAnOutage,
        Self::IgnoresRetryAfter,
        Self::TakesAnOutageForTheEnd,
        Self::CallsTheLostRevoked,
        Self::OverwritesAConsent,
        Self::TellsNobody,
        Self::KeepsTheRefreshToken,
        Self::LendsAnEndedToken,
        Self::ForgetsTheParked,
        Self::SendsTwoScouts,
        Self::LosesTheParked,
        Self::ReversesTheQueue,
        Self::WorksWithoutACredential,
    ];

    /// What the model has to say of it.
    pub(crate) fn breaks(self) -> &'static str {
        match self {
            Self::SpendsBeforeTheIntent => "asks before the intent is durable",
            Self::ForgetsTheIntent | Self::ForgivesForEver | Self::SpendsLate | Self::CountsOneSpend => "was spent at",
            Self::UsesWhatIsNotStored | Self::DropsAnOutcomeThatFails => "which was never stored",
            Self::ForgetsWhatIsPutOff | Self::TakesAnIntentForACall => "is uncertain without a cause",
            Self::InfersSteadiness | Self::KeepsTheRefreshToken => "is lost, and said to be fine",
            Self::ReadsForEachQuestion | Self::TwoWriters => "renewals at once",
            Self::ForgetsAnOutage => "was used once too often",
            Self::IgnoresRetryAfter => "and was to wait until",
            Self::TakesAnOutageForTheEnd | Self::CallsTheLostRevoked => "and nobody said so",
            Self::OverwritesAConsent => "overwrites consent",
            Self::TellsNobody => "not told",
            Self::LendsAnEndedToken => "nobody looks again",
            Self::LosesTheParked => "came to no good end",
            Self::ForgetsTheParked | Self::SendsTwoScouts | Self::ReversesTheQueue => "begins before others",
            Self::WorksWithoutACredential => "works with",
        }
    }
}
