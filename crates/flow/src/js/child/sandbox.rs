//! Takes away the child's rights: no files, no network, no processes, no executable memory, bounded memory.
//!
//! Runs before the first frame is read. Afterwards it tries what must be impossible, so that a kernel that accepts
//! the calls and does nothing is noticed.

use super::Setup;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory beside the engine's heap: the binary, stacks, what the allocator reserves. No key: it is this binary's own need.
/// What scripts may use is `code.memory`.
const BESIDE_HEAP: usize = 512 << 20;
/// Standard streams, the socket, and nothing else.
const MAX_FILES: u64 = 4;
const PROT_EXEC: u64 = 4;
/// The nice value of a child whose script computes for long: a tenth of the weight of others. No key: the filter of system
/// calls names it, so that a script that has taken over its child can ask for this and nothing else.
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

/// Calls that computing, waiting and the socket need, whatever their arguments are.
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
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_getrusage,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Calls that are needed with some arguments alone.
fn calls_by_arguments() -> Result<Vec<(i64, Vec<SeccompCondition>)>, BackendError> {
    let is = |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let is_not_executable = || SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(PROT_EXEC), 0);
    Ok(vec![
        (libc::SYS_mmap, vec![is_not_executable()?]),
        (libc::SYS_mprotect, vec![is_not_executable()?]),
        // Its own priority, downwards.
        (libc::SYS_setpriority, vec![is(0, 0)?, is(1, 0)?, is(2, LOW_PRIORITY as u64)?]),
        // To itself, as `abort` does, and of itself: the daemon and other children run for the same user.
        (libc::SYS_tgkill, vec![is(0, u64::from(std::process::id()))?]),
        (libc::SYS_prlimit64, vec![is(0, 0)?]),
    ])
}

/// What the kernel asks about each call.
fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    for (call, conditions) in calls_by_arguments()? {
        rules.insert(call, vec![SeccompRule::new(conditions)?]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
}

fn forbid_calls() -> Result<(), String> {
    let filter = filter().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&filter).map_err(|error| error.to_string())
}

/// What must be impossible now.
fn check() -> Result<(), String> {
    let opened = std::fs::File::open("/").is_ok();
    let bound = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    // A thread and a process are made by the same call.
    let forked = std::thread::Builder::new().spawn(|| ()).is_ok();
    match (opened, bound, forked) {
        (false, false, false) => Ok(()),
        _ => Err(format!(
            "still possible: opening a file: {opened}, a socket: {bound}, another process: {forked}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getppid, prlimit, test_kill_process};
    use std::fs::File;
    use std::process::Command;

    /// Set in the process that gives up its rights.
    const CONFINED: &str = "PERSEAT_TEST_CONFINED";

    /// Runs in a process of its own, started by the test below: its rights do not come back.
    #[test]
    fn confined() {
        if std::env::var_os(CONFINED).is_none() {
            return;
        }
        let me = std::env::current_exe().unwrap();
        assert!(File::open("/proc/self/status").is_ok(), "files can be opened before");
        assert!(Command::new(&me).arg("--list").output().is_ok(), "processes can be started before");
        // As a child's parent, which runs for the same user: the process that started this one.
        let parent = getppid().unwrap();
        let limit_parent = || prlimit(Some(parent), Resource::Core, getrlimit(Resource::Core));
        assert!(limit_parent().is_ok(), "another process's limits can be set before");
        let missing = harden(Setup {
            sandbox_required: true,
            max_heap: 32 << 20,
            max_frame: 1 << 20,
        });
        assert_eq!(missing, Ok(String::new()));
        for path in ["/etc/passwd", "/proc/self/status", "/dev/null", "."] {
            assert!(File::open(path).is_err(), "{path} can be opened");
        }
        assert!(File::create("/tmp/perseat-test-confined").is_err(), "a file can be made");
        assert!(Command::new(&me).arg("--list").spawn().is_err(), "a process can be started");
        assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a thread can be started");
        assert!(std::net::TcpStream::connect("127.0.0.1:1").is_err());
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err(), "a socket can be made");
        assert!(limit_parent().is_err(), "another process's limits can be set");
        assert!(test_kill_process(parent).is_err(), "another process can be signalled");
        assert!(set_limit(Resource::Core, 0, Some(0)).is_ok(), "its own limits can be set");
    }

    /// Whether the kernel would let a call pass: runs the filter over what it is given of the call.
    fn is_allowed(filter: &BpfProgram, call: i64, arguments: [u64; 6]) -> bool {
        // The filter begins with the comparison of the architecture.
        let mut data: Vec<u8> = [(call as u32).to_ne_bytes(), filter[1].k.to_ne_bytes(), [0; 4], [0; 4]].concat();
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = &filter[at];
            let value = instruction.k;
            at += 1;
            let jump = |is_met: bool| usize::from(if is_met { instruction.jt } else { instruction.jf });
            match instruction.code {
                0x20 => loaded = u32::from_ne_bytes(data[value as usize..][..4].try_into().unwrap()),
                0x54 => loaded &= value,
                0x05 => at += value as usize,
                0x15 => at += jump(loaded == value),
                0x25 => at += jump(loaded > value),
                0x35 => at += jump(loaded >= value),
                0x06 => return value == libc::SECCOMP_RET_ALLOW,
                other => panic!("an instruction that no filter had: {other:#x}"),
            }
        }
    }

    #[test]
    fn no_other_process_can_be_signalled_limited_or_looked_into() {
        let filter = filter().unwrap();
        let own = u64::from(std::process::id());
        let abort = libc::SIGABRT as u64;
        assert!(is_allowed(&filter, libc::SYS_getpid, [0; 6]));
        assert!(is_allowed(&filter, libc::SYS_tgkill, [own, own, abort, 0, 0, 0]));
        assert!(is_allowed(&filter, libc::SYS_prlimit64, [0; 6]));
        assert!(is_allowed(&filter, libc::SYS_setpriority, [0, 0, LOW_PRIORITY as u64, 0, 0, 0]));
        for other in [0, 1, own - 1, own + 1, u64::from(u32::MAX), u64::MAX] {
            assert!(!is_allowed(&filter, libc::SYS_tgkill, [other, other, abort, 0, 0, 0]), "{other}");
            assert!(
                other == 0 || !is_allowed(&filter, libc::SYS_prlimit64, [other, 0, 0, 0, 0, 0]),
                "{other}"
            );
            assert!(
                other == 0 || !is_allowed(&filter, libc::SYS_setpriority, [0, other, LOW_PRIORITY as u64, 0, 0, 0]),
                "{other}"
            );
        }
        for call in [
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_setrlimit,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setscheduler,
            libc::SYS_ioprio_set,
        ] {
            assert!(!is_allowed(&filter, call, [0; 6]) && !is_allowed(&filter, call, [own; 6]), "{call}");
        }
    }

    #[test]
    fn a_fork_and_a_file_are_out_of_reach() {
        let test = "js::child::sandbox::tests::confined";
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CONFINED, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains("1 passed"),
            "{said}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
