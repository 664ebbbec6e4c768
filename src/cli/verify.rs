//! `resnet verify`: arguments and printing.
use super::hardware;
use crate::config::{self, Given, Hardware};
use crate::process;
use crate::verify::{Case, Check, Report, Rule, Set, run as replay, worst};
use anyhow::{Result, ensure};
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet verify                        the cases inside this program
  resnet verify --device gpu           the same on the GPU, software adapters included
  resnet verify --precision f16        also with f16 storage; on a CPU also bf16
  resnet verify --cases tests/golden   a folder of cases, all networks included";

/// Arguments of `resnet verify`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// Folder with a manifest.json and its files, instead of the cases inside this program.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    #[command(flatten)]
    settings: Given<Hardware>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Replays the cases and prints the verdicts on stdout.
///
/// # Errors
/// When the folder is broken, the device cannot be opened, or a case fails.
pub fn run(args: Args) -> Result<()> {
    let set = match &args.cases {
        Some(dir) => Set::open(dir)?,
        None => Set::built_in()?,
    };
    let hardware = config::resolve(args.settings.layers())?.config.hardware;
    let mut backend = hardware::open(&hardware)?;
    let mut out = process::output();
    if !args.json {
        writeln!(out, "{}", backend.device())?;
    }
    let mut broken_pipe = Ok(());
    let stored = hardware.precision.stored();
    let report = replay(&set, backend.as_mut(), hardware.fuse, stored, |case| {
        if !args.json && broken_pipe.is_ok() {
            broken_pipe = writeln!(out, "{}", line(case));
        }
    });
    broken_pipe?;
    let Report { passed, failed, .. } = report;
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{passed} passed, {failed} failed")?;
    }
    ensure!(
        failed == 0,
        "{failed} of {} cases failed on {}",
        report.cases.len(),
        report.device
    );
    Ok(())
}

/// A case on one line: verdict, largest absolute error, relative L2 error, and why it failed.
fn line(case: &Case) -> String {
    let verdict = if case.passed { "pass" } else { "FAIL" };
    let mut text = format!("{verdict}  {:<32} {:<15}", case.name, case.op);
    let by_max_abs = |c: &Check| matches!(c.rule, Rule::MaxAbs(_)).then_some(c.max_abs);
    if let Some(check) = worst(&case.checks, by_max_abs) {
        text += &format!(
            "  max abs {:.1e} ({}{})",
            check.max_abs,
            check.tensor,
            bound(check)
        );
    }
    let by_rel_l2 = |c: &Check| matches!(c.rule, Rule::RelL2(_)).then_some(c.rel_l2);
    if let Some(check) = worst(&case.checks, by_rel_l2) {
        text += &format!(
            "  rel L2 {:.1e} ({}{})",
            check.rel_l2,
            check.tensor,
            bound(check)
        );
    } else if let Some(rel_l2) = case.rel_l2 {
        text += &format!("  rel L2 {rel_l2:.1e}");
    }
    for remark in case.note.iter().chain(&case.reason) {
        text += &format!("  {remark}");
    }
    text
}

fn bound(check: &Check) -> String {
    let (Rule::MaxAbs(bound) | Rule::RelL2(bound)) = check.rule;
    format!(", bound {bound:.1e}")
}
