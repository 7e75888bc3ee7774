//! What `perseat version` says of the build: the commit, as whoever builds gives it in `PERSEAT_COMMIT`, and the compiler.
//!
//! It asks neither git nor the network, so that the same sources and the same environment give the same binary.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PERSEAT_COMMIT");
    let commit = env::var("PERSEAT_COMMIT").ok().filter(|commit| is_word(commit));
    println!("cargo::rustc-env=PERSEAT_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=PERSEAT_TOOLCHAIN={}", toolchain().as_deref().unwrap_or("unknown"));
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte))
}

fn toolchain() -> Option<String> {
    let compiler = env::var_os("RUSTC")?;
    let output = Command::new(compiler).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}
