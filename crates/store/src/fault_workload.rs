//! Drives seeded workloads over one store: warm up, plan a fault, go on for some I/O calls, lose power, judge.

use perseat_journal::disk::{CALLS, Campaign, Coverage, MemoryDisk, Random, Trouble};

/// A store on a [`MemoryDisk`] and what is known of it.
pub(crate) trait Workload {
    /// A seed takes no steps, so many or twice as many before its fault is planned.
    const WARM_UP: u64;
    /// A run that does not get through so many calls of the store on average proves little.
    const ACKNOWLEDGED: u64;

    /// The disk below the store.
    fn disk(&self) -> &MemoryDisk;

    /// Forgets the open store, as the end of the process does.
    fn close(&mut self);

    /// Does one thing to the store and judges what it says.
    fn step(&mut self, random: &mut Random) -> Result<(), String>;

    /// After a loss of power, on a disk that is whole again: judges what is there, and that the store goes on.
    fn end(&mut self, random: &mut Random) -> Result<(), String>;

    /// Calls that succeeded so far.
    fn acknowledged(&self) -> u64;
}

/// Runs a campaign of one workload; `begin` makes it for a seed.
pub(crate) fn campaign<W: Workload>(campaign: &Campaign, mut begin: impl FnMut(u64, &mut Random) -> W) {
    let (mut acknowledged, mut coverage) = (0, Coverage::default());
    let runs = campaign.run(|seed, trouble| {
        let (workload, before_its_end) = drive(seed, trouble, &mut begin)?;
        acknowledged += before_its_end;
        coverage.note(trouble, workload.disk());
        Ok(())
    });
    coverage.judge();
    println!("{runs} runs, {acknowledged} calls acknowledged");
    // A run that repeats a failure is alone.
    assert!(
        runs < CALLS || acknowledged > W::ACKNOWLEDGED * runs,
        "hardly anything is acknowledged"
    );
}

/// One run; gives it, and how many calls were acknowledged before its end.
pub(crate) fn drive<W: Workload>(
    seed: u64,
    trouble: Option<Trouble>,
    begin: impl FnOnce(u64, &mut Random) -> W,
) -> Result<(W, u64), String> {
    let mut random = Random::new(seed);
    let mut workload = begin(seed, &mut random);
    for _ in 0..random.below(3) * W::WARM_UP {
        step(&mut workload, &mut random)?;
    }
    let end = workload.disk().calls() + CALLS;
    workload.disk().begin_trial();
    if let Some(trouble) = trouble {
        trouble.plan(workload.disk());
    }
    for _ in 0..CALLS {
        if workload.disk().calls() < end {
            step(&mut workload, &mut random)?;
        }
    }
    workload.disk().crash();
    workload.disk().heal();
    workload.close();
    let acknowledged = workload.acknowledged();
    workload.end(&mut random)?;
    Ok((workload, acknowledged))
}

/// Now and then the power fails or the process ends; otherwise the workload goes on.
fn step(workload: &mut impl Workload, random: &mut Random) -> Result<(), String> {
    match random.below(12) {
        0 => {
            workload.disk().crash();
            workload.close();
        }
        1 => {
            workload.close();
            workload.disk().reopen();
        }
        _ => workload.step(random)?,
    }
    Ok(())
}
