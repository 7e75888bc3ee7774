//! Takes away the child's rights: no files, no network, no processes, no executable memory, bounded memory.
//!
//! Runs before the first frame is read. Afterwards it tries what must be impossible, so that a kernel that accepts
//! the calls and does nothing is noticed.

use super::Setup;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory beside the engine's heap: the binary, stacks, frames.
const BESIDE_HEAP: usize = 512 << 20;
/// Standard streams, the socket, and nothing else.
const MAX_FILES: u64 = 4;
const PROT_EXEC: u64 = 4;
/// The nice value of a child whose script computes for long: a tenth of the weight of others.
const LOW_PRIORITY: i32 = 10;

/// Gives up what it can. In best effort, says what it could not.
pub(super) fn harden(setup: Setup) -> Result<String, String> {
    let mut missing = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| match result {
        Ok(()) => Ok(()),
        Err(error) if setup.sandbox_required => Err(format!("{what}: {error}")),
        Err(error) => {
            missing.push(format!("{what}: {error}"));
            Ok(())
        }
    };
    // The thread that spawns children lives as long as the pool: with the daemon, its children end.
    note(
        "the parent's death signal",
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| e.to_string()),
    )?;
    note("no_new_privs", rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string()))?;
    note("landlock", forbid_files())?;
    let memory = (setup.max_heap + 2 * setup.max_frame + BESIDE_HEAP) as u64;
    for (resource, limit) in [
        (Resource::As, memory),
        (Resource::Nofile, MAX_FILES),
        (Resource::Nproc, 0),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        note("a resource limit", set_limit(resource, limit, Some(limit)))?;
    }
    note("seccomp", forbid_calls())?;
    note("the check of the sandbox", check())?;
    Ok(missing.join("; "))
}

fn set_limit(resource: Resource, current: u64, maximum: Option<u64>) -> Result<(), String> {
    setrlimit(
        resource,
        Rlimit {
            current: Some(current),
            maximum,
        },
    )
    .map_err(|error| error.to_string())
}

/// The kernel ends the process when a run has used this much CPU time and more, even if nobody is left to do it.
/// `set` is the limit in force, in seconds of the process's life.
pub(super) fn limit_cpu(run: Duration, set: &mut u64) {
    let used = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let seconds = (used + run).as_secs() + 2;
    if *set != seconds {
        let maximum = getrlimit(Resource::Cpu).maximum;
        // Where it cannot be set, the parent's deadline remains.
        let _ = set_limit(Resource::Cpu, maximum.map_or(seconds, |maximum| seconds.min(maximum)), maximum);
        *set = seconds;
    }
}

/// Lets every process that wants to compute go first; for the rest of this one's life.
pub(super) fn give_way() {
    // Where it is refused, the child competes like any other.
    let _ = setpriority_process(None, LOW_PRIORITY);
}

fn forbid_files() -> Result<(), String> {
    let abi = ABI::V5;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    if ruleset.ruleset == RulesetStatus::NotEnforced {
        return Err("the kernel does not have it".into());
    }
    Ok(())
}

/// Calls that computing, waiting and the socket need.
const CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_ppoll,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

fn forbid_calls() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(PROT_EXEC), 0);
        let rule = not_executable
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| error.to_string())?;
        rules.insert(call, vec![rule]);
    }
    rules.insert(libc::SYS_setpriority, vec![give_way_rule().map_err(|error| error.to_string())?]);
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, arch).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

/// Its own priority, downwards.
fn give_way_rule() -> Result<SeccompRule, seccompiler::BackendError> {
    let is = |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    SeccompRule::new(vec![is(0, 0)?, is(1, 0)?, is(2, LOW_PRIORITY as u64)?])
}

/// What must be impossible now.
fn check() -> Result<(), String> {
    let opened = std::fs::File::open("/").is_ok();
    let bound = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    match (opened, bound) {
        (false, false) => Ok(()),
        _ => Err(format!("still possible: opening a file: {opened}, a socket: {bound}")),
    }
}
