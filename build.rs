//! Tells the program which commit and which wgpu it is built from. Without git it is built all the same.
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    let own = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| {
        // A copy without a history may lie in another project's. (Where this file was compiled may be another place, if the
        // folder of what is built was copied.)
        let same = |path: &str| Path::new(path).canonicalize().ok();
        let own = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        same(&top).is_some() && same(&top) == same(&own)
    });
    let commit = match own {
        true => git(&["rev-parse", "--short=12", "HEAD"]),
        false => None,
    };
    println!(
        "cargo::rustc-env=BUILD_COMMIT={}",
        commit.unwrap_or_default()
    );
    if own {
        let branch = git(&["symbolic-ref", "-q", "HEAD"]);
        for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
            let path = git(&["rev-parse", "--git-path", name]);
            if let Some(path) = path.filter(|path| Path::new(path).exists()) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let wgpu = lock.split("\n\n").find_map(|package| {
        let version = package.split_once("name = \"wgpu\"\nversion = \"")?.1;
        Some(version.split_once('"')?.0)
    });
    println!("cargo::rustc-env=RESNET_WGPU={}", wgpu.unwrap_or("unknown"));
}

/// What git prints, if it is there and content.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_string()).filter(|text| output.status.success() && !text.is_empty())
}
